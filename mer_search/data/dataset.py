"""What is known of a dataset before looking at a folder: its tasks, published lists of subjects, and how it is read."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mer_search.data.clips import Clip, Problem


@dataclass(frozen=True)
class Task:
    """A classification task: K classes in order, and the class of every emotion that is part of it."""

    classes: tuple[str, ...]
    table: Mapping[str, str]  # emotion: class; an emotion that is not here is left out
    without: frozenset[str] = frozenset()  # ids of clips, in lower case, that the task leaves out all the same
    by: str = "emotion"  # or "objective": the field of an annotation's row that `table` is about


def plain(*classes: str) -> Task:
    """The task in which every class is an emotion of that name."""
    return Task(classes, {name: name for name in classes})


THREE = ("negative", "positive", "surprise")  # MEGC 2019's classes, 0, 1 and 2 in its lists


def valence(*negative: str) -> Task:
    """MEGC 2019's task, with the emotions that are negative."""
    return Task(THREE, dict.fromkeys(negative, "negative") | {"happiness": "positive", "surprise": "surprise"})


# Objective classes go by action units and not by what was felt; I to V are MEGC 2018's. Source: Davison, Merghani, Yap,
# "Objective Classes for Micro-Facial Expression Recognition", J. Imaging 2018.
NUMERALS = ("I", "II", "III", "IV", "V", "VI", "VII")
OBJECTIVE = {
    f"objective-{count}": Task(NUMERALS[:count], {name.lower(): name for name in NUMERALS[:count]}, by="objective")
    for count in (5, 7)
}

Content = tuple[list[Clip], list[Problem], Mapping[str, int]]  # the last: emotion outside a task -> rows that have it


@dataclass(frozen=True, kw_only=True)
class Dataset(ABC):
    """A dataset, whose readers are subclasses."""

    name: str  # that its clips have
    title: str
    tasks: Mapping[str, Task]  # by their number of classes; the first is taken where none is named
    hardest: tuple[str, ...] = ()  # the published list of subjects; () where there is none
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # other published lists, by their names
    flow_images: bool = False  # clips are finished motion maps, without an onset image

    @abstractmethod
    def recognise(self, folder: Path, files: Sequence[Path]) -> bool:
        """Whether a folder with these tables looks like this dataset."""

    @abstractmethod
    def read(self, folder: Path, task: str) -> Content:
        """The clips of a task, labelled with their class, what is wrong with them, and which were left out.

        Raises:
            DataError: if the folder cannot be used at all.
        """

    def source(self, folder: Path) -> str:
        """Which spreadsheet is read, if one is."""
        return ""
