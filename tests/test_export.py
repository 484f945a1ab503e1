"""Networks as ONNX files: what they say, what they are told, and that nothing wrong is left behind."""

import builtins
import json
from itertools import product
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from small import NARROW, one_graph, silent, write_casme2

from mer_search.config import digest, with_values
from mer_search.data import fit, open_folder
from mer_search.errors import DataError, UsageError
from mer_search.inference import export as exporting
from mer_search.inference.export import export
from mer_search.inference.predict import Confirmed
from mer_search.model.network import Network
from mer_search.presets import preset
from mer_search.training.fold_store import checkpoint_file
from mer_search.training.predict_proba import predict_proba

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

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
        made = Confirmed(
            "trial 3 of small",
            tmp_path,
            run,
            {"sub01": "sub01", "sub02": "sub02"},
            seeds,
            data,
            "CASME II",
            False,
            0.5,
        )
        for number, (seed, (subject, count)) in enumerate(product(made.seeds, zip(made.subjects, units, strict=True))):
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
    made = confirmed(
        name, values, seeds=seeds, units=(7, 5)
    )  # of two stages, whose networks know as many: a graph each
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


def test_a_file_that_does_not_agree_with_torch_is_removed(confirmed, monkeypatch, tmp_path):
    one_graph(monkeypatch)
    made = confirmed("V3NR", PLAIN)
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "sub01.onnx").write_bytes(b"of an earlier version")
    filled = exporting._filled

    def wrong(graph, ensemble, metadata):  # the weights of other networks
        return filled(graph, exporting._Ensemble([Network(made.run).eval() for _ in made.seeds], made.run), metadata)

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
