"""A folder on disk becomes clips. A dataset is declared facts and a reader: `folder -> clips and problems`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mer_search.config import Data, Run, with_values
from mer_search.data.clips import Clip, Problem, checksum, presentable, with_landmarks
from mer_search.data.readers import casme2, casme3, composite, dfme, flow_images, mmew, samm, smic
from mer_search.data.readers.annotation import TABLES, Layout, tables
from mer_search.data.synthetic import dataset as synthetic
from mer_search.data.tasks import Task, assign, outside_of
from mer_search.errors import DataError, UsageError

NAMED = 4  # tables that a message names


@dataclass(frozen=True)
class Dataset:
    """What is known of a dataset before looking at a folder."""

    title: str
    tasks: Mapping[str, Task]  # by their number of classes; the first is taken where none is named
    recognise: Callable[[Path, Sequence[Path]], bool]  # by a folder and the tables in it
    read: Callable[[Path, str], tuple[list[Clip], list[Problem]]]  # all clips, labelled with what a task is by
    hardest: tuple[str, ...] = ()  # the published list; () where there is none
    lists: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # other published lists of subjects, by their names
    flow_images: bool = False  # clips are finished motion maps, without an onset image
    source: Callable[[Path], str] = lambda _: ""  # which spreadsheet is read, if one is
    layout: Layout | None = None  # of a spreadsheet and folders of frames


def _annotated(layout: Layout, tasks: Mapping[str, Task], **lists: Any) -> Dataset:
    """The dataset that a spreadsheet and folders of frames make."""
    return Dataset(layout.title, tasks, layout.recognise, layout.read, source=layout.source, layout=layout, **lists)


DATASETS: dict[str, Dataset] = {  # in the order in which they are recognised: a composite's parts are datasets too
    composite.NAME: Dataset(
        "MEGC 2019 composite", composite.TASKS, composite.recognise, composite.read, source=composite.source
    ),
    composite.MIXED: Dataset(
        "composite of several datasets", composite.TASKS, composite.mixed, composite.read, source=composite.source
    ),
    casme2.NAME: _annotated(casme2.LAYOUT, casme2.TASKS, hardest=casme2.HARDEST, lists=casme2.LISTS),
    samm.NAME: _annotated(samm.LAYOUT, samm.TASKS),
    mmew.NAME: _annotated(mmew.LAYOUT, mmew.TASKS),
    casme3.NAME: _annotated(casme3.LAYOUT, casme3.TASKS),
    dfme.NAME: _annotated(dfme.LAYOUT, dfme.TASKS),
    smic.NAME: _annotated(smic.LAYOUT, smic.TASKS),
    flow_images.NAME: Dataset(
        "MEGC 2019 flow images", flow_images.TASKS, flow_images.recognise, flow_images.read, flow_images=True
    ),
}


@dataclass(frozen=True)
class Folder:
    """What a dataset's folder holds for a task."""

    path: Path
    name: str  # in DATASETS
    task: str  # in the dataset's tasks
    clips: tuple[Clip, ...] = field(repr=False)
    problems: tuple[Problem, ...] = field(repr=False)
    synthetic: bool
    outside: Mapping[str, int]  # emotion: how many clips are left out because it is no part of the task
    source: str = ""  # the spreadsheet that was read

    @property
    def dataset(self) -> Dataset:
        return DATASETS[self.name]

    @property
    def other_task(self) -> str:
        """Its task, if that is not the dataset's first, which is taken where none is named; else ""."""
        return "" if self.task == next(iter(self.dataset.tasks)) else self.task

    @property
    def subjects(self) -> tuple[str, ...]:
        """The subjects of the clips."""
        return tuple(sorted({clip.subject for clip in self.clips}))

    @property
    def classes(self) -> tuple[str, ...]:
        """The task's classes, in order."""
        return self.dataset.tasks[self.task].classes

    @property
    def emotions(self) -> dict[str, dict[str, list[str]]]:
        """Database -> class of the task -> what it is made of, where that has other names."""
        tables = {name: DATASETS[name].tasks[self.task].table for name in sorted({clip.dataset for clip in self.clips})}
        made = {
            name: {kind: [each for each in table if table[each] == kind] for kind in self.classes}
            for name, table in tables.items()
        }
        return {
            name: kinds
            for name, kinds in made.items()
            if any([kind.lower()] != [each.lower() for each in some] for kind, some in kinds.items())
        }

    @property
    def title(self) -> str:
        kind = "" if (by := self.dataset.tasks[self.task].by) == "emotion" else f"{by} "
        return f"{self.dataset.title}, {len(self.classes)} {kind}classes{' (synthetic)' if self.synthetic else ''}"


def open_folder(path: Path, task: str = "") -> Folder:
    """Find out which dataset a folder is and read the clips of a task; "" is the dataset's first.

    Raises:
        DataError: if there is no such folder, no reader knows it, or it holds no clip at all.
        UsageError: if the dataset has no such task.
    """
    if not path.is_dir():
        raise DataError(f"the data must be a folder, but {path} {'is a file' if path.exists() else 'does not exist'}")
    files = tables(path)
    for name, dataset in DATASETS.items():
        if dataset.recognise(path, files):
            if task and task not in dataset.tasks:
                raise UsageError(
                    f"a task of {dataset.title} must be one of {', '.join(dataset.tasks)} (numbers of classes), but "
                    f"got {task!r}; give --task with one of them"
                )
            task = task or next(iter(dataset.tasks))
            by = dataset.tasks[task].by
            read, wrong = dataset.read(path, by)
            read, strange = presentable(read)
            clips, problems = assign(read, [*wrong, *strange], dataset.tasks, task)
            outside = outside_of(read, dataset.tasks[task])
            if not clips and not problems:
                raise DataError(f"{path} looks like {dataset.title}, but holds no clip of the task {task!r}")
            known = tuple(with_landmarks(clip, path) for clip in clips)
            drawn = (path / synthetic.MARKER).exists()
            return Folder(path, name, task, known, tuple(problems), drawn, outside, dataset.source(path))
    raise _unknown(path)


def _unknown(path: Path) -> DataError:
    """What to do about a folder that no reader knows: point at another, or rename the spreadsheet that it has."""
    if hint := flow_images.nearby(path):
        return DataError(f"the data must be a known dataset's folder, but {path} is none: {hint}")
    found = tables(path, {*TABLES, ".xls", ".ods"})[:NAMED]
    layouts = [dataset.layout for dataset in DATASETS.values() if dataset.layout]
    if not found:
        return DataError(
            f"the data must be a known dataset's folder, but {path} has neither a CASME2-coding spreadsheet, one of "
            f"{', '.join(layout.title for layout in layouts[1:])}, sub-folders with two of them, "
            "nor <subject>/u_test folders of flow images; point at the folder that holds them"
        )
    fitting = [layout for layout in layouts if any(layout.fits(each) for each in found)]
    ending = found[0].suffix.lower() if found[0].suffix.lower() in TABLES else ".xlsx"
    offered = [layout for layout in fitting or layouts if layout.file]
    names = [f"{Path(layout.file).with_suffix(ending)} if it is {layout.title}'s" for layout in offered]
    return DataError(
        f"the data must be a known dataset's folder, but {path} has no spreadsheet of a known name, only "
        f"{', '.join(str(each.relative_to(path)) for each in found)}; rename the annotation to {', '.join(names)} "
        f"(saved as .xlsx or .csv, with {'these' if fitting else 'the published'} columns)"
    )


def fit(run: Run, folder: Folder, clips: Sequence[Clip]) -> Run:
    """The run with its Data part taken from what was read.

    Raises:
        UsageError: if the run asks for another task than the folder was opened for, of flow images what they do not
            have, for more subjects to be held out than can be spared, or of one database to leave it out.
    """
    if run.data.task not in ("", folder.task):
        raise UsageError(
            f"data.task must be {folder.task!r}, for which {folder.path} was opened, but is {run.data.task!r}; a task "
            "cannot vary within a study"
        )
    if folder.dataset.flow_images:
        maps = min((len(clip.frames) for clip in clips), default=1)
        needed = {
            "frames.maps": (run.frames.maps, range(1, maps + 1), "1" if maps == 1 else f"1 to {maps}"),
            "model.position": (run.model.position, [False], "False"),
            "flow.method": (run.flow.method, ["farneback"], "farneback"),
            "frames.crops": (run.frames.crops, [0], "0"),
        }
        wrong = {key: must for key, (found, allowed, must) in needed.items() if found not in allowed}
        if wrong:
            have = "one motion map" if maps == 1 else f"{maps} motion maps"
            asked = " and ".join(f"{key} must be {must}, but is {needed[key][0]}" for key, must in wrong.items())
            values = " ".join(f"--set {key}={must.split()[-1].lower()}" for key, must in wrong.items())
            raise UsageError(
                f"flow images have {have} and no frames, so {asked}; set that in the study file, or of a published "
                f"network with {values}"
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
