import io
import zipfile

import numpy as np
import pytest

from mer_search.errors import DataError
from mer_search.training.predictions import Predictions, load, save


def _folds():
    random = np.random.default_rng(0)
    folds = []
    for seed, subject, n in [(1, "sub02", 3), (0, "sub01", 1), (0, "sub02", 3), (12, "s03", 2)]:
        names = tuple(f"{subject}/clip {i} é" for i in range(n))
        chances = random.dirichlet(np.ones(4), (5, n)).astype(np.float16)
        inner = random.normal(size=5) if subject == "sub01" else None  # who chose the epoch, if anybody
        folds.append(Predictions(seed, subject, names, random.integers(0, 4, n), chances, inner))
    return folds


def _assert_same(found, expected):
    assert [(fold.seed, fold.subject, fold.clips) for fold in found] == [
        (fold.seed, fold.subject, fold.clips) for fold in expected
    ]
    for one, other in zip(found, expected, strict=True):
        for name in ("labels", "probabilities", "inner"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), strict=True)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "predictions.npz"


def test_folds_of_several_seeds_and_subjects_come_back(path):
    save(path, _folds())
    _assert_same(load(path), _folds())


def test_nothing_comes_back_of_nothing(path):
    assert load(path) == []
    save(path, [])
    assert load(path) == []


def test_saving_replaces_the_file_and_leaves_no_other(path):
    save(path, _folds())
    save(path, _folds()[:1])
    _assert_same(load(path), _folds()[:1])
    assert list(path.parent.iterdir()) == [path]


def test_the_file_is_an_npz_with_a_key_for_each_seed_and_subject(path):
    save(path, _folds()[:1])
    with np.load(path) as stored:
        assert sorted(stored.files) == [f"1/sub02/{name}" for name in ("clips", "labels", "probabilities")]


def test_every_truncation_is_told(path):
    save(path, _folds())
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"predictions\.npz must hold predictions.*delete it"):
            load(path)


def test_flipped_bytes_are_told(path):
    save(path, _folds())
    damaged = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("1/sub02/probabilities.npy").header_offset
    for place in range(start + 100, start + 110):
        damaged[place] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(DataError, match="must hold predictions"):
        load(path)


def _foreign() -> dict[str, bytes]:
    contents = {"text": b"seed,subject\n0,sub01\n", "zeros": bytes(500)}
    for name, write in {
        "npy": lambda file: np.save(file, np.zeros(3)),
        "other npz": lambda file: np.savez(file, weights=np.zeros(3)),
        "seed is no number": lambda file: np.savez(file, **{"a/sub01/clips": np.array(["x"])}),
        "labels missing": lambda file: np.savez(file, **{"0/sub01/clips": np.array(["x"])}),
    }.items():
        buffer = io.BytesIO()
        write(buffer)
        contents[name] = buffer.getvalue()
    return contents


@pytest.mark.parametrize("name", _foreign())
def test_a_foreign_file_is_told(path, name):
    path.parent.mkdir()
    path.write_bytes(_foreign()[name])
    with pytest.raises(DataError, match="must hold predictions"):
        load(path)


class _Trap:
    """Reveals whether it was unpickled."""

    sprung = False

    def __reduce__(self):
        return (setattr, (_Trap, "sprung", True))


@pytest.mark.parametrize("name", ["clips", "labels", "probabilities"])
def test_a_pickle_in_the_file_is_refused_and_not_run(path, name):
    fold = _folds()[0]
    arrays = {"clips": np.array(fold.clips), "labels": fold.labels, "probabilities": fold.probabilities}
    arrays[name] = np.array([_Trap()] * 3, dtype=object)
    path.parent.mkdir()
    np.savez(path, **{f"1/sub02/{key}": array for key, array in arrays.items()})
    with pytest.raises(DataError, match="allow_pickle=False"):
        load(path)
    assert not _Trap.sprung


def test_nothing_is_pickled_into_the_file(path):
    fold = _folds()[0]
    with pytest.raises(ValueError, match="allow_pickle"):
        save(path, [Predictions(0, "s01", fold.clips, np.array([None] * 3), fold.probabilities)])
    assert not path.exists()
