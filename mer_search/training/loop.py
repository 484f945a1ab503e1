"""The one training loop: a fold in, its test subject's probabilities after every epoch out.

Shapes: S frame sets of all clips, N clips, B of them in a batch, n in the test subject, T maps, P components, C
channels, K classes, E epochs.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from mer_search.config import Run, Train
from mer_search.data.clips import Clip
from mer_search.data.store import Motion
from mer_search.errors import Infeasible
from mer_search.model.channels import channels
from mer_search.model.losses import loss, probabilities
from mer_search.model.network import Network
from mer_search.training.augment import augment, draw, mirror, resample
from mer_search.training.folds import Fold, fold_seed, leave_one_out
from mer_search.training.predictions import Predictions


class Clips(NamedTuple):
    """All clips, ready to train on. A clip's first frame set is the unjittered one, which tests use."""

    names: list[str]  # N, "sub05/EP02_01f"
    subjects: list[str]  # N
    flow: Tensor  # (S, T, P, H, W) half precision
    onset: Tensor | None  # (S, 3, H, W) bytes, RGB; None for flow images
    first: Tensor  # (N,) the clip's first frame set
    sets: Tensor  # (N,) how many it has
    labels: Tensor  # (N,) class numbers

    @staticmethod
    def of(clips: Sequence[Clip], motion: Motion, labels: np.ndarray) -> "Clips":
        """The clips with their motion and class numbers (N,), in memory that processes can share."""

        def shared(array: np.ndarray) -> Tensor:
            return torch.from_numpy(array).share_memory_()

        return Clips(
            [clip.id for clip in clips],
            [clip.subject for clip in clips],
            shared(motion.flow),
            None if motion.onset is None else shared(motion.onset),
            *map(shared, (motion.first, motion.count, labels)),
        )

    def to(self, device: str) -> "Clips":
        """The same clips on another device."""
        return Clips._make(item.to(device) if isinstance(item, Tensor) else item for item in self)


class Epoch(NamedTuple):
    """A row of history.csv."""

    seed: int
    subject: str
    epoch: int  # from 1
    lr: float
    train_loss: float
    train_accuracy: float
    test_log_loss: float  # to look at; nothing is chosen by it
    seconds: float


class Trained(NamedTuple):
    """What a fold leaves behind."""

    predictions: Predictions
    history: list[Epoch]
    network: Network


def network_input(run: Run, flow: Tensor, onset: Tensor | None, grid: int) -> tuple[Tensor, Tensor | None]:
    """Flow (B, T, P, H, W) and onset images (B, 3, H, W) -> channels (B, T, C, H, W) and (B, 3, G, G) in [0, 1]."""
    small = None
    if run.model.position and onset is not None:
        small = F.interpolate(onset / 255, size=(grid, grid), mode="bilinear", antialias=True, align_corners=False)
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


def _learning_rate(config: Train, epoch: int) -> float:
    """Exponential decay until the plateau epoch, from epoch 0 on; it does not depend on the number of epochs."""
    return config.lr * config.gamma ** min(epoch, config.plateau)


class _Fold:
    """State of one fold's training, so that each step of the loop can be read on its own."""

    def __init__(self, run: Run, clips: Clips, fold: Fold, seed: int) -> None:
        self.run, self.clips = run, clips
        device = clips.flow.device
        torch.manual_seed(seed)
        self.random = torch.Generator(device).manual_seed(seed)
        self.mixing = np.random.default_rng(seed)
        self.network = Network(run).to(device)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=run.train.lr, weight_decay=run.train.weight_decay, fused=True
        )
        self.vectors = run.flow.method != "difference"  # whether a map's values point somewhere
        self.train = torch.as_tensor(fold.train, device=device)
        self.test = torch.as_tensor(fold.test, device=device)
        self.weights = _class_weights(clips.labels[self.train], len(run.data.classes), run.train.class_weights)
        self.precision = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """Clips (B,) -> augmented channels, onset images and one-hot targets (B, K)."""
        clips, config = self.clips, self.run.train
        pick = torch.rand(len(indices), generator=self.random, device=indices.device) * clips.sets[indices]
        sets = clips.first[indices] + pick.long()
        crops = draw(len(indices), config, self.random)
        onset = None if clips.onset is None else resample(clips.onset[sets].float(), crops)
        maps, small = network_input(
            self.run, augment(clips.flow[sets].float(), crops, self.vectors), onset, self.network.grid
        )
        if config.noise:
            spread = maps.std((-2, -1), keepdim=True)
            maps = maps + config.noise * spread * torch.randn(maps.shape, generator=self.random, device=maps.device)
        targets = F.one_hot(clips.labels[indices], len(self.run.data.classes)).float()
        return maps, small, targets

    def mixed(self, maps: Tensor, small: Tensor | None, targets: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """The batch and its reversal, blended (mixup, Zhang et al., 2018)."""
        if not self.run.train.mixup:
            return maps, small, targets
        share = float(self.mixing.beta(self.run.train.mixup, self.run.train.mixup))

        def blend(x: Tensor) -> Tensor:
            return share * x + (1 - share) * x.flip(0)

        return blend(maps), None if small is None else blend(small), blend(targets)

    def train_epoch(self, epoch: int) -> tuple[float, float]:
        """Mean loss and accuracy of the epoch's batches; the host waits for the device once."""
        for group in self.optimiser.param_groups:
            group["lr"] = _learning_rate(self.run.train, epoch)
        self.network.train()
        losses, hits = [], []
        for indices in _batches(self.train, self.run.train.batch, self.random):
            maps, small, targets = self.mixed(*self.batch(indices))
            with self.precision:
                logits = self.network(maps, small)
            value = loss(logits.float(), targets, self.weights, self.run.train)
            self.optimiser.zero_grad(set_to_none=True)
            value.backward()
            self.optimiser.step()
            losses.append(value.detach())
            hits.append((logits.argmax(1) == targets.argmax(1)).float().mean())
        mean_loss, mean_hits = torch.stack([torch.stack(losses).mean(), torch.stack(hits).mean()]).tolist()
        return mean_loss, mean_hits

    @torch.no_grad()
    def predict(self) -> np.ndarray:
        """(n, K) half-precision probabilities of the test subject's clips, unjittered and unaugmented."""
        self.network.eval()
        out = []
        for indices in self.test.split(self.run.train.batch):
            sets = self.clips.first[indices]
            flow = self.clips.flow[sets].float()
            onset = None if self.clips.onset is None else self.clips.onset[sets].float()
            chances = self.judge(flow, onset)
            if self.run.train.mirror:
                chances = (
                    chances + self.judge(mirror(flow, self.vectors), None if onset is None else onset.flip(-1))
                ) / 2
            out.append(chances)
        return torch.cat(out).half().cpu().numpy()

    def judge(self, flow: Tensor, onset: Tensor | None) -> Tensor:
        """(B, K) probabilities of clips, given their flow (B, T, P, H, W) and onset images (B, 3, H, W)."""
        maps, small = network_input(self.run, flow, onset, self.network.grid)
        with self.precision:
            logits = self.network(maps, small)
        return probabilities(logits.float(), self.run.train)


def train_fold(
    run: Run, clips: Clips, subject: str, seed: int, on_epoch: Callable[[Epoch], None] = lambda epoch: None
) -> Trained:
    """Train a network on everybody but `subject` and predict that subject after every epoch.

    Args:
        run: the configuration.
        clips: all clips, on the device.
        subject: who is tested.
        seed: of the run; the fold's own is made of it and of the subject.
        on_epoch: called after every epoch.

    Raises:
        Infeasible: if the loss stops being a finite number.
    """
    fold = leave_one_out(clips.subjects, subject)
    state = _Fold(run, clips, fold, fold_seed(seed, subject))
    labels = clips.labels[state.test].cpu().numpy()
    history, kept = [], []
    for epoch in range(run.train.epochs):
        start = time.perf_counter()
        mean_loss, hits = state.train_epoch(epoch)
        kept.append(state.predict())
        if not math.isfinite(mean_loss) or not np.isfinite(kept[-1]).all():
            raise Infeasible(
                f"loss and predictions must stay finite, but are not in epoch {epoch + 1} of {subject} (loss "
                f"{mean_loss:.3g}); try a smaller train.lr",
                "finite loss",
            )
        log_loss = -float(np.log(np.maximum(kept[-1][np.arange(len(labels)), labels], 1e-4)).mean())
        history.append(
            Epoch(
                seed,
                subject,
                epoch + 1,
                _learning_rate(run.train, epoch),
                mean_loss,
                hits,
                log_loss,
                time.perf_counter() - start,
            )
        )
        on_epoch(history[-1])
    predictions = Predictions(seed, subject, tuple(clips.names[i] for i in fold.test), labels, np.stack(kept))
    return Trained(predictions, history, state.network)


def seconds_per_step(run: Run, clips: Clips) -> float:
    """How long a training step takes here: the fastest of four, or of as many as fit two seconds."""
    state = _Fold(run, clips, leave_one_out(clips.subjects, clips.subjects[0]), seed=0)
    state.train = state.train[: run.train.batch]  # an epoch of one step
    times: list[float] = []
    while len(times) < 4 and sum(times) < 2:
        start = time.perf_counter()
        state.train_epoch(0)
        times.append(time.perf_counter() - start)
    return min(times)
