"""What a search tells whoever looks on."""

from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from mer_search.config import Run, Value
from mer_search.training.loop import Epoch
from mer_search.training.predictions import Predictions


@dataclass(frozen=True)
class Evaluation:
    """What came out of a trial's folds."""

    run: Run
    folder: Path
    subjects: tuple[str, ...]  # all of the study's, in its order
    folds: tuple[Predictions, ...]  # those that count
    epochs: int  # that these were trained for
    rule: str


class Watcher:
    """What a run tells whoever looks on. Every method may be left as it is: nothing is shown then."""

    def trial(self, number: int, done: int, values: dict[str, Value]) -> None:
        """A trial starts, or goes on."""

    def preparing(self, what: str, done: int, total: int) -> None:
        """Motion is measured anew, for a trial whose values it depends on."""

    def epoch(self, epoch: Epoch, of: int) -> None:
        """A fold finished an epoch."""

    def fold(self, subject: str, done: int, of: int, uf1_so_far: float) -> None:
        """A fold is finished and on disk."""

    def evaluated(self, trial: optuna.Trial, evaluation: Evaluation) -> None:
        """A trial's folds are done; this is the last moment to attach something to it."""

    def waiting(self) -> None:
        """The database does not answer; the run waits for it."""

    def told(self, trial: FrozenTrial, best: FrozenTrial | None) -> None:
        """A trial has ended."""
