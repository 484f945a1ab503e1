"""Networks as ONNX files: what they say and are told, those that learned from everybody, how these are trained, and the
file that uses them without this package."""

import ast
import builtins
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import save_file
from small import NARROW, one_graph, one_line, share, silent, summary_with, write_casme2, write_clip, write_flow_images
from test_predict import CLIPS
from test_predict import confirmed as confirm_study

from mer_search import cli
from mer_search.config import digest, with_values
from mer_search.confirmation.folders import confirmations
from mer_search.confirmation.summary import read_summary
from mer_search.confirmation.verify import verify_study
from mer_search.data import fit, open_folder
from mer_search.data.loose import Moments
from mer_search.engine.where import Where
from mer_search.errors import DataError, UsageError
from mer_search.evaluation.folds import EVERYBODY
from mer_search.inference import export as exporting
from mer_search.inference.export import export, export_final, metadata
from mer_search.inference.predict import Confirmed, find_confirmed, predict
from mer_search.model.network import Network
from mer_search.presets import preset
from mer_search.search.storage import find_study, open_storage
from mer_search.search.workspace import load_data
from mer_search.training.fold_store import checkpoint_file, load_folds
from mer_search.training.predict_proba import predict_proba

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
use_final = pytest.importorskip("mer_search.inference.use_final")

CLASSES = ("negative", "positive", "surprise")
FRAMES = {"prep.size": 32, "prep.denoise": 0.0, "prep.mask": "none"}
SMALL = NARROW | FRAMES | {"data.classes": CLASSES}
PLAIN = {"model.blocks": 1, "model.position": False}
FAMILIES = {  # torch takes ten milliseconds a node of the graph: one seed but for the plainest
    "position and mirror": ("V3NR", {"train.mirror": True, "model.blocks": 1, "model.position_depth": 1}, (1000,)),
    "differences, two seeds": ("MMNet", PLAIN, (1000, 1001)),
    "two stages, strain": ("V6", PLAIN | {"input.components": "uvo"}, (1000,)),
    "colour picture": ("V2", {"train.loss": "focal", "model.blocks": 4, "model.position": False}, (1000,)),
}


@pytest.fixture
def confirmed(tmp_path):
    """A function (preset, values, data, seeds, units) -> a confirmed run of two people, its networks untrained."""

    def make(name: str, values: dict, data=Path("/nowhere"), seeds=(1000,), units=(7, 7)) -> Confirmed:
        run = with_values(preset(name), SMALL | values)
        if data.exists():
            run = fit(with_values(run, {"data.task": "3"}), folder := open_folder(data, "3"), folder.clips)
        summary = summary_with(title="trial 3 of small", seeds=seeds, dataset="CASME II", synthetic=False)
        made = Confirmed(tmp_path, run, {"sub01": "sub01", "sub02": "sub02"}, data, summary)
        for number, (seed, (subject, count)) in enumerate(product(seeds, zip(made.subjects, units, strict=True))):
            torch.manual_seed(number)
            path = checkpoint_file(tmp_path, seed, subject)
            path.parent.mkdir(exist_ok=True)
            network = Network(run, count)
            for part in network.modules():  # statistics as training leaves them
                if isinstance(part, torch.nn.BatchNorm2d):
                    part.running_mean.uniform_(-0.2, 0.2)
                    part.running_var.uniform_(0.5, 2)
            save_file({name: item.contiguous() for name, item in network.state_dict().items()}, path)
        return made

    return make


def _said(path: Path, run, clips: int, seed: int) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """Random motion and onset images of so many clips, and what the file says of them."""
    random = torch.Generator().manual_seed(seed)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    inputs = {
        each.name: torch.rand(clips, *each.shape[1:], generator=random) * (255 if each.name == "onset" else 2)
        for each in session.get_inputs()
    }
    (said,) = session.run(None, {name: each.numpy() for name, each in inputs.items()})
    return inputs["motion"], inputs.get("onset"), torch.from_numpy(said)


@pytest.mark.parametrize(("name", "values", "seeds"), FAMILIES.values(), ids=FAMILIES)
def test_each_family_says_what_torch_says_for_any_number_of_clips(confirmed, name, values, seeds):
    made = confirmed(name, values, seeds=seeds, units=(7, 5))  # two stages know as many, and have a graph each
    written = export(made, made.subjects, None, silent)
    assert [each.path.name for each in written] == ["sub01.onnx", "sub02.onnx"]
    assert all(each.difference < exporting.TOLERANCE and each.real == 0 for each in written)
    for each in written:
        networks = made.networks(each.never_saw, "cpu")
        for clips in (1, 5):
            motion, onset, said = _said(each.path, made.run, clips, seed=clips)
            chances = torch.stack([predict_proba(network, made.run, motion, onset) for network in networks])
            assert len(chances) == len(seeds) and len(chances.unique(dim=0)) == len(seeds)
            torch.testing.assert_close(said, chances.mean(0), atol=1e-5, rtol=0)
            assert (onset is not None) == made.run.model.position
    assert not torch.equal(*(_said(each.path, made.run, 3, seed=0)[2] for each in written))


def test_a_file_says_what_its_user_must_know_and_is_checked_on_real_clips(confirmed, tmp_path, monkeypatch):
    write_casme2(tmp_path / "data", 2)
    one_graph(monkeypatch)
    made = confirmed("V3NR", PLAIN, tmp_path / "data")
    (each,) = export(made, ["sub02"], tmp_path / "out", silent)
    assert each.path == tmp_path / "out" / "sub02.onnx"
    assert each.real == 1
    told = onnxruntime.InferenceSession(each.path).get_modelmeta().custom_metadata_map
    assert json.loads(told["classes"]) == ["negative", "positive", "surprise"]
    assert told["run"] == digest(made.run)
    assert (told["title"], told["never_saw"], told["synthetic"]) == ("trial 3 of small", "sub02", "false")
    assert "for sub02, and for people outside the dataset" in told["leak_free"]
    assert json.loads(told["frames"])["maps"] == 4
    assert "u, v, in pixels" in json.loads(told["inputs"])["motion"]
    for path in (tmp_path / "data").rglob("*[!0].jpg"):  # all but frame 20
        path.unlink()
    assert open_folder(made.data, "3").clips == () and exporting._clips_at_hand(made) == {}
    leaking = replace(made, run=with_values(made.run, {"train.stop_when_perfect": True}))
    (each,) = export(leaking, ["sub02"], tmp_path / "out", silent)
    told = onnxruntime.InferenceSession(each.path).get_modelmeta().custom_metadata_map
    assert told["leak_free"].startswith("for people outside the dataset; training looked at sub02")


def test_a_file_that_does_not_agree_with_torch_is_removed(confirmed, monkeypatch, tmp_path):
    one_graph(monkeypatch)
    made = confirmed("V3NR", PLAIN)
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "sub01.onnx").write_bytes(b"of an earlier version")
    filled = exporting._filled

    def wrong(graph, ensemble, metadata):  # the weights of other networks
        return filled(
            graph, exporting._Ensemble([Network(made.run).eval() for _ in made.summary.seeds], made.run), metadata
        )

    monkeypatch.setattr(exporting, "_filled", wrong)
    with pytest.raises(DataError, match="must say what torch says"):
        export(made, ["sub01"], None, silent)
    assert list((tmp_path / "onnx").iterdir()) == []


def test_what_is_missing_is_said(confirmed, monkeypatch):
    made = confirmed("V3NR", PLAIN)
    with pytest.raises(UsageError, match="must be one of the people in training"):
        export(made, ["sub07"], None, silent)
    load = builtins.__import__

    def without(name, *arguments):
        if name == "onnxruntime":
            raise ImportError(name=name)
        return load(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match=r"pip install 'mer-search\[onnx\]'"):
        export(made, ["sub01"], None, silent)


def test_a_network_that_torch_cannot_export_is_said(confirmed, monkeypatch):
    made = confirmed("V3NR", PLAIN)
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("no such operator")))
    with pytest.raises(UsageError, match=r"cannot export .* \(no such operator\)"):
        export(made, ["sub01"], None, silent)


class Made(NamedTuple):
    """A confirmed study of clips with frames, and its networks that learned from everybody."""

    place: Path  # of study.db, data and runs
    before: dict[str, bytes]  # what was in runs before they were trained
    result: Result
    confirmed: Confirmed

    @property
    def folder(self) -> Path:
        return self.confirmed.folder / "final"


STUDY = CLIPS.replace('"train.mirror" = true', '"model.position" = false').replace('blocks" = 2', 'blocks" = 1')


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _final(place: Path, executor, *arguments) -> Result:
    """What `mer-search export --final` says."""
    storage = ("--storage", f"sqlite:///{place}/mer-search.db", "--device", "cpu")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(place / "cache"))
        share(executor, patched)
        one_graph(patched)
        return CliRunner().invoke(cli.main, ["export", "--final", *map(str, arguments), *storage])


@pytest.fixture(scope="module")
def made(tmp_path_factory, executor):
    place = tmp_path_factory.mktemp("final")
    write_casme2(place / "data", 4)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(place / "cache"))
        confirmed = confirm_study(STUDY, place, executor)
    before = _contents(place / "runs")
    return Made(place, before, _final(place, executor), confirmed)


def _script(path: Path, *arguments) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, path, *map(str, arguments)], capture_output=True, text=True)


def test_networks_learn_from_everybody_and_no_figure_is_made_of_them(made):
    assert made.result.exit_code == 0, made.result.output
    assert "cost: 2 folds (2 for trial 0 of small, trained on everybody)" in " ".join(made.result.stderr.split())
    folds = load_folds(made.folder)
    assert list(folds) == [(seed, EVERYBODY) for seed in made.confirmed.summary.seeds]
    assert {fold.probabilities.shape for fold in folds.values()} == {(2, 0, 5)}  # no clip was tested
    after, inside = _contents(made.place / "runs"), str(made.folder.relative_to(made.place / "runs"))
    assert made.before.items() <= after.items()
    assert all(name.startswith((f"{inside}/", f"{inside}.lock")) for name in after.keys() - made.before.keys())
    study = find_study(open_storage(f"sqlite:///{made.place}/mer-search.db"), "small")
    assert list(confirmations(study).values()) == [made.confirmed.folder]
    assert find_confirmed(study, None) == made.confirmed
    assert verify_study(study).differences == []
    one_line(CliRunner().invoke(cli.main, ["verify", str(made.folder)]), 2, "verify needs the folder of")


def test_what_was_stopped_goes_on_with_the_networks_that_it_lacks(made, executor, tmp_path):
    kept = made.folder / "checkpoints" / "1000-everybody.safetensors"
    before = kept.stat().st_mtime_ns
    (made.folder / "folds" / "1001-everybody.npz").unlink()
    result = _final(made.place, executor, "--out", tmp_path)
    cost = "cost: 1 fold (1 for trial 0 of small, trained on everybody; already on disk: 1)"
    assert cost in " ".join(result.stderr.split())
    assert kept.stat().st_mtime_ns == before
    assert (tmp_path / "everybody.onnx").read_bytes() == (made.folder / "everybody.onnx").read_bytes()


def test_the_file_says_on_whom_it_was_trained_and_whose_figure_is_the_estimate(made):
    told = onnxruntime.InferenceSession(made.folder / "everybody.onnx").get_modelmeta().custom_metadata_map
    assert "never_saw" not in told and "leak_free" not in told
    assert told["trained_on"].startswith("everybody: all 16 clips of 4 subjects")
    assert "no figure is theirs" in told["trained_on"]
    tail = read_summary(made.confirmed.folder / "summary.json").tail
    estimate = json.loads(told["estimate_for_new_people"])
    assert (estimate["uf1"], tuple(estimate["ci95"]), estimate["rule"]) == (tail.uf1, tail.ci95, "tail")
    assert estimate["of"].startswith("trial 0 of small: leave-one-subject-out")
    assert estimate["seeds"] == [1000, 1001]


def test_the_script_beside_the_file_says_what_predict_says(made):
    ours = dict.fromkeys(made.confirmed.subjects, EVERYBODY)
    theirs = replace(made.confirmed, folder=made.folder, folds=ours)
    (one,) = predict(theirs, ["sub02/EP01_02f"], None, Moments(), "cpu", silent)
    done = _script(made.folder / "use_final.py", made.place / "data/Cropped/sub02/EP01_02f")
    assert done.returncode == 0, done.stderr
    looked, *rows = done.stdout.splitlines()
    assert looked == "frames looked at: reg_img12.jpg reg_img20.jpg reg_img28.jpg"
    said = {name: float(value) for name, value in map(str.split, rows)}
    assert list(said) == list(one.classes)
    np.testing.assert_allclose(list(said.values()), one.probabilities, atol=1e-4)


def test_the_script_imports_nothing_of_this_package():
    tree = ast.parse(Path(use_final.__file__).read_text())
    plain = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    parts = {node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert plain | parts == {"json", "sys", "pathlib", "numpy", "cv2", "onnxruntime"}


def test_the_script_says_what_to_install(tmp_path):
    (tmp_path / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    done = _script(shutil.copy(use_final.__file__, tmp_path), tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "libGL.so.1: cannot open" in done.stderr and "pip install numpy opencv-python onnxruntime" in done.stderr


WAY = NARROW | FRAMES | {"prep.size": 40, "model.blocks": 1}
PLAIN_WAY = WAY | {"model.position": False, "frames.maps": 3}  # a graph for all that have no more than this
WAYS = {
    "farneback, enlarged, swapped": ("V3NR", PLAIN_WAY | {"prep.size": 20, "flow.grey": "swapped"}),
    "dis, of its own size": ("V3NR", PLAIN_WAY | {"flow.method": "dis", "prep.size": 32, "flow.dis_patch": 4}),
    "from the onset, linear": ("V3NR", PLAIN_WAY | {"frames.pairs": "onset", "prep.resize": "linear"}),
    "onset image, apex": ("V3NR", WAY | {"frames.middle": "apex", "frames.maps": 4}),
    "differences": ("MMNet", SMALL),
    "published crops": ("V3NR", PLAIN_WAY | {"frames.crops": 2}),
}  # fmt: skip


@pytest.mark.parametrize(("name", "values"), WAYS.values(), ids=WAYS)
def test_frames_are_prepared_as_predict_prepares_them(confirmed, tmp_path, monkeypatch, name, values):
    one_graph(monkeypatch)
    write_casme2(tmp_path / "data", 2, 2)
    write_clip(tmp_path / "clip", 5, 23, (2.0, 1.0), 3, "img")
    for path in (tmp_path / "clip").iterdir():  # in colours, which have two luminances
        red = (cv2.imread(str(path)) * np.array((0.2, 0.5, 1.0))).astype(np.uint8)
        cv2.imwrite(str(path), red)
    ours = replace(confirmed(name, values, tmp_path / "data"), folds={"sub01": "sub01"})
    (written,) = export(ours, ["sub01"], None, silent)
    session = onnxruntime.InferenceSession(written.path)
    told = session.get_modelmeta().custom_metadata_map
    (one,) = predict(ours, [str(tmp_path / "clip")], None, Moments(6, 11, 22), "cpu", silent)
    places = use_final.looked_at(told, 6, 11, 22)
    assert tuple(places) == one.frames
    said = use_final.probabilities(session, [cv2.imread(str(tmp_path / "clip" / f"img{k}.jpg")) for k in places])
    assert list(said) == list(one.classes)
    np.testing.assert_allclose(list(said.values()), one.probabilities, atol=1e-4)
    assert use_final.refusal(told) == "" and written.real == 1


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"prep.mask": "template"}, "prep.mask must be none for use_final.py, but is template"),
        ({"prep.denoise": 4.0}, "prep.denoise must be 0.0 for use_final.py, but is 4.0"),
        ({"prep.resize": "pillow"}, "prep.resize must be area or linear for use_final.py, but is pillow"),
        ({"flow.method": "tvl1"}, "flow.method must be farneback or dis or difference for use_final.py, but is tvl1"),
        ({"data.dataset": "megc2019"}, "these networks take flow images"),
    ],
)
def test_what_the_script_cannot_prepare_it_refuses(tmp_path, values, words):
    run = with_values(preset("V3NR"), PLAIN_WAY)
    for key, value in values.items():
        part, name = key.split(".")
        run = run.model_copy(update={part: getattr(run, part).model_copy(update={name: value})})
    made = Confirmed(tmp_path, run, {}, tmp_path, summary_with())
    assert words in use_final.refusal(metadata(made))


def test_calls_of_the_script_that_cannot_be(made):
    clip, script = made.place / "data/Cropped/sub02/EP01_02f", made.folder / "use_final.py"
    for arguments, words in (
        ((), "usage: python use_final.py FOLDER"),
        ((clip, 3), "usage"),
        ((clip / "none",), "but there is no folder"),
        ((made.folder / "checkpoints",), "of 0 frames in"),
        ((clip, 3, 6), "a clip must have 5 frames from onset to offset, and its apex between, but they are 3, 6 of 17"),
        ((clip, 0, 17), "but they are 0, 17 of 17 frames"),
        ((clip, 3, 2, 9), "but they are 3, 2, 9"),
    ):
        done = _script(script, *arguments)
        assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert _script(script, clip, 3, 5, 9).returncode == 0


def test_what_cannot_be_trained_on_everybody_is_refused(made, executor, tmp_path):
    one_line(_final(made.place, executor, "--subject", "sub01"), 2, "--final leaves no subject out, but got --subject")
    for name in ("config.json", "summary.json"):
        shutil.copy(made.confirmed.folder / name, tmp_path)

    def refused(words, **changes):
        with pytest.raises(UsageError, match=words):
            export_final(replace(made.confirmed, folder=tmp_path, **changes), Where(), None, silent, pytest.fail)
        assert not (tmp_path / "final").exists()

    run = made.confirmed.run
    refused("must not look at a test person", run=with_values(run, {"train.stop_when_perfect": True}))
    write_flow_images(tmp_path / "other")
    own = {"flow.size": 28, "frames.maps": 1, "model.position": False}
    other = with_values(run, own | {"data.task": "3"})
    refused("must hold the clips that trial 0 of small was confirmed on", data=tmp_path / "other", run=other)
    (tmp_path / "other" / "sub01").rename(tmp_path / "other" / EVERYBODY)
    loaded = load_data(tmp_path / "other", other, silent)
    refused("no subject and no database must be called 'everybody'", data=tmp_path / "other", run=loaded.run)
