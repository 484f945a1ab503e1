"""A table of clips, folders of frames, and how they go together. A `Layout` holds what differs between datasets.

Cells are read as text, because the same column has 12, "12" and 12.0; letters in names may be upper or lower case;
whatever else lies about (Thumbs.db, shortcuts, `._` files) is not looked at.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from mer_search.data.clips import Clip, Problem, with_landmarks
from mer_search.data.dataset import Content, Dataset
from mer_search.data.readers.tables import read_table
from mer_search.errors import DataError

TABLES = {".xlsx", ".csv"}
OTHER_TABLES = {".xls", ".ods"}  # that are not read
IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"}
MIN_SHARE = 0.5  # a clip whose last frames are missing is used if this share of it is there
MIN_FRAMES = 5  # frames that a shortened clip must have
DEPTH = 8  # levels of folders that are looked through
COLUMNS = {  # field of Row: its title in CASME II's spreadsheet, and in those that follow it
    "subject": "Subject", "name": "Filename", "onset": "OnsetFrame", "apex": "ApexFrame", "offset": "OffsetFrame",
    "units": "Action Units", "emotion": "Estimated Emotion",
}  # fmt: skip
# Names of frames that any dataset may have: OpenFace's, and those with no other number than the frame's.
FRAMES = (r"^frame_det_\d+_(\d+)$", r"^\D*(\d+)\D*$")
PROCESSED = "denoised_masked"  # in the path of frames that were denoised and masked; their names begin with md_

Key = tuple[str, str]  # a subject and Layout.key of a clip's name


class Row(NamedTuple):
    """One row of the table, as text; "" where the dataset has no such column."""

    subject: str
    name: str  # the clip's
    onset: str
    offset: str
    emotion: str
    apex: str = ""
    units: str = ""
    objective: str = ""  # class by action units, I to VII
    again: str = ""  # onset of a second expression
    fps: str = ""  # frames a second
    film: str = ""  # what the frames' folder is called, if not as the clip is


@dataclass(frozen=True, kw_only=True)
class Layout(Dataset):
    """A dataset's spreadsheet and folders."""

    fps: int
    sheet: str  # pattern that the spreadsheet's name has in lower case, without .xlsx or .csv
    columns: Mapping[str, str]  # field of Row: title of its column
    prefix: str  # of subjects' names
    digits: int  # of subjects' names, at most
    example: str  # path of a frame, for messages; its number is the spreadsheet's
    optional: Mapping[str, str] = field(default_factory=dict)  # as `columns`, of those that only some copies have
    file: str = ""  # the spreadsheet's name as published, for messages
    padded: bool = True  # numbers in subjects' names have that many digits, with zeros in front
    folder: str = ""  # name of a clip's folder that need not lie in the subject's, such as {subject}_{name}_{onset}
    inside: str = ""  # the folder within a clip's folder in which its frames lie
    several: bool = False  # a film may have several rows, an expression each: clips of the names <film>_<onset>
    tab: str = ""  # name of the sheet in the spreadsheet; the first where there is none of that name
    frame: str = r"(\d+)$"  # pattern that gives a frame's number, in the file's name in lower case without extension
    renumbered: bool = False  # frames may be numbered anew: as many as there must be are taken in order
    key: Callable[[str], str] = str.lower  # what two spellings of a clip's name have in common
    spelling: Mapping[str, str] = field(default_factory=dict)  # emotion in lower case: the name it goes by here
    skip: str = r"(?!)"  # pattern of folders in lower case that are not looked at

    def sheets(self, files: Sequence[Path]) -> list[Path]:
        """Which of a folder's tables are this dataset's annotation; the newest name first."""
        found = [path for path in files if re.search(self.sheet, path.stem.lower())]
        return sorted(found, key=lambda path: path.name.lower(), reverse=True)

    def recognise(self, folder: Path, files: Sequence[Path]) -> bool:
        return bool(self.sheets(files))

    def source(self, folder: Path) -> str:
        """The spreadsheet that is read, and which are not."""
        first, *others = [str(path.relative_to(folder)) for path in self.sheets(tables(folder))]
        return f"{first} (not {', '.join(others)})" if others else first

    def subject(self, text: str) -> str | None:
        """The subject's name, for a cell or a folder's name: sub01 for "1", "1.0" and "Sub1"; None if it is none."""
        pattern = rf"(?:{re.escape(self.prefix)})?(\d{{1,{self.digits}}})(?:\.0)?"
        match = re.fullmatch(pattern, text.strip(), re.IGNORECASE)
        return f"{self.prefix}{int(match[1]):0{self.digits if self.padded else 1}d}" if match else None

    def clip_key(self, subject: str, name: str) -> Key:
        """What stands for a clip however it is spelt."""
        return self.subject(subject) or subject.lower(), self.key(name)

    def read(self, folder: Path, task: str = "") -> Content:
        """As of a Dataset; "" for all clips, labelled with their emotions."""
        chosen = self.tasks.get(task)
        by = chosen.by if chosen else "emotion"
        known = {emotion for each in self.tasks.values() if each.by == by for emotion in each.table}
        path = self.sheets(tables(folder))[0]
        rows = self._rows(path)
        if rows and by in self.optional and not any(getattr(row, by) for row in rows):
            raise DataError(
                f"{path} must have the column {self.optional[by]} for this task, but has none; take another copy of "
                "the spreadsheet, or another task"
            )
        wanted = {key for row in rows if self.subject(row.subject) for key in self._keys(row)}
        found = sorted(self._walk(folder, wanted), key=lambda item: _preference(item[1], folder), reverse=True)
        folders = dict(found)  # of several copies of a clip the last
        if rows and not folders:
            raise DataError(
                f"{self.title} needs frames such as {self.example}, but {folder} has none; "
                "unpack them beside the spreadsheet"
            )
        clips: dict[Key, Clip] = {}
        problems, strange = [], []
        outside: Counter[str] = Counter()
        for row in rows:
            identity, emotion = f"{row.subject}/{row.name}", getattr(row, by).lower()
            label = self.spelling.get(emotion, emotion)
            if chosen and (label not in chosen.table or identity.lower() in chosen.without):
                outside[label] += 1
                if label not in known:
                    what = f"label must be one of {', '.join(sorted(known))}, but is {label!r}; correct the annotation"
                    strange.append(Problem(identity, what))
                continue
            try:
                clip, mended = self._clip(row, chosen.table[label] if chosen else label, folders)
            except DataError as error:
                problems.append(Problem(identity, str(error)))
                continue
            if clips.setdefault(self.clip_key(clip.subject, clip.name), clip) is not clip:
                mended = ["it has two rows in the spreadsheet; the first is taken"]
            problems += [Problem(identity, what, usable=True) for what in mended]
        done = (replace(clip, processed=processed(clip.frames, folder)) for clip in clips.values())
        return [with_landmarks(clip, folder) for clip in done], [*problems, *strange], outside

    def _rows(self, path: Path) -> list[Row]:
        cells = read_table(path, self.tab)
        start = next((k for k, row in enumerate(cells) if {"subject", "filename"} <= set(map(_bare, row))), None)
        if start is None:
            raise DataError(f"{path} must have a row of titles with Subject and Filename, but has none")
        titles = list(map(_bare, cells[start]))
        found = {title: titles.count(_bare(title)) for title in self.columns.values()}
        if wrong := [f"{title} {count} times" for title, count in found.items() if count != 1]:
            raise DataError(f"{path} must have each of the columns {', '.join(found)} once, but has {', '.join(wrong)}")
        named = {field: _bare(title) for field, title in {**self.optional, **self.columns}.items()}
        place = {field: titles.index(title) for field, title in named.items() if title in titles}
        filled = [row + [""] * (len(titles) - len(row)) for row in cells[start + 1 :]]
        rows = [Row(**{field: row[column].strip() for field, column in place.items()}) for row in filled]
        rows = [row._replace(subject=self.subject(row.subject) or row.subject) for row in rows]
        # Notes below a table have neither; a clip whose subject's cell was merged with the one above has both.
        rows = [row for row in rows if (row.name or row.onset) and (row.subject or number(row.offset) is not None)]
        if not self.several:
            return rows
        films = Counter((subject, film) for subject, film, _ in {(row.subject, row.name, row.onset) for row in rows})
        return [
            row._replace(film=row.name, name=f"{row.name}_{row.onset}") if films[row.subject, row.name] > 1 else row
            for row in rows
        ]

    def _keys(self, row: Row) -> list[Key]:
        """What the folder of a row's frames may be known by; "" stands for any subject."""
        film = row.film or row.name
        own = self.folder.format(subject=row.subject, name=film, onset=row.onset)
        names = dict.fromkeys([(row.subject, row.name), (row.subject, film), *([("", own)] if own else [])])
        return [(owner, self.key(name)) for owner, name in names]

    def _walk(self, root: Path, wanted: set[Key]) -> Iterator[tuple[Key, Path]]:
        """Clips' folders below the root, level by level: of a subject, whose name one of the folders above has. None is
        looked into twice for one subject, whatever links lead to it."""
        seen: set[tuple[str, str | None]] = set()
        level: list[tuple[Path, str | None]] = [(root, None)]  # folders, and whose they are
        for _ in range(DEPTH):
            below = []
            for path, subject in [(path, subject) for folder, subject in level for path in _listed(folder)]:
                if not path.is_dir() or re.search(self.skip, path.name.lower()):
                    continue
                name = self.key(path.name.strip())
                keys = wanted & {(subject or "", name), ("", name)}
                inside = path / self.inside if (path / self.inside).is_dir() else path
                if keys and pictures(inside):
                    yield from ((key, inside) for key in keys)
                elif not keys:
                    place = (os.path.realpath(path), self.subject(path.name) or subject)
                    if place not in seen:
                        seen.add(place)
                        below.append((path, place[1]))
            level = below

    def _clip(self, row: Row, label: str, folders: Mapping[Key, Path]) -> tuple[Clip, list[str]]:
        """One row's clip, and what was mended; a DataError if it cannot be used."""
        onset, offset = number(row.onset), number(row.offset)
        if self.subject(row.subject) is None:
            raise DataError(f"subject must be a number, but is {row.subject!r}")
        if onset is None or offset is None or onset >= offset:
            raise DataError(f"onset must come before offset, but they are {row.onset!r:.50} and {row.offset!r:.50}")
        folder = next((folders[key] for key in self._keys(row) if key in folders), None)
        if folder is None:
            raise DataError("its frame folder is missing or empty")
        images, wanted, apex = pictures(folder), range(onset, offset + 1), number(row.apex)
        by_number = self._by_number(images, wanted)
        there = {number for number in by_number if number in wanted}
        alone: tuple[int, ...] = ()
        mended: list[str] = []
        if apex is not None and onset < apex and there == {onset, apex, offset} and len(there) < len(wanted):
            alone = (onset, apex, offset)
            frames = tuple(by_number[number] for number in alone)
        else:
            frames, mended = self._frames(images, by_number, wanted)
            offset = onset + len(frames) - 1
        if twice := [path.name for k, path in _numbered(images, self.frame) if k in there and path not in frames]:
            mended.append(
                f"its folder has more than one image of a frame (such as {twice[0]}); the first by name is taken"
            )
        if "apex" in self.columns and (apex is None or not onset <= apex <= offset):
            mended.append(
                f"apex must lie between onset {onset} and offset {offset}, but is {row.apex!r}; taken as unknown"
            )
            apex = None
        if number(row.again) is not None:
            mended.append(f"it has another expression, from frame {row.again} on; the first is taken")
        units, what = action_units(row.units)
        mended += [what] if what else []
        moments = (0, 1, 2) if alone else (onset, apex, offset)
        fps = number(row.fps) or self.fps
        return Clip(self.name, row.subject, row.name, label, frames, *moments, fps, units, numbers=alone), mended

    def _frames(
        self, images: Sequence[Path], by_number: Mapping[int, Path], wanted: range
    ) -> tuple[tuple[Path, ...], list[str]]:
        """The files of the frames wanted, fewer if the last are missing, and what is said of that."""
        onset, offset = wanted[0], wanted[-1]
        first, last = min(by_number, default=0), max(by_number, default=0)
        anew = self.renumbered or (first in (0, 1) and last - first == offset - onset)
        if anew and len(by_number) == len(wanted):
            return tuple(by_number.values()), []
        missing = next((number for number in wanted if number not in by_number), None)
        if missing is None:
            return tuple(by_number[number] for number in wanted), []
        there = sum(number in wanted for number in by_number)
        what = f"{len(wanted) - there} of its frames {onset}-{offset} are missing (the first: {missing})"
        if not there:
            what += f"; its frames must be named such as {Path(self.example).name}, with the spreadsheet's number, "
            what += f"but are {images[0].name} to {images[-1].name}"
        frames = tuple(by_number[number] for number in range(onset, missing))
        if len(frames) < max(MIN_FRAMES, MIN_SHARE * len(wanted)):
            raise DataError(what)
        return frames, [f"{what}; offset taken as {missing - 1}"]

    def _by_number(self, images: Sequence[Path], wanted: range) -> dict[int, Path]:
        """A folder's images by their frames' numbers, by the first kind of name that gives one of those wanted."""
        kinds = []
        for pattern in (self.frame, *FRAMES):
            found = _numbered(images, pattern)
            by_number = dict(sorted(dict(sorted(found, reverse=True)).items()))  # of two the first by name
            if pattern != self.frame and len(by_number) < len(found):
                continue  # other names must tell every image apart
            if any(number in wanted for number in by_number):
                return by_number
            kinds.append(by_number)
        return next(filter(None, kinds), {})


def _numbered(images: Sequence[Path], pattern: str) -> list[tuple[int, Path]]:
    """The images whose names tell a number by a pattern, with that."""
    return [(int(match[1]), path) for path in images if (match := re.search(pattern, path.stem.lower()))]


def number(cell: str) -> int | None:
    """46 for "46" and "46.0"; None for "/", "46.7", "1e2" and the like."""
    match = re.fullmatch(r"([0-9]{1,9})(?:\.0*)?", cell.strip())
    return int(match[1]) if match else None


def without_zeros(name: str) -> str:
    """A name in lower case, its numbers without leading zeros: s1_ne_1 for s01_ne_01."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", name.lower())


def action_units(cell: str) -> tuple[tuple[str, ...], str]:
    """The units in a cell, and what is wrong with it: R1, L2 for "R1+L2" and "1R+2L"; 4, 7 for "AU4+AU7"; "?" for each
    unit that is left open, so ?, R15 for "(R6 or R12)+R15". Words take nothing away, all else is unknown.

    Of FACS's other signs only the number is kept: A (asymmetric: on both sides), B and T before it, an intensity A to E
    behind it, and ref(). Source: the key in SAMM's spreadsheet.
    """
    text = re.sub("AU ?|REF|[()]", "", " ".join(cell.upper().split()).removesuffix(".0"))
    text = re.sub(" ?((?<![A-Z])OR(?![A-Z])|/) ?", "/", text)
    units, strange = [], []
    for code in filter(None, re.split("[+,;& ]+", text)):
        if code == "?" or ("/" in code and len(re.findall(r"\d+", code)) > 1):  # one unit or another
            units.append("?")
        elif match := re.fullmatch(r"([ABTLR/]*)(\d{1,2})([A-E/]*|[LR])", code):
            side = next((sign for sign in (match[1], match[3]) if sign in ("L", "R")), "")
            units.append(side + match[2])
        else:
            strange.append(code)
    if not strange:
        return tuple(units), ""
    words, what = " ".join(strange), "the others are taken"
    if not units or re.search(r"\d", words):
        units, what = [*units, "?"], "taken as unknown"
    return tuple(units), f"action units must be numbers such as 4+L12, but {words!r} is none; {what}"


def _bare(title: str) -> str:
    """A title without its spaces and capitals: onset2f for " Onset2F" and "Onset 2 F"."""
    return re.sub(r"[^a-z0-9]", "", title.lower())


def _listed(folder: Path) -> list[Path]:
    """What a folder holds, in order of name, but hidden and temporary files and what a Mac adds to archives."""
    try:
        names = sorted(os.listdir(folder))
    except PermissionError:  # such as lost+found, where the data has a disk of its own
        return []
    return [folder / name for name in names if not name.startswith((".", "~", "__MACOSX"))]


def _preference(path: Path, root: Path) -> tuple[int, str]:
    """Processed frames are taken before cropped, cropped before raw."""
    text, kinds = str(path.relative_to(root)).lower(), (PROCESSED, "cropped", "raw")
    return next((rank for rank, kind in enumerate(kinds) if kind in text), len(kinds)), text


def tables(folder: Path, suffixes: Collection[str] = TABLES) -> list[Path]:
    """The tables in a folder and down to two levels below it, but those of landmarks; the nearest first."""
    found: dict[str, Path] = {}
    level = [folder]
    for _ in range(3):
        listed = [path for each in level for path in _listed(each) if path.suffix.lower() not in IMAGES]
        for path in listed:
            if path.suffix.lower() in suffixes and path.is_file():
                found.setdefault(os.path.realpath(path), path)
        level = [path for path in listed if path.name != "landmarks" and path.is_dir()]
    return list(found.values())


def pictures(folder: Path) -> list[Path]:
    """The images that a folder holds, in order of name."""
    return [path for path in _listed(folder) if path.suffix.lower() in IMAGES]


def processed(frames: Sequence[Path], root: Path | None = None) -> bool:
    """Whether a clip's frames were denoised and masked already, by their own names or those of folders, below a
    dataset's root if there is one."""
    folder = frames[0].parent.relative_to(root) if root else frames[0].parent
    return PROCESSED in str(folder).lower() or frames[0].name.lower().startswith("md_")
