"""What learns in a fold: its network, optimiser and random numbers, and each step of an epoch.

Shapes: N clips, B in a batch, n in the test subject, T maps, P components, C channels, K classes, A action units.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import repeat
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from mer_search.config import Run, Train, Units
from mer_search.errors import Infeasible
from mer_search.evaluation.folds import Fold
from mer_search.evaluation.metrics import units_f1
from mer_search.model.losses import loss, units_loss
from mer_search.model.network import Network
from mer_search.training import gpu
from mer_search.training.augment import Moves, augment, augment_onset, draw
from mer_search.training.dataset import Clips, units_table
from mer_search.training.gpu import Graphed, OfTensors
from mer_search.training.predict_proba import mixed_precision, network_input, predict_proba


def _batches(indices: Tensor, config: Train, generator: Generator) -> Sequence[Tensor]:
    """One epoch of batches (B,). All have the same size, for the last is filled from the next permutation, unless it is
    to be smaller."""
    clips = len(indices)
    size = min(config.batch, clips)
    order = torch.cat([torch.randperm(clips, generator=generator, device=indices.device) for _ in range(2)])
    seen = math.ceil(clips / size) * size if config.last_batch == "filled" else clips
    batches: Sequence[Tensor] = indices[order[:seen]].split(size)
    return batches


def learning_rate(config: Train | Units, epoch: float) -> float:
    """The learning rate when so many epochs, or parts of them, are over."""
    return config.lr * SCHEDULES[config.schedule](config, epoch)


def _cosine(share: float, first: float = 1.0, last: float = 0.0) -> float:
    """From first to last as the share goes from 0 to 1."""
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2


def _onecycle(config: Train, epoch: float) -> float:
    rise, share = 0.3, epoch / config.epochs
    return _cosine(share / rise, 1 / 25, 1.0) if share < rise else _cosine((share - rise) / (1 - rise), 1.0, 4e-6)


SCHEDULES: dict[str, Callable[[Any, float], float]] = {
    "exponential": lambda config, epoch: config.gamma ** min(int(epoch), config.plateau),
    "cosine": lambda config, epoch: _cosine(epoch / config.epochs),
    "onecycle": _onecycle,
}


MIN_MICROBATCH = 4  # clips of a microbatch: batch statistics of fewer are noise


def microbatch_counts(batch: int) -> list[int]:
    """Into how many microbatches a batch may be cut whose activations do not fit the device: 1, 2, 4 ..."""
    return [2**times for times in range(int(math.log2(max(1, batch / MIN_MICROBATCH))) + 1)]


def augmented_input(
    run: Run, flow: Tensor, onset: Tensor | None, moves: Moves | None, grid: int
) -> tuple[Tensor, Tensor | None]:
    """As `network_input`, of clips that were moved, if there are moves."""
    if moves is not None:
        flow = augment(flow, moves, run.flow.method != "difference", run.train.resampling)
        onset = None if onset is None else augment_onset(onset, moves, run.train)
    return network_input(run, flow, onset, grid)


class Learner:
    """One fold's training, a step after the other.

    A batch is cut into `microbatches`, whose gradients add up to the batch's; but batch normalisation sees one of them
    at a time, and class weights are averaged within it.
    """

    def __init__(self, run: Run, clips: Clips, fold: Fold, seed: int, microbatches: int = 1) -> None:
        self.run, self.microbatches = run, microbatches
        self.clips = clips if run.model.position else clips._replace(onset=None)  # images that nothing looks at
        device, config, classes = clips.flow.device, run.train, len(run.data.classes)
        self.on_gpu = device.type == "cuda"
        torch.manual_seed(seed)
        self.random = torch.Generator(device).manual_seed(seed)
        self.dropped: Any = torch.cuda if self.on_gpu else torch  # whose random numbers dropout takes
        self.mixing = np.random.default_rng(seed)
        self.unit_names, units = units_table(clips.units, fold, run.units)  # A
        if run.units.use != "none" and not self.unit_names:
            raise Infeasible(
                f"training in two stages needs clips whose action units are known, but beside {fold.left_out}'s there "
                'is none; set units.use = "none"',
                "known action units",
            )
        self.units = torch.as_tensor(units, device=device)  # (N, A)
        self.emotions = F.one_hot(clips.labels, classes).float()  # (N, K)
        self.network = Network(run, len(self.unit_names)).to(device)
        self.train, self.test, self.val = (
            torch.as_tensor(part, device=device) for part in (fold.train, fold.test, fold.val)
        )
        size = min(config.batch, len(self.train))
        if self.network.grid == 1 and 1 in (size, len(self.train) % size if config.last_batch == "smaller" else size):
            raise Infeasible(
                f"a batch must have two clips or more where the last map is one place, but of {len(self.train)} a "
                f"batch has one; set train.batch to another number than {config.batch}, train.last_batch to "
                '"filled", or fewer model.blocks',
                "two clips a batch",
            )
        counts = torch.bincount(clips.labels[self.train], minlength=classes).clamp_min(1)  # clips of a class, or 1
        self.weights = counts.float().pow(-config.class_weights)  # (K,)
        self.precision = mixed_precision(run, device)
        self.compiler = gpu.compiler(run, device)
        self.graphed: dict[Any, Graphed] = {}  # on a GPU, by what it does

    def start(self, schedule: Train | Units) -> None:
        """A stage begins: with an optimiser of its own."""
        rate: Any = torch.tensor(schedule.lr, device=self.train.device) if self.on_gpu else schedule.lr
        decay = self.run.train.weight_decay
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), rate, weight_decay=decay, fused=True, capturable=self.on_gpu
        )
        self.graphed = {}

    def state(self) -> dict[str, Tensor]:
        """All that the stage's next epoch depends on, for `resume`."""
        moments = self.optimiser.state_dict()["state"]
        mixing = json.dumps(self.mixing.bit_generator.state).encode()
        tensors = {
            **{f"network.{name}": item for name, item in self.network.state_dict().items()},
            **{f"moments.{place}.{name}": item for place, parts in moments.items() for name, item in parts.items()},
            "random": self.random.get_state(),
            "dropout": self.dropped.get_rng_state(),
            "mixing": torch.frombuffer(bytearray(mixing), dtype=torch.uint8),
        }
        return {name: item.contiguous() for name, item in tensors.items()}

    def resume(self, schedule: Train | Units, state: dict[str, Tensor]) -> None:
        """Take a stage up where another learner of this fold left it."""

        def under(name: str) -> dict[str, Tensor]:
            return {key.removeprefix(name): item for key, item in state.items() if key.startswith(name)}

        self.network.load_state_dict(under("network."))
        self.start(schedule)
        moments = {}
        for place, parameter in enumerate(self.network.parameters()):
            moments[place] = under(f"moments.{place}.")
            for name, moment in moments[place].items():
                if moment.shape == parameter.shape:  # laid out in memory as the parameter, as the fused AdamW expects
                    moments[place][name] = torch.empty_like(parameter).copy_(moment)
        self.optimiser.load_state_dict(self.optimiser.state_dict() | {"state": moments})
        self.random.set_state(state["random"])
        self.dropped.set_rng_state(state["dropout"])
        self.mixing.bit_generator.state = json.loads(state["mixing"].numpy().tobytes())

    def batch(self, indices: Tensor, augmented: OfTensors) -> tuple[Tensor, Tensor | None]:
        """Clips (B,) -> augmented channels and onset images, by `augmented_input` or what it was compiled to."""
        clips, config = self.clips, self.run.train
        plain = int(self.run.frames.crops > 0)  # how many of a clip's are not trained on: the others are augmented
        pick = torch.rand(len(indices), generator=self.random, device=indices.device) * (clips.sets[indices] - plain)
        sets = clips.first[indices] + plain + pick.long()
        flow, onset = clips.of_sets(sets)
        moves = None if plain else draw(len(indices), config, self.random, flow.shape[-1])
        maps, small = augmented(self.run, flow, onset, moves, self.network.grid)
        if config.noise:
            centred = maps - maps.mean((-2, -1), keepdim=True)  # torch.std takes ten times as long
            spread = torch.linalg.vector_norm(centred, dim=(-2, -1), keepdim=True) / math.sqrt(maps[0, 0, 0].numel())
            noise = torch.randn(maps.shape, generator=self.random, device=maps.device)
            maps = torch.addcmul(maps, spread, noise, value=config.noise)
        return maps, small

    def train_units(self, epoch: int) -> tuple[float, float]:
        """An epoch of the first stage: mean loss, and the macro F1 of the epoch's own outputs."""
        self._freeze(False)
        value, logits, targets = self._epoch(self.run.units, epoch, self.units, self.network.units, units_loss)
        return value, units_f1(targets.round(), logits > 0, self.run.units.f1_over)

    def train_emotions(self, epoch: int) -> tuple[float, float]:
        """An epoch of the only or second stage: mean loss and accuracy of its batches."""
        config, units = self.run.train, self.run.units
        frozen = units.use != "none" and epoch < units.unfreeze_epoch
        weights_alone = units.use != "none" and units.unfreeze == "statistics"
        self._freeze(frozen or weights_alone, weights_alone and (epoch == 0 or not frozen))
        criterion = partial(loss, weights=self.weights, config=config)
        value, logits, targets = self._epoch(config, epoch, self.emotions, self.network.emotions, criterion)
        return value, float((logits.argmax(1) == targets.argmax(1)).mean())

    def _freeze(self, frozen: bool, statistics_go_on: bool = False) -> None:
        """Training mode; what is frozen, all but the last layer, keeps its weights, and its batch statistics unless
        they go on."""
        self.network.train()
        for name, part in self.network.named_children():
            if name not in {"head", "dropout"}:
                part.train(not frozen or statistics_go_on).requires_grad_(not frozen)

    def _epoch(
        self,
        schedule: Train | Units,
        epoch: int,
        targets: Tensor,
        head: Callable[[Tensor], Tensor],
        criterion: Callable[[Tensor, Tensor], Tensor],
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """Mean loss of the epoch's batches, and their logits and targets; the host waits for the device once."""
        config, losses, seen = self.run.train, [], []
        trains, moves = next(self.network.internal.parameters()).requires_grad, self.network.internal.training
        compiled = trains and moves and self.microbatches == 1

        def step(indices: Tensor, share: Tensor) -> Tensor:
            """Train on a batch (B,): its logits and targets (2 * B * K), and its loss at the end."""
            faster = self.compiler if compiled and len(indices) == config.batch else gpu.as_it_is
            features = faster(Network.features)
            parts: list[Any] = [*self.batch(indices, faster(augmented_input)), targets[indices]]
            if config.mixup:  # blended with its reversal (Zhang et al., 2018)
                parts = [None if part is None else share * part + (1 - share) * part.flip(0) for part in parts]
            cut = [repeat(None) if part is None else part.chunk(self.microbatches) for part in parts]
            values, outputs = [], []
            self.optimiser.zero_grad(set_to_none=True)
            for maps, small, rows in zip(*cut, strict=False):
                with self.precision:
                    logits = head(features(self.network, maps, small))
                value = criterion(logits.float(), rows) * (len(rows) / len(indices))
                value.backward()
                values.append(value.detach())
                outputs.append(torch.stack([logits.detach().float(), rows]))
            self.optimiser.step()
            return torch.cat([torch.cat(outputs, dim=1).flatten(), torch.stack(values).sum()[None]])

        batches = _batches(self.train, config, self.random)
        for number, indices in enumerate(batches):
            self._set_rate(learning_rate(schedule, epoch + number / len(batches)))
            own = self.mixing.beta(config.mixup, config.mixup) if config.mixup else 1.0  # share of the batch itself
            share = torch.full((), own, dtype=torch.double, device=indices.device)
            told = self._call(("step", trains, moves, len(indices)), step, indices, share)
            losses.append(told[-1])
            seen.append(told[:-1].view(2, len(indices), -1))
        logits, rows = torch.cat(seen, 1).cpu().numpy()
        return float(torch.stack(losses).cpu().sum()) / len(batches), logits, rows

    def _set_rate(self, rate: float) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = group["lr"].fill_(rate) if self.on_gpu else rate

    def _call(self, what: Any, work: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """Call a function, which a GPU records at its first calls; `what` tells functions apart."""
        if not self.on_gpu or self.microbatches > 1:
            return work(*inputs)
        if what not in self.graphed:
            self.graphed[what] = Graphed(self.random)
        return self.graphed[what](work, *inputs)

    def predict(self, indices: Tensor) -> np.ndarray:
        """(n, K) half-precision probabilities of clips (n,), unjittered and unaugmented."""
        if not len(indices):
            return np.empty((0, len(self.run.data.classes)), np.float16)
        self.network.eval()

        def predicted(indices: Tensor) -> Tensor:
            return torch.cat([predict_proba(self.network, self.run, *clips) for clips in self._plain(indices)])

        return self._call(("predict", len(indices)), predicted, indices).half().cpu().numpy()

    @torch.no_grad()
    def test_units(self) -> tuple[float, float, np.ndarray]:
        """Of the test subject: the macro F1 of its action units and their mean loss, NaN where none is known, and the
        probability of each (n, A)."""
        self.network.eval()
        inputs = (network_input(self.run, *clips, self.network.grid) for clips in self._plain(self.test))
        logits = torch.cat([self.network.units(self.network.features(*parts)) for parts in inputs])
        truth = self.units[self.test]
        f1 = units_f1(truth.cpu().numpy(), (logits > 0).cpu().numpy(), self.run.units.f1_over)
        return f1, float(units_loss(logits, truth)), logits.sigmoid().half().cpu().numpy()

    def _plain(self, indices: Tensor) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Flow (B, T, P, H, W) and onset images (B, 3, H, W) of clips (n,) as they are, B of them at a time."""
        for batch in indices.split(self.run.train.batch):
            yield self.clips.of_sets(self.clips.first[batch])
