"""The one training loop: a fold in, its test subject's probabilities after every epoch out.

A run has one stage, or two (V6): the first learns action units, the second, with a new optimiser, emotions.

Shapes: N clips, B of them in a batch, n in the test subject, T maps, P components, C channels, K classes, A action
units, E epochs.
"""

import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from mer_search.config import Run, Train, Units
from mer_search.errors import Infeasible
from mer_search.model.channels import channels, imagenet
from mer_search.model.losses import loss, probabilities
from mer_search.model.network import Network, step_flop
from mer_search.training.augment import augment, draw, mirror, resample
from mer_search.training.clips import Clips
from mer_search.training.folds import Fold, fold_seed, leave_one_out
from mer_search.training.metrics import mean_log, units_f1
from mer_search.training.predictions import Predictions
from mer_search.training.units import table, units_loss


class Epoch(NamedTuple):
    """A row of history.csv."""

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


class Trained(NamedTuple):
    """What a fold leaves behind."""

    predictions: Predictions
    history: list[Epoch]
    network: Network


def network_input(run: Run, flow: Tensor, onset: Tensor | None, grid: int) -> tuple[Tensor, Tensor | None]:
    """Flow (B, T, P, H, W) and onset images (B, 3, H, W) -> channels (B, T, C, H, W) and small images (B, 3, G, G).

    Small images are in [0, 1], but with differences of frames normalised as those are (MMNet).
    """
    small = None
    if run.model.position and onset is not None:
        small = F.interpolate(onset / 255, size=(grid, grid), mode="bilinear", antialias=True, align_corners=False)
        if run.input.channels == "rgb":
            small = imagenet(small)
    return channels(flow, run.input), small


def _batches(indices: Tensor, batch: int, generator: Generator) -> Iterator[Tensor]:
    """One epoch of batches (B,), all of the same size: the last is filled from the next permutation."""
    size = min(batch, len(indices))
    steps = math.ceil(len(indices) / size)
    order = torch.cat(
        [indices[torch.randperm(len(indices), generator=generator, device=indices.device)] for _ in range(2)]
    )
    return iter(order[: steps * size].split(size))


def _class_weights(labels: Tensor, n_classes: int, power: float) -> Tensor:
    """(K,) loss weights proportional to (clips of the class)^-power; a class without clips weighs as one clip."""
    return torch.bincount(labels, minlength=n_classes).clamp_min(1).float().pow(-power)


def _learning_rate(config: Train | Units, epoch: int) -> float:
    """Exponential decay until the plateau epoch, from epoch 0 on; it does not depend on the number of epochs."""
    return config.lr * config.gamma ** min(epoch, config.plateau)


LARGE_STEP = 1e12  # floating-point operations of a training step that keep all cores of a CPU busy on their own


def large(run: Run) -> bool:
    """Whether a training step is so large that a CPU's cores should share it, instead of each having its own fold."""
    return step_flop(run) >= LARGE_STEP


def precision(run: Run, device: str) -> torch.dtype:
    """What convolutions and matrix products are computed in: bfloat16 on a GPU, and for large steps on a CPU that has
    units for it (it is emulated elsewhere, and slower). Weights, losses and statistics are float32 everywhere."""
    units = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if device == "cuda" or (units and large(run)) else torch.float32


class _Fold:
    """State of one fold's training, so that each step of the loop can be read on its own."""

    def __init__(self, run: Run, clips: Clips, fold: Fold, seed: int) -> None:
        self.run, self.clips = run, clips
        device = clips.flow.device
        torch.manual_seed(seed)
        self.random = torch.Generator(device).manual_seed(seed)
        self.mixing = np.random.default_rng(seed)
        names, units = table(clips.units, fold.train, run.units.sides)
        if run.units.use != "none" and not names:
            raise Infeasible(
                f"training in two stages needs clips whose action units are known, but beside {fold.subject}'s there "
                'is none; set units.use = "none"',
                "known action units",
            )
        self.units = torch.as_tensor(units, device=device)  # (N, A)
        self.emotions = F.one_hot(clips.labels, len(run.data.classes)).float()  # (N, K)
        self.network = Network(run, len(names)).to(device)
        self.vectors = run.flow.method != "difference"  # whether a map's values point somewhere
        self.train = torch.as_tensor(fold.train, device=device)
        self.test = torch.as_tensor(fold.test, device=device)
        self.inner = torch.as_tensor(fold.inner, device=device)
        self.weights = _class_weights(clips.labels[self.train], len(run.data.classes), run.train.class_weights)
        kind = precision(run, device.type)
        self.precision = torch.autocast(device.type, torch.bfloat16, enabled=kind is torch.bfloat16)

    def start(self, schedule: Train | Units) -> None:
        """A stage begins: with an optimiser of its own."""
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=schedule.lr, weight_decay=self.run.train.weight_decay, fused=True
        )

    def batch(self, indices: Tensor, targets: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """Clips (B,) -> augmented channels, onset images and their rows of targets (N, ...)."""
        clips, config = self.clips, self.run.train
        pick = torch.rand(len(indices), generator=self.random, device=indices.device) * clips.sets[indices]
        sets = clips.first[indices] + pick.long()
        moves = draw(len(indices), config, self.random)
        onset = None if clips.onset is None else resample(clips.onset[sets].float(), moves)
        maps, small = network_input(
            self.run, augment(clips.flow[sets].float(), moves, self.vectors), onset, self.network.grid
        )
        if config.noise:
            spread = maps.std((-2, -1), keepdim=True)
            maps = maps + config.noise * spread * torch.randn(maps.shape, generator=self.random, device=maps.device)
        return maps, small, targets[indices]

    def mixed(self, maps: Tensor, small: Tensor | None, targets: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """The batch and its reversal, blended (mixup, Zhang et al., 2018)."""
        if not self.run.train.mixup:
            return maps, small, targets
        share = float(self.mixing.beta(self.run.train.mixup, self.run.train.mixup))

        def blend(x: Tensor) -> Tensor:
            return share * x + (1 - share) * x.flip(0)

        return blend(maps), None if small is None else blend(small), blend(targets)

    def train_units(self, epoch: int) -> tuple[float, float]:
        """An epoch of the first stage: mean loss, and the macro F1 of the epoch's own outputs."""
        self.network.train()
        value, logits, targets = self._epoch(self.run.units, epoch, self.units, self.network.action_units, units_loss)
        return value, units_f1(targets.round(), logits > 0)

    def train_emotions(self, epoch: int) -> tuple[float, float]:
        """An epoch of the only or second stage: mean loss and accuracy of its batches."""
        self._freeze(self.run.units.use != "none" and epoch < self.run.units.unfreeze_epoch)
        value, logits, targets = self._epoch(
            self.run.train,
            epoch,
            self.emotions,
            self.network,
            lambda logits, targets: loss(logits, targets, self.weights, self.run.train),
        )
        return value, float((logits.argmax(1) == targets.argmax(1)).mean())

    def _freeze(self, frozen: bool) -> None:
        """Training mode; what is frozen, all but the last layer, keeps its weights and its batch statistics."""
        self.network.train()
        for name, part in self.network.named_children():
            if name not in {"head", "dropout"}:
                part.train(not frozen).requires_grad_(not frozen)

    def _epoch(
        self,
        schedule: Train | Units,
        epoch: int,
        targets: Tensor,
        network: Callable[..., Tensor],
        criterion: Callable[[Tensor, Tensor], Tensor],
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """Mean loss of the epoch's batches, and their logits and targets; the host waits for the device once."""
        for group in self.optimiser.param_groups:
            group["lr"] = _learning_rate(schedule, epoch)
        losses, outputs = [], []
        for indices in _batches(self.train, self.run.train.batch, self.random):
            maps, small, rows = self.mixed(*self.batch(indices, targets))
            with self.precision:
                logits = network(maps, small)
            value = criterion(logits.float(), rows)
            self.optimiser.zero_grad(set_to_none=True)
            value.backward()
            self.optimiser.step()
            losses.append(value.detach())
            outputs.append(torch.stack([logits.detach().float(), rows]))
        seen = torch.cat([torch.cat(outputs, dim=1).flatten(), torch.stack(losses).mean()[None]]).cpu().numpy()
        logits_seen, rows_seen = seen[:-1].reshape(2, -1, targets.shape[1])
        return float(seen[-1]), logits_seen, rows_seen

    @torch.no_grad()
    def predict(self, indices: Tensor) -> np.ndarray:
        """(n, K) half-precision probabilities of clips (n,), unjittered and unaugmented."""
        self.network.eval()
        out = []
        for flow, onset in self._plain(indices):
            chances = self.judge(flow, onset)
            if self.run.train.mirror:
                chances = (
                    chances + self.judge(mirror(flow, self.vectors), None if onset is None else onset.flip(-1))
                ) / 2
            out.append(chances)
        return torch.cat(out).half().cpu().numpy()

    @torch.no_grad()
    def test_units(self) -> float:
        """Macro F1 of the test subject's action units; NaN where none is known."""
        self.network.eval()
        shown = [
            self.network.action_units(*network_input(self.run, *clips, self.network.grid)) > 0
            for clips in self._plain(self.test)
        ]
        return units_f1(self.units[self.test].cpu().numpy(), torch.cat(shown).cpu().numpy())

    def _plain(self, indices: Tensor) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Flow (B, T, P, H, W) and onset images (B, 3, H, W) of clips (n,) as they are, B of them at a time."""
        for batch in indices.split(self.run.train.batch):
            sets = self.clips.first[batch]
            yield self.clips.flow[sets].float(), None if self.clips.onset is None else self.clips.onset[sets].float()

    def judge(self, flow: Tensor, onset: Tensor | None) -> Tensor:
        """(B, K) probabilities of clips, given their flow (B, T, P, H, W) and onset images (B, 3, H, W)."""
        maps, small = network_input(self.run, flow, onset, self.network.grid)
        with self.precision:
            logits = self.network(maps, small)
        return probabilities(logits.float(), self.run.train)


def train_fold(
    run: Run, clips: Clips, subject: str, seed: int, on_epoch: Callable[[Epoch], None] = lambda epoch: None
) -> Trained:
    """Train a network on everybody but `subject` and those held out, and predict these two after every epoch.

    Args:
        run: the configuration.
        clips: all clips, on the device.
        subject: who is tested.
        seed: of the run; the fold's own is made of it and of the subject.
        on_epoch: called after every epoch.

    Raises:
        Infeasible: if the loss stops being a finite number, or two stages find no known action units to learn.
    """
    own_seed = fold_seed(seed, subject)
    fold = leave_one_out(clips.subjects, subject, run.train.inner, own_seed)
    state = _Fold(run, clips, fold, own_seed)
    history: list[Epoch] = []

    def keep(row: Epoch) -> None:
        history.append(row)
        on_epoch(row)

    if run.units.use != "none":
        for row in _first_stage(state, subject, seed):
            keep(row)
    labels, kept = clips.labels[state.test].cpu().numpy(), []
    held_out, inner = clips.labels[state.inner].cpu().numpy(), []
    state.start(run.train)
    for epoch in range(run.train.epochs):
        start = time.perf_counter()
        value, hits = state.train_emotions(epoch)
        kept.append(state.predict(state.test))
        if run.train.inner:
            inner.append(mean_log(state.predict(state.inner), held_out))
        _check_finite(subject, epoch, value, kept[-1], *inner[-1:])
        rate, seconds = _learning_rate(run.train, epoch), time.perf_counter() - start
        keep(Epoch(seed, subject, epoch + 1, rate, value, hits, -mean_log(kept[-1], labels), seconds=seconds))
    names = tuple(clips.names[i] for i in fold.test)
    chosen_by = np.array(inner) if run.train.inner else None
    predictions = Predictions(seed, subject, names, labels, np.stack(kept), chosen_by)
    return Trained(predictions, history, state.network)


def _first_stage(state: _Fold, subject: str, seed: int) -> Iterator[Epoch]:
    """Learn action units, and go on with the epoch whose own outputs had the best macro F1 on the training clips.

    (TM-MMNET's public code picks the epoch on the test subject, which leaks.)
    """
    schedule, best, weights = state.run.units, -math.inf, state.network.state_dict()
    state.start(schedule)
    for epoch in range(schedule.epochs):
        start = time.perf_counter()
        value, f1 = state.train_units(epoch)
        _check_finite(subject, epoch, value)
        if f1 > best:
            best, weights = f1, {name: item.clone() for name, item in state.network.state_dict().items()}
        yield Epoch(
            seed, subject, epoch + 1, _learning_rate(schedule, epoch), value, stage=1,
            train_au_f1=f1, test_au_f1=state.test_units(), seconds=time.perf_counter() - start,
        )  # fmt: skip
    state.network.load_state_dict(weights)


def _check_finite(subject: str, epoch: int, value: float, *predicted: np.ndarray | float) -> None:
    if not all(np.isfinite(numbers).all() for numbers in (value, *predicted)):
        raise Infeasible(
            f"loss and predictions must stay finite, but are not in epoch {epoch + 1} of {subject} (loss "
            f"{value:.3g}); try a smaller train.lr",
            "finite loss",
        )


def epochs_timed(run: Run, clips: Clips, steps: int) -> Iterator[float]:
    """Seconds of one epoch of so many steps after the other, without end."""
    state = _Fold(run, clips, leave_one_out(clips.subjects, clips.subjects[0]), seed=0)
    state.train = state.train[: steps * run.train.batch]
    state.start(run.train)
    while True:
        start = time.perf_counter()
        state.train_emotions(run.units.unfreeze_epoch)  # everything is trained
        yield time.perf_counter() - start


def seconds_per_step(run: Run, clips: Clips) -> float:
    """How long a training step takes here: the fastest of four, or of as many as fit two seconds."""
    times: list[float] = []
    for seconds in epochs_timed(run, clips, 1):
        times.append(seconds)
        if len(times) == 4 or sum(times) >= 2:
            break
    return min(times)
