"""A search as one call makes it: its study, opened for this process alone, and where its folds are trained."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import optuna

from mer_search.config import Value
from mer_search.data import open_folder
from mer_search.engine.executor import Executor
from mer_search.engine.where import Where
from mer_search.errors import DataError, StorageError, UsageError
from mer_search.search.finals import Final, run_finals
from mer_search.search.resume import check_agrees, folder_of, read_kept
from mer_search.search.scheduler import Scheduler
from mer_search.search.space import StudyFile, load
from mer_search.search.storage import ended, find_study, only_writer, open_storage
from mer_search.search.study import Event, open_study, restore, run
from mer_search.search.trial import Search
from mer_search.search.workspace import Progress, chosen_data, find_data, load_data, silent
from mer_search.training.fold_store import go_no_further


@dataclass(frozen=True)
class Session:
    """A search that this process runs."""

    search: Search
    study: optuna.Study
    executor: Executor
    scheduler: Scheduler

    def trials(self, asked: int | None) -> int:
        """How many trials there are to be in all: as asked for, else the more of the study file's and before's."""
        return asked or max(self.search.file.trials, self.study.user_attrs.get("wanted", 0))

    def events(self, trials: int, progress: Progress = silent) -> Iterator[Event | Final]:
        """Train what is lost of ended trials, run trials until there are so many of them in all, then the finals; yield
        what happens."""
        self.study.set_user_attr("wanted", max(trials, ended(self.study)))
        lists = Scheduler(self.executor, self.scheduler.in_flight)
        return chain(
            restore(self.search, self.study, lists, progress),
            run(self.search, self.study, self.scheduler, trials, progress),
            run_finals(self.search, self.study, lists, progress),
        )


@contextmanager
def open_session(
    search: Search,
    storage: str,
    study_name: str,
    where: Where,
    in_flight: int | None = None,
    source: optuna.Study | None = None,
) -> Iterator[Session]:
    """A study in a storage, as `open_study` has it, and an executor; StorageError while another process has it."""
    with only_writer(storage, search.out) as opened:
        study = open_study(search, opened, study_name, source)
        with replace(where, slots=as_before(study, "slots", where.slots)).open(search.loaded.run) as executor:
            busy = 1 + math.ceil((executor.slots - 1) / len(search.subjects))  # also while the first trial ends
            yield Session(search, study, executor, Scheduler(executor, as_before(study, "in_flight", in_flight, busy)))
        for trial in study.get_trials(deepcopy=False):
            if trial.state.is_finished():  # a fold that it no longer needed may have been under way
                go_no_further(search.folder(trial.number))


def as_before(study: optuna.Study, key: str, asked: int | None, default: int | None = None) -> Any:
    """What is asked for, else as it was before, which an attribute of the study tells, else the default."""
    value = asked or study.user_attrs.get(key) or default
    study.set_user_attr(key, value)
    return value


def search_of(
    file: StudyFile | None,
    study_name: str | None,
    data: Path | None,
    values: Mapping[str, Value],
    seed: int | None,
    out: Path,
    storage: str,
    device: str,
    progress: Progress = silent,
    on_choice: Callable[[str, str], None] = lambda name, reason: None,
) -> Search:
    """What a call of `mer-search run` searches, its motion loaded. Its results have the study's name.

    If the study is in the storage, whatever is not given is as before: file, data, task, folds, seed and folder.

    Args:
        file: the study file; None for that of the study of this name, without one for that which suits data and device.
        study_name: None for the file's.
        values: of `data`, which are not the study file's.
        out: the folder for results.
        on_choice: told of a study file that suits, and why.
    """
    there: Mapping[str, Any] = {}  # the study's attributes, if it is there
    if file or not study_name:  # of one that is only named, its own data come before MER_SEARCH_DATA
        data = chosen_data(data)
        file = file or _default_file(data, device, on_choice)
        name = study_name or file.name
        with suppress(UsageError, StorageError):  # whatever is wrong is told where the study is opened
            there = find_study(open_storage(storage), name).user_attrs
    else:
        name, there = study_name, find_study(open_storage(storage), study_name).user_attrs
    results = folder_of(there, name, out) if there else out / name
    file = file or read_kept(results, there["study_file"])
    if there:
        seed = there["seed"] if seed is None else seed
        values = {**_folds(there, data), **values}
    else:
        file.check_effect()
    file, seed = file.on(values), seed or 0
    path = find_data(data or (Path(there["data"]) if there else None), progress)
    if there and str(path.resolve()) == there["data"]:  # before clips are read, what can be told without them
        here = {"digest": file.digest, "seed": seed, "data": there["data"], "out": str(results.resolve())}
        check_agrees(name, there, here, file.text)
        if not path.is_dir():
            raise DataError(
                f"the data of study {name!r} must be in {path}, but there is no such folder; give the --data where it "
                "is now"
            )
    loaded = load_data(path, file.base, progress, file.subjects)
    return Search(file, loaded, loaded.select(file.subjects), seed, results)


def _folds(there: Mapping[str, Any], data: Path | None) -> dict[str, Value]:
    """The task of a study with these attributes, if other `data`, where they are given, have it, and what its folds
    leave out."""
    names = {"task": "data.task", "leave_out": "data.leave_out"}
    if data and there.get("task") not in open_folder(data).dataset.tasks:
        del names["task"]
    return {key: there[name] for name, key in names.items() if name in there}


def _default_file(data: Path | None, device: str, on_choice: Callable[[str, str], None]) -> StudyFile:
    """The study file that suits the data, None for synthetic clips, and the device."""
    if data and open_folder(data).dataset.flow_images:
        suits, reason = "megc2019", "the data are flow images"
    else:
        suits, reason = ("default", "there is a GPU") if device == "cuda" else ("demo", "there is no GPU")
    on_choice(suits, reason)
    return load(suits)
