import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from mer_search.errors import DataError
from mer_search.evaluation.predictions import Predictions, load, save


def _fold(val=False):
    random = np.random.default_rng(0)
    names = tuple(f"sub02/clip {i} é" for i in range(3))
    chances = random.dirichlet(np.ones(4), (5, 3)).astype(np.float16)
    return Predictions(1, "sub02", names, random.integers(0, 4, 3), chances, random.normal(size=5) if val else None)


ARRAYS = {name: np.asarray(value) for name, value in vars(_fold()).items() if value is not None}
UNITS = np.full((3, 2), 0.5, np.float16)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "1-sub02.npz"


def _refused(path, content):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    words = r"1-sub02\.npz must hold a fold's predictions, but cannot be.*; delete it, and `mer-search run` trains it"
    with pytest.raises(DataError, match=words):
        load(path)


@pytest.mark.parametrize("val", [False, True])
def test_a_fold_comes_back_whole_and_takes_the_place_of_another(path, val):
    save(path, _fold(not val))
    save(path, _fold(val))
    found, expected = load(path), _fold(val)
    assert (found.seed, found.subject, found.clips) == (expected.seed, expected.subject, expected.clips)
    for name in ("labels", "probabilities", "val_log_likelihood"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), strict=True)
    assert list(path.parent.iterdir()) == [path]


def test_the_file_is_an_npz_whose_keys_say_what_they_are(path):
    save(path, _fold())
    with np.load(path) as stored:
        assert sorted(stored.files) == ["clips", "labels", "probabilities", "seed", "subject"]


def test_a_file_that_is_not_named_as_its_fold_is_told(path):
    save(path, _fold())
    for name in ("0-sub02.npz", "1-sub01.npz"):
        path = path.rename(path.with_name(name))
        with pytest.raises(DataError, match="it holds the fold of sub02 with seed 1"):
            load(path)


def test_every_truncation_is_told(path):
    save(path, _fold())
    whole = path.read_bytes()
    for length in range(0, len(whole), 31):
        _refused(path, whole[:length])


def test_flipped_bytes_are_told(path):
    save(path, _fold())
    damaged = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("probabilities.npy").header_offset
    for place in range(start + 100, start + 110):
        damaged[place] ^= 0xFF
    _refused(path, bytes(damaged))


def _written(write, *arrays, **named) -> bytes:
    buffer = io.BytesIO()
    write(buffer, *arrays, **named)
    return buffer.getvalue()


FOREIGN = {
    "text": b"seed,subject\n0,sub01\n",
    "zeros": bytes(500),
    "npy": _written(np.save, np.zeros(3)),
    "other npz": _written(np.savez, weights=np.zeros(3)),
    "seed is no number": _written(np.savez, **ARRAYS | {"seed": np.asarray("a")}),
    "labels missing": _written(np.savez, **{name: array for name, array in ARRAYS.items() if name != "labels"}),
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_file_is_told(path, content):
    _refused(path, content)


@pytest.mark.parametrize(
    "changes",
    [
        {"probabilities": np.full((5, 3, 4), np.nan, np.float16)}, {"probabilities": np.full((5, 3, 4), 1, np.int64)},
        {"probabilities": np.full((5, 3, 4), np.inf, np.float16)}, {"probabilities": np.zeros((0, 3, 4), np.float16)},
        {"probabilities": np.full((5, 2, 4), 0.3, np.float16)}, {"probabilities": np.full((5, 3), 0.3, np.float16)},
        {"labels": np.array([0, 1, 4])}, {"labels": np.array([0, 1, -1])}, {"labels": np.array([0.0, 1.0, np.nan])},
        {"labels": np.array([0, 1])}, {"clips": ()}, {"val_log_likelihood": np.array([0, 0, np.nan, 0, 0])},
        {"val_log_likelihood": np.zeros(4)}, {"unit_names": ("4", "12", "14")}, {"unit_truth": UNITS[:2]},
        {"unit_probabilities": UNITS[:2]}, {"unit_probabilities": UNITS * np.float16(np.nan)},
    ],
)  # fmt: skip
def test_predictions_that_no_network_can_have_made_are_damaged(path, changes):
    units = {"unit_names": ("4", "12"), "unit_truth": UNITS * np.nan, "unit_probabilities": UNITS}
    save(path, replace(_fold(True), **units))
    assert np.isnan(load(path).unit_truth).all()  # of a clip whose units are not known
    save(path, replace(_fold(True), **units | changes))
    _refused(path, path.read_bytes())


def test_nothing_is_pickled_into_the_file(path):
    fold = _fold()
    with pytest.raises(ValueError, match="allow_pickle"):
        save(path, Predictions(0, "s01", fold.clips, np.array([None] * 3), fold.probabilities))
    assert not path.exists()
