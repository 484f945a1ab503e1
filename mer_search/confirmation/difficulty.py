"""How difficult each subject of a confirmation was, and which clips networks always take for something else, whichever
network it is: often they are labelled wrongly."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import optuna
from numpy.typing import NDArray

from mer_search.config import digest
from mer_search.confirmation.folders import confirmations
from mer_search.evaluation.folds import hardest_of
from mer_search.evaluation.metrics import RULES, Rule, fold_confusion, mean_log, tail
from mer_search.evaluation.predictions import Predictions, grouped
from mer_search.files import csv_text
from mer_search.search.storage import ran_to_its_end, results
from mer_search.search.trial import trial_folder
from mer_search.training.fold_store import check_whole, load_folds, read_config

SUBJECTS_SHOWN = 10  # subjects that go into a study file
MIN_NETWORKS = 3  # networks, of which one may be wrong by bad luck


class Ranked(NamedTuple):
    """How hard a subject was, under the tail rule, mean over seeds."""

    subject: str
    clips: int
    log_loss: float  # mean over its clips
    total: float  # sum over its clips
    errors: float  # its share of all subjects' errors


def rank(folds: Iterable[Predictions]) -> list[Ranked]:
    """The subjects of a confirmation's folds, the hardest first, as evaluation.folds.hardest_of has it."""
    rows = {}
    for subject, own in grouped(folds, "subject").items():
        clips, loss = len(own[0].labels), -float(np.mean([mean_log(tail(fold), fold.labels) for fold in own]))
        errors = float(np.mean([clips - np.trace(fold_confusion(fold, tail)) for fold in own]))
        rows[subject] = Ranked(subject, clips, loss, loss * clips, errors)
    every = sum(row.errors for row in rows.values()) or 1
    order = hardest_of({subject: row.total for subject, row in rows.items()})
    return [rows[subject]._replace(errors=rows[subject].errors / every) for subject in order]


def study_line(rows: Sequence[Ranked]) -> str:
    """The hardest subjects as a study file has them."""
    return f'subjects = "{", ".join(row.subject for row in rows[:SUBJECTS_SHOWN])}"'


class ClipErrors(NamedTuple):
    """What all networks that were tested on a clip made of it."""

    clip: str  # "sub05/EP02_01f"
    truth: int
    guess: int  # the most frequent one, of equally frequent ones the likelier
    n_wrong: int  # how many networks
    n_networks: int  # of so many
    prob: float  # of the truth, mean over networks

    @property
    def always_wrong(self) -> bool:
        """Whether no network is right, of `MIN_NETWORKS` or more."""
        return self.n_wrong == self.n_networks >= MIN_NETWORKS


def clip_errors(networks: Iterable[Iterable[Predictions]], rule: Rule) -> list[ClipErrors]:
    """Every clip that is tested in any of the networks' folds, the one whose truth is given the least chance first. A
    network's class is that of its seeds' mean probability."""
    probs: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    truth: dict[str, int] = {}
    for folds in networks:
        of_seeds: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
        for fold in folds:
            truth |= zip(fold.clips, fold.labels.tolist(), strict=True)
            for clip, row in zip(fold.clips, rule(fold), strict=True):
                of_seeds[clip].append(row)
        for clip, said in of_seeds.items():
            probs[clip].append(np.mean(said, 0))
    rows = []
    for clip, each in probs.items():
        guesses, mean = np.argmax(each, -1), np.mean(each, 0)
        guess = int(np.lexsort((mean, np.bincount(guesses, minlength=len(mean))))[-1])
        n_wrong = int((guesses != truth[clip]).sum())
        rows.append(ClipErrors(clip, truth[clip], guess, n_wrong, len(guesses), float(mean[truth[clip]])))
    return sorted(rows, key=lambda row: (row.prob, row.clip))


def of_study(study: optuna.Study) -> list[ClipErrors]:
    """Every clip, under the study's rule, by the networks of trials that ran to their end or are confirmed on all
    subjects: of equal ones one, with the seeds of all."""
    out = results(study)
    trials = [trial_folder(out, trial.number) for trial in study.get_trials(deepcopy=False) if ran_to_its_end(trial)]
    for trial in trials:
        check_whole(trial, study.user_attrs["subjects"])
    networks: dict[str, list[Path]] = defaultdict(list)
    for folder in (*trials, *confirmations(study).values()):
        networks[digest(read_config(folder / "config.json"))].append(folder)
    folds = ((fold for folder in own for fold in load_folds(folder).values()) for own in networks.values())
    return clip_errors(folds, RULES[study.user_attrs["rule"]])


def mistakes_csv(rows: Sequence[ClipErrors], classes: Sequence[str]) -> str:
    """A row for each of the clips that is always wrong."""
    head = ("clip", "truth", "guess", "wrong", "networks", "truth_probability")
    cells = (
        [row.clip, classes[row.truth], classes[row.guess], row.n_wrong, row.n_networks, f"{row.prob:.4f}"]
        for row in rows
        if row.always_wrong
    )
    return csv_text(head, cells)
