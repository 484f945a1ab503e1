"""Clip, and what is found wrong with clips."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Clip:
    """One micro-expression: facts from the dataset's annotation, and where its frames lie.

    Frame numbers are the annotation's. `frames[k]` is the file of frame `onset + k`; a clip of flow images has a file
    for each of its motion maps, and onset = apex = offset = 0. A clip of which only the onset, apex and offset frames
    are there has the frames 0, 1 and 2, and `numbers` are the annotation's.
    """

    dataset: str
    subject: str
    name: str
    label: str
    frames: tuple[Path, ...]
    onset: int
    apex: int | None  # None where the annotation gives none
    offset: int
    fps: int
    action_units: tuple[str, ...] = ()  # as annotated: "4", "R10", "?"
    processed: bool = False  # the frames are denoised and masked already
    landmarks: Path | None = None  # OpenFace's CSV of the frames' folder
    numbers: tuple[int, ...] = ()  # of `frames`, where they are the onset, apex and offset alone
    source: str = ""  # the database that a clip is of, where `dataset` is a composite's flow images

    def annotated(self, number: int) -> int:
        """A frame's number as the annotation has it."""
        return self.numbers[number] if self.numbers else number

    @property
    def id(self) -> str:
        return f"{self.subject}/{self.name}"

    @property
    def is_flow(self) -> bool:
        """Whether its files are finished motion maps."""
        return self.offset == self.onset

    @property
    def database(self) -> str:
        """The database that it is of: its dataset, or a part of that."""
        return self.source or self.dataset

    def fold(self, leave_out: str) -> str:
        """The name of the fold that tests it: its subject's or its database's."""
        return self.database if leave_out == "database" else self.subject


@dataclass(frozen=True)
class Problem:
    """Something wrong with a clip. An unusable clip is left out of every run; a usable one was mended as said."""

    clip: str
    what: str
    usable: bool = False
    label: str = ""  # the clip's emotion, where it is known

    def __str__(self) -> str:
        return f"{self.clip}: {self.what} ({'used' if self.usable else 'left out'})"


def enough(clips: Sequence[Clip]) -> bool:
    """Whether somebody can be left out and something be told apart: two subjects at least, and two classes."""
    return len(subjects(clips)) > 1 and len({clip.label for clip in clips}) > 1


def presentable(clips: Sequence[Clip]) -> tuple[list[Clip], list[Problem]]:
    """The clips whose names can be printed, written to a table and made a file's name of, and what is wrong with the
    others: control characters, or bytes that are no text."""
    strange = [clip for clip in clips if not clip.id.isprintable()]
    what = "its subject and name must be printable text; rename them"
    return [clip for clip in clips if clip not in strange], [
        Problem(ascii(clip.id)[1:-1], what, label=clip.label) for clip in strange
    ]


def checksum(clips: Sequence[Clip]) -> str:
    """16 hexadecimal digits of the clips' names, labels, frame numbers and action units.

    Neither the order of the clips nor their folder matters. Clips without action units, such as flow images, keep the
    checksum that they had before action units were taken in.
    """
    moments = [c.numbers or (c.onset, c.apex, c.offset) for c in clips]
    rows = sorted(
        f"{c.dataset} {c.subject} {c.name} {c.label} {onset} {apex} {offset} {'+'.join(c.action_units)}".rstrip()
        for c, (onset, apex, offset) in zip(clips, moments, strict=True)
    )
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]


def with_landmarks(clip: Clip, folder: Path) -> Clip:
    """The clip with `<folder>/landmarks/<its id>.csv`, if there is such a file."""
    path = folder / "landmarks" / f"{clip.id}.csv"
    return replace(clip, landmarks=path) if path.is_file() else clip


def counts(clips: Sequence[Clip], classes: Sequence[str]) -> dict[str, list[int]]:
    """Clips per class, in the order of `classes`, for each subject in order of name."""
    table = Counter((c.subject, c.label) for c in clips)
    return {subject: [table[subject, label] for label in classes] for subject in subjects(clips)}


def subjects(clips: Sequence[Clip]) -> list[str]:
    """The subjects' names, sorted."""
    return sorted({c.subject for c in clips})
