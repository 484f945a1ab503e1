"""Small well-formed datasets, and how their spreadsheets are damaged (see mutants.py)."""

import datetime
import io
import random
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import openpyxl
from small import (
    COLUMNS,
    SAMM_TITLES,
    SMIC_TITLES,
    STUDY,
    samm_row,
    smic_row,
    write_book,
    write_casme2,
    write_flow_images,
    write_samm,
    write_smic,
)

from mer_search.data import open_folder
from mer_search.data.clips import Clip

Fact = tuple[str, tuple[str, ...]]  # a clip's label, and the names of its frames' files
CLIPS_STUDY = STUDY.replace('"flow.size" = 28', '"flow.size" = 16\n"prep.size" = 16\n"frames.jitter" = 0')
USED = {
    "spreadsheet": ("casme2", "casme2", "samm", "smic"),
    "image": ("casme2", "casme2", "casme2", "flow"),
    "folder": ("casme2", "casme2", "samm", "smic", "composite", "flow", "flow"),
}


class Base(NamedTuple):
    """A well-formed dataset."""

    folder: Path
    truth: dict[str, Fact]
    sheet: str = ""  # path of the spreadsheet
    titles: Sequence[str] = ()
    rows: Sequence[list[Any]] = ()
    fields: Mapping[str, int] = {}  # subject, name, onset, offset, emotion: their columns
    tab: str = ""

    def without(self, *clips: str) -> dict[str, Fact]:
        """The truth of all other clips."""
        return {clip: fact for clip, fact in self.truth.items() if clip not in clips}


class Damaged(NamedTuple):
    """What may still be used."""

    what: str
    truth: Mapping[str, Fact]  # clips that are as they were: they must be used so, or named
    possible: Mapping[str, Sequence[Fact]] = {}  # others, if they are used
    gone: frozenset[str] = frozenset()  # of `truth`: whoever does not name them is right, too
    check_only: bool = False  # a run does not look at what is damaged


SAMM_ROWS = [
    samm_row(number, f"{number:03d}_{k}_1", emotion, 5500 + 40 * k)
    for number in (6, 11)
    for k, emotion in enumerate(("Anger", "Happiness", "Surprise"))
]
SMIC_ROWS = [
    smic_row(number, f"s{number}_{kind}_{k:02d}", emotion)
    for number in (1, 2)
    for k, (kind, emotion) in enumerate((("ne", "negative"), ("po", "positive"), ("sur", "surprise")), 1)
]


def facts(clips: Iterable[Clip]) -> dict[str, Fact]:
    """What is used of clips, by their ids."""
    return {clip.id: (clip.label, tuple(path.name for path in clip.frames)) for clip in clips}


def write_bases(root: Path) -> dict[str, Base]:
    """A small well-formed dataset of each reader."""
    casme2 = [[*row[:2], None, *row[3:6], None, *row[7:]] for row in write_casme2(root / "casme2", 2, 3)]
    write_samm(root / "samm", SAMM_ROWS)
    write_smic(root / "smic", SMIC_ROWS)
    write_casme2(root / "composite" / "CASME2", 2, 3)
    write_smic(root / "composite" / "SMIC", SMIC_ROWS)
    write_flow_images(root / "flow", 3, 1)
    names = ("casme2", "samm", "smic", "composite", "flow")
    truth = {name: facts(open_folder(root / name).clips) for name in names}
    assert [len(found) for found in truth.values()] == [6, 6, 6, 10, 9]
    fields = dict(zip(("subject", "name", "onset", "offset", "emotion"), (0, 1, 3, 5, 8), strict=True))
    samm, smic = fields | {"emotion": 9}, fields | {"onset": 2, "offset": 3, "emotion": 6}
    return {
        "casme2": Base(root / "casme2", truth["casme2"], "CASME2-coding-20140508.xlsx", COLUMNS, casme2, fields),
        "samm": Base(
            root / "samm", truth["samm"], "SAMM_Micro_FACS_Codes_v2.xlsx", SAMM_TITLES, SAMM_ROWS, samm, "MICRO_ONLY"
        ),
        "smic": Base(root / "smic", truth["smic"], "SMIC-HS-E_annotation.xlsx", SMIC_TITLES, SMIC_ROWS, smic, "HS"),
        "composite": Base(root / "composite", truth["composite"]),
        "flow": Base(root / "flow", truth["flow"]),
    }


# Spreadsheets

CELLS = [
    "", None, "abc", "12abc", -1, 0, 1e300, "1e2", 46.7, "46.7", "nan", "inf", "-inf", 10**12, "9" * 5000, "²",
    "\uff11\uff12", "1_2", "0x1f", "+12", "12,5", "1 2", "others ", "ANGER", "Happiness", "surprise", "negative",
    "../../x", "..", "/", "[/red]",
    "a\nb", "EP01_01f", "s1_ne_01", True, datetime.datetime(2014, 5, 8), "=1+1", "x" * 40000, "\u202e1", "'",
]  # fmt: skip


def _number(cell: Any) -> int | None:
    """What a cell plainly says."""
    if isinstance(cell, bool) or not isinstance(cell, int | float | str):
        return None
    match = re.fullmatch(r"([0-9]{1,9})(\.0)?", str(cell).strip())
    return int(match[1]) if match else None


def _literal(base: Base, row: Sequence[Any]) -> dict[str, list[Fact]]:
    """What a damaged row may give: its clip with its own label and its own frames, perhaps without the last ones."""
    cell = {field: row[place] for field, place in base.fields.items()}
    onset, offset, number = (_number(cell[field]) for field in ("onset", "offset", "subject"))
    clip = next((c for c in base.truth if _same(c, number, cell)), None)
    label = str(cell["emotion"]).strip().lower()
    known = {fact[0] for fact in base.truth.values()} | {"repression", "disgust", "contempt", "other", "surprise"}
    if None in (onset, offset) or clip is None or label not in known | {"others"}:
        return {}
    name = clip.split("/")[1]
    (folder,) = {path.parent for path in base.folder.rglob(base.truth[clip][1][0]) if path.parent.name == name}
    files = {int(re.findall(r"\d+", path.stem)[-1]): path.name for path in folder.iterdir()}
    frames = [files[k] for k in range(onset, min(offset, onset + 99) + 1) if k in files]
    spelt = {"casme2": {"other": "others"}, "samm": {"others": "other"}}.get(base.folder.name, {}).get(label, label)
    return {
        f"{clip.split('/')[0]}/{str(cell['name']).strip()}": [
            (spelt, tuple(frames[:k])) for k in range(2, len(frames) + 1)
        ]
    }


def _same(clip: str, number: int | None, cell: Mapping[str, Any]) -> bool:
    subject, name = clip.split("/")
    digits = re.search(r"\d+", subject)
    said = re.fullmatch(r"(?:sub|s)?(\d{1,3})", str(cell["subject"]).strip().lower())
    number = number if number is not None else int(said[1]) if said else None
    return bool(digits) and int(digits[0]) == number and name.lower() == str(cell["name"]).strip().lower()


def _write(base: Base, folder: Path, titles: Sequence[Any], rows: Sequence[Sequence[Any]]) -> None:
    (folder / base.sheet).unlink()
    write_book(folder / base.sheet, [list(titles), *map(list, rows)], base.tab or "Sheet1")


def _cell(rng: random.Random, base: Base, folder: Path) -> Damaged:
    """One to three cells of other content."""
    rows = [list(row) for row in base.rows]
    told, hurt = [], set()
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        row, column = rng.randrange(len(rows)), rng.choice([*base.fields.values()] * 2 + list(range(len(rows[0]))))
        rows[row][column] = rng.choice(CELLS)
        told.append(f"row {row}, column {base.titles[column].strip()} = {rows[row][column]!r:.20}")
        hurt.add(row)
    _write(base, folder, base.titles, rows)
    return _by_rows(base, rows, hurt, "; ".join(told))


def _by_rows(base: Base, rows: Sequence[Sequence[Any]], hurt: set[int], what: str) -> Damaged:
    truth = {clip: fact for row, (clip, fact) in enumerate(base.truth.items()) if row not in hurt}
    possible: dict[str, list[Fact]] = {}
    for row in hurt:
        for clip, facts in _literal(base, rows[row]).items():
            possible.setdefault(clip, []).extend(facts)
    for clip in [clip for clip in possible if clip in truth]:  # two rows for one clip: the first is taken
        possible[clip].append(truth.pop(clip))
    return Damaged(what, truth, possible)


def _swap(rng: random.Random, base: Base, folder: Path) -> Damaged:
    """Two cells that have changed places."""
    rows = [list(row) for row in base.rows]
    (a, b), column, other = rng.sample(range(len(rows)), 2), rng.choice(list(base.fields.values())), 0
    other = column if rng.random() < 0.5 else rng.choice(list(base.fields.values()))
    rows[a][column], rows[b][other] = rows[b][other], rows[a][column]
    _write(base, folder, base.titles, rows)
    return _by_rows(base, rows, {a, b}, f"cells {a},{column} and {b},{other} swapped")


def _titles(rng: random.Random, base: Base, folder: Path) -> Damaged:
    """Titles that are missing, doubled, misspelt or below other rows."""
    titles, rows, column = list(base.titles), [list(row) for row in base.rows], rng.choice(list(base.fields.values()))
    hurt = rng.choice(("gone", "misspelt", "column gone", "twice", "copy with other content", "no titles", "empty row"))
    if hurt == "gone":
        titles[column] = None
    elif hurt == "misspelt":
        titles[column] = titles[column][1:]
    elif hurt == "column gone":
        for row in (titles, *rows):
            del row[column]
    elif hurt == "twice":
        titles[rng.choice([k for k in range(len(titles)) if k not in base.fields.values()])] = titles[column]
    elif hurt == "copy with other content":
        titles.insert(0, titles[column])
        rows = [[rows[-k - 1][column], *row] for k, row in enumerate(rows)]
    elif hurt == "no titles":
        titles = rows[0]
    else:
        place = rng.randrange(len(rows))
        rows[place:place] = [[None] * len(titles)] * rng.randrange(1, 40)
    _write(base, folder, titles, rows)
    gone = frozenset(list(base.truth)[:1]) if hurt == "no titles" else frozenset()
    return Damaged(f"titles: {hurt}, column {column}", base.truth, gone=gone)


def _merged(rng: random.Random, base: Base, folder: Path) -> Damaged:
    """Cells of a column merged, as people do for one subject's rows."""
    book = openpyxl.load_workbook(folder / base.sheet)
    sheet = book[base.tab] if base.tab else book.active
    top = next(cell.row for row in sheet for cell in row if str(cell.value).strip() == "Subject") + 1
    column, first, length = rng.choice([0, 0, *base.fields.values()]) + 1, rng.randrange(4), rng.randrange(2, 4)
    sheet.merge_cells(start_row=top + first, end_row=top + first + length - 1, start_column=column, end_column=column)
    book.save(folder / base.sheet)
    return Damaged(f"{length} cells of column {column} merged from row {first} on", base.truth)


def _bytes(rng: random.Random, base: Base, folder: Path) -> Damaged:
    """A file that is cut off, changed, of another kind, or a bomb."""
    path = folder / base.sheet
    content = path.read_bytes()
    kind = rng.choice(list(FILES))
    path.write_bytes(FILES[kind](rng, content))
    return Damaged(f"spreadsheet {kind}", base.truth)


def _flipped(rng: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.randrange(1, 20)):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def repacked(content: bytes, part: str, change: Callable[[bytes], bytes]) -> bytes:
    """A spreadsheet with another part in it."""
    with zipfile.ZipFile(io.BytesIO(content)) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    return _zip({name: change(old) if re.search(part, name) else old for name, old in parts.items()})


FAR = b'<row r="1048576"><c r="XFD1048576" t="inlineStr"><is><t>x</t></is></c></row></sheetData>'
LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + k, b"&%c;" % (97 + k) * 30) for k in range(8))
    + b"]><worksheet><sheetData><row><c><v>&i;</v></c></row></sheetData></worksheet>"
)
SHEETS = r"worksheets/sheet\d\.xml"
FILES: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "cut off": lambda rng, content: content[: int(len(content) * rng.random())],
    "with flipped bits": _flipped,
    "empty": lambda rng, content: b"",
    "of text": lambda rng, content: b"Subject,Filename\n1,EP01\n",
    "of zeros": lambda rng, content: bytes(5000),
    "an old .xls": lambda rng, content: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + content[:4096],
    "a web page": lambda rng, content: b"<html><table><tr><td>Subject</td></tr></table></html>",
    "an archive of something else": lambda rng, content: _zip({"x.txt": b"hello"}),
    "without its sheets": lambda rng, content: repacked(content, SHEETS, lambda old: b""),
    "with broken xml": lambda rng, content: repacked(content, SHEETS, lambda old: old[: int(len(old) * rng.random())]),
    "with a cell far away": lambda rng, content: repacked(
        content, SHEETS, lambda old: old.replace(b"</sheetData>", FAR)
    ),
    "that swells (entities)": lambda rng, content: repacked(content, SHEETS, lambda old: LAUGHS),
    "that swells (archive)": lambda rng, content: repacked(
        content, SHEETS, lambda old: old.replace(b"</sheetData>", b"<row></row>" * 30_000_000 + b"</sheetData>")
    ),
    "without styles": lambda rng, content: repacked(content, "styles", lambda old: b"<x/>"),
    "without relations": lambda rng, content: repacked(content, "rels", lambda old: b"<x/>"),
}


def _zip(parts: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _csv(rng: random.Random, base: Base, folder: Path) -> Damaged:
    """The table as text, in other encodings, with other separators, or damaged."""
    (folder / base.sheet).unlink()
    separator = rng.choice(",;\t|")
    lines = [[*base.titles], *base.rows]
    text = "\n".join(separator.join("" if cell is None else str(cell) for cell in line) for line in lines) + "\n"
    hurt = rng.choice(("no", "no", "quote", "nul", "cr", "short row", "long field", "line of rubbish", "blank lines"))
    rows, row = text.split("\n"), rng.randrange(1, len(lines))
    gone = frozenset([list(base.truth)[row - 1]] if hurt in ("nul", "short row") else [])
    if hurt == "quote":
        rows[row] = '"' + rows[row]
    elif hurt == "nul":
        rows[row] = rows[row][:2] + "\0" + rows[row][2:]
    elif hurt == "cr":
        rows = ["\r".join(rows)]
    elif hurt == "short row":
        rows[row] = rows[row].rsplit(separator, rng.randrange(1, 8))[0]
    elif hurt == "long field":
        rows[row] += separator + "x" * 200_000
    elif hurt == "line of rubbish":
        rows.insert(row, "".join(rng.choices("äöü,;\t'#0123", k=200)))
    elif hurt == "blank lines":
        rows[row:row] = ["", separator * 5, " "]
    encoding = rng.choice(("utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16", "utf-32"))
    (folder / base.sheet).with_suffix(".csv").write_bytes("\n".join(rows).encode(encoding, "replace"))
    return Damaged(f"csv, {separator!r}, {encoding}, damage: {hurt}", base.truth, gone=gone)


def sheet(rng: random.Random, base: Base, folder: Path) -> Damaged:
    """A damaged spreadsheet."""
    return rng.choice((_cell, _cell, _cell, _swap, _titles, _merged, _bytes, _bytes, _csv))(rng, base, folder)
