"""Clip, and what is found wrong with clips."""

import difflib
import hashlib
import re
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

    def __str__(self) -> str:
        return f"{self.clip}: {self.what} ({'used' if self.usable else 'left out'})"


def subject_number(subject: str) -> int | None:
    """The number at the end of a subject's name; None if there is none."""
    digits = re.search(r"(?<!\d)\d{1,9}$", subject)
    return int(digits[0]) if digits else None


def similar_ids(text: str, clips: Sequence[Clip]) -> list[str]:
    """The ids of clips that are most like a text: of the subject whose name or number it begins with, else of all."""
    subject, slash, _ = text.partition("/")
    names = {subject, subject_number(subject)} - {None} if slash else set()
    own = [clip.id for clip in clips if names & {clip.subject, subject_number(clip.subject)}]
    return difflib.get_close_matches(text, own or [clip.id for clip in clips], n=3, cutoff=0)


def enough(clips: Sequence[Clip]) -> bool:
    """Whether somebody can be left out and something be told apart: two subjects at least, and two classes."""
    return len({clip.subject for clip in clips}) > 1 and len({clip.label for clip in clips}) > 1


def checksum(clips: Sequence[Clip]) -> str:
    """16 hexadecimal digits of the clips' names, labels, frame numbers and action units, whatever their order."""
    rows = []
    for clip in clips:
        onset, apex, offset = clip.numbers or (clip.onset, clip.apex, clip.offset)
        units = "+".join(clip.action_units)
        row = f"{clip.dataset} {clip.subject} {clip.name} {clip.label} {onset} {apex} {offset} {units}"
        rows.append(row.rstrip())  # as it was before action units were taken in, where there are none
    return hashlib.sha256("\n".join(sorted(rows)).encode()).hexdigest()[:16]


def with_landmarks(clip: Clip, folder: Path) -> Clip:
    """The clip with `<folder>/landmarks/<its id>.csv`, if there is such a file."""
    path = folder / "landmarks" / f"{clip.id}.csv"
    return replace(clip, landmarks=path) if path.is_file() else clip


def counts(clips: Sequence[Clip], classes: Sequence[str]) -> dict[str, list[int]]:
    """Clips per class, in the order of `classes`, for each subject in order of name."""
    table = Counter((clip.subject, clip.label) for clip in clips)
    return {name: [table[name, label] for label in classes] for name in sorted({clip.subject for clip in clips})}
