"""A folder on disk becomes clips."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mer_search.config import Data, Run, value_at, with_values
from mer_search.data.clips import Clip, Problem, checksum, subject_number
from mer_search.data.dataset import Dataset
from mer_search.data.readers.annotation import OTHER_TABLES, TABLES, tables, without_zeros
from mer_search.data.readers.composite import COMPOSITE, MIXED
from mer_search.data.readers.flow_images import FLOW_IMAGES, nearby
from mer_search.data.readers.layouts import LAYOUTS
from mer_search.data.synthetic.dataset import MARKER
from mer_search.errors import DataError, UsageError

# In the order in which they are recognised: a composite's parts are datasets too.
DATASETS: dict[str, Dataset] = {each.name: each for each in (COMPOSITE, MIXED, *LAYOUTS.values(), FLOW_IMAGES)}


@dataclass(frozen=True)
class Folder:
    """What a dataset's folder holds for a task."""

    path: Path
    dataset: Dataset
    task: str  # in the dataset's tasks
    clips: tuple[Clip, ...] = field(repr=False)
    problems: tuple[Problem, ...] = field(repr=False)
    synthetic: bool
    outside: Mapping[str, int]  # emotion that is no part of the task: how many rows of the annotation have it
    source: str = ""  # the spreadsheet that was read

    @property
    def name(self) -> str:
        """The dataset's, in DATASETS."""
        return self.dataset.name

    @property
    def other_task(self) -> str:
        """Its task, if that is not the dataset's first, which is taken where none is named; else ""."""
        return "" if self.task == next(iter(self.dataset.tasks)) else self.task

    @property
    def subjects(self) -> tuple[str, ...]:
        """The subjects of the clips."""
        return tuple(sorted({clip.subject for clip in self.clips}))

    @property
    def subjects_without_clips(self) -> list[str]:
        """The subjects all of whose clips are left out."""
        owners = (each.clip.partition("/") for each in self.problems if not each.usable)
        return sorted({subject for subject, slash, _ in owners if slash} - set(self.subjects))

    @property
    def classes(self) -> tuple[str, ...]:
        """The task's classes, in order."""
        return self.dataset.tasks[self.task].classes

    @property
    def title(self) -> str:
        kind = "" if (by := self.dataset.tasks[self.task].by) == "emotion" else f"{by} "
        return f"{self.dataset.title}, {len(self.classes)} {kind}classes{' (synthetic)' if self.synthetic else ''}"


def open_folder(path: Path, task: str = "") -> Folder:
    """Find out which dataset a folder is and read the clips of a task; "" is the dataset's first."""
    if not path.is_dir():
        raise DataError(f"the data must be a folder, but {path} {'is a file' if path.exists() else 'does not exist'}")
    files = tables(path)
    dataset = next((each for each in DATASETS.values() if each.recognise(path, files)), None)
    if dataset is None:
        known = ", ".join(f"{layout.file} ({layout.title})" for layout in LAYOUTS.values())
        found = ", ".join(str(file.relative_to(path)) for file in tables(path, {*TABLES, *OTHER_TABLES})[:4])
        todo = (
            f"rename {found} to the one whose columns it has, saved as .xlsx or .csv" if found else "correct the path"
        )
        needed = (
            f"it needs one of the spreadsheets {known}, sub-folders with two of them, or flow images as "
            f"<subject>/u_test/<0, 1 or 2>/<clip>.png; {todo}"
        )
        raise DataError(f"the data must be a known dataset's folder, but {path} is none: {nearby(path) or needed}")
    if task and task not in dataset.tasks:
        raise UsageError(
            f"a task of {dataset.title} must be one of {', '.join(dataset.tasks)} (numbers of classes), but "
            f"got {task!r}; give --task with one of them"
        )
    task = task or next(iter(dataset.tasks))
    clips, problems, outside = dataset.read(path, task)
    if not clips and not problems:
        raise DataError(f"{path} looks like {dataset.title}, but holds no clip of the task {task!r}")
    # Names are printed, written to tables and made files' names of: no control characters, no bytes that are no text.
    what = "its subject and name must be printable text; rename them"
    problems += [Problem(clip.id, what) for clip in clips if not clip.id.isprintable()]
    return Folder(
        path,
        dataset,
        task,
        tuple(clip for clip in clips if clip.id.isprintable()),
        tuple(each if each.clip.isprintable() else replace(each, clip=ascii(each.clip)[1:-1]) for each in problems),
        _is_drawn(path, clips),
        outside,
        dataset.source(path),
    )


def _is_drawn(path: Path, clips: Sequence[Clip]) -> bool:
    """Whether a folder is marked as synthetic, or one that holds some of its clips, to which links may lead."""
    folders = {clip.frames[0].parent for clip in clips}
    places = {path, *(above for folder in folders for above in folder.resolve().parents)}
    return any((place / MARKER).exists() for place in places)


def shared_subjects(clips: Sequence[Clip], dataset: str, names: Sequence[str]) -> tuple[str, ...]:
    """The subjects of clips who are those of these names, or of these databases, in another dataset: by their names in
    the same database or where that dataset has several, and by their numbers, too, where it is not known of which
    database they are."""
    spelt, numbers = set(map(without_zeros, names)), {subject_number(name) for name in names} - {None}

    def is_one(clip: Clip) -> bool:
        named = bool(spelt & {without_zeros(clip.subject), clip.database})
        if clip.database not in LAYOUTS:
            return named or subject_number(clip.subject) in numbers
        return named and (dataset not in LAYOUTS or clip.database == dataset)

    return tuple({clip.subject: clip for clip in clips if is_one(clip)})


def fit(run: Run, folder: Folder, clips: Sequence[Clip]) -> Run:
    """The run with its Data part taken from what was read; a UsageError if it asks for what the clips do not have."""
    if run.data.task not in ("", folder.task):
        raise UsageError(
            f"data.task must be {folder.task!r}, for which {folder.path} was opened, but is {run.data.task!r}; a task "
            "cannot vary within a study"
        )
    if folder.dataset.flow_images:
        maps = min((len(clip.frames) for clip in clips), default=1)
        must = {"frames.maps": min(run.frames.maps, maps), "model.position": False, "flow.method": "farneback",
                "frames.crops": 0}  # fmt: skip
        if wrong := {key: json.dumps(value) for key, value in must.items() if value_at(run, key) != value}:
            found = ", ".join(f"{key} is {json.dumps(value_at(run, key))}" for key in wrong)
            needed = " and ".join(f"{key} must be {value}" for key, value in wrong.items())
            raise UsageError(
                f"flow images have {maps} motion map{'s' * (maps > 1)} and no frames, so that {needed}, but "
                f"{found}; take the study megc2019, or set that: "
                f"{' '.join(f'--set {key}={value}' for key, value in wrong.items())}"
            )
    left_out = run.data.leave_out
    folds = {clip.fold(left_out) for clip in clips}
    if len(folds) < 2 and left_out == "database":
        raise UsageError(
            f'data.leave_out = "database" needs clips of two databases, but {folder.path} has those of '
            f"{', '.join(folds) or 'none'}; put the folders of two beside each other into one, and give that"
        )
    others = min((len({clip.subject for clip in clips if clip.fold(left_out) != fold}) for fold in folds), default=0)
    if run.train.val_subjects and run.train.val_subjects > others - 2:
        raise UsageError(
            f"train.val_subjects must leave two of the {others} subjects that a fold does not test to train on, but is "
            f"{run.train.val_subjects}; set it to {max(0, others - 2)}{' or less' * (others > 2)}"
        )
    data = Data(
        dataset=folder.name, task=folder.task, classes=folder.classes, checksum=checksum(clips), leave_out=left_out
    )
    return with_values(run, {f"data.{key}": value for key, value in data})
