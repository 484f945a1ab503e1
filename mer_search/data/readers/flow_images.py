"""Flow images in the MEGC 2019 layout: `<subject>/u_test/<label>/<clip> .png`, one small picture a clip.

R, G, B hold horizontal flow, vertical flow and optical strain from onset to apex, each min-max scaled per clip. Many
names end in a space before `.png`. Where most clips have a second picture, `<clip>_1 .png`, that is the flow from apex
to offset, and each has two motion maps. The redundant `u_train` folders are not looked at. `subNN` is a subject of
CASME II, `sNN` of SMIC, `0NN` of SAMM.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mer_search.data.clips import Clip, Problem
from mer_search.data.dataset import THREE, Content, Dataset, plain

LABELS = dict(zip("012", THREE, strict=True))  # label folder: class
DATABASES = {r"sub\d+": "casme2", r"s\d+": "smic", r"0\d\d": "samm"}  # by subjects' names


@dataclass(frozen=True, kw_only=True)
class FlowImages(Dataset):
    """Clips that are finished motion maps."""

    def recognise(self, folder: Path, files: Sequence[Path]) -> bool:
        return next(folder.glob("*/u_test"), None) is not None

    def read(self, folder: Path, task: str) -> Content:
        clips, problems = [], []
        there: dict[str, Path] = {}
        doubled = {path for path in folder.iterdir() if path.is_symlink() and path.resolve().parent == folder.resolve()}
        files = [path for path in sorted(folder.glob("*/u_test/*/*")) if path.suffix.lower() == ".png"]
        files = [path for path in files if path.parents[2] not in doubled]  # else trained on when it is tested
        second = {maps[0]: maps[1] for path in files if len(maps := maps_of(path)) > 1}
        if 2 * len(second) <= len(files) - len(second):
            second = {}
        for path in (path for path in files if path not in {*second.values()}):
            subject, label, name = path.parts[-4], path.parts[-2], path.stem.strip()
            clip = f"{subject}/{name}"
            if label not in LABELS:
                problems.append(Problem(clip, f"its label folder must be 0, 1 or 2, but is {label!r}"))
            elif second and path not in second:
                problems.append(
                    Problem(clip, f"it must have a second map {name}_1.png, as most clips have, but has none")
                )
            elif clip in there:
                problems.append(Problem(clip, f"it must be there once, but is {there[clip]} and {path}"))
            else:
                there[clip] = path
                maps = (path, second[path]) if second else (path,)
                database = next((name for pattern, name in DATABASES.items() if re.fullmatch(pattern, subject)), "")
                clips.append(Clip(self.name, subject, name, LABELS[label], maps, 0, 0, 0, 0, source=database))
        unclear = {problem.clip for problem in problems}  # none of its labels can be trusted
        return [clip for clip in clips if clip.id not in unclear], problems, {}


FLOW_IMAGES = FlowImages(name="megc2019", title="MEGC 2019 flow images", tasks={"3": plain(*THREE)}, flow_images=True)


def maps_of(path: Path) -> tuple[Path, ...]:
    """A flow image, and its clip's second if there is one beside it."""
    name = f"{path.stem.strip()}_1"
    files = sorted(each for each in path.parent.iterdir() if each.suffix.lower() == ".png")
    return path, *(each for each in files if each.stem.strip() == name)


def nearby(folder: Path) -> str:
    """Where flow images lie in a folder that is not theirs, up to three levels deeper; "" where there are none."""
    deeper = (path for level in ("*", "*/*", "*/*/*") for path in sorted(folder.glob(f"{level}/*/u_test")))
    return next((f"flow images lie in {path.parents[1]}; give that folder" for path in deeper if path.is_dir()), "")
