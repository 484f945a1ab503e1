"""Clips that networks take for something else, whichever network it is: often they are labelled wrongly."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import optuna
from numpy.typing import NDArray

from mer_search.confirm.hindsight import confirmations
from mer_search.evaluation.metrics import RULES, Rule
from mer_search.evaluation.predictions import Predictions
from mer_search.search.storage import ran_to_its_end, results
from mer_search.search.trial import trial_folder
from mer_search.training.fold_store import load_folds

ENOUGH = 3  # networks, of which one may be wrong by bad luck; a confirmation's usual three seeds are as many


class Judged(NamedTuple):
    """What all networks that were tested on a clip made of it."""

    clip: str  # "sub05/EP02_01f"
    truth: int
    guess: int  # the most frequent one, of equally frequent ones the likelier
    wrong: int  # how many networks
    judged: int  # of so many
    chance: float  # of the truth, mean over networks

    @property
    def always_wrong(self) -> bool:
        """Whether no network is right, of `ENOUGH` or more."""
        return self.wrong == self.judged >= ENOUGH


def judged(folds: Iterable[Predictions], rule: Rule) -> list[Judged]:
    """Every clip that is tested in any of the folds, the one whose truth is given the least chance first."""
    chances: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    truth: dict[str, int] = {}
    for fold in folds:
        truth |= zip(fold.clips, fold.labels.tolist(), strict=True)
        for clip, row in zip(fold.clips, rule(fold), strict=True):
            chances[clip].append(row)
    rows = [_judged(clip, truth[clip], np.stack(each)) for clip, each in chances.items()]
    return sorted(rows, key=lambda row: (row.chance, row.clip))


def _judged(clip: str, truth: int, chances: NDArray[np.float64]) -> Judged:
    """Of the chances (networks, K) that it was given."""
    guesses, mean = chances.argmax(-1), chances.mean(0)
    votes = np.bincount(guesses, minlength=len(mean))
    guess = int(np.lexsort((mean, votes))[-1])
    return Judged(clip, truth, guess, int((guesses != truth).sum()), len(guesses), float(mean[truth]))


def of_study(study: optuna.Study) -> list[Judged]:
    """Every clip, by the networks of the trials that ran to their end and of all confirmations, under the study's rule.

    Raises:
        DataError: if stored predictions are damaged.
    """
    out = results(study)
    trials = [trial_folder(out, trial.number) for trial in study.get_trials(deepcopy=False) if ran_to_its_end(trial)]
    folders = [*trials, *confirmations(study).values()]
    return judged((fold for folder in folders for fold in load_folds(folder).values()), RULES[study.user_attrs["rule"]])


def mistakes_csv(rows: Sequence[Judged], classes: Sequence[str]) -> str:
    """A row for each of the clips that is always wrong."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["clip", "truth", "guess", "wrong", "networks", "truth_probability"])
    writer.writerows(
        [row.clip, classes[row.truth], classes[row.guess], row.wrong, row.judged, f"{row.chance:.4f}"]
        for row in rows
        if row.always_wrong
    )
    return buffer.getvalue()
