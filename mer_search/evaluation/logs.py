"""Logs of predictions, whichever program wrote them: MEGC 2019's format, and tables with a row for each clip."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise, product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mer_search.data.readers.annotation import number
from mer_search.data.readers.tables import read_table
from mer_search.errors import DataError
from mer_search.evaluation.predictions import Predictions

TITLES = {  # field of Row: a column's title in lower case, without spaces and signs
    "subject": {"subject", "subjects", "sub", "subj", "subjectid", "subjectname", "person", "participant"},
    "clip": {"clip", "clipname", "clipid", "filename", "file", "video", "videoname", "sample", "sampleid"},
    "truth": {
        "truth", "groundtruth", "gt", "label", "truelabel", "true", "ytrue", "target", "actual", "emotion",
        "estimatedemotion",
    },
    "prediction": {
        "prediction", "predictions", "predicted", "pred", "ypred", "predlabel", "predictedlabel", "predictedemotion",
        "output",
    },
    "epoch": {"epoch", "epochs"},
}  # fmt: skip
NO_EPOCH = -1
MAX_CLASSES = 30  # of more, a column is not what it is taken for: no dataset has as many
FORMATS = "a table needs the titles subject, clip, truth and prediction, MEGC 2019's log a first line `casme2 sub01`"

Cells = Sequence[tuple[int, list[str]]]  # numbers of lines, from 1, and what stands in each


class Row(NamedTuple):
    """What a log says of a clip."""

    line: int
    epoch: int  # NO_EPOCH where the log has none
    subject: str
    clip: str
    truth: str
    prediction: str

    @property
    def id(self) -> str:
        """As a dataset names the clip: "sub05/EP02_01f"."""
        return f"{self.subject}/{self.clip}"


@dataclass(frozen=True)
class Log:
    """Predictions of all subjects. A fold's probabilities are 1 for the class that was predicted, and 0."""

    name: str
    classes: tuple[str, ...]  # K that are a clip's or predicted, in order
    epochs: tuple[int, ...]  # E; () where the log has none, and the folds have one
    folds: tuple[Predictions, ...]  # one for each subject; clips "sub05/EP02_01f"
    last: tuple[Row, ...]  # what it says after the last epoch


def read_log(path: Path) -> Log:
    """The log in a file: .xlsx, or text in any encoding with commas, semicolons, tabs or MEGC 2019's spaces."""
    if not path.exists():
        raise DataError(f"there must be a log of predictions at {path}, but there is no such file; correct the path")
    try:
        table = read_table(path)
    except DataError as error:
        raise DataError(f"{error}; {FORMATS}") from error
    stripped = [(line, [cell.strip() for cell in row]) for line, row in enumerate(table, 1)]
    cells = [(line, row) for line, row in stripped if any(row)]
    try:
        if not cells:
            raise ValueError(f"is empty; {FORMATS}")
        titles = cells[0][1]
        is_table = len(titles) > 2 or any(map(_field, titles))
        return _log(str(path), list(map(_checked, _table(cells) if is_table else _megc(cells))))
    except ValueError as error:
        raise DataError(f"{path} must be a log of predictions, but {error}") from error


def _field(title: str) -> str | None:
    """Which field a column of that title has."""
    word = re.sub(r"[\W_]", "", title.lower())
    return next((field for field, titles in TITLES.items() if word in titles), None)


def _table(cells: Cells) -> Iterator[Row]:
    (_, titles), *rows = cells
    fields = list(map(_field, titles))
    shown = f"its columns are {', '.join(filter(None, titles))}"
    if missing := [field for field in TITLES if field not in fields and field != "epoch"]:
        raise ValueError(f"{shown}, without {' and '.join(missing)}; {FORMATS}")
    if twice := [field for field in TITLES if fields.count(field) > 1]:
        raise ValueError(f"{shown}, of which {fields.count(twice[0])} may be the {twice[0]}; leave one")
    for line, row in rows:
        if any(row[len(titles) :]):
            raise ValueError(f"line {line} has {len(row)} cells, and there are {len(titles)} columns")
        padded = row + [""] * (len(titles) - len(row))
        values = {field: padded[fields.index(field)] for field in TITLES if field in fields}
        epoch = number(values.pop("epoch")) if "epoch" in values else NO_EPOCH
        if epoch is None:
            raise ValueError(f"the epoch on line {line} is no whole number: {padded[fields.index('epoch')]!r:.50}")
        yield Row(line, epoch, **values)


def _megc(cells: Cells) -> Iterator[Row]:
    """Lines "casme2 sub01", each followed by its clips: name, truth, prediction."""
    lines = [(line, " ".join(row).split()) for line, row in cells]
    heads = [(words[0], words[1]) for _, words in lines if len(words) == 2]
    of_dataset, of_name = Counter(head[0] for head in heads), Counter(head[1] for head in set(heads))
    labels = {word for _, words in lines if len(words) > 2 for word in words[-2:]}
    subject = ""
    for (line, words), (_, after) in pairwise([*lines, (0, [])]):
        if len(words) > 2 and subject:
            yield Row(line, NO_EPOCH, subject, " ".join(words[:-2]), *words[-2:])
            continue
        # A clip without a prediction has two words, too: a name that is nowhere else, and a label.
        broken = subject and of_dataset[words[0]] == 1 and words[-1] in labels
        if len(words) != 2 or len(after) < 3 or broken:
            what = "neither a subject with clips nor a subject's clip with truth and prediction"
            raise ValueError(f"line {line}, {' '.join(words)!r:.50}, is {what}; {FORMATS}")
        subject = words[1] if of_name[words[1]] == 1 else " ".join(words)


def _checked(row: Row) -> Row:
    """A row with its clip's name without the subject's, and the names of its classes."""
    clip = row.clip.removeprefix(f"{row.subject}/")
    if not (row.subject and clip and f"{row.subject}{clip}{row.truth}{row.prediction}".isprintable()):
        raise ValueError(f"line {row.line} has the subject {row.subject!r:.50} and the clip {clip!r:.50}; name both")
    truth, said = _class(row.truth), _class(row.prediction)
    if truth is None or said is None:
        wrong = f"truth {row.truth!r:.50}" if truth is None else f"prediction {row.prediction!r:.50}"
        raise ValueError(f"line {row.line} has the {wrong}, which is no class: no name and no whole number from 0")
    return row._replace(clip=clip, truth=truth, prediction=said)


def _class(cell: str) -> str | None:
    """3 for "3" and "3.0", happiness for "Happiness"; None for another number, such as a probability, and for ""."""
    try:
        float(cell)
    except ValueError:
        return cell.lower() or None
    whole = number(cell)
    return None if whole is None else str(whole)


def _log(name: str, rows: Sequence[Row]) -> Log:
    if not rows:
        raise ValueError("has titles and no clip below them; a row for each clip must follow")
    names = {name for row in rows for name in (row.truth, row.prediction)}
    numbers = [name for name in names if name.isdecimal()]
    if len(names) > MAX_CLASSES:
        raise ValueError(f"has {len(rows)} clips of {len(names)} classes, and 1 to {MAX_CLASSES} are taken for classes")
    if numbers and len(numbers) < len(names):
        raise ValueError(
            f"its classes are numbers and names, {numbers[0]} and {min(names - {*numbers})}; take one kind"
        )
    truths = {row.truth for row in rows}
    for row in (row for row in rows if row.prediction not in truths and not numbers):
        if near := get_close_matches(row.prediction, truths, 1, cutoff=0.8):
            raise ValueError(f"line {row.line} predicts {row.prediction!r}, which no clip is; is it {near[0]!r}?")
    classes = sorted(names, key=int if numbers else str)
    found: dict[str, dict[tuple[int, str], Row]] = {}  # subject -> (epoch, clip) -> row
    for row in rows:
        own, key = found.setdefault(row.subject, {}), (row.epoch, row.clip)
        if key in own:
            when = "" if row.epoch == NO_EPOCH else f" in epoch {row.epoch}"
            raise ValueError(f"has {row.id} twice{when}, on lines {own[key].line} and {row.line}")
        own[key] = row
    epochs = sorted({row.epoch for row in rows})
    folds = tuple(_fold(subject, own, epochs, classes) for subject, own in found.items())
    last = tuple(row for row in rows if row.epoch == epochs[-1])
    return Log(name, tuple(classes), () if epochs == [NO_EPOCH] else tuple(epochs), folds, last)


def _fold(subject: str, rows: dict[tuple[int, str], Row], epochs: Sequence[int], classes: Sequence[str]) -> Predictions:
    """A subject's predictions: every epoch must have the same clips, with the same truths."""
    clips: dict[str, Row] = {}
    for row in rows.values():
        clips.setdefault(row.clip, row)
    for epoch, (clip, first) in product(epochs, clips.items()):
        if (epoch, clip) not in rows:
            raise ValueError(f"has {first.id} not in epoch {epoch}; every epoch needs the same clips")
        if (row := rows[epoch, clip]).truth != first.truth:
            truths = f"{first.truth} on line {first.line} and {row.truth} on line {row.line}"
            raise ValueError(f"the truth of {row.id} is {truths}; it must be the same in every epoch")
    predicted = [[classes.index(rows[epoch, clip].prediction) for clip in clips] for epoch in epochs]
    labels = np.array([classes.index(row.truth) for row in clips.values()])
    probabilities = np.eye(len(classes), dtype=np.float16)[predicted]
    return Predictions(0, subject, tuple(row.id for row in clips.values()), labels, probabilities)
