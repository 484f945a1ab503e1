"""CASME II: a spreadsheet and a folder of frames, in every layout in which it circulates.

Spreadsheet: `CASME2-coding-*.xlsx` or `.csv`, nine columns of which two are empty; header spellings carry stray
spaces. Frames: `Cropped/sub01/EP02_01f/reg_img46.jpg`, `CASME2_RAW_selected/sub01/EP02_01f/img46.jpg`,
`Cropped-updated/Cropped/17/EP.../...` or `denoised_masked/sub13/EP02_03/md_reg_img26.jpg`; the number is the
spreadsheet's frame number. Source: Yan et al., "CASME II", PLoS ONE 2014, and the files themselves.
"""

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from mer_search.data.clips import Clip, Problem
from mer_search.errors import DataError

NAME = "casme2"
FPS = 200
CLASSES = ("happiness", "repression", "disgust", "surprise", "others")
OTHER_LABELS = {"sadness", "fear"}  # annotated, but no part of the 5-class task: 255 rows, 246 clips
HARDEST = tuple(f"sub{number:02d}" for number in (5, 16, 7, 3, 6, 17, 20, 13, 26, 1))  # TM-MMNET's public code

SHEET = "CASME2-coding*"
COLUMNS = {
    "subject": "Subject",
    "filename": "Filename",
    "onsetframe": "OnsetFrame",
    "apexframe": "ApexFrame",
    "offsetframe": "OffsetFrame",
    "actionunits": "Action Units",
    "estimatedemotion": "Estimated Emotion",
}
ENOUGH = 0.5  # a clip whose last frames are missing is used if this share of it is there


def sheets(folder: Path) -> list[Path]:
    """The annotation files in a folder, not looking deeper than one level; the newest name first."""
    found = [
        path
        for pattern in (SHEET, f"*/{SHEET}")
        for path in folder.glob(pattern)
        if path.suffix in {".xlsx", ".csv"} and not path.name.startswith(("~", "."))
    ]
    return sorted(found, key=lambda path: path.name, reverse=True)


def recognise(folder: Path) -> bool:
    """Whether the folder looks like CASME II: it holds a coding spreadsheet."""
    return bool(sheets(folder))


def read(folder: Path) -> tuple[list[Clip], list[Problem]]:
    """The clips of the 5-class task and what is wrong with them.

    Raises:
        DataError: if the spreadsheet cannot be read or has other columns, or no frame folder is there.
    """
    table = _table(sheets(folder)[0])
    folders = _clip_folders(folder)
    if not folders:
        raise DataError(
            f"CASME II needs frames such as Cropped/sub01/EP02_01f/reg_img46.jpg, but {folder} has none; "
            "unpack Cropped.zip beside the spreadsheet"
        )
    clips, problems = [], []
    for row in table.itertuples(index=False):
        clip, found = _clip(row, folders)
        problems += found
        clips += [clip] if clip else []
    return clips, problems


def _table(path: Path) -> pd.DataFrame:
    """The annotation as text cells, with the columns of COLUMNS under their short names."""
    try:
        raw = pd.read_excel(path, dtype=str) if path.suffix == ".xlsx" else pd.read_csv(path, dtype=str)
    except (ValueError, OSError, KeyError, zipfile.BadZipFile, pd.errors.ParserError) as error:
        raise DataError(f"{path} must be a readable spreadsheet, but is not ({error})") from error
    short = {column: re.sub(r"[^a-z]", "", str(column).lower()) for column in raw.columns}
    table = raw.rename(columns=short)
    missing = [title for name, title in COLUMNS.items() if name not in table.columns]
    if missing:
        raise DataError(
            f"{path} must have the columns {', '.join(COLUMNS.values())}, but {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing"
        )
    table = table[list(COLUMNS)].fillna("").apply(lambda column: column.str.strip())
    return table[table["subject"] != ""]


def _number(cell: str) -> int | None:
    """46 for "46" and "46.0"; None for "/" and the like."""
    try:
        return int(float(cell))
    except ValueError:
        return None


def _clip_folders(folder: Path) -> dict[tuple[int, str], Path]:
    """(subject, clip name) -> its folder. Of several copies, the first in the order pre-processed, cropped, raw."""
    found: dict[tuple[int, str], Path] = {}
    for path in sorted(_directories(folder, 4), key=_preference):
        if (match := re.fullmatch(r"(?:sub)?(\d{1,2})", path.parent.name)) and path.name.upper().startswith("EP"):
            found.setdefault((int(match[1]), path.name), path)
    return found


def _preference(path: Path) -> tuple[int, str]:
    text = str(path).lower()
    kinds = ("denoised_masked", "cropped", "raw")
    return next((rank for rank, kind in enumerate(kinds) if kind in text), len(kinds)), text


def _directories(folder: Path, depth: int) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir() and not path.name.startswith("."):
            yield path
            if depth > 1:
                yield from _directories(path, depth - 1)


def _clip(row: tuple[str, ...], folders: dict[tuple[int, str], Path]) -> tuple[Clip | None, list[Problem]]:
    """One row's clip, or None, with what is wrong."""
    number, name, onset_cell, apex_cell, offset_cell, units, emotion = row
    subject = _number(number)
    identity = f"sub{subject:02d}/{name}" if subject is not None else f"{number}/{name}"
    label = emotion.lower()
    if label in OTHER_LABELS:
        return None, []
    if label not in CLASSES:
        return None, [
            Problem(
                identity,
                f"label must be one of {', '.join(CLASSES)} (or {' or '.join(sorted(OTHER_LABELS))}"
                f", which are left out), but is {emotion!r}",
            )
        ]
    onset, offset = _number(onset_cell), _number(offset_cell)
    if subject is None or onset is None or offset is None or onset >= offset:
        return None, [
            Problem(identity, f"onset must come before offset, but they are {onset_cell!r} and {offset_cell!r}")
        ]
    folder = folders.get((subject, name))
    if folder is None:
        return None, [Problem(identity, "its frame folder is missing")]
    frames, problems = _frames(folder, identity, onset, offset)
    if not frames:
        return None, problems
    last = onset + len(frames) - 1
    apex = _number(apex_cell)
    if apex is None or not onset <= apex <= last:
        problems.append(
            Problem(
                identity,
                f"apex must lie between onset {onset} and offset {last}, but is {apex_cell!r}; taken as unknown",
                usable=True,
            )
        )
        apex = None
    action_units = tuple(unit for unit in re.split(r"[+\s]+", units.removesuffix(".0")) if unit)
    return Clip(NAME, f"sub{subject:02d}", name, label, frames, onset, apex, last, FPS, action_units), problems


def _frames(folder: Path, identity: str, onset: int, offset: int) -> tuple[tuple[Path, ...], list[Problem]]:
    """The files of frames onset..offset; shorter if the last ones are missing, empty if too many are."""
    by_number = {
        int(match[1]): path
        for path in folder.iterdir()
        if (match := re.search(r"img(\d+)\.(?:jpe?g|png|bmp)$", path.name.lower()))
    }
    frames: list[Path] = []
    while onset + len(frames) <= offset and onset + len(frames) in by_number:
        frames.append(by_number[onset + len(frames)])
    wanted = offset - onset + 1
    if len(frames) == wanted:
        return tuple(frames), []
    missing = [number for number in range(onset, offset + 1) if number not in by_number]
    what = f"{len(missing)} of its frames {onset}-{offset} are missing (the first: {missing[0]})"
    if len(frames) < 5 or len(frames) < ENOUGH * wanted:
        return (), [Problem(identity, what)]
    return tuple(frames), [Problem(identity, f"{what}; offset taken as {onset + len(frames) - 1}", usable=True)]
