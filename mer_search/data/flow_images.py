"""Flow images in the MEGC 2019 layout: `<subject>/u_test/<label>/<clip> .png`, one small picture a clip.

R, G, B hold horizontal flow, vertical flow and optical strain from onset to apex, each min-max scaled per clip. Many
names end in a space before `.png`. The redundant `u_train` folders are not looked at. `subNN` is a subject of
CASME II, `sNN` of SMIC, `0NN` of SAMM.
"""

from pathlib import Path

from mer_search.data.clips import Clip, Problem
from mer_search.data.tasks import plain

NAME = "megc2019"
CLASSES = ("negative", "positive", "surprise")  # label folders 0, 1, 2
TASKS = {"3": plain(*CLASSES)}


def recognise(folder: Path) -> bool:
    """Whether the folder looks like flow images: some subject has a `u_test` folder."""
    return next(folder.glob("*/u_test"), None) is not None


def read(folder: Path) -> tuple[list[Clip], list[Problem]]:
    """All clips, and files in label folders that are none of the task's."""
    clips, problems = [], []
    for path in sorted(folder.glob("*/u_test/*/*.png")):
        subject, label, name = path.parts[-4], path.parts[-2], path.stem.strip()
        if label.isdigit() and int(label) < len(CLASSES):
            clips.append(Clip(NAME, subject, name, CLASSES[int(label)], (path,), 0, 0, 0, 0))
        else:
            problems.append(Problem(f"{subject}/{name}", f"its label folder must be 0, 1 or 2, but is {label!r}"))
    return clips, problems
