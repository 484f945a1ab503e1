"""Numbers that are none never become a score, and data that hardly suffice give a result or a clear refusal."""

from itertools import count

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from one_fold import train
from safetensors.torch import load_file, save_file
from small import TINY, silent, texture, write_casme2, write_flow_images

from mer_search import cli
from mer_search.config import Flow, Input, Run, with_values
from mer_search.data import flow as flows
from mer_search.data import open_folder
from mer_search.data.store import Motion
from mer_search.errors import DataError, Infeasible
from mer_search.evaluation import baselines
from mer_search.evaluation.metrics import tail
from mer_search.evaluation.statistics import bbc, paired_interval, permutation_p, uf1_interval
from mer_search.model.channels import channels, n_channels
from mer_search.model.network import Network
from mer_search.search.workspace import load_data
from mer_search.training.fold_store import load_network
from mer_search.training.loop import train_fold

repeatable = settings(derandomize=True, deadline=None, database=None, max_examples=60)
SMALL = TINY | {"flow.size": 28, "frames.maps": 1, "input.channels": "z", "model.position": False, "model.blocks": 1}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e7, -1e7])
def test_flow_that_is_not_finite_in_half_precision_leaves_the_clip_out(tmp_path, monkeypatch, value):
    write_casme2(tmp_path / "casme2", 3, 2)
    run, real = with_values(Run(), TINY), flows.farneback
    calls = count()  # threads may call at once

    def wrong_once(before: np.ndarray, after: np.ndarray, config: Flow) -> np.ndarray:
        found = real(before, after, config)
        return np.where(np.arange(found.size).reshape(found.shape) == 7, value, found) if next(calls) == 0 else found

    monkeypatch.setitem(flows.METHODS, "farneback", wrong_once)
    loaded = load_data(tmp_path / "casme2", run, silent)
    assert np.isfinite(loaded.motion.flow).all()
    (problem,) = loaded.problems
    assert "its optical flow must be finite" in problem.what
    assert len(loaded.clips) == 5


@given(
    st.sampled_from([0.0, 1e-30, -1e-7, 1.0, -300.0, 6e4]),
    st.sampled_from(["n", "r", "s", "z", "nrsz", "hsv"]),
    st.sampled_from(["shear_twice", "shear_once"]),
)
@repeatable
def test_a_pair_of_frames_without_motion_gives_finite_channels(value, letters, formula):
    still = torch.full((2, 3, 2, 28, 28), value)
    config = Input(channels=letters, components="uv" if letters == "hsv" else "uvo", strain=formula)
    made = channels(still, config)
    assert made.shape == (2, 3, n_channels(config), 28, 28)
    assert made.isfinite().all()


def test_frames_that_are_all_alike_can_be_trained_on(tmp_path):
    write_casme2(tmp_path / "casme2", 3, 2)
    for path in (tmp_path / "casme2").rglob("*.jpg"):
        cv2.imwrite(str(path), np.full((48, 48), 99, np.uint8))
    loaded = load_data(tmp_path / "casme2", with_values(Run(), TINY | {"input.components": "uvo"}), silent)
    assert not loaded.motion.flow.any()
    assert np.isfinite(tail(train(loaded).predictions)).all()
    assert np.isfinite(baselines.thumbnails(loaded.motion)).all()


def test_weights_that_are_not_finite_are_no_network(tmp_path):
    run = with_values(Run(), SMALL)
    save_file({name: item.contiguous() for name, item in Network(run).state_dict().items()}, tmp_path / "a.safetensors")
    load_network(tmp_path / "a.safetensors", run, "cpu")
    state = load_file(tmp_path / "a.safetensors")
    state["head.weight"][0, 0] = torch.nan
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(DataError, match="weights that are not finite"):
        load_network(tmp_path / "a.safetensors", run, "cpu")


def _write(folder, table: dict[str, tuple[int, int, int]]) -> None:
    """Flow images: subject -> how many clips of each class."""
    write_flow_images(folder, len(table), 3)
    for subject, counts in table.items():
        for label, clips in enumerate(counts):
            for path in sorted((folder / subject / "u_test" / str(label)).iterdir())[clips:]:
                path.unlink()


SPARSE = {
    "two subjects": {"sub01": (1, 1, 1), "sub02": (1, 1, 1)},
    "two clips": {"sub01": (1, 0, 0), "sub02": (0, 1, 0)},
    "one class each": {"sub01": (3, 0, 0), "sub02": (0, 3, 0)},
    "a class absent from training": {"sub01": (2, 2, 0), "sub02": (2, 2, 0), "sub03": (0, 0, 2)},
    "a subject with one clip": {"sub01": (2, 2, 2), "sub02": (2, 2, 2), "sub03": (1, 0, 0)},
}


@pytest.mark.parametrize("table", SPARSE.values(), ids=SPARSE)
def test_data_that_hardly_suffice_give_results(tmp_path, table):
    _write(tmp_path / "flow", table)
    loaded = load_data(tmp_path / "flow", with_values(Run(), SMALL | {"train.class_weights": 1.0}), silent)
    assert len(loaded.clips) == sum(map(sum, table.values()))
    for subject in table:
        fold = train_fold(loaded.run, loaded.tensors, subject, 0).predictions
        assert np.isfinite(fold.probabilities).all()
    for name in baselines.CHOSEN:
        predicted = baselines.predict(name, loaded.motion, loaded.labels, loaded.subjects)
        assert set(predicted.tolist()) <= {0, 1, 2}
    assert set(baselines.hardest_first(loaded.motion, loaded.labels, loaded.subjects)) == set(table)


@pytest.mark.parametrize("last_batch", ["filled", "smaller"])
def test_one_clip_is_no_batch_where_a_map_is_one_place(tmp_path, last_batch):
    _write(tmp_path / "flow", SPARSE["two clips"])
    narrow = SMALL | {"flow.size": 16, "model.blocks": 4, "train.last_batch": last_batch}
    loaded = load_data(tmp_path / "flow", with_values(Run(), narrow), silent)
    with pytest.raises(Infeasible, match=r"but of 1 a batch has one; set train.batch"):
        train_fold(loaded.run, loaded.tensors, "sub01", 0)


def test_a_baseline_that_is_trained_on_one_class_says_that_class():
    motion = Motion(np.stack([texture(k, 28) for k in range(4)])[:, None, None].astype(np.float16), None, np.arange(4),
                    np.ones(4, np.int64))  # fmt: skip
    labels, subjects = np.array([0, 0, 1, 1]), ["a", "a", "b", "b"]
    for name in baselines.CHOSEN:
        assert baselines.predict(name, motion, labels, subjects).tolist() == [1, 1, 0, 0]
    assert np.isfinite(baselines.log_loss(motion, labels, subjects)).all()


@pytest.mark.parametrize(
    ("table", "found"),
    [({"sub01": (2, 2, 2)}, "of 1 and 3"), ({"sub01": (2, 0, 0), "sub02": (2, 0, 0)}, "of 2 and 1")],
    ids=["one subject", "one class"],
)
def test_data_that_cannot_suffice_are_refused(tmp_path, table, found):
    _write(tmp_path / "flow", table)
    with pytest.raises(DataError, match=f"two subjects and two classes at least, but the usable ones .* are {found}"):
        load_data(tmp_path / "flow", with_values(Run(), SMALL), silent)
    assert len(open_folder(tmp_path / "flow").clips) > 0
    assert CliRunner().invoke(cli.main, ["data", "check", str(tmp_path / "flow")]).exit_code == 1


@pytest.mark.parametrize("subjects", [1, 2])
@pytest.mark.parametrize("hits", [0, 1])
def test_statistics_of_one_or_two_subjects_are_finite(subjects, hits):
    matrices = np.zeros((2, subjects, 3, 3), np.int64)
    matrices[:, :, 0, 0 if hits else 1] = 1
    assert uf1_interval(matrices) is None and paired_interval(matrices, matrices) is None  # not of width 0
    numbers = [permutation_p(matrices, matrices)]
    if subjects > 1:
        score, interval = bbc(matrices)
        numbers += [score, *interval]
    assert np.isfinite(numbers).all()
