"""Tasks: which emotions of a dataset are told apart, and as which classes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mer_search.data.clips import Clip, Problem


@dataclass(frozen=True)
class Task:
    """A classification task: K classes in order, and the class of every emotion that is part of it."""

    classes: tuple[str, ...]
    table: Mapping[str, str]  # emotion: class; an emotion that is not here is left out
    without: frozenset[str] = frozenset()  # ids of clips, in lower case, that the task leaves out all the same
    by: str = "emotion"  # or "objective": the field of a reader's row that `table` is about


def plain(*classes: str) -> Task:
    """The task in which every class is an emotion of that name."""
    return Task(classes, {name: name for name in classes})


def valence(*negative: str) -> Task:
    """The task of negative, positive and surprise, as of MEGC 2019, with the emotions that are negative."""
    table = dict.fromkeys(negative, "negative") | {"happiness": "positive", "surprise": "surprise"}
    return Task(("negative", "positive", "surprise"), table)


def objective(*classes: str) -> Task:
    """The task of the objective classes, which go by action units and not by what was felt.

    Source: Davison, Merghani, Yap, "Objective Classes for Micro-Facial Expression Recognition", J. Imaging 2018.
    """
    return Task(classes, {name.lower(): name for name in classes}, by="objective")


OBJECTIVE = {  # the tasks that go by objective classes; the first is MEGC 2018's
    "objective-5": objective("I", "II", "III", "IV", "V"),
    "objective-7": objective("I", "II", "III", "IV", "V", "VI", "VII"),
}
ROMAN = dict(zip("1234567", OBJECTIVE["objective-7"].table, strict=True))  # as a spreadsheet with numbers spells them


def assign(
    clips: Sequence[Clip], problems: Sequence[Problem], tasks: Mapping[str, Task], name: str
) -> tuple[list[Clip], list[Problem]]:
    """The clips of a task, labelled with their class, and the problems that concern it.

    Args:
        clips: a reader's, labelled with their emotion.
        problems: a reader's.
        tasks: all tasks of the dataset; an emotion that none of them knows is a problem.
        name: one of `tasks`.
    """
    task = tasks[name]
    known = {emotion for each in tasks.values() if each.by == task.by for emotion in each.table}
    chosen = [
        replace(clip, label=task.table[clip.label])
        for clip in clips
        if clip.label in task.table and clip.id.lower() not in task.without
    ]
    strange = [
        Problem(
            clip.id,
            f"label must be one of {', '.join(sorted(known))}, but is {clip.label!r}; correct the annotation",
            label=clip.label,
        )
        for clip in clips
        if clip.label not in known
    ]
    unknown = {problem.clip for problem in strange}  # that it was mended too is of no interest
    concerned = [
        problem
        for problem in problems
        if (problem.label in task.table or problem.label not in known)
        and problem.clip.lower() not in task.without
        and problem.clip not in unknown
    ]
    return chosen, [*concerned, *strange]


def outside_of(clips: Sequence[Clip], task: Task) -> dict[str, int]:
    """Emotion -> how many of a reader's clips are no part of the task."""
    return dict(Counter(c.label for c in clips if c.label not in task.table or c.id.lower() in task.without))
