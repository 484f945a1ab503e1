"""What training costs on the machine at hand: against its ceiling, and against the conventional loop, in one run.

The conventional loop is what public code does: Conv3d modules in single precision, a DataLoader that reads five JPEGs
and computes four flows a sample and epoch, the loss fetched from the device at each step.
"""

import math
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice, pairwise
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

from mer_search.bench.conventional import public_network
from mer_search.config import Run
from mer_search.data.clips import Clip
from mer_search.data.flow import farneback
from mer_search.data.store import Motion
from mer_search.model.channels import channels, n_channels
from mer_search.model.network import TYPICAL_UNITS, Network
from mer_search.training.dataset import Clips
from mer_search.training.loop import epochs_timed

FRAMES = 5  # of a clip in the conventional loop: four flows


def timed(work: Callable[[], object], runs: int, device: str = "cpu") -> list[float]:
    """Seconds that `work` takes, `runs` times after a warm-up."""
    seconds, wait = [], torch.get_device_module(device).synchronize
    for _ in range(runs + 1):
        wait()
        start = time.perf_counter()
        work()
        wait()
        seconds.append(time.perf_counter() - start)
    return seconds[1:]


def ceiling(device: str, runs: int) -> dict[str, float]:
    """What the machine can do at most: operations a second of large matrix products, in fp32 and bf16, and bytes a
    second of a large copy. Matrices have 1024 rows on a CPU, 8192 on a GPU."""
    side = 8192 if device == "cuda" else 1024

    def product(kind: torch.dtype) -> float:
        square = torch.randn(side, side, device=device).to(kind)
        return 2 * side**3 / median(timed(lambda: square @ square, runs, device))

    block = torch.empty(side * side, device=device)
    target = torch.empty_like(block)
    copied = 2 * block.nbytes / median(timed(lambda: target.copy_(block), runs, device))  # read and written
    return {"fp32": product(torch.float32), "bf16": product(torch.bfloat16), "copy": copied}


def noise(run: Run, count: int, subjects: int = 2) -> Clips:
    """So many clips of noise of so many subjects; all show all action units."""
    units = tuple(map(str, range(TYPICAL_UNITS)))
    clips = [
        Clip("noise", f"s{k % subjects}", f"c{k}", run.data.classes[0], (Path(),), 0, 0, 0, 0, units)
        for k in range(count)
    ]
    random, size = np.random.default_rng(0), run.flow.size
    flow = random.standard_normal((len(clips), run.frames.maps, 3, size, size), np.float32).astype(np.float16)
    onset = random.integers(0, 256, (len(clips), 3, size, size)).astype(np.uint8) if run.model.position else None
    ones = np.ones(len(clips), np.int64)
    return Clips.of(clips, Motion(flow, onset, np.arange(len(clips)), ones), np.arange(count) % len(run.data.classes))


def epoch(run: Run, device: str, samples: int, runs: int) -> list[float]:
    """Seconds of our epochs over so many samples, whose motion is on the device: augmentation, channels, forward,
    backward and update of each batch."""
    steps = samples // run.train.batch
    clips = noise(run, 2 * steps * run.train.batch).to(device)
    return list(islice(epochs_timed(run, clips, steps), 1, runs + 1))  # the first warms up


def conventional_step(run: Run, device: str, runs: int, techniques: int = 0) -> list[float]:
    """The conventional step on a batch that is there: forward, backward and update; so many of the TECHNIQUES do it
    better."""
    learner = _Conventional(run, device, techniques)
    maps = torch.randn(run.train.batch, run.frames.maps, n_channels(run.input), run.flow.size, run.flow.size)
    onset = torch.rand(run.train.batch, 3, learner.grid, learner.grid) if run.model.position else None
    labels = torch.zeros(run.train.batch, dtype=torch.long)
    return timed(lambda: learner.step(maps, onset, labels), runs, device)


def conventional_epoch(run: Run, device: str, samples: int, loaders: int, runs: int) -> list[float]:
    """The conventional epoch over so many samples, read from JPEGs by `loaders` processes (0: by this one)."""
    learner = _Conventional(run, device)
    with _jpegs(run.prep.size) as folder:
        batches = DataLoader(_Reading(run, folder, samples, learner.grid), run.train.batch, num_workers=loaders)

        def once() -> None:
            for maps, onset, labels in batches:
                learner.step(maps, onset, labels)

        return timed(once, runs, device)


TECHNIQUES = ("2D convolutions instead of Conv3d", "fused AdamW, loss not read", "channels-last", "bfloat16")


class _Conventional:
    """The published network and how it is trained; with the first so many of the TECHNIQUES."""

    def __init__(self, run: Run, device: str, techniques: int = 0) -> None:
        folded, fused, last, low = (place < techniques for place in range(len(TECHNIQUES)))
        plain = Network(run)
        self.grid, self.device, self.reads = plain.grid, device, not fused
        self.network = (plain if folded else public_network(run, self.grid, TYPICAL_UNITS)).to(device).train()
        if last:
            self.network.to(memory_format=torch.channels_last)
        self.precision = torch.autocast(device, torch.bfloat16, enabled=low)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=1e-4, fused=fused)

    @torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=False, allow_tf32=True)  # torch's own
    def step(self, maps: torch.Tensor, onset: torch.Tensor | None, labels: torch.Tensor) -> float:
        here = (None if each is None else each.to(self.device) for each in (maps, onset))
        with self.precision:
            logits = self.network(*here)
        loss = F.cross_entropy(logits.float(), labels.to(self.device))
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return loss.item() if self.reads else math.nan


class _Reading(Dataset[tuple[torch.Tensor, torch.Tensor, int]]):
    """Five JPEGs to four flows and their channels, anew at each access."""

    def __init__(self, run: Run, folder: Path, samples: int, grid: int) -> None:
        self.run, self.folder, self.samples, self.grid = run, folder, samples, grid

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, place: int) -> tuple[torch.Tensor, torch.Tensor, int]:
        size = (self.run.flow.size, self.run.flow.size)
        read = (cv2.imread(str(self.folder / f"{k}.jpg")) for k in range(FRAMES))
        frames = [cv2.resize(frame, size) for frame in read if frame is not None]
        grey = [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in frames]
        flows = [farneback(before, after, self.run.flow) for before, after in pairwise(grey)]
        flow = torch.from_numpy(np.stack(flows))[None, : self.run.frames.maps]
        small = torch.from_numpy(cv2.resize(frames[0], (self.grid, self.grid))).movedim(-1, 0) / 255
        return channels(flow, self.run.input)[0], small, place % len(self.run.data.classes)


@contextmanager
def _jpegs(size: int) -> Iterator[Path]:
    """A folder with five frames of smooth noise that moves."""
    smooth = cv2.GaussianBlur(np.random.default_rng(0).uniform(0, 255, (size, size, 3)).astype(np.float32), (0, 0), 3)
    picture = cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        for k in range(FRAMES):
            cv2.imwrite(f"{folder}/{k}.jpg", np.roll(picture, k, axis=1))
        yield Path(folder)
