"""Flow images in the MEGC 2019 layout: `<subject>/u_test/<label>/<clip> .png`, one small picture a clip.

R, G, B hold horizontal flow, vertical flow and optical strain from onset to apex, each min-max scaled per clip. Many
names end in a space before `.png`. Where most clips have a second picture, `<clip>_1 .png`, that is the flow from apex
to offset, and each has two motion maps. The redundant `u_train` folders are not looked at. `subNN` is a subject of
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


def _second_maps(files: Sequence[Path]) -> dict[Path, Path]:
    """The picture <clip>_1 of each picture <clip> that has one, if most have."""
    named = {(path.parent, path.stem.strip()): path for path in files}
    pairs = ((path, named.get((folder, f"{name}_1"))) for (folder, name), path in named.items())
    found = {path: second for path, second in pairs if second}
    return found if 2 * len(found) > len(files) - len(found) else {}


def maps_of(path: Path) -> tuple[Path, ...]:
    """A flow image, and its clip's second if there is one beside it."""
    return (
        path,
        *(each for each in sorted(path.parent.glob("*.png")) if each.stem.strip() == f"{path.stem.strip()}_1"),
    )


def read(folder: Path, by: str = "emotion") -> tuple[list[Clip], list[Problem]]:
    """All clips, and files in label folders that are none of the task's, or in two of them."""
    clips, problems = [], []
    there: dict[str, Path] = {}
    doubled = {path for path in folder.iterdir() if path.is_symlink() and path.resolve().parent == folder.resolve()}
    files = [path for path in sorted(folder.glob("*/u_test/*/*")) if path.suffix.lower() == ".png"]
    files = [path for path in files if path.parents[2] not in doubled]  # else trained on when it is tested
    second = _second_maps(files)
    for path in (path for path in files if path not in {*second.values()}):
        subject, label, name = path.parts[-4], path.parts[-2], path.stem.strip()
        clip = f"{subject}/{name}"
        if label not in LABELS:
            problems.append(Problem(clip, f"its label folder must be 0, 1 or 2, but is {label!r}"))
        elif second and path not in second:
            problems.append(Problem(clip, f"it must have a second map {name}_1.png, as most clips have, but has none"))
        elif clip in there:
            problems.append(Problem(clip, f"it must be there once, but is {there[clip]} and {path}"))
        else:
            there[clip] = path
            maps = (path, second[path]) if second else (path,)
            clips.append(Clip(NAME, subject, name, LABELS[label], maps, 0, 0, 0, 0, source=_database(subject)))
    unclear = {problem.clip for problem in problems}  # none of its labels can be trusted
    return [clip for clip in clips if clip.id not in unclear], problems
