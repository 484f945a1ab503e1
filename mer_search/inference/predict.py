"""A confirmed run judges clips: those of people in training with the networks that never saw them, one a seed."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from numpy.typing import NDArray

from mer_search.config import Run
from mer_search.confirmation.folders import confirmation, confirmed_uf1, store_of
from mer_search.confirmation.scoring import confirmed_folds
from mer_search.confirmation.summary import Summary, read_summary
from mer_search.data import DATASETS, Folder, open_folder
from mer_search.data.clips import Problem
from mer_search.data.flow import Measured, frame_sets, measure
from mer_search.data.loose import ANNOTATED, Found, Moments, find
from mer_search.errors import DataError, MerSearchError, UsageError
from mer_search.evaluation.predictions import load
from mer_search.model.network import Network
from mer_search.search.workspace import Progress
from mer_search.training.fold_store import checkpoint_file, fold_file, load_network, read_config
from mer_search.training.predict_proba import predict_proba


@dataclass(frozen=True)
class Confirmed:
    """A confirmed run, whose networks can be used. A fold's networks are named by the subject, or the database, that
    they never saw."""

    folder: Path
    run: Run
    folds: Mapping[str, str]  # each person in training: the fold whose networks never saw them
    data: Path
    summary: Summary  # of its confirmation, on all subjects
    others: tuple[str, ...] = ()  # the study's other confirmed trials, the best first: "trial 0 (UF1 0.167)"

    @property
    def subjects(self) -> tuple[str, ...]:
        """All people in training."""
        return tuple(self.folds)

    def networks(self, fold: str, device: str) -> list[Network]:
        """The networks of a fold, one a seed, whose mean is asked for."""
        files = [checkpoint_file(self.folder, seed, fold) for seed in self.summary.seeds]
        return [load_network(path, self.run, device) for path in files]

    def action_units(self, clip: str) -> dict[str, float]:
        """Probabilities of action units in a clip that the confirmation tested, as its networks had them at the end of
        the first of two stages, mean over seeds; {} where nothing is known, for the second stage changes them."""
        fold = self.folds.get(clip.partition("/")[0])
        if fold is None or self.run.units.use == "none":
            return {}
        tested = [load(fold_file(self.folder, seed, fold)) for seed in self.summary.seeds]
        rows = [
            each.unit_probabilities[each.clips.index(clip)]
            for each in tested
            if each.unit_probabilities is not None and clip in each.clips
        ]
        return dict(zip(tested[0].unit_names, np.mean(rows, axis=0, dtype=float).tolist(), strict=True)) if rows else {}

    def check_subject(self, subject: str) -> None:
        """Raise UsageError unless it was in training."""
        if subject not in self.subjects:
            raise UsageError(
                f"--subject must be one of the people in training, {', '.join(self.subjects)}, but got {subject!r}; "
                "for anybody else leave it out, or with export give --final"
            )


def find_confirmed(study: optuna.Study, trial: int | None) -> Confirmed:
    """A trial's confirmation on all subjects of the study; see `folders.confirmation`."""
    folder = confirmation(study, trial)
    others = {f"trial-{number}": f"trial {number} (UF1 {uf1:.3f})" for number, uf1 in confirmed_uf1(study).items()}
    others.pop(folder.name)
    return replace(confirmed_in(folder, Path(study.user_attrs["data"])), others=tuple(others.values()))


def confirmed_in(folder: Path, data: Path) -> Confirmed:
    """The confirmation on all subjects that a folder holds, of clips in the folder `data`."""
    folds = {fold.subject: fold.fold for fold in confirmed_folds(folder).values()}
    if store_of(folder) != folder:
        raise DataError(f"{folder} must hold a confirmation on all subjects; confirm without --subjects")
    return Confirmed(folder, read_config(folder / "config.json"), folds, data, read_summary(folder / "summary.json"))


@dataclass(frozen=True)
class ClipPrediction:
    """What networks say about a clip."""

    found: Found
    classes: tuple[str, ...]
    networks: tuple[str, ...]  # by the subject, or the database, that they never saw
    frames: tuple[int, ...]  # that were looked at, as the files are numbered
    probabilities: NDArray[np.float64]  # (K,), the networks' mean
    action_units: Mapping[str, float]  # probabilities after a first stage, of a clip that the confirmation tested

    @property
    def best(self) -> str:
        """The most probable class."""
        return self.classes[int(self.probabilities.argmax())]

    @property
    def facts(self) -> dict[str, Any]:
        """As a part of a JSON document."""
        clip = self.found.clip
        moments = {"onset": clip.onset, "apex": clip.apex, "offset": clip.offset}
        return {
            "clip": self.found.name,
            "in_training": self.found.subject or None,
            "networks": list(self.networks),
            "origin": self.found.origin,
            **{name: None if number is None else self.found.shown(number) for name, number in moments.items()},
            "frames": list(self.frames),
            "annotated_as": clip.label or None,
            "probabilities": {name: float(prob) for name, prob in zip(self.classes, self.probabilities, strict=True)},
            "prediction": self.best,
            "action_units": dict(self.action_units) or None,
        }


def predict(
    confirmed: Confirmed, clips: Sequence[str], subject: str | None, given: Moments, device: str, progress: Progress
) -> list[ClipPrediction | Problem]:
    """What the networks say about each clip, or why they cannot.

    A clip of a subject in training gets the mean of the networks that never saw that subject; any other clip the mean
    of all networks. Each network is loaded once. `clips` are ids or paths, as for data.loose.find; `subject` is who is
    in them, if it was in training, or None where they tell; what moments are not given is as annotated, or found.
    """
    if subject is not None:
        confirmed.check_subject(subject)
    run, taken = confirmed.run, []
    known = functools.cache(lambda: open_folder(confirmed.data, run.data.task))
    progress("reading clips", 0, len(clips))
    for done, text in enumerate(clips, 1):
        taken.append(_take(confirmed, text, subject, given, known))
        progress("reading clips", done, len(clips))
    met = [(*each, np.zeros(len(run.data.classes))) for each in taken if not isinstance(each, Problem)]
    wanted = sorted({name for one, _, _ in met for name in one.networks})
    for done, name in enumerate(wanted, 1):
        ensemble = confirmed.networks(name, device)
        for one, measured, total in met:
            if name in one.networks:
                flow, onset = torch.from_numpy(measured.flow).float().to(device), measured.onset
                small = None if onset is None else torch.from_numpy(onset).float().to(device)
                probs = [predict_proba(network, run, flow, small)[0].cpu().numpy() for network in ensemble]
                total += np.mean(probs, axis=0)
        progress("asking networks", done, len(wanted))
    predicted = (replace(one, probabilities=total / len(one.networks)) for one, _, total in met)
    return [each if isinstance(each, Problem) else next(predicted) for each in taken]


def _take(
    confirmed: Confirmed, text: str, told: str | None, given: Moments, known: Callable[[], Folder]
) -> tuple[ClipPrediction, Measured] | Problem:
    """A clip and the networks that will be asked, without what they say, and its motion."""
    run = confirmed.run
    try:
        found = find(text, confirmed.data, known, run, given, DATASETS[run.data.dataset].flow_images)
        if told and found.subject not in ("", told):
            raise UsageError(f"--subject must be who is in the clip, {found.subject}, but got {told}; leave it out")
        subject = told or found.subject
        met = subject in confirmed.subjects
        networks = (confirmed.folds[subject],) if met else tuple(dict.fromkeys(confirmed.folds.values()))
        frames = frame_sets(found.clip, run.frames)[:1]  # without jitter, as clips are tested in training
        measured = measure(found.clip, frames, run, found.read)
        shown = tuple(map(found.shown, frames[0]))
        units = confirmed.action_units(found.clip.id) if found.origin == ANNOTATED else {}
        found = replace(found, subject=subject if met else "")
        return ClipPrediction(found, run.data.classes, networks, shown, np.zeros(0), units), measured
    except MerSearchError as error:
        return Problem(text, str(error))
    except OSError as error:
        return Problem(text, f"it cannot be read ({error.strerror}: {error.filename})")


def document(confirmed: Confirmed, predicted: Sequence[ClipPrediction | Problem]) -> dict[str, Any]:
    """All that was asked, as one JSON document."""
    return {
        "title": confirmed.summary.title,
        "uf1": confirmed.summary.tail.uf1,
        "other_confirmed": list(confirmed.others),
        "dataset": confirmed.summary.dataset,
        "synthetic": confirmed.summary.synthetic,
        "classes": list(confirmed.run.data.classes),
        "clips": [
            {"clip": each.clip, "error": each.what} if isinstance(each, Problem) else each.facts for each in predicted
        ],
    }
