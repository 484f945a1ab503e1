"""A study that is there already: what it is of, and what a call that goes on with it must share."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import optuna

from mer_search.config import Value
from mer_search.data import open_folder
from mer_search.errors import DataError, StorageError, UsageError
from mer_search.files import RUNS
from mer_search.search import space
from mer_search.search.space import StudyFile
from mer_search.search.storage import find_study, open_storage, results
from mer_search.search.trial import Search
from mer_search.search.workspace import chosen_data

MARK = "study.id"  # a file in a study's folder, by which it is known wherever it was moved
DEFAULT_CHANGED = (
    "its file is the same, but a default has changed: before 26 November 2026 a file that named no pruner meant "
    'pruner = "recall-rungs"; write that into the file to go on'
)
MUST_AGREE = {  # attribute: what a study was made with, if it differs
    "digest": "another space or settings",
    "task": "another task",
    "leave_out": "another kind of folds",
    "checksum": "other data",
    "motion": "other motion of the same clips, whose pixels have changed or are read differently",
    "subjects": "other subjects",
    "seed": "another seed",
}


def kept_study(out: Path) -> Path:
    """Where a study's file is kept, in its folder."""
    return out / "study.toml"


def mark_of(folder: Path) -> str:
    """The mark of the study whose folder this is; "" if it is no study's."""
    try:
        return (folder / MARK).read_text(errors="replace")
    except FileNotFoundError:
        return ""


def read_kept(out: Path, name: str) -> StudyFile:
    """A study's file, as it was kept in its folder; `name` is that of the file.

    Raises:
        DataError: if it is missing or damaged.
    """
    path = kept_study(out)
    try:
        return space.parse(path.read_text(), name)
    except (OSError, ValueError, UsageError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(
            f"{path} must hold the study's file, but cannot be read ({reason}); `mer-search run` with --study, the "
            "file that the study was made with, writes it anew"
        ) from error


def file_of(study: optuna.Study) -> StudyFile:
    """A study's file, as it was kept.

    Raises:
        DataError: if it is missing, damaged, or no more the one that the study was made with.
    """
    file = read_kept(results(study), study.user_attrs["study_file"])
    if file.digest != study.user_attrs["digest"]:
        raise DataError(
            f"{kept_study(results(study))} is not what it was when the study was made; restore it, or `mer-search run` "
            "with --study, the file that the study was made with, writes it anew"
        )
    return file


def start_changed(search: Search) -> bool:
    """Whether a study's file has other first trials than when the study was made, which then are not tried."""
    return read_kept(search.out, search.file.name).start != search.file.start


class Kept(NamedTuple):
    """What a study is of that is there already, so that its name is enough to go on with it."""

    study_name: str
    facts: Mapping[str, Any]  # its attributes
    out: Path  # its results folder

    @property
    def data(self) -> Path:
        """The dataset's folder."""
        return Path(self.facts["data"])

    def file(self) -> StudyFile:
        """Its file, as it was kept.

        Raises:
            DataError: if it is gone or damaged.
        """
        if not self.out.is_dir():
            raise DataError(
                f"study {self.study_name!r} must have its results in {self.out}, but there is no such folder; give the "
                "--out where it is now"
            )
        return read_kept(self.out, self.facts["study_file"])

    def folds(self, data: Path | None) -> dict[str, Value]:
        """Its task, and what its folds leave out; without the task if other `data`, which are given, do not have it."""
        names = {"task": "data.task", "leave_out": "data.leave_out"}
        if data and self.facts.get("task") not in open_folder(data).dataset.tasks:
            del names["task"]
        return {key: self.facts[name] for name, key in names.items() if name in self.facts}

    def check(self, file: StudyFile, seed: int, out: Path) -> None:
        """Raise StorageError, before clips are read, for what can be told without them: see `check_agrees`."""
        here = {"digest": file.digest, "seed": seed, "data": self.facts["data"], "out": str(out.resolve())}
        check_agrees(self.study_name, self.facts, here, file.text)


def kept(storage: str, study_name: str, out: Path) -> Kept:
    """What the study of that name is of. Its results are in `out`, or where they were made.

    Raises:
        UsageError, StorageError: if there is no such study or storage, or it cannot be opened.
    """
    facts = find_study(open_storage(storage), study_name).user_attrs
    folder = out / study_name
    if out == RUNS and mark_of(folder) != facts["mark"]:
        folder = Path(facts["out"])
    return Kept(study_name, facts, folder)


def check_agrees(study_name: str, there: Mapping[str, Any], here: Mapping[str, Any], text: str) -> None:
    """Raise StorageError if a study that is resumed was made with something else.

    Args:
        there: its attributes.
        here: those that it is resumed with, as far as they are known.
        text: of the study file that it is resumed with.
    """
    moved = there["data"] != here["data"]  # then other clips come first
    for key in ("checksum", *MUST_AGREE) if moved else MUST_AGREE:
        found, must = there.get(key), here.get(key)  # an earlier version may have kept less
        if found != must and key in there and key in here:
            differs, remedy = _difference(there, here, key, text)
            raise StorageError(
                f"study {study_name!r} in this storage was made with {MUST_AGREE[key]} "
                f"({differs or f'{found} there, {must} here'}); give another --study-name, or {remedy}"
            )
    was, out = Path(there["out"]), Path(here["out"])
    check_folder(there, out, was)
    if was != out and mark_of(was) == there["mark"]:
        raise StorageError(
            f"a study must have one results folder, but {out} is a copy of {was}, which is still there; give "
            f"--out {was.parent}, or move that folder away"
        )


def _difference(there: Mapping[str, Any], here: Mapping[str, Any], key: str, text: str) -> tuple[str, str]:
    """In which way a study's attribute is another than the call's, "" for its values, and what to do."""
    if key == "digest":
        out = Path(here["out"])
        try:
            kept = read_kept(out, there["study_file"]).text
        except DataError:
            return f"{kept_study(out)}, which would tell, cannot be read", "give the file that it was made with"
        if differs := space.changed(kept, text):
            return differs, "undo the change"
        if "pruner" not in text:
            return DEFAULT_CHANGED, "undo the change"
        return f"{kept_study(out)} is not what it was when the study was made", "restore that file"
    if key == "checksum" and there["data"] != here["data"]:
        chosen = chosen_data(None)
        by = ", by MER_SEARCH_DATA" if chosen and str(chosen.resolve()) == here["data"] else ""
        return f"{there['data']} there, {here['data']} here{by}", f"give --data {there['data']}"
    if key in ("seed", "task", "leave_out"):
        return "", f"give --{key.replace('_', '-')} {there[key]}"
    return "", "undo the change"


def check_folder(there: Mapping[str, Any], out: Path, was: Path) -> None:
    """Raise StorageError unless a results folder is the study's own; `there` are its attributes."""
    if mark_of(out) == there["mark"]:
        return
    if was == out:
        raise StorageError(
            f"a study must keep its results folder, but {out} was deleted or replaced since the study began "
            f"({MARK} in it is not the study's); restore it, give the --out where it is now, or begin anew with "
            "another --study-name"
        )
    raise StorageError(
        f"a study must have one results folder, and its own was made as {was}, but {out} is another one; give the "
        "--out where it is now, or another --study-name"
    )
