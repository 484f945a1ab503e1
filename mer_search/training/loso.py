"""Folds of one run, trained or taken from what is already on disk, in a folder that a later call goes on from.

config.json       the run, its digest
predictions.npz   every fold's probabilities after every epoch, of those that stopped on their way, too
history.csv       a row an epoch
unfinished/       folds that may go on, with their weights
env.json          versions and machine
"""

import csv
import io
import json
import os
import platform
import shutil
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from importlib.metadata import version
from pathlib import Path

from mer_search.config import Run, digest
from mer_search.errors import DataError, UsageError
from mer_search.files import write_whole
from mer_search.training.clips import Clips
from mer_search.training.loop import Epoch
from mer_search.training.pool import Finished, Pool, Task
from mer_search.training.predictions import Predictions, load, save

PREDICTIONS, HISTORY, UNFINISHED = "predictions.npz", "history.csv", "unfinished"
TRAIN_AGAIN = f"delete {PREDICTIONS} beside it and run the same command again, which trains its folds anew"
PACKAGES = ("mer-search", "torch", "numpy", "opencv-python-headless", "optuna", "scikit-learn")


def finish_folds(
    pool: Pool,
    clips: Clips,
    run: Run,
    wanted: Sequence[tuple[int, str]],
    folder: Path,
    on_epoch: Callable[[Epoch], None],
    checkpoints: Callable[[int, str], Path | None] = lambda *_: None,
    turn: Callable[[], AbstractContextManager[None]] = nullcontext,
    until: int | None = None,
) -> Generator[Predictions]:
    """Predictions of every wanted (seed, subject), in that order: those on disk at once, the others trained.

    They are trained for all epochs, or `until` so many: then a later call goes on from there. A fold is on disk as soon
    as it is trained, be its turn to be yielded or not. Closing the iterator cancels what is being trained. Whoever else
    adds folds to the folder meanwhile waits, as we do, for its `turn` to write.

    Raises:
        UsageError: if the folder belongs to another run.
        Infeasible: if a fold cannot be trained.
    """
    claim(folder, run)
    until = run.train.epochs if until is None else until
    there = {_key(fold): fold for fold in load(folder / PREDICTIONS) if fold.epochs >= until}
    ways = {key: folder / UNFINISHED / f"{key[0]}-{key[1]}.safetensors" for key in wanted if key not in there}
    tasks = [Task(run, *key, checkpoints(*key), until, way) for key, way in ways.items()]

    def keep(finished: Finished) -> None:
        key = _key(finished.predictions)
        with turn():
            _add(folder, finished)
        there[key] = finished.predictions
        if until == run.train.epochs:
            ways[key].unlink(missing_ok=True)

    with closing(pool.train(clips, tasks, on_epoch, keep)) as trained:
        for key in wanted:
            if key in ways:
                next(trained)
            yield there[key].until(until)


def go_no_further(folder: Path) -> None:
    """Delete what only folds that go on need."""
    shutil.rmtree(folder / UNFINISHED, ignore_errors=True)


def _add(folder: Path, finished: Finished) -> None:
    """A fold's history, and then the fold itself, among the others that are there, in the order of their names."""
    folds = {_key(fold): fold for fold in load(folder / PREDICTIONS)}
    rows = [row for row in read_history(folder) if _key(row) in folds and _key(row) != _key(finished.predictions)]
    folds[_key(finished.predictions)] = finished.predictions
    _write_history(folder / HISTORY, sorted(rows + finished.history, key=_key))
    save(folder / PREDICTIONS, sorted(folds.values(), key=_key))


def _key(item: Predictions | Epoch) -> tuple[int, str]:
    return item.seed, item.subject


def claim(folder: Path, run: Run) -> None:
    """Make the folder this run's, or raise UsageError if it is another's."""
    path = folder / "config.json"
    if path.exists():
        if (found := digest(read_config(path))) != digest(run):
            raise UsageError(
                f"{folder} must hold run {digest(run)}, but holds {found}; "
                "give another --name or --out, or delete the folder"
            )
        return
    write_whole(folder / "env.json", json.dumps(environment(), indent=1))
    write_whole(path, json.dumps({"digest": digest(run), "run": run.model_dump(mode="json")}, indent=1))


def read_config(path: Path) -> Run:
    """The run in a config.json.

    Raises:
        DataError: if the file is missing or damaged.
    """
    try:
        return Run.model_validate(json.loads(path.read_text())["run"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path} must hold a run's configuration, but cannot be read ({error})") from error


def environment() -> dict[str, object]:
    """Versions and machine, for the record."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        **{name: version(name) for name in PACKAGES},
    }


def read_history(folder: Path) -> list[Epoch]:
    """The epochs of all folds in a folder.

    Raises:
        DataError: if the file is damaged.
    """
    path = folder / HISTORY
    if not path.exists():
        return []
    try:
        with path.open(newline="") as file:
            return [
                Epoch(**{name: kind(row[name]) for name, kind in Epoch.__annotations__.items() if name in row})
                for row in csv.DictReader(file)
            ]
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise DataError(f"{path} must be a table of epochs, but is not ({error}); {TRAIN_AGAIN}") from error


def _write_history(path: Path, history: Sequence[Epoch]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(Epoch._fields)
    writer.writerows([f"{value:.6g}" if isinstance(value, float) else value for value in row] for row in history)
    write_whole(path, buffer.getvalue())
