"""The folds of a run on disk: one file a fold, written whole and once, from which every figure can be computed again.

config.json                     the run, its digest
folds/0-sub05.npz               probabilities after every epoch, of folds that stopped on their way, too
folds/0-sub05.csv               its history: a row an epoch
unfinished/0-sub05.state        a fold that may go on, with its weights
checkpoints/0-sub05.safetensors the fold's network at its end, where networks are kept
checkpoints/0-sub05.best_test_epoch.safetensors, 0-sub05.action_units.safetensors: at other epochs, where asked for
env.json                        versions and machine
"""

import csv
import glob
import json
import os
import platform
import shutil
from collections.abc import Collection, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from safetensors.torch import load_file

from mer_search.config import Run, digest, explain
from mer_search.errors import DataError, MerSearchError, UsageError
from mer_search.evaluation.predictions import Predictions, load, save
from mer_search.files import csv_text, write_whole
from mer_search.model.network import Network
from mer_search.training.loop import LAST, Epoch

FOLDS, UNFINISHED, BEFORE = "folds", "unfinished", "predictions.npz"
TRAIN_AGAIN = "delete it and run the same command again, which trains its fold anew"
PACKAGES = ("mer-search", "torch", "numpy", "opencv-python", "optuna", "scikit-learn")

Key = tuple[int, str]  # a fold's seed and subject


def fold_file(folder: Path, seed: int, subject: str) -> Path:
    """Where a fold's predictions are; its history is beside them, with the ending csv."""
    return folder / FOLDS / f"{seed}-{subject}.npz"


def state_file(folder: Path, seed: int, subject: str) -> Path:
    """Where a fold is kept that may go on: for workers, too, wherever they were started."""
    return folder.absolute() / UNFINISHED / f"{seed}-{subject}.state"


def checkpoint_file(folder: Path, seed: int, subject: str, epoch: str = LAST) -> Path:
    """Where the network of a fold is kept as it was at an epoch: one of training.loop.KEPT."""
    return folder / "checkpoints" / f"{seed}-{subject}{'' if epoch == LAST else f'.{epoch}'}.safetensors"


def load_network(path: Path, run: Run, device: str) -> Network:
    """The network in a checkpoint, in evaluation mode; a DataError if it is damaged, missing, or another run's."""
    try:
        state = load_file(path, device)
        network = Network(run, len(state.get("units.bias", ()))).to(device)
        network.load_state_dict(state)
        if not all(item.isfinite().all() for item in state.values()):
            raise ValueError("it holds weights that are not finite")
    except Exception as error:  # safetensors and torch each have their own
        raise DataError(
            f"{path} must hold a network of its run, but cannot be read ({str(error).splitlines()[0]}); delete it and "
            f"{path.parents[1] / FOLDS / path.stem}.npz, and confirm again, which trains that fold anew"
        ) from error
    return network.eval()


def load_folds(folder: Path, seeds: Collection[int] | None = None) -> dict[Key, Predictions]:
    """All folds in a run's folder, or those of some seeds, by seed and subject, in that order; a DataError if a file is
    damaged, or the folder is that of an earlier version."""
    if (folder / BEFORE).exists():
        raise DataError(
            f"{folder} must hold a file a fold, but has one {BEFORE} as mer-search 0.1 wrote it; use that version, or "
            "give another --study-name or --out"
        )
    every = (folder / FOLDS).glob("*.npz")
    folds = [load(path) for path in every if seeds is None or path.name.partition("-")[0] in set(map(str, seeds))]
    return {(fold.seed, fold.subject): fold for fold in sorted(folds, key=lambda fold: (fold.seed, fold.subject))}


def load_by_subject(folder: Path, seeds: Collection[int] | None = None) -> dict[Key, Predictions]:
    """As `load_folds`, but by the subjects that the folds test, where one tests a database."""
    parts = (part for fold in load_folds(folder, seeds).values() for part in fold.by_subject())
    return {(part.seed, part.subject): part for part in parts}


def lacking(folder: Path, subjects: Sequence[str]) -> list[str]:
    """Those of the subjects of which no fold, of whichever seed, is in a run's folder."""
    there = {path.stem.partition("-")[2] for path in (folder / FOLDS).glob("*.npz")}
    return [subject for subject in subjects if subject not in there]


def check_whole(trial: Path, subjects: Sequence[str]) -> None:
    """Raise DataError if the folder of a trial that ran to its end lacks the fold of a subject."""
    if lost := lacking(trial, subjects):
        raise DataError(
            f"{trial} must hold a fold of each tuning subject, but has none of {', '.join(lost)}; the study's "
            "`mer-search run` trains them again"
        )


def named(missing: Sequence[Key]) -> str:
    """How many folds are missing, and the first of them."""
    seed, subject = missing[0]
    return f"{len(missing)} fold{'s' * (len(missing) > 1)}, the first of them {seed}-{subject}.npz"


def keep_fold(folder: Path, fold: Predictions, history: Sequence[Epoch]) -> None:
    """Write a fold's history, and then the fold itself."""
    path = fold_file(folder, fold.seed, fold.subject)
    rows = ([f"{value:.6g}" if isinstance(value, float) else value for value in row] for row in history)
    write_whole(path.with_suffix(".csv"), csv_text(Epoch._fields, rows))
    save(path, fold)


def go_no_further(folder: Path) -> None:
    """Delete what only folds that go on need."""
    shutil.rmtree(folder / UNFINISHED, ignore_errors=True)


def claim(folder: Path, run: Run, motion: str) -> None:
    """Make the folder this run's on this motion (its digest), or raise UsageError if it is another's."""
    path = folder / "config.json"
    if path.exists():
        check_motion(folder, motion)
        if (found := digest(read_config(path))) != digest(run):
            raise UsageError(
                f"{folder} must hold run {digest(run)}, but holds {found}; "
                "give another --study-name or --out, or delete the folder"
            )
        return
    machine = {"python": platform.python_version(), "platform": platform.platform(), "cores": os.cpu_count()}
    write_whole(folder / "env.json", json.dumps(machine | {name: version(name) for name in PACKAGES}, indent=1))
    told = {"digest": digest(run), "motion": motion, "run": run.model_dump(mode="json")}
    write_whole(path, json.dumps(told, indent=1))


def copy_equal_folds(folder: Path, run: Run, motion: str) -> None:
    """Copy what the folders beside a run's have of the same run on the same motion and it lacks, so that no fold is
    trained twice: a trial may be where the search started, and two names may stand for one network."""
    for other in sorted(config.parent for config in folder.parent.glob("*/config.json")):
        with suppress(MerSearchError):  # of what is damaged, or of other pixels
            if other == folder or digest(read_config(other / "config.json")) != digest(run):
                continue
            check_motion(other, motion)
            for fold in sorted((other / FOLDS).glob("*.npz")):
                if not (folder / FOLDS / fold.name).exists():
                    claim(folder, run, motion)
                    networks = (other / "checkpoints").glob(f"{glob.escape(fold.stem)}.*safetensors")
                    for file in (*networks, fold.with_suffix(".csv"), fold):  # the fold last: it says that all is there
                        write_whole(folder / file.relative_to(other), file.read_bytes())


def check_motion(folder: Path, motion: str) -> None:
    """Raise UsageError if a run's folder was trained on other motion than that of this digest."""
    _, there = _config(folder / "config.json")
    if there not in (None, motion):
        raise UsageError(
            f"{folder} was trained on other motion ({there}, here {motion}): the frames' pixels have changed since, or "
            "how they are read; restore the data, or begin anew with another --study-name or --out"
        )


def read_config(path: Path) -> Run:
    """The run in a config.json, or a DataError if the file is missing or damaged."""
    return _config(path)[0]


def _config(path: Path) -> tuple[Run, str | None]:
    """The run in a config.json, and the digest of its motion, which an earlier version did not keep."""
    try:
        told = json.loads(path.read_text())
        return Run.model_validate(told["run"]), told.get("motion")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path} must hold a run's configuration, but cannot be read ({explain(error)})") from error


def read_history(folder: Path) -> list[Epoch]:
    """The epochs of all folds in a run's folder, by seed and subject, or a DataError if a file is damaged."""
    rows = [row for path in (folder / FOLDS).glob("*.csv") for row in _history(path)]
    return sorted(rows, key=lambda row: (row.seed, row.subject))


def _history(path: Path) -> list[Epoch]:
    try:
        with path.open(newline="") as file:
            return [
                Epoch(**{name: kind(row[name]) for name, kind in Epoch.__annotations__.items() if name in row})
                for row in csv.DictReader(file)
            ]
    except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
        raise DataError(f"{path} must be a table of epochs, but is not ({error}); {TRAIN_AGAIN}") from error
