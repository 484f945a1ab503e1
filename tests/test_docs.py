"""README.md and docs/: every command is one that the program knows, what can run runs, links lead somewhere."""

import functools
import importlib
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
import reference
from click.testing import CliRunner

from mer_search import cli
from mer_search.cli.options import Given
from mer_search.config import Run, digest, keys, with_values
from mer_search.confirmation.plans import load_plan
from mer_search.data.synthetic import dataset as synthetic
from mer_search.data.synthetic import faces
from mer_search.presets import preset
from mer_search.search import space

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def _blocks(page: Path) -> list[tuple[str, str]]:
    """(language, text) of each block of code; an indented one holds commands, "sh"."""
    text = page.read_text()
    fenced = [(match[1], match[2]) for match in re.finditer(r"^```(\w*)\n(.*?)^```", text, re.M | re.S)]
    rest = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    return fenced + [
        ("sh", re.sub(r"^    ", "", block, flags=re.M)) for block in re.findall(r"(?:^    .*\n)+", rest, re.M)
    ]


def _of(language: str, *pages: Path) -> list[str]:
    return [text for page in pages or PAGES for found, text in _blocks(page) if found == language]


def _lines(text: str) -> list[str]:
    """Commands without comments, continued lines as one."""
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [line for each in lines if (line := re.sub(r"(^|\s+)#.*", "", each).strip())]


def _prose(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)


def _commands() -> list[str]:
    """Every call of mer-search: in blocks, also behind ssh, and within sentences."""
    blocks = [line for text in _of("sh") for line in _lines(text)]
    found = [match for line in blocks for match in re.findall(r"mer-search [^\">&|;]+", line)]
    told = [match for page in PAGES for match in re.findall(r"`(mer-search [^`]+)`", _prose(page))]
    return sorted({re.sub(r"\s+", " ", each).strip() for each in found + told})


def _all(group: click.Group) -> list[click.Command]:
    return [
        group,
        *(each for c in group.commands.values() for each in (_all(c) if isinstance(c, click.Group) else [c])),
    ]


@pytest.fixture
def only_parsed(monkeypatch):
    """Commands do nothing but look whether the names and paths that they are given exist."""

    def look(settings=(), preset_name=None, study_name=None, plan=None, names=(), **others):
        with_values(Run(), Given(settings=settings).values)
        compared = names if click.get_current_context().info_name == "compare" else ()
        for name in [*compared, *([preset_name] if preset_name else [])]:
            if not name.isdecimal():
                preset(name)
        if study_name and not study_name.endswith(".toml"):
            space.load(study_name)
        if plan:
            load_plan(plan)

    for command in _all(cli.main):
        monkeypatch.setattr(command, "callback", look)


@pytest.mark.parametrize("command", _commands())
def test_the_program_knows_every_command_and_what_is_named_in_it(command, only_parsed):
    words = shlex.split(command.replace("KEY=VALUE", "train.epochs=2"))[1:]
    done = CliRunner().invoke(cli.main, words)
    assert done.exit_code == 0, f"{command}: {done.output} {done.exception}"


def test_a_command_that_does_not_exist_would_be_found(only_parsed):
    for words in (["run", "--studie", "demo"], ["confirm", "--set", "train.epoch=2"], ["compare", "V6", "V9"], ["rnu"]):
        assert CliRunner().invoke(cli.main, words).exit_code != 0


def test_other_commands_are_there_too():
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for text in _of("sh"):
        if text.startswith("#!") or "for host" in text:
            assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0
            continue
        for line in _lines(text):
            match shlex.split(line):
                case ["mer-search", *_]:
                    pass  # above
                case ["make", target]:
                    assert target in targets
                case ["pip", "install", what]:
                    assert re.fullmatch(r"\.\[(\w+)\]", what)[1] in extras
                case ["python", script, *_]:
                    assert (ROOT / script).is_file()
                case _:
                    pytest.fail(f"what tests {line!r}?")


@pytest.mark.parametrize("name", reference.PAGES)
def test_the_reference_is_what_the_program_says(name):
    page = (ROOT / "docs" / name).read_text()
    assert page.partition(reference.MARK)[2] == "\n" + reference.PAGES[name](), "run `make docs`"


def test_every_path_and_field_has_a_meaning():
    text = reference.reference()
    for name in [*keys(), *space.Fields.model_fields]:
        (row,) = re.findall(rf"^\| `{re.escape(name)}` \|.*$", text, re.M)
        values, _, meaning = (cell.strip() for cell in row.split("|")[2:5])
        assert values and len(meaning) > 3, row


def test_the_reference_shows_bounds_choices_and_defaults():
    text = reference.reference()
    assert (
        "| `train.lr` | number, > 0, ≤ 10 | `0.0008` | largest learning rate, with which all but onecycle begin |"
        in text
    )
    assert '| `prep.mask` | `"none"`, `"template"`, `"landmarks"`, `"notebook"` | `"none"` |' in text
    assert "| `model.position` | `true`, `false` | `true` |" in text
    assert '| `V4` | prep.denoise = `4`, prep.mask = `"template"`, model.attention_width = `128`,' in text


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "extending.md"], ids=lambda page: page.name)
def test_every_study_that_is_shown_is_valid(page):
    for text in _of("toml", page):
        assert space.parse(text, page.stem).axes


def _slug(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in map(_slug, re.findall(r"^#+ (.+)$", path.read_text(), re.M)), f"{page.name}: {target}"


def test_every_page_is_linked_from_the_readme_and_pictures_are_small():
    text = (ROOT / "README.md").read_text()
    assert [page.name for page in PAGES[1:] if f"(docs/{page.name})" not in text] == []
    for picture in [*ROOT.glob("docs/*.png"), *ROOT.glob("docs/*.jpg")]:
        assert picture.stat().st_size < 200_000
        assert any(picture.name in page.read_text() for page in PAGES), f"no page shows {picture.name}"


def test_what_is_named_in_the_package_is_there():
    for name in {name for page in PAGES for name in re.findall(r"`(mer_search(?:\.\w+)+)\b", page.read_text())}:
        module, _, thing = name.rpartition(".")
        assert hasattr(importlib.import_module(module), thing), name


def test_the_readme_fits_a_screen():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert [line for line in lines if len(line) > 110 and not line.startswith("|")] == []


SMALLER = {  # the tutorial's study, as small as it can be
    "subjects": '"hardest_2"', "trials": "2", '"prep.size"': "32", '"flow.size"': "32", '"model.stem_mid"': "4",
    '"train.epochs"': "2", '"train.plateau"': "1",
}  # fmt: skip
SHORTER = {  # its commands
    "hardest_7": "hardest_2",
    "compare 1 2": "compare 1 0",
    "V6 V6c": "V6 V6c --subjects hardest_2 --seeds 1 --set prep.size=32",
    "epochs=16": "epochs=1",
}
NOT_HERE = ("dashboard",)  # it serves until it is stopped: tests/test_browser.py opens it


def test_the_tutorial_runs_from_the_first_command_to_the_last(tmp_path, monkeypatch, everywhere):
    """As it stands, but on small clips of four subjects and a study with shorter training."""
    page = ROOT / "docs/tutorial.md"
    monkeypatch.chdir(tmp_path)
    few, real = {"subjects": (3, 6, 8, 16), "height": 64, "width": 64}, synthetic.write_dataset
    monkeypatch.setattr(faces, "CANVAS", 96)  # pixels a side of what is painted
    monkeypatch.setattr(synthetic, "write_dataset", lambda *given, **named: real(*given, **named | few))
    (text,) = _of("toml", page)
    for key, value in SMALLER.items():
        text, times = re.subn(rf"^{re.escape(key)} = \S+", f"{key} = {value}", text, flags=re.M)
        assert times == 1
    Path("mine.toml").write_text(text)
    commands = [line for block in _of("sh", page) for line in _lines(block)]
    done = []
    for command in commands:
        words = shlex.split(functools.reduce(lambda line, each: line.replace(*each), SHORTER.items(), command))[1:]
        if words[0] not in NOT_HERE:
            result = CliRunner().invoke(cli.main, words)
            assert result.exit_code == 0, f"{command}: {result.output} {result.exception}"
            done.append(words[0])
    assert done == ["data", "data", "data", "run", "status", "confirm", "report", "compare", "compare", "subjects"]
    report = Path("runs/mine/report.md").read_text()
    assert "\\begin{tabular}" in report and "We used CASME II, 5 classes (synthetic)" in report
    assert list(Path("runs/mine/confirm").glob("trial-*/checkpoints/*.safetensors"))


def _apply(patch: str, root: Path) -> int:
    """Write what a block of extending.md shows; how many lines of code it adds."""
    if patch.startswith("# "):
        name, _, text = patch[2:].partition("\n")
        (root / name).write_text(text)
        return len([line for line in text.splitlines() if line])
    name, _, hunks = patch.removeprefix("--- ").partition("\n")
    path = root / name
    for hunk in hunks.split("@@\n"):
        old, new = (
            "".join(f"{line[1:]}\n" for line in hunk.splitlines() if line[0] in signs) for signs in (" -", " +")
        )
        text = path.read_text()
        assert text.count(old) == 1, f"{name} no longer has\n{old}"
        path.write_text(text.replace(old, new))
    return len(re.findall(r"^\+", hunks, re.M))


USE = """
import csv, sys
from pathlib import Path
import cv2, numpy as np, torch
from mer_search.config import Input, Run, digest, value_at
from mer_search.data import open_folder
from mer_search.model.channels import channels
from mer_search.presets import preset
from reference import reference
from mer_search.search import space
import mer_search
assert str(Path.cwd()) in mer_search.__file__
rows = [["Subject", "Filename", "On", "Off", "Emotion"]]
for who, emotion in ((1, "happiness"), (2, "surprise")):
    folder = Path(f"clips/p{who:02d}/A01"); folder.mkdir(parents=True)
    for number in range(40, 60):
        cv2.imwrite(str(folder / f"{number:03d}.jpg"), np.zeros((8, 8), np.uint8))
    rows.append([who, "A01", 42, 57, emotion])
csv.writer(open("clips/my-clips.csv", "w")).writerows(rows)
folder = open_folder(Path("clips"))
assert [(c.id, c.label, len(c.frames), c.onset) for c in folder.clips] == [
    ("p01/A01", "happiness", 16, 42), ("p02/A01", "surprise", 16, 42)], folder.clips
assert folder.title == "My clips, 2 classes" and not folder.problems
assert (preset("V7").train.loss, preset("V7").input.channels) == ("softmax_focal", "nz")
flow = torch.randn(1, 1, 2, 8, 8) * 9
assert channels(flow, Input(channels="r")).abs().max() > 2 >= channels(flow, Input(channels="r", limit=2.0)).abs().max()
assert digest(Run()) == sys.argv[1]
assert [axis.key for axis in space.parse(sys.stdin.read(), "shown").axes] == ["input.limit", "input.channels"]
assert "| `input.limit` | number, ≥ 0, ≤ 100 | `0` |" in reference() and "| `V7` |" in reference()
"""


def test_a_reader_a_variant_and_an_axis_are_as_short_as_shown_and_work(tmp_path):
    shutil.copytree(ROOT / "mer_search", tmp_path / "mer_search", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "dev" / "reference.py", tmp_path)
    page = ROOT / "docs/extending.md"
    sizes = {}
    for language, text in _blocks(page):
        if language in ("python", "diff"):
            before = page.read_text().partition(text)[0]
            topic = re.findall(r"^## (.+)$", before, re.M)[-1]
            sizes[topic] = sizes.get(topic, 0) + _apply(text, tmp_path)
    assert set(sizes) == {"A reader", "A variant", "An axis"}
    assert max(sizes.values()) < 10, sizes
    (study,) = _of("toml", page)
    done = subprocess.run(
        [sys.executable, "-c", USE, digest(Run())], cwd=tmp_path, input=study, text=True, capture_output=True,
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
