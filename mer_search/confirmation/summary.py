"""summary.json: what a confirmation found, as it is written, read and verified."""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mer_search.config import Part, explain
from mer_search.errors import DataError

CONFIRM_AGAIN = "run the same `mer-search confirm` again, which writes it anew"


class Estimate(Part):
    """A UF1 and its 95 % interval, for new people like these."""

    uf1: float
    ci95: tuple[float, float]


class Score(Estimate):
    """Of a baseline."""

    uar: float
    accuracy: float


class RuleScore(Score):
    """Of a network under a rule: means over seeds."""

    sd: float | None  # of UF1 over seeds; None of one seed
    uf1_by_seed: tuple[float, ...]
    averaged: Estimate  # of the seeds' mean probabilities
    classes_left_out: tuple[int, ...]  # without a clip and a prediction


class Source(Part):
    """Trials and subjects from which a corrected estimate can be computed again."""

    trials: tuple[str, ...]  # names of their folders
    subjects: tuple[str, ...]


class Corrected(Estimate):
    """The search's best, corrected for its choosing (BBC-CV)."""

    best_trial_uf1: float  # without the correction
    trials: int
    n_subjects: int
    of: Source


class Summary(Part):
    """What a confirmation found. Groups of subjects are `all` and `unsearched`."""

    title: str  # "trial 7 of demo"
    dataset: str
    synthetic: bool
    protocol: str
    digest: str  # of data and configuration
    classes: tuple[str, ...]
    n_clips: int
    n_subjects: int
    n_unsearched: int  # subjects that the search never scored
    epochs: int
    seeds: tuple[int, ...]
    rules: dict[str, dict[str, RuleScore]]  # rule -> group -> score
    gap: float  # what picking the epoch on the test person adds to UF1
    baselines: dict[str, dict[str, Score]]  # baseline -> group -> score
    comparison: dict[str, Any] | None = None  # with other networks, the first against each
    verdict: tuple[str, ...] = ()  # of the comparison, in sentences
    uf1_bbc: Corrected | None  # None where too few trials scored all subjects of the search

    @property
    def tail(self) -> RuleScore:
        """The estimate that stands for the network: the tail rule on all subjects."""
        return self.rules["tail"]["all"]

    def to_json(self) -> str:
        """The file's text."""
        return json.dumps(self.model_dump(), indent=1)


def read_summary(path: Path) -> Summary:
    """The summary in a file.

    Raises:
        DataError: if there is none, or it is damaged.
    """
    try:
        return Summary.model_validate(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        reason = explain(error) if isinstance(error, ValidationError) else error
        raise DataError(
            f"{path} must be a confirmation's summary, but cannot be read ({reason}); {CONFIRM_AGAIN}"
        ) from error
