"""Flow images in the MEGC 2019 layout: `<subject>/u_test/<label>/<clip> .png`, one small picture a clip.

R, G, B hold horizontal flow, vertical flow and optical strain from onset to apex, each min-max scaled per clip. Many
names end in a space before `.png`. The redundant `u_train` folders are not looked at. `subNN` is a subject of
CASME II, `sNN` of SMIC, `0NN` of SAMM.
"""

import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from mer_search.data.clips import Clip, Problem
from mer_search.data.tasks import plain

NAME = "megc2019"
CLASSES = ("negative", "positive", "surprise")
LABELS = dict(zip("012", CLASSES, strict=True))  # label folder: class
TASKS = {"3": plain(*CLASSES)}
DATABASES = {r"sub\d+": "casme2", r"s\d+": "smic", r"0\d\d": "samm"}  # by subjects' names
FLAT = r"(sub\d+|s\d+|0\d\d)_.*\.png"  # of a folder of pictures alone: subject, then clip
LOOKED_AT = 10_000  # folders and files


def recognise(folder: Path, files: Sequence[Path]) -> bool:
    """Whether the folder looks like flow images: some subject has a `u_test` folder."""
    return next(folder.glob("*/u_test"), None) is not None


def nearby(folder: Path) -> str:
    """Where flow images lie in a folder that is not theirs: up to three levels deeper, or as a flat folder of pictures;
    "" where there are none."""
    for level in ("*", "*/*", "*/*/*"):
        for path in sorted(islice((path for path in folder.glob(f"{level}/*/u_test") if path.is_dir()), LOOKED_AT)):
            return f"flow images lie in {path.parents[1]}; give that folder"
    flat = next((path for path in islice(folder.glob("*.png"), LOOKED_AT) if re.fullmatch(FLAT, path.name)), None)
    if flat:
        return (
            f"{flat.name} looks like a flow image, but its label is not told by its place; they must lie as "
            f"<subject>/u_test/<0, 1 or 2>/{flat.name}"
        )
    return ""


def _database(subject: str) -> str:
    """The database that a subject is of; "" if its name does not tell."""
    return next((name for pattern, name in DATABASES.items() if re.fullmatch(pattern, subject)), "")


def read(folder: Path, by: str = "emotion") -> tuple[list[Clip], list[Problem]]:
    """All clips, and files in label folders that are none of the task's, or in two of them."""
    clips, problems = [], []
    there: dict[str, Path] = {}
    doubled = {path for path in folder.iterdir() if path.is_symlink() and path.resolve().parent == folder.resolve()}
    for path in sorted(path for path in folder.glob("*/u_test/*/*") if path.suffix.lower() == ".png"):
        if path.parents[2] in doubled:  # a subject under another name would be trained on when it is tested
            continue
        subject, label, name = path.parts[-4], path.parts[-2], path.stem.strip()
        clip = f"{subject}/{name}"
        if label not in LABELS:
            problems.append(Problem(clip, f"its label folder must be 0, 1 or 2, but is {label!r}"))
        elif clip in there:
            problems.append(Problem(clip, f"it must be there once, but is {there[clip]} and {path}"))
        else:
            there[clip] = path
            clips.append(Clip(NAME, subject, name, LABELS[label], (path,), 0, 0, 0, 0, source=_database(subject)))
    unclear = {problem.clip for problem in problems}  # none of its labels can be trusted
    return [clip for clip in clips if clip.id not in unclear], problems
