"""A study that is there already: what it is of, and what a call that goes on with it must share."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna

from mer_search.errors import DataError, StorageError, UsageError
from mer_search.files import RUNS
from mer_search.search import space
from mer_search.search.space import StudyFile
from mer_search.search.storage import NOT_COUNTED, results
from mer_search.search.trial import Search
from mer_search.search.workspace import chosen_data

KEPT = "study.toml"  # a file in a study's folder: the file that it was made with
MARK = "study.id"  # a file in a study's folder, by which it is known wherever it was moved
MUST_AGREE = {  # attribute: what a study was made with, if it differs, and what to do; {} is the study's
    "digest": ("another space or settings", "undo the change"),
    "task": ("another task", "give --task {}"),
    "leave_out": ("another kind of folds", "give --leave-out {}"),
    "checksum": ("other data", "undo the change"),
    "motion": (
        "other motion of the same clips, whose pixels have changed or are read differently", "undo the change"
    ),
    "subjects": ("other subjects", "undo the change"),
    "seed": ("another seed", "give --seed {}"),
}  # fmt: skip


def mark_of(folder: Path) -> str:
    """The mark of the study whose folder this is; "" if it is no study's."""
    try:
        return (folder / MARK).read_text(errors="replace")
    except FileNotFoundError:
        return ""


def folder_of(facts: Mapping[str, Any], study_name: str, out: Path) -> Path:
    """The folder of the study with these attributes: in `out`, or, where that is the default, where it was made."""
    folder = out / study_name
    return Path(facts["out"]) if out == RUNS and mark_of(folder) != facts["mark"] else folder


def read_kept(out: Path, name: str) -> StudyFile:
    """A study's file of that name, as it was kept in its folder; DataError if it is missing or damaged."""
    path = out / KEPT
    try:
        return space.parse(path.read_text(), name)
    except (OSError, ValueError, UsageError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(
            f"{path} must hold the study's file, but cannot be read ({reason}); give the --out where the study's "
            "folder is now, or `mer-search run` with --study, the file that the study was made with, writes it anew"
        ) from error


def file_of(study: optuna.Study) -> StudyFile:
    """A study's file, as it was kept; DataError if it is missing, damaged, or no more the one that the study was made
    with."""
    file = read_kept(results(study), study.user_attrs["study_file"])
    if file.digest != study.user_attrs["digest"]:
        raise DataError(
            f"{results(study) / KEPT} is not what it was when the study was made; restore it, or `mer-search run` "
            "with --study, the file that the study was made with, writes it anew"
        )
    return file


def start_changed(search: Search) -> bool:
    """Whether a study's file has other first trials than when the study was made, which then are not tried."""
    return read_kept(search.out, search.file.name).start != search.file.start


def check_agrees(study_name: str, there: Mapping[str, Any], here: Mapping[str, Any], text: str) -> None:
    """Raise StorageError if a study with the attributes `there` is resumed with others, as far as they are known
    `here`, or with a study file of this text that is another."""
    moved = there["data"] != here["data"]  # then other clips come first
    for key in ("checksum", *MUST_AGREE) if moved else MUST_AGREE:
        found, must = there.get(key), here.get(key)  # an earlier version may have kept less
        if found != must and key in there and key in here:
            words, remedy = MUST_AGREE[key]
            differs, remedy = f"{found} there, {must} here", remedy.format(found)
            if key == "digest":
                differs = _changed(Path(here["out"]), there["study_file"], text)
            elif key == "checksum" and moved:
                chosen = chosen_data(None)
                by = ", by MER_SEARCH_DATA" if chosen and str(chosen.resolve()) == here["data"] else ""
                differs, remedy = f"{there['data']} there, {here['data']} here{by}", f"give --data {there['data']}"
            raise StorageError(
                f"study {study_name!r} in this storage was made with {words} ({differs}); give another --study-name, "
                f"or {remedy}"
            )
    if here.get(NOT_COUNTED) and NOT_COUNTED not in there:
        raise StorageError(
            f"study {study_name!r} must count the classes that its subjects have clips of, but an earlier version made "
            f"it, which counted {', '.join(here[NOT_COUNTED])}, too, where a trial named it; give another --study-name"
        )
    was, out = Path(there["out"]), Path(here["out"])
    check_folder(there, out, was)
    if was != out and mark_of(was) == there["mark"]:
        raise StorageError(
            f"a study must have one results folder, but {out} is a copy of {was}, which is still there; give "
            f"--out {was.parent}, or move that folder away"
        )


def _changed(out: Path, name: str, text: str) -> str:
    """In which way a study's file, of which a copy is kept, is another."""
    try:
        differs = space.changed(read_kept(out, name).text, text)
    except DataError:
        return f"{out / KEPT}, which would tell, cannot be read"
    same = f"{out / KEPT} says the same, so that it, or a default, is not what it was when the study was made"
    return differs or same


def check_folder(there: Mapping[str, Any], out: Path, was: Path) -> None:
    """Raise StorageError unless a results folder is the study's own; `there` are its attributes."""
    if mark_of(out) != there["mark"]:
        found = f"{out} was deleted or replaced" if was == out else f"it was made as {was}, and {out} is another one"
        raise StorageError(
            f"a study must keep its results folder, but {found} ({MARK} in it is not the study's); restore it, give "
            "the --out where it is now, or begin anew with another --study-name"
        )
