"""What a confirmation and a comparison found, as values: summary.json is written, read and verified by them."""

import csv
import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from mer_search.config import Part, Value, explain
from mer_search.errors import DataError
from mer_search.evaluation.metrics import LEAKS, Interval

NAMED_VALUES = 3  # that were changed in a preset, at most, of which a title has each


class Estimate(Part):
    """A UF1 and its 95 % interval, for new people like these; None where that cannot be estimated."""

    uf1: float
    ci95: Interval | None


class Score(Estimate):
    """Of a baseline."""

    uar: float
    accuracy: float


class RuleScore(Score):
    """Of a network under a rule: means over seeds."""

    sd: float | None  # of UF1 over seeds; None of one seed
    uf1_by_seed: tuple[float, ...]
    averaged: Estimate  # of the seeds' mean probabilities
    confusion: tuple[tuple[int, ...], ...]  # (K, K), truth by prediction, summed over seeds
    f1_by_class: tuple[float, ...]  # their mean over classes is uf1
    recall_by_class: tuple[float, ...]  # their mean over classes is uar
    classes_left_out: tuple[int, ...]  # without a clip


class Source(Part):
    """Trials and subjects from which a corrected estimate can be computed again."""

    trials: tuple[str, ...]  # names of their folders
    subjects: tuple[str, ...]


class Corrected(Estimate):
    """The search's best, corrected for its choosing (BBC-CV), on the tuning subjects, of one seed."""

    rule: str  # the study's
    best_trial_uf1: float  # without the correction
    cross_fitted: Estimate  # of the best trial on each half of the subjects, scored on the other half
    trials: int
    n_subjects: int
    classes_left_out: tuple[int, ...] = ()  # without a clip
    of: Source


class NetworkScore(Part):
    """What a network scored under the tail rule."""

    name: str
    digest: str  # of its run
    uf1: float  # mean over seeds
    sd: float | None  # over seeds; None of one seed
    ci95: Interval | None
    uf1_by_seed: tuple[float, ...]
    n_correct_by_subject: dict[str, float]  # mean over seeds
    changed: dict[str, Value] = Field({})  # values of a preset that are not its own
    leaks: bool = False  # whether training looked at the test person

    @property
    def title(self) -> str:
        """Its name, as it stands beside a figure."""
        return f"{self.name}{' (LEAKS)' * self.leaks}"


class Pair(Part):
    """Two networks, paired over seeds and subjects. `difference` is UF1(first) - UF1(second)."""

    first: str
    second: str
    difference: float
    ci95: Interval | None
    p: float  # how often exchanging the two, subject by subject, gives as large a difference
    p_holm: float  # corrected for the number of pairs that are compared at once
    same: bool  # both have the same confusion matrix for every subject and seed
    shown: bool  # whether a difference is shown: p_holm is below .05, and the interval, if any, excludes 0
    numbers: str  # the evidence, for a person
    conclusion: str  # in a sentence


class Comparison(Part):
    """Two or more networks on the same subjects and seeds."""

    dataset: str
    synthetic: bool
    subjects: tuple[str, ...]
    seeds: tuple[int, ...]
    tuning: tuple[str, ...] = ()  # the subjects that a search scored which chose one of the networks
    other: tuple[str, ...]  # the ones that it never scored; () without a search
    networks: tuple[NetworkScore, ...]
    clips_by_subject: dict[str, int]
    pairs: tuple[Pair, ...]  # the first network against each of the others
    pairs_on_other: tuple[Pair, ...]  # the same on the other subjects; () if these are few
    winner: str  # the network with the highest mean UF1; of equals the first
    winner_shown: bool  # whether it is shown to be better than each of the others
    not_counted: tuple[str, ...] = ()  # classes of which these subjects have no clip
    start: str | None = None  # the network where the search of the first one started, or that takes its place

    @model_validator(mode="before")
    @classmethod
    def _earlier(cls, given: Any) -> Any:
        """What an earlier version kept has the other subjects alone."""
        if isinstance(given, dict) and "tuning" not in given and given.get("other"):
            return given | {"tuning": [each for each in given["subjects"] if each not in given["other"]]}
        return given

    @property
    def against_start(self) -> Pair | None:
        """The first network and the start; None without a start, or if they are the same."""
        return next((pair for pair in self.pairs if pair.second == self.start), None)

    def on_other(self, pair: Pair) -> Pair | None:
        """One of its pairs, on the other subjects."""
        return self.pairs_on_other[self.pairs.index(pair)] if self.pairs_on_other else None


class Summary(Part):
    """What a confirmation found. Groups of subjects: see confirm.groups_of."""

    title: str  # "trial 7 of demo"
    dataset: str
    synthetic: bool
    protocol: str
    digest: str  # of data and configuration
    classes: tuple[str, ...]
    n_clips: int
    n_subjects: int
    n_tuning: int  # subjects that the search scored; 0 without a search
    tuning_subjects: str  # as the study file has them, such as "hardest"; "" without a search
    given: bool = False  # whether it stands beside a trial, as the search's start, which did not choose it
    epochs: int
    seeds: tuple[int, ...]
    rules: dict[str, dict[str, RuleScore]]  # rule -> group -> score
    gap: float  # what picking the epoch on the test person adds to UF1
    baselines: dict[str, dict[str, Score]]  # baseline -> group -> score
    against_baseline: dict[str, Pair] = Field({})  # on all and on the other subjects, the better one
    comparison: Comparison | None = None  # with other networks, the first against each
    conclusions: tuple[str, ...] = ()  # of the comparison, in sentences
    databases: dict[str, tuple[str, ...]] = Field({})  # of a composite: its subjects in each
    tuning_by_database: dict[str, int] = Field({})  # as n_tuning; {} of one dataset, or as an earlier version kept it
    changed: dict[str, Value] = Field({})  # values of a preset that are not its own
    left_out: str = "subject"  # what a fold tests: a subject or a database
    ties: str = "earliest"  # which of equal epochs best_test_epoch takes
    leaks: bool = False  # whether training itself looked at the test person, as some of the public code does
    uf1_bbc: Corrected | None  # None where too few trials scored all subjects of the search

    @model_validator(mode="before")
    @classmethod
    def _earlier(cls, given: Any) -> Any:
        """As of a comparison, where the search scored all subjects."""
        found = given.get("comparison") if isinstance(given, dict) else None
        if isinstance(found, dict) and "tuning" not in found and given.get("n_tuning") == given.get("n_subjects"):
            return given | {"comparison": found | {"tuning": found.get("subjects", ())}}
        return given

    @property
    def tail(self) -> RuleScore:
        """The estimate that stands for the network: the tail rule on all subjects."""
        return self.rules["tail"]["all"]

    @property
    def n_chosen_on(self) -> int:
        """How many subjects the search chose the configuration on: those that it scored, if it chose it."""
        return 0 if self.given else self.n_tuning

    @property
    def other_are_easier(self) -> bool:
        """Whether the tuning subjects were chosen as the hardest, so that the other ones are easier."""
        return self.tuning_subjects.strip().startswith("hardest")

    def is_leak_free(self, rule: str, group: str) -> bool:
        """Whether no choice, of epoch or configuration, was made on the subjects of a figure."""
        chosen_on = {"other": 0, **self.tuning_by_database}.get(group, self.n_tuning)
        return not self.looks(rule) and (self.given or not chosen_on)

    def looks(self, rule: str) -> bool:
        """Whether a figure under a rule is of networks, or epochs, that were chosen by the test person."""
        return self.leaks or rule in LEAKS

    def to_json(self) -> str:
        """The file's text."""
        return json.dumps(self.model_dump(), indent=1)


def confirm_again(folder: Path, seeds: Sequence[int] = ()) -> str:
    """What to do where a file in a confirmation's folder is missing or damaged, whose seeds may be known."""
    if not (trial := re.fullmatch(r"trial-(\d+)", folder.name)):
        return "the same `mer-search confirm` makes it anew"
    those = f" --seeds {len(seeds)} --seed {seeds[0]}" if seeds else ""
    study = shlex.quote(folder.parents[1].name)
    return f"`mer-search confirm --study-name {study} --trial {trial[1]}{those}` makes it anew"


def read_summary(path: Path) -> Summary:
    """The summary in a file."""
    try:
        return Summary.model_validate(json.loads(path.read_text()))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path} must be a confirmation's summary, but cannot be read ({explain(error)}); "
            f"{confirm_again(path.parent)}"
        ) from error


def read_subjects(folder: Path) -> dict[str, bool]:
    """A confirmation's subjects, and whether the search scored each, from its subjects.csv."""
    path = folder / "subjects.csv"
    try:
        with path.open(newline="") as file:
            return {row["subject"]: row["tuning"] == "1" for row in csv.DictReader(file)}
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise DataError(
            f"{path} must be a table of subjects, but cannot be read ({error!r}); {confirm_again(folder)}"
        ) from error
