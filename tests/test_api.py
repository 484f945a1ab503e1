"""What a notebook does: the same as the commands, with the same results, and nothing printed."""

import json
import os
import re
import select
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
from click.testing import CliRunner
from small import STUDY, one_graph, write_casme2

import mer_search as mer
from mer_search import cli
from mer_search.api import _folds
from mer_search.errors import UsageError
from mer_search.search.storage import best_trial
from mer_search.training.predict_proba import predict_proba


@pytest.fixture
def study_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(STUDY)
    return tmp_path / "small.toml"


HERE = {  # what the page says, and what is said here
    '"~/CASME2"': "folder",
    'study="default", trials=100': "study_file, trials=2",
    '[0, 3, "V4"]': "[0, 1]",
    "sub05": "sub01",
}


def test_what_the_page_shows_leads_from_the_data_to_a_network_and_prints_nothing_else(
    flow_folder, study_file, everywhere, every_drawing, monkeypatch, capsys
):
    one_graph(monkeypatch)
    page = (Path(__file__).parents[1] / "docs/api.md").read_text()
    code = "".join(part.partition("```")[0] for part in page.split("```python\n")[1:3])
    for shown, here in HERE.items():
        assert shown in code
        code = code.replace(shown, here)
    exec(code, made := {"folder": flow_folder, "study_file": study_file})  # noqa: S102 (it is our own page)
    printed = capsys.readouterr().out
    data, result, network, run = (made[name] for name in ("data", "result", "network", "run"))
    assert (len(data.clips), data.subjects, data.problems) == (24, ("sub01", "sub02", "sub03", "sub04"), ())
    assert mer.motion(data.clips[0], run).shape == (1, 3, 28, 28) and len(made["study"].trials) == 2
    assert {(fold.seed, fold.subject) for fold in result.predictions} == {
        (seed, subject) for seed in (1000, 1001, 1002) for subject in data.subjects
    }
    assert json.loads(result.summary.to_json()) == json.loads((result.folder / "summary.json").read_text())
    assert "tail, no epoch selected" in result.table() and result.report().read_text().startswith("<!doctype html>")
    assert isinstance(network, torch.nn.Module) and not network.training
    assert network(torch.zeros(2, 1, len(run.input.components), 28, 28)).shape == (2, 3)
    assert mer.network_of(run).state_dict().keys() == network.state_dict().keys()
    said = mer.predict(result, [clip.id for clip in data.clips[:2]], device="cpu")
    own = [fold for fold in result.predictions if fold.subject == "sub01"]
    kept = np.mean([fold.probabilities[-1][fold.clips.index(data.clips[0].id)] for fold in own], axis=0)
    assert said[0].networks == ("sub01",)
    np.testing.assert_allclose(said[0].probabilities, kept, atol=2e-3)  # kept in half precision
    assert len(list(study_file.parent.glob("runs/small/confirm/trial-*/onnx/sub01.onnx"))) == 1
    final = mer.export_final(result, device="cpu")
    assert (final.path, final.real) == (result.folder / "final" / "everybody.onnx", 1)
    (pair,) = made["found"].pairs
    assert (pair.first, pair.second) == ("trial 0 of small", "trial 1 of small") and pair.numbers in pair.conclusion
    assert len(list(study_file.parent.glob("runs/compare/trial-0*.html"))) == 1
    probs = predict_proba(network, run, made["flow"], None)
    expected = [result.table(), *(f"{each.best} {each.probabilities}" for each in said), probs]
    assert capsys.readouterr().out == "" and printed == "".join(f"{each}\n" for each in expected)


def test_the_commands_find_the_same(flow_folder, study_file, everywhere):
    events, asked = [], {"storage": "sqlite:///notebook.db", "out": "notebook"}
    study = mer.run(flow_folder, study_file, trials=2, on_event=events.append, **asked)
    result = mer.confirm(study, trial=best_trial(study).number, seeds=1, against=None)
    assert events
    for line in (f"run --study {study_file} --data {flow_folder} --trials 2", "confirm --seeds 1 --against none"):
        done = CliRunner().invoke(cli.main, line.split())
        assert done.exit_code == 0, done.output
    (path,) = study_file.parent.glob("runs/small/confirm/*/summary.json")
    assert json.loads(path.read_text())["rules"] == json.loads(result.summary.to_json())["rules"]
    again = mer.run(flow_folder, study_file, trials=2, storage="sqlite:///mer-search.db")  # the command's own study
    assert [trial.value for trial in again.trials] == [trial.value for trial in study.trials]


LINUX = ("sched_", "pidfd_", "eventfd", "memfd_", "splice", "setns", "unshare", "posix_fadvise", "copy_file_range")


def test_nothing_that_linux_alone_has_is_needed(flow_folder, study_file, monkeypatch):
    """As on macOS, as far as that can be tried here: names that its Python lacks are taken away."""
    for module in (os, signal):
        for name in [name for name in dir(module) if name.startswith(LINUX)]:
            monkeypatch.delattr(module, name)
    monkeypatch.setattr(select, "epoll", None)
    assert not hasattr(os, "sched_getaffinity")
    study = mer.run(flow_folder, study_file, trials=1, storage="sqlite:///notebook.db", device="cpu")
    assert mer.confirm(study, seeds=1, subjects=["sub01"], against=None).summary.n_subjects == 1


def test_a_published_network_is_confirmed_by_its_name(flow_folder, study_file, everywhere):
    small = {"flow.size": 28, "frames.maps": 1, "model.position": False, "model.stem_width": 4, "model.stem_mid": 4}
    small |= {"model.attention_width": 4, "train.epochs": 1, "input.components": "uvo"}
    result = mer.confirm("V3NR", values=small, data=flow_folder, seeds=1, subjects="1")
    assert re.fullmatch(r"V3NR with 8 values set \([0-9a-f]{4}\)", result.summary.title)
    assert result.summary.changed == small
    assert "Set in V3NR with 8 values set" in (page := result.report().read_text()) and "train.epochs = 1" in page
    assert result.predictions[0].epochs == 1
    with pytest.raises(UsageError, match="'sub04' with seed 1000 has none; subjects: sub01; seeds: 1000"):
        mer.load_network(result, "sub04")
    with pytest.raises(UsageError, match="must be of all subjects, but these are of sub01 alone"):
        mer.predict(result, ["sub04/sub04_EP00 "])  # whose clips these networks were trained on
    network, _ = mer.load_network(result, "sub01")
    with pytest.raises(ValueError, match=r"maps must be \(B, T, 6, H, W\), but are \(1, 1, 3, 28, 28\)"):
        network(torch.zeros(1, 1, 3, 28, 28))


def test_what_the_package_offers_is_listed():
    assert set(mer.__all__) <= set(dir(mer))
    assert all(getattr(mer, name).__doc__ for name in mer.__all__)
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        _ = mer.serach


def test_a_subject_without_a_clip_that_can_be_used_is_not_missed(flow_folder, study_file, everywhere):
    broken = flow_folder / "sub05" / "u_test" / "0" / "sub05_EP00 .png"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"no picture")
    data, one = mer.load_data(flow_folder), np.int64(1)  # numbers of NumPy are numbers, too
    study = mer.run(data, study_file, trials=one, seed=one, slots=one, in_flight=one, storage="sqlite:///notebook.db")
    assert (len(study.trials), study.user_attrs["seed"], study.user_attrs["slots"]) == (1, 1, 1)
    result = mer.confirm(study, seeds=one, against=None)
    assert (len(data.subjects), result.summary.n_subjects) == (5, 4)
    (said,) = mer.predict(result, data.clips[:1], device="cpu")
    assert said.networks == ("sub01",)


def test_a_folder_read_for_another_task_is_taken_with_it(tmp_path):
    write_casme2(tmp_path / "clips", 2)
    first = mer.load_data(tmp_path / "clips")
    other = mer.load_data(tmp_path / "clips", task="3")
    assert _folds(first, None) == {}
    assert _folds(other, "subject") == {"data.task": "3", "data.leave_out": "subject"}


def test_mistakes_are_told(flow_folder, study_file):
    wrong = (("trials", 0), ("trials", "2"), ("seed", 900), ("seed", 1.5), ("slots", -2), ("in_flight", True))
    for name, value in wrong:
        with pytest.raises(UsageError, match=f"{name} must be a whole number from . to .*, but is {value!r}"):
            mer.run(flow_folder, study_file, **{name: value})
    foreign = optuna.create_study(study_name="theirs")
    for what, given, words in (
        ("V4", {"seeds": 0}, "seeds must be a whole number from 1 to 100, but is 0"),
        ("V4", {"first_seed": "1000"}, "first_seed must be a whole number from 0 to 4294967295, but is '1000'"),
        ("V4", {"trial": 1}, "trial and against go with a study"),
        ("V4", {"against": "V3NR"}, "trial and against go with a study"),
        ("V4", {"recipe": "pub"}, r"recipe must be .*, but is 'pub'"),
        (foreign, {}, "'theirs' is another program's"),
        (None, {}, "must be a study or the name of a pub"),
    ):
        with pytest.raises(UsageError, match=words):
            mer.confirm(what, **given)
    for asked, study, words in (
        (["V6"], None, "two or more"),
        ("V6 V4", None, "a list of two or more"),
        (["V6", "V6"], None, "must differ"),
        ([0, "V6"], None, "needs the study that it is of"),
        ([0, 1], foreign, "another program's"),
        ([0, 1], "small", "must be an optuna.Study"),
    ):
        with pytest.raises(UsageError, match=words):
            mer.compare(asked, study)
    for given, words in (
        ({"study_name": ""}, "a study's name must be one to 60"),
        ({"device": "gpu"}, "the device must be auto, cpu or cuda, but is 'gpu'"),
    ):
        with pytest.raises(UsageError, match=words):
            mer.run(flow_folder, study_file, **given)


def test_a_script_needs_no_guard(flow_folder, study_file, tmp_path):
    """Processes that train do not run the script again."""
    script = tmp_path / "script.py"
    script.write_text(
        "import mer_search as mer\nprint('once')\n"
        f"study = mer.run({str(flow_folder)!r}, 'small.toml', trials=1, device='cpu')\nprint(study.best_value)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    once, value = done.stdout.split()
    assert once == "once" and 0 <= float(value) <= 1
