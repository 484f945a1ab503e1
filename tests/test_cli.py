"""The program as a user meets it: commands, messages, exit codes, interruptions."""

import csv
import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from small import STUDY, one_line, write_casme2, write_flow_images

from mer_search import cli
from mer_search.cli import options
from mer_search.confirmation import difficulty
from mer_search.data.synthetic import dataset as synthetic
from mer_search.files import shipped, toml_names
from mer_search.report.trials import print_next
from mer_search.search import space
from mer_search.search.storage import STORAGE, find_study, open_storage

PLAN = """
[[step]]
name = "full"
compare = ["V3NR", "ablation-A", "ablation-B"]
subjects = "all"
[[step]]
name = "nothing"
compare = ["full", "V4"]
subjects = "1-2"
only_if = "V3NR"
"""
COMMANDS = [
    [name, *part]
    for name, command in cli.main.commands.items()
    for part in ([[each] for each in command.commands] if isinstance(command, click.Group) else [[]])
]


def _is_a_whole_report(page, summary):
    """The confirmation's figures, the search, and the words for a paper, in three files."""
    html, text = page.read_text(), page.with_suffix(".md").read_text()
    uf1 = f"{summary['rules']['tail']['all']['uf1']:.3f}"
    for written in (html, text):
        assert uf1 in written
        for title in ("All estimates", "Classes", "Subjects", "Learning curves", "Against other networks, paired",
                      "What the network looks at", "Clips that are always wrong", "The search", "What mattered",
                      "The space", "For a paper"):  # fmt: skip
            assert f"{title}" in written
        assert "evaluated leave-one-subject-out" in written
        assert r"\toprule" in written
    assert "http" not in re.sub(r'data:image/png;base64,[^"]*', "", html)
    for picture in re.findall(r"!\[.*\]\((.*)\)", text):
        assert (page.parent / picture).stat().st_size > 1000
    rows = list(csv.DictReader(page.with_name("trials.csv").read_text().splitlines()))
    assert [[row[key] for key in ("trial", "state", "estimated")] for row in rows] == [
        [k, "complete", "0"] for k in "01"
    ]
    assert float(rows[0]["train.lr"]) == 5e-3


def _width(result):
    """Of the longest line, paths aside."""
    return max(len(line) for line in result.stdout.splitlines() if "runs" not in line)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_help_of_each_command_shows_an_example(mer_search, command):
    result = mer_search(*command, "--help")
    assert result.exit_code == 0
    assert f"mer-search {' '.join(command)}" in result.stdout.split("Example:")[1]


def test_a_search_its_confirmation_and_what_they_leave(mer_search, flow_folder, tmp_path, monkeypatch):
    Path("small.toml").write_text(STUDY.replace("[space]", '"train.focal_gamma" = 1.5\n[space]'))
    done = mer_search("run", "--study", "small.toml", "--data", flow_folder, "--trials", 2)
    assert done.exit_code == 0, done.output
    assert "warning: in [set], train.focal_gamma has an effect only" in done.stderr
    assert "cost: 2 more trials of 4 folds, about " in done.stderr
    assert "tuning subjects: sub01, sub02, sub03, sub04" in done.stderr
    assert re.search(r"^trial   1  UF1 0\.\d{3}  ", done.stderr, re.M)
    assert "mer-search confirm --study-name small" in done.stdout
    assert (tmp_path / "runs/small/trial-0001/confusion.png").exists()

    again = mer_search("run", "--study", "small.toml", "--data", flow_folder, "--trials", 2)
    assert again.exit_code == 0
    assert "cost: nothing" in again.stderr

    status = json.loads(mer_search("status", "--json").stdout)
    assert status["trials"] == {"complete": 2}

    reported = mer_search("report")
    assert reported.exit_code == 0, reported.output
    page = Path(reported.stdout.strip())
    assert page == tmp_path / "runs/small/report.html"
    assert "No trial is confirmed on all subjects yet" in page.read_text()

    confirmed = mer_search("confirm", "--seeds", 1, "--json")
    assert confirmed.exit_code == 0, confirmed.output
    summary = json.loads(confirmed.stdout)
    assert summary["n_subjects"] == 4
    assert mer_search("report", "--trial", status["best"]["trial"]).exit_code == 0
    _is_a_whole_report(page, summary)
    one_line(mer_search("report", "--trial", 99), 2, "--trial must be confirmed on all subjects, but 99 is not")
    folder = tmp_path / "runs/small/confirm" / f"trial-{status['best']['trial']}"
    names = {path.name for path in folder.iterdir()}
    assert {"summary.json", "subjects.csv", "megc_log.txt", "report", "checkpoints", "report.html"} <= names
    page = (folder / "report.html").read_text()
    assert f"{summary['rules']['tail']['all']['uf1']:.3f}" in page
    assert "http" not in re.sub(r'data:image/png;base64,[^"]*', "", page)  # it works offline

    shown = mer_search("confirm", "--seeds", 1)
    assert "best test epoch (LEAKS)" in shown.stdout
    assert "Picking the epoch on the test person would add" in shown.stdout
    assert "the search's start" in shown.stdout or "found NOTHING better than where it started" in shown.stdout
    assert _width(shown) <= 80
    both = mer_search("confirm", "--top", 2, "--seeds", 1)
    assert "are on disk" in both.stderr  # all, where the best of the two was compared with the other, its start
    assert "Choosing the best of 2" in both.stdout
    assert _width(both) <= 80
    again = mer_search("confirm", "--top", 2, "--seeds", 1, "--json")
    assert "cost: nothing, all 8 folds are on disk" in again.stderr  # the first trial is where the search started
    assert [len(found["rules"]["tail"]) for found in json.loads(again.stdout)] == [1, 1]
    kept = mer_search("confirm", "--top", 2, "--seeds", 1, "--keep-best", "--json")
    assert len(json.loads(kept.stdout)) == 2  # nor is the start confirmed beside itself

    met = mer_search("compare", 0, 1, "--seeds", 1, "--json")  # on the study's data, without --data
    assert met.exit_code == 0 and "all 8 folds are on disk" in met.stderr
    (pair,) = json.loads(met.stdout)["pairs"]
    mer_search("report")
    part = Path("runs/small/report.md").read_text().split("## Comparisons that were made")[1].split("\n## ")[0]
    assert "On 4 subjects (sub01, sub02, sub03, sub04), with 1 seed (1000):" in part
    assert f"| trial 0 of small - trial 1 of small | {pair['difference']:+.3f} |" in part
    (kept,) = Path("runs/compare").glob("*.json")
    kept.write_text("{}")
    one_line(mer_search("report"), 1, f"{kept} must hold a comparison")
    kept.unlink()
    for subjects in ("all", "hardest_3"):  # pages of their own
        assert mer_search("compare", 0, 1, "--seeds", 1, "--subjects", subjects).exit_code == 0
    assert len(list(Path("runs/compare").glob("*.html"))) == 2

    proxy = json.loads(mer_search("status", "--json").stdout)["proxy"]
    assert (proxy["trials"], proxy["ci95"]) == ([0, 1], None)
    shown = " ".join(mer_search("status").stdout.split())
    assert "too few to tell" in shown and " tuning subjects: sub01, sub02, sub03, sub04 " in shown
    seen = "in a study on it, their figures are not leak-free"
    for listed in (10, 2):  # all, or some
        monkeypatch.setattr(difficulty, "SUBJECTS_SHOWN", listed)
        ranked = mer_search("subjects", "rank").stdout
        assert "subjects = " in ranked.splitlines()[-1] and (seen in " ".join(ranked.split())) == (listed == 2)
    for trial in (0, 1):
        shown = mer_search("subjects", "rank", "--trial", trial).stdout
        assert f"/trial-{trial}:thehardestfirst" in re.sub(r"\s", "", shown)
    one_line(mer_search("subjects", "rank", folder, "--trial", 1), 2, "FOLDER takes the place of --trial")
    assert [row["clips"] for row in json.loads(mer_search("subjects", "rank", folder, "--json").stdout)] == [6] * 4
    one_line(mer_search("confirm", "--trial", 99), 2, "(0 to 1)", "99")
    one_line(mer_search("status", "--name", "small"), 2, "No such option '--name'", "'--study-name'")
    one_line(mer_search("status", "--study-name", "other"), 2, "'other'", "it holds small")


def test_notes_pictures_and_tables_go_to_the_dashboard(mer_search, flow_folder):
    from optuna.artifacts import get_all_artifact_meta
    from optuna_dashboard import save_note
    from optuna_dashboard._note import get_note_from_system_attrs as note_of

    def names(thing):
        return sorted(meta.filename for meta in get_all_artifact_meta(thing, storage=storage))

    Path("small.toml").write_text(STUDY)
    assert mer_search("run", "--study", "small.toml", "--data", flow_folder, "--trials", 1).exit_code == 0
    import optuna

    storage = open_storage("sqlite:///mer-search.db")
    study = optuna.load_study(study_name="small", storage=storage)
    trial = study.get_trials()[0]
    assert names(trial) == ["confusion.png", "loss.png", "subjects.csv", "uf1.png"]
    rows = Path("runs/small/trial-0000/subjects.csv").read_text().splitlines()
    assert (rows[0], len(rows), sum(int(row.split(",")[1]) for row in rows[1:])) == ("subject,clips,right", 5, 24)
    note = note_of(storage.get_study_system_attrs(study._study_id), trial._trial_id)["body"]
    assert "| negative |" in note
    assert "0 sub01, 1 sub02" in note
    note = note_of(storage.get_study_system_attrs(study._study_id), None)["body"]
    assert "| **0** | **components=" in note and f"| **{trial.value:.3f}** |" in note and "confirmed" not in note
    assert names(study) == ["history.png"]
    pictures = ("confusion", "curves-1", "curves-2", "result", "subjects")
    confirmed = [*(f"confirmed-trial-0-{name}.png" for name in pictures), "history.png"]
    save_note(study, f"Mine, above.\n{note}\nMine, below.")
    for seeds in (2, 3):  # what a second confirmation shows takes the place of the first
        done = mer_search("confirm", "--seeds", seeds, "--against", "none", "--json")
        summary = json.loads(done.stdout)["rules"]["tail"]["all"]
        assert names(study) == confirmed
        attributes = storage.get_study_system_attrs(study._study_id)
        assert f"| trial 0 of small | {summary['uf1']:.3f} | {summary['sd']:.3f} |" in note_of(attributes, None)["body"]
        told = note_of(attributes, None)["body"]
        assert re.fullmatch("Mine, above.\n#### From mer-search\n.*, or below it.\\*\nMine, below.", told, re.S)
        assert told.count("#### From mer-search") == 1
    (shown,) = [meta for meta in get_all_artifact_meta(study, storage=storage) if "confusion" in meta.filename]
    kept = Path("runs/small/confirm/trial-0/report/confusion.png").read_bytes()
    assert Path("runs/small/artifacts", shown.artifact_id).read_bytes() == kept
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        one_line(mer_search("dashboard", "--port", port), 2, "this machine and a free port", str(port))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "--data", "nowhere"], 1, ["nowhere does not exist"]),
        (["run", "--study-name", "ghost"], 1, ["no such file; `mer-search run --study NAME` makes one"]),
        (["run", "--study", "megc"], 2, ["demo, megc2019", "'megc'; did you mean megc2019?"]),
        (["run", "--study", "wide.toml"], 2, ["model.attention_width", "2048", "999999"]),
        (["run", "--study", "tiny.toml", "--data", "flow", "--storage", "what"], 2, ["must be a URL"]),
        (["run", "--study", "tiny.toml", "--data", "flow", "--storage", "sqlite:////no/such/x.db"], 1, ["database"]),
        (["confirm"], 1, ["`mer-search run --study NAME` makes one"]),
        (["confirm", "--preset", "V9"], 2, ["V3NR", "'V9'"]),
        (["confirm", "--set", "train.epochs=2"], 2, ["--set goes with --preset"]),
        (["compare"], 2, ["two networks or more, such as `compare V6 V6c`, or --plan", "neither"]),
        (["compare", "V6"], 2, ["two networks or more, such as `compare V6 V6c`, or --plan", "V6"]),
        (["compare", "V6", "V9"], 2, ["V3NR", "'V9'"]),
        (["compare", "V6", ""], 2, ["V3NR", "got ''"]),
        (["compare", "V6", "V6c", "--set", "train.batch=4\nflow.size=9"], 2, ["train.batch", "flow.size=9"]),
        (["compare", "V6", "V6c", "--plan", "decision"], 2, ["two networks or more", "V6 V6c and --plan"]),
        (["compare", "--plan", "decisoin"], 2, ["ablation, decision", "'decisoin'"]),
        (["compare", "--plan", "plan.toml"], 2, ["V3NR", "'V9'"]),
        (["compare", "--plan", "decision", "--subjects", "1-3"], 2, ["a plan has its own", "'1-3'"]),
        (["compare", "V6", "V6c", "--set", "train.epochs"], 2, ["KEY=VALUE", "'train.epochs'"]),
        (["compare", "V6", "V6c", "--set", "train.epoch=2"], 2, ["did you mean 'train.epochs'"]),
        (["compare", "V6", "V6c", "--set", "train.epochs=none"], 2, ["train.epochs", "'none'"]),
        (["compare", "0", "1", "--set", "train.epochs=2"], 2, ["--set goes with presets"]),
        (["compare", "V6", "V6c", "--data", "nowhere"], 1, ["nowhere does not exist"]),
        (["confirm", "--preset", "V4", "--trial", "3"], 2, ["one of --trial, --top and --preset", "--trial and"]),
        (["confirm", "--preset", "V4", "--against", "V3NR"], 2, ["`mer-search compare` compares presets"]),
        (["subjects", "rank", "flow"], 2, ["FOLDER must be a confirmation's", "flow is none"]),
        (["subjects", "rank"], 1, ["`mer-search run --study NAME` makes one"]),
        (["status", "--storage", "sqlite:///none.db"], 1, ["there is no such file"]),
        (["data", "check", "nowhere"], 1, ["does not exist"]),
        (["data", "check", "."], 1, ["known dataset's folder"]),
        (["data", "synth", "out", "--size", "huge"], 2, ["--size", "'huge'"]),
        (["data", "synth", "out", "--size", "9"], 2, ["64 to 512", "9"]),
        (["data", "synth", "flow"], 2, ["new or empty folder"]),
        (["data", "preview", "s01/none", "--data", "flow"], 2, ["one clip of flow", "none have the name", "sub0"]),
        (["rnu"], 2, ["run", "'rnu'"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_one_clear_line_and_nothing_half_written(mer_search, flow_folder, arguments, code, words):
    wide = '[space]\n"model.attention_width" = { choice = [4, 999999] }'
    Path("wide.toml").write_text(STUDY.replace("[space]", wide))
    Path("tiny.toml").write_text(STUDY)
    Path("plan.toml").write_text(PLAN.replace("ablation-B", "V9"))
    before = set(Path().rglob("*"))
    one_line(mer_search(*arguments), code, *words)
    assert set(Path().rglob("*")) == before


@pytest.fixture
def compare(mer_search, tmp_path):
    """A function that compares small networks of these names on six synthetic clips."""
    write_casme2(tmp_path / "casme2", 3, per_subject=2)
    (tmp_path / "casme2" / synthetic.MARKER).touch()
    sizes = ["flow.size=32", "prep.size=32", "model.stem_mid=4", "model.stem_width=4", "model.attention_width=4"]
    settings = [*sizes, "train.epochs=1", "train.batch=4", "units.epochs=1"]
    options = [word for setting in settings for word in ("--set", setting)]
    return lambda *arguments: mer_search("compare", *options, "--seeds", 1, "--data", "casme2", *arguments)


def test_a_comparison_is_one_document_or_tables(compare):
    done = compare("V6", "V6c", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    called = [network["name"] for network in found["networks"]]
    assert [re.sub(r" with \d+ values set \([0-9a-f]{4}\)", "", name) for name in called] == ["V6", "V6c"]
    assert found["synthetic"]
    assert (found["subjects"], found["seeds"]) == (["sub01", "sub02", "sub03"], [1000])
    (pair,) = found["pairs"]
    uf1 = [network["uf1"] for network in found["networks"]]
    assert pair["difference"] == pytest.approx(uf1[0] - uf1[1])
    assert found["winner"] == called[int(uf1[1] > uf1[0])]
    shown = " ".join(compare("V6", "V6c").stdout.split())
    (path,) = Path("runs/compare").glob("*.html")
    assert f"page: {path}" in shown
    page = path.read_text()
    assert pair["conclusion"] in page and "These clips are synthetic" in page
    assert all(f"{network['uf1']:.3f} [" in page for network in found["networks"])
    assert pair["conclusion"] in shown and "(synthetic)" in shown
    assert shown.count("prep.size = 32") == page.count("prep.size = 32") == 1  # of both networks at once


def test_a_plan_fits_a_terminal_and_says_who_wins(compare):
    Path("plan.toml").write_text(PLAN)
    shown = compare("--plan", "plan.toml")
    assert shown.exit_code == 0, shown.output
    assert _width(shown) <= 80
    winner = re.search(r"full: (\S+) with \d+ values set \(\w+\) \(not shown\)", " ".join(shown.stdout.split()))[1]
    words = f"nothing: {winner}, without a comparison: V3NR is not among {winner} and V4"
    assert (words in " ".join(shown.stdout.split())) == (winner != "V3NR")
    found = json.loads(compare("--plan", "plan.toml", "--json").stdout)
    assert (found[0]["step"], found[0]["winner"].split()[0]) == ("full", winner)


def test_two_names_of_one_network_are_refused_before_anything_is_trained(mer_search):
    small = [word for key in ("stem_width", "stem_mid", "attention_width") for word in ("--set", f"model.{key}=8")]
    same = "V3NR with model.stem_width=8, model.stem_mid=8, model.attention_width=8 and V5NR with"
    one_line(mer_search("compare", "V3NR", "V5NR", *small, "--data", "nowhere"), 2, same, "are the same network")
    one_line(mer_search("compare", "V5", "V5NR", "--data", "nowhere"), 2, "V5NR and V5NR are the same network")
    one_line(mer_search("reproduce", "V3NR", "V5NR", *small, "--data", "nowhere"), 2, "are the same network")


def test_what_takes_longer_than_a_day_is_asked_before(mer_search, flow_folder, monkeypatch):
    Path("small.toml").write_text(STUDY)
    monkeypatch.setattr(options, "DAY", 0.0)
    search = ("run", "--study", "small.toml", "--data", flow_folder, "--trials", 1)
    one_line(mer_search(*search), 2, "longer than a day needs --yes")
    done = mer_search(*search, "--yes")
    assert done.exit_code == 0 and re.search(r"1 complete, of 1 wanted; took \d+ s", done.stdout)
    one_line(mer_search("confirm", "--seeds", 1), 2, "longer than a day needs --yes")
    assert not list(Path("runs/small/confirm").glob("*/folds/*"))
    for answer, code in (("n", 1), ("y", 0)):
        monkeypatch.setattr(options, "_can_ask", lambda: True)
        asked = CliRunner().invoke(cli.main, ["confirm", "--seeds", "1", "--against", "none"], input=answer)
        assert "This takes about" in asked.stderr and asked.exit_code == code
    assert re.search(r"cost: \d+ s of fitting baselines", asked.stderr)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "--trial", 3], "No such option '--trial'"),
        (["run", "--trials", "many"], "'many' is not a valid integer"),
        (["run", "--trials", 0], "'--trials': 0 is not in the range"),
        (["predict"], "predict --help` lists what it takes"),
        (["--colour"], "No such option '--colour'; `"),
        (["statsu"], "No such command 'statsu'. Did you mean 'status'?"),
        (["data", "chek"], "No such command 'chek'. Did you mean 'check'?"),
    ],
)
def test_what_click_refuses_looks_like_what_we_refuse(mer_search, words, said):
    one_line(mer_search(*words), 2, said)


def test_a_study_is_shown_and_copied(mer_search, tmp_path):
    listed = mer_search("study", "show").stdout
    assert [line.split()[0] for line in listed.splitlines()] == toml_names(shipped())
    assert "small study for a CPU" in listed
    assert tomllib.loads(mer_search("study", "show", "demo").stdout)["base"] == "V3NR"
    file = tmp_path / "mine.toml"
    assert f"mer-search run --study {file}" in mer_search("study", "new", file, "--from", "megc2019").stdout
    assert space.load(str(file)).digest == space.load("megc2019").digest
    one_line(mer_search("study", "new", file), 2, "must be a new file, but is there")
    one_line(mer_search("study", "new", tmp_path / "mine"), 2, "must end in .toml")
    one_line(mer_search("study", "show", "dmeo"), 2, "must be a .toml file or one of architecture")


def test_help_shows_whole_sentences(mer_search):
    shown = " ".join(mer_search("--help").output.split())
    assert "whether its subjects rank trials as all do, if some are confirmed." in shown
    assert not re.search(r"[a-z]\.\.\.", shown)
    assert "data [OPTIONS]" in mer_search("data").output


def test_the_same_command_goes_on_after_either_signal(mer_search, flow_folder, tmp_path):
    """After SIGKILL, too, as the campaign of kills shows."""
    Path("small.toml").write_text(STUDY.replace('"train.epochs" = 2', '"train.epochs" = 12'))
    words = f"run --study small.toml --data {flow_folder} --in-flight 1 --trials 2".split()
    for number, (blow, code) in enumerate(((signal.SIGINT, 130), (signal.SIGTERM, 143))):
        command = subprocess.Popen([sys.executable, "-m", "mer_search.cli", *words], stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob(f"runs/small/trial-000{number}/folds/*.npz")) and time.monotonic() < deadline:
            time.sleep(0.01)
        command.send_signal(blow)
        message = command.communicate(timeout=60)[1]
        assert command.returncode == code, message
        assert message.rstrip().endswith("stopped; the same command goes on from here")
    last = mer_search(*words)
    assert last.exit_code == 0, last.output
    assert re.findall(r"^trial   (\d)  UF1", last.stderr, re.M) == ["1"]
    assert json.loads(mer_search("status", "--json").stdout)["trials"] == {"complete": 2}


def test_the_name_of_a_study_is_enough_to_go_on(mer_search, flow_folder, tmp_path, monkeypatch):
    Path("small.toml").write_text(STUDY)
    first = mer_search("run", "--study", "small.toml", "--study-name", "own", "--data", flow_folder, "--trials", 1,
                       "--seed", 5, "--out", "elsewhere")  # fmt: skip
    assert first.exit_code == 0, first.output
    late = Path("elsewhere/own/trial-0000/unfinished/0-sub01.state")  # as of a fold that was not needed any more
    late.parent.mkdir()
    late.touch()
    for trial, named in enumerate(([], ["--study", "small.toml"]), 1):
        again = mer_search("run", "--study-name", "own", "--trials", trial + 1, *named)
        assert again.exit_code == 0, again.output
        assert re.findall(r"^trial   (\d)  UF1", again.stderr, re.M) == [str(trial)]
    assert "has 3 trials already, so that --trials 1 adds none" in mer_search(
        "run", "--study-name", "own", "--trials", 1
    ).stderr.replace("\n", " ")
    one_line(mer_search("run", "--study-name", "won"), 2, "study 'won', but it holds own")
    shutil.move(flow_folder, aside := f"{flow_folder}-aside")  # what differs is told before any clip is read
    seed = mer_search("run", "--study-name", "own", "--seed", 6)
    one_line(seed, 1, "another seed (5 there, 6 here)", "give --seed 5")
    one_line(mer_search("run", "--study-name", "own"), 1, f"must be in {flow_folder}, but", "give the --data")
    Path("small.toml").write_text(STUDY.replace("1e-2]", "2e-2]"))
    other = mer_search("run", "--study", "small.toml", "--study-name", "own")
    one_line(other, 1, "another space or settings", "--study-name")
    Path("small.toml").write_text(STUDY)
    moved = mer_search("run", "--study", "small.toml", "--study-name", "own", "--out", "third")
    one_line(moved, 1, "it was made as", "is another one")
    assert not Path("third").exists()
    shutil.move(aside, flow_folder)
    assert not late.parent.exists()
    compared = mer_search("compare", 0, 1, "--seeds", 1, "--subjects", "1,2")
    assert compared.exit_code == 0 and len(list(Path("elsewhere/compare").glob("*.html"))) == 1, compared.output
    assert mer_search("compare", 0, 1, "--seeds", 1, "--subjects", "1,2", "--out", "there").exit_code == 0
    assert len(list(Path("there/compare").glob("*.html"))) == 1
    write_flow_images(other := tmp_path / "other", subjects=5)
    refused = mer_search("run", "--study-name", "own", "--data", other)
    one_line(refused, 1, f"other data ({flow_folder} there, {other} here)", f"give --data {flow_folder}")
    monkeypatch.setenv("MER_SEARCH_DATA", str(other))
    one_line(mer_search("run", "--study-name", "own", "--study", "small.toml"), 1, "by MER_SEARCH_DATA")
    assert mer_search("run", "--study-name", "own", "--trials", 2).exit_code == 0
    assert "3 complete, of 3 wanted" in mer_search("status").stdout  # which are there, and not 2
    monkeypatch.delenv("MER_SEARCH_DATA")
    one_line(mer_search("confirm", "--study-name", "own", "--out", "other"), 2, "--out goes with --preset")
    one_line(mer_search("confirm", "--study-name", "own", "--preset", "V4"), 2, "--preset takes the clips of --data")
    find_study(open_storage(STORAGE), "own").set_user_attr("task", "7")  # as before, where no --task is given
    one_line(mer_search("run", "--study-name", "own", "--study", "small.toml"), 2, "'7'")


def test_a_wrong_study_file_is_told_before_pytorch_is_loaded(tmp_path):
    (tmp_path / "wrong.toml").write_text(STUDY.replace('"train.lr" = {', '"train.learning_rate" = {'))
    code = "import sys; from mer_search.cli import main; sys.argv[1:] = ['run', '--study', 'wrong.toml']\n"
    code += "try: main()\nfinally: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert "did you mean 'train.lr'?" in done.stderr and done.stdout == "False\n"


def test_printed_commands_can_be_pasted_into_a_shell(capsys):
    print_next("sqlite:////a b/c.db", "my study", Path("my runs/my study"))
    lines = capsys.readouterr().out.splitlines()
    assert shlex.split(lines[0])[3:] == ["status", "--storage", "sqlite:////a b/c.db", "--study-name", "my study"]
    assert shlex.split(lines[-1])[2:] == ["sqlite:////a b/c.db", "--artifact-dir", "my runs/my study/artifacts"]


def test_an_import_is_seen_while_it_goes_on(tmp_path, monkeypatch):
    (tmp_path / "slow_library.py").write_text(
        "from mer_search.cli.options import _is_importing\nseen = _is_importing()"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert __import__("slow_library").seen and not options._is_importing()
