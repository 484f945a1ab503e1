"""The one training loop: a fold in, its test subject's probabilities after every epoch out.

A run has one stage, or two (V6): the first learns action units, the second, with a new optimiser, emotions. A fold may
stop after any epoch, be looked at, and go on.

Shapes: n clips of the test subject, K classes, A action units.
"""

import json
import math
import time
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from mer_search.config import Run
from mer_search.errors import Infeasible
from mer_search.evaluation.folds import EVERYBODY, fold_seed, leave_one_out, stream_seed
from mer_search.evaluation.metrics import best_epoch, f1_by_epoch, mean_log
from mer_search.evaluation.predictions import Predictions
from mer_search.files import write_whole
from mer_search.model.network import Network
from mer_search.training.dataset import Clips
from mer_search.training.gpu import WARM_UP
from mer_search.training.learner import Learner, learning_rate

LAST = "last"
BEST = {"earliest": "best_test_epoch", "latest": "latest_best_test_epoch"}  # by the published rule's ties
KEPT = (LAST, *BEST.values(), "action_units")  # epochs at which a fold's weights may be wanted; see `train_fold`


class Epoch(NamedTuple):
    """A row of a fold's history."""

    seed: int
    subject: str
    epoch: int  # of its stage, from 1
    lr: float
    train_loss: float
    train_accuracy: float = math.nan  # of emotions
    test_log_loss: float = math.nan  # of emotions, to look at; nothing is chosen by it
    train_au_f1: float = math.nan  # macro F1 of action units; the first stage's best epoch is chosen by it
    test_au_f1: float = math.nan  # to look at; nothing is chosen by it
    seconds: float = math.nan
    stage: int = 2  # 1 action units, 2 emotions
    microbatches: int = 1  # that a batch was cut into, so that its activations fit the device
    test_accuracy: float = math.nan  # of emotions, to look at
    test_f1: float = math.nan  # evaluation.metrics.macro_f1 of emotions, to look at


class Trained(NamedTuple):
    """What a fold leaves behind."""

    predictions: Predictions
    history: list[Epoch]
    network: Network
    weights: dict[str, dict[str, Tensor]]  # of what was to be kept


class _SoFar(NamedTuple):
    """What a fold's epochs have left behind until now."""

    history: list[Epoch]
    probabilities: list[np.ndarray]  # of each epoch (n, K)
    val_log_likelihood: list[float]  # of each epoch, if subjects are held out: their mean log-likelihood
    units: list[np.ndarray]  # probabilities of the action units (n, A), once, at the end of the first of two stages


def train_fold(
    run: Run,
    clips: Clips,
    subject: str,
    seed: int,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    max_epochs: int | None = None,
    checkpoint: Path | None = None,
    microbatches: int = 1,
    keep: Collection[str] = (),
) -> Trained:
    """Train a network on everybody but `subject` and those held out, and predict these two after every epoch; with
    folds.EVERYBODY in the subject's place on all clips, and predict none.

    Args:
        clips: all clips, on the device.
        subject: who is tested; the name of a database where run.data.leave_out is "database"; or EVERYBODY.
        seed: of the run; the fold's own is made of it and of the subject.
        max_epochs: (of emotions) after which to stop; all of the run's if None.
        checkpoint: a file. If it is there and whole, training resumes from it, to the bit as if it had never stopped;
            if epochs are left in the end, the fold is saved there.
        microbatches: how many a batch is cut into (see Learner).
        keep: which weights are wanted: those at the end ("last"), at the first of the epochs with the best F1 on the
            test subject ("best_test_epoch", as published) or at the last of them ("latest_best_test_epoch"), and at the
            end of the first stage ("action_units").

    Raises:
        Infeasible: if the loss stops being a finite number, or two stages find no known action units to learn.
    """
    max_epochs = run.train.epochs if max_epochs is None else max_epochs
    folds = sorted(set(clips.folds))
    final = subject == EVERYBODY and subject not in folds
    place = len(folds) if final else folds.index(subject)
    own_seed = fold_seed(seed, subject) if run.train.seeding == "fold" else stream_seed(seed, place)
    fold = leave_one_out(clips.folds, clips.subjects, subject, 0 if final else run.train.val_subjects, own_seed)
    learner = Learner(run, clips, fold, own_seed, microbatches)
    so_far = (_resume(checkpoint, learner) if checkpoint else None) or _SoFar([], [], [], [])
    weights: dict[str, dict[str, Tensor]] = {}

    def kept(name: str) -> None:
        if name in keep:
            weights[name] = _copied(learner.network)

    def add(row: Epoch) -> None:
        so_far.history.append(row._replace(microbatches=learner.microbatches))
        on_epoch(so_far.history[-1])

    if not so_far.probabilities:
        if run.units.use != "none":
            for row in _first_stage(learner, subject, seed):
                add(row)
            so_far.units.append(learner.test_units()[2])
            kept("action_units")
        learner.start(run.train)
    labels, held_out = (clips.labels[indices].cpu().numpy() for indices in (learner.test, learner.val))
    names = tuple(clips.names[i] for i in fold.test)
    for epoch in range(len(so_far.probabilities), max_epochs):
        start = time.perf_counter()
        value, hits = learner.train_emotions(epoch)
        predicted = learner.predict(learner.test)
        so_far.probabilities.append(predicted)
        if len(held_out):
            so_far.val_log_likelihood.append(mean_log(learner.predict(learner.val), held_out))
        _check_finite(subject, epoch, value, predicted, *so_far.val_log_likelihood[-1:])
        rate, seconds = learning_rate(run.train, epoch), time.perf_counter() - start
        row = Epoch(seed, subject, epoch + 1, rate, value, hits, seconds=seconds)
        if final:
            add(row)
            continue
        f1, accuracy = f1_by_epoch(Predictions(seed, subject, names, labels, np.stack(so_far.probabilities)))
        row = row._replace(test_log_loss=-mean_log(predicted, labels))
        add(row._replace(test_f1=float(f1[-1]), test_accuracy=float(accuracy[-1])))
        for ties, name in BEST.items():
            if best_epoch(f1, accuracy, latest=ties == "latest") == epoch:
                kept(name)
        if run.train.stop_when_perfect and (predicted.argmax(1) == labels).all():
            so_far.probabilities.extend([predicted] * (max_epochs - epoch - 1))
            so_far.val_log_likelihood.extend(so_far.val_log_likelihood[-1:] * (max_epochs - epoch - 1))
            break
    kept(LAST)
    if checkpoint and max_epochs < run.train.epochs:
        _save(checkpoint, learner, so_far)
    chosen_by = np.array(so_far.val_log_likelihood) if len(held_out) else None
    truth = learner.units[learner.test].cpu().numpy()
    units = (learner.unit_names, truth, so_far.units[0]) if so_far.units else ((), None, None)
    predictions = Predictions(seed, subject, names, labels, np.stack(so_far.probabilities), chosen_by, *units)
    return Trained(predictions, so_far.history, learner.network, weights)


def _save(path: Path, learner: Learner, so_far: _SoFar) -> None:
    """Write a fold from which it can go on, without waiting for the disk: if the file is lost or torn, the fold is
    trained from its start."""
    tensors = learner.state() | {"probabilities": torch.from_numpy(np.stack(so_far.probabilities))}
    if so_far.units:
        tensors["units"] = torch.from_numpy(so_far.units[0])
    told = {"history": json.dumps(so_far.history), "val_log_likelihood": json.dumps(so_far.val_log_likelihood)}
    content = save(tensors, metadata=told)
    write_whole(path, zlib.crc32(content).to_bytes(4, "big") + content, durable=False)


def _resume(path: Path, learner: Learner) -> _SoFar | None:
    """Make the learner what it was when the fold was saved; None if the file is absent or torn."""
    try:
        stored = path.read_bytes()
    except FileNotFoundError:
        return None
    content = stored[4:]
    if zlib.crc32(content).to_bytes(4, "big") != stored[:4]:
        return None
    tensors = load(content)
    told = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]  # safetensors' header
    history, val_log_likelihood = (json.loads(told[name]) for name in ("history", "val_log_likelihood"))
    learner.resume(learner.run.train, tensors)
    units, rows = [tensors["units"].numpy()] if "units" in tensors else [], [Epoch(*row) for row in history]
    learner.microbatches = max(learner.microbatches, rows[-1].microbatches)  # as it began, whatever fits now
    return _SoFar(rows, list(tensors["probabilities"].numpy()), val_log_likelihood, units)


def _first_stage(learner: Learner, subject: str, seed: int) -> Iterator[Epoch]:
    """Learn action units, and go on with the epoch whose own outputs had the best macro F1 on the training clips.

    (TM-MMNET's public code picks the epoch on the test subject, ties to the smaller loss, which leaks: chosen_by.)
    """
    schedule, weights = learner.run.units, learner.network.state_dict()
    best = (-math.inf, -math.inf)
    learner.start(schedule)
    for epoch in range(schedule.epochs):
        start = time.perf_counter()
        value, f1 = learner.train_units(epoch)
        _check_finite(subject, epoch, value)
        test_f1, test_loss, _ = learner.test_units()
        found = (f1, 0.0) if schedule.chosen_by == "train" else (test_f1, -test_loss)
        if found > best:
            best, weights = found, _copied(learner.network)
        rate, seconds = learning_rate(schedule, epoch), time.perf_counter() - start
        yield Epoch(seed, subject, epoch + 1, rate, value, stage=1, train_au_f1=f1, test_au_f1=test_f1, seconds=seconds)
    learner.network.load_state_dict(weights)


def _copied(network: Network) -> dict[str, Tensor]:
    """A network's weights and statistics as they are now."""
    return {name: item.clone() for name, item in network.state_dict().items()}


def _check_finite(subject: str, epoch: int, value: float, *predicted: np.ndarray | float) -> None:
    if not all(np.isfinite(numbers).all() for numbers in (value, *predicted)):
        raise Infeasible(
            f"loss and predictions must stay finite, but are not in epoch {epoch + 1} of {subject} (loss "
            f"{value:.3g}); try a smaller train.lr",
            "finite loss",
        )


def epochs_timed(run: Run, clips: Clips, steps: int) -> Iterator[float]:
    """Seconds of one epoch of so many steps after the other, without end."""
    learner = Learner(run, clips, leave_one_out(clips.folds, clips.subjects, clips.folds[0]), seed=0)
    learner.train = learner.train[: steps * run.train.batch]
    learner.start(run.train)
    while True:
        start = time.perf_counter()
        learner.train_emotions(run.units.unfreeze_epoch)  # everything is trained
        yield time.perf_counter() - start


def seconds_per_step(run: Run, clips: Clips) -> float:
    """How long a training step takes here: the fastest of four, or of as many as fit two seconds. A GPU's first ones,
    at which kernels are chosen and the step is compiled and recorded, do not count."""
    epochs = epochs_timed(run, clips, 1)
    for _ in range(WARM_UP + 1 if clips.flow.is_cuda else 0):
        next(epochs)
    times = [next(epochs)]
    while len(times) < 4 and sum(times) < 2:
        times.append(next(epochs))
    return min(times)
