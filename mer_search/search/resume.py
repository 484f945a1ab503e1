"""A study that is there already: what it is of, and what a call that goes on with it must share."""

from pathlib import Path
from typing import NamedTuple

import optuna

from mer_search.config import Value
from mer_search.data import open_folder
from mer_search.errors import DataError, StorageError, UsageError
from mer_search.files import RUNS
from mer_search.search import space
from mer_search.search.space import StudyFile, parse
from mer_search.search.storage import find_study, open_storage
from mer_search.search.trial import Search

MARK = "study.id"  # a file in a study's folder, by which it is known wherever it was moved
DEFAULT_CHANGED = (
    "its file is the same, but a default has changed: before 26 November 2026 a file that named no pruner meant "
    'pruner = "recall-rungs"; write that into the file to go on'
)
MUST_AGREE = {
    "digest": "space or settings",
    "task": "task",
    "leave_out": "kind of folds",
    "checksum": "data",
    "motion": "motion of the same clips, whose pixels have changed or are read differently",
    "subjects": "subjects",
    "seed": "seed",
}


def kept_study(out: Path) -> Path:
    """Where a study's file is kept, in its folder."""
    return out / "study.toml"


def mark_of(folder: Path) -> str:
    """The mark of the study whose folder this is; "" if it is no study's."""
    try:
        return (folder / MARK).read_text()
    except FileNotFoundError:
        return ""


def start_changed(search: Search) -> bool:
    """Whether a study's file has other first trials than when the study was made, which then are not tried."""
    kept = kept_study(search.out)
    return kept.exists() and space.parse(kept.read_text(), search.file.name).start != search.file.start


class Kept(NamedTuple):
    """What a study is of that is there already, so that its name is enough to go on with it."""

    name: str  # of its file
    data: Path
    seed: int
    out: Path  # its results folder
    folds: dict[str, Value]  # its task, and what its folds leave out

    def file(self) -> StudyFile:
        """Its file, as it was kept.

        Raises:
            DataError: if it is gone.
        """
        path = kept_study(self.out)
        try:
            return parse(path.read_text(), self.name)
        except OSError as error:
            reason = error.strerror or error
            raise DataError(
                f"{path} must hold the study's file, but cannot be read ({reason}); if its folder was "
                "moved, give the --out where it is now, else --study"
            ) from error

    def folds_of(self, data: Path | None) -> dict[str, Value]:
        """Its task and folds; without the task if other `data`, which are given, do not have it."""
        known = not data or self.folds.get("data.task") in open_folder(data).dataset.tasks
        return {key: value for key, value in self.folds.items() if known or key != "data.task"}


def kept(storage: str, study_name: str, out: Path, file: StudyFile | None) -> Kept | None:
    """What the study of that name is of; None if there is none. Its results are in `out`, or where they were made.

    Raises:
        UsageError: if it was interrupted while it was made, and no file is given.
    """
    try:
        facts = find_study(open_storage(storage), study_name).user_attrs
    except (UsageError, StorageError):  # whatever is wrong is told where the study is opened
        return None
    if "mark" not in facts and not file:
        raise UsageError(
            f"study {study_name!r} was interrupted while it was made; give all that it was made with, such as --study, "
            "--data and --from"
        )
    folder = out / study_name
    if out == RUNS and mark_of(folder) != facts.get("mark"):
        folder = Path(facts["out"])
    names = {"data.task": "task", "data.leave_out": "leave_out"}
    folds = {key: facts[name] for key, name in names.items() if name in facts}
    return Kept(facts["study_file"], Path(facts["data"]), facts["seed"], folder, folds)


def check(study: optuna.Study, search: Search) -> None:
    moved = study.user_attrs["data"] != search.attributes["data"]  # then other clips come first
    for key, word in ({"checksum": MUST_AGREE["checksum"], **MUST_AGREE} if moved else MUST_AGREE).items():
        must = search.attributes[key]
        found = study.user_attrs.get(key, must)  # an earlier version may have kept less
        if found != must:
            differs, remedy = _difference(study, search, key)
            raise StorageError(
                f"study {study.study_name!r} in this storage was made with another {word} "
                f"({differs or f'{found} there, {must} here'}); give another --study-name, or {remedy}"
            )
    was, here = Path(study.user_attrs["out"]), search.out.resolve()
    check_folder(study, search, was)
    if was != here and mark_of(was) == study.user_attrs["mark"]:
        raise StorageError(
            f"a study must have one results folder, but {here} is a copy of {was}, which is still there; give "
            f"--out {was.parent}, or move that folder away"
        )
    for key in ("out", "data"):  # which may have been moved
        if study.user_attrs[key] != search.attributes[key]:
            study.set_user_attr(key, search.attributes[key])


def _difference(study: optuna.Study, search: Search, key: str) -> tuple[str, str]:
    """In which way a study's attribute is another than the search's, "" for its values, and what to do."""
    there, here = study.user_attrs, search.attributes
    if key == "digest" and (file := kept_study(search.out)).exists():
        return space.changed(file.read_text(), search.file.text) or DEFAULT_CHANGED, "undo the change"
    if key == "checksum" and there["data"] != here["data"]:
        return f"{there['data']} there, {here['data']} here", f"give --data {there['data']}"
    if key in ("seed", "task", "leave_out"):
        return "", f"give --{key.replace('_', '-')} {there[key]}"
    return "", "undo the change"


def check_folder(study: optuna.Study, search: Search, was: Path) -> None:
    """Raise StorageError unless the search's folder is the study's own."""
    here = search.out.resolve()
    if mark_of(here) == study.user_attrs["mark"]:
        return
    if was == here:
        raise StorageError(
            f"a study must keep its results folder, but {here} was deleted or replaced since the study began "
            f"({MARK} in it is not the study's); restore it, give the --out where it is now, or begin anew with "
            "another --study-name"
        )
    raise StorageError(
        f"a study must have one results folder, and its own was made as {was}, but {here} is another one; give the "
        "--out where it is now, or another --study-name"
    )
