"""What motion and a training step cost on this machine, against its ceiling in the same run: `make bench`.

On one core; medians of several runs, with their spread. A step is forward, backward and update on clips of noise.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from mer_search.config import Run, with_values
from mer_search.data.clips import Clip
from mer_search.data.flow import farneback
from mer_search.data.store import Motion
from mer_search.model.network import cost
from mer_search.presets import preset
from mer_search.search import space
from mer_search.training.clips import Clips
from mer_search.training.loop import seconds_per_step

RUNS = 5


def first_trial(study: str) -> Run:
    """The first starting point of a study that comes with the package."""
    file = space.load(study)
    return with_values(file.base, file.start[0])


STEPS = {
    "first trial of demo": first_trial("demo"),
    "first trial of megc2019": first_trial("megc2019"),
    "V4, batch 2": with_values(preset("V4"), {"train.batch": 2}),
}


def seconds(work: Callable[[], object]) -> list[float]:
    """How long `work` takes, RUNS times after a warm-up."""
    times = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return sorted(times[1:])


def noise_clips(run: Run) -> Clips:
    """Two subjects' clips of noise, two batches of them."""
    clips = [
        Clip("noise", f"s{k % 2}", f"c{k}", run.data.classes[0], (Path(),), 0, 0, 0, 0)
        for k in range(2 * run.train.batch)
    ]
    rng, size = np.random.default_rng(0), run.flow.size
    flow = rng.normal(size=(len(clips), run.frames.maps, 3, size, size)).astype(np.float16)
    onset = rng.integers(0, 256, (len(clips), 3, size, size)).astype(np.uint8) if run.model.position else None
    ones = np.ones(len(clips), np.int64)
    return Clips.of(clips, Motion(flow, onset, np.arange(len(clips)), ones), ones * 0)


def main() -> None:
    torch.set_num_threads(1)  # as the pool trains small networks; two threads wait for each other on a busy machine
    table = Table(title=f"One thread, torch {torch.__version__}, median of {RUNS}")
    for column in ("what", "ms", "min to max", "GFLOP/s", "of the ceiling"):
        table.add_column(column, justify="left" if column == "what" else "right")
    square = torch.randn(1536, 1536)
    times = seconds(lambda: square @ square)
    ceiling = 2 * 1536**3 / statistics.median(times) / 1e9

    def add(what: str, times: list[float], flop: float = 0.0) -> None:
        middle = statistics.median(times)
        speed = (f"{flop / middle / 1e9:.0f}", f"{flop / middle / 1e9 / ceiling:.0%}") if flop else ("", "")
        table.add_row(what, f"{1e3 * middle:.1f}", f"{1e3 * times[0]:.1f} to {1e3 * times[-1]:.1f}", *speed)

    add("matrix product, fp32 (the ceiling)", times, 2 * 1536**3)
    for name, run in STEPS.items():
        clips = noise_clips(run)
        steps = sorted(seconds_per_step(run, clips) for _ in range(RUNS))
        add(f"training step, {name}", steps, 3 * cost(run)[1] * run.train.batch)
    grey = np.random.default_rng(0).integers(0, 256, (2, 224, 224)).astype(np.uint8)
    add("Farneback flow, a pair at 224 px", seconds(lambda: farneback(grey[0], grey[1], preset("V3NR").flow)))
    Console().print(table)


if __name__ == "__main__":
    main()
