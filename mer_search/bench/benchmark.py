"""`mer-search bench`: everything about this machine's speed, in one run, as one JSON document."""

import datetime
import math
import platform
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from mer_search.bench import overhead, speed
from mer_search.bench.speed import Times
from mer_search.config import Run, with_values
from mer_search.engine.executor import cores, train_all
from mer_search.engine.local import LocalExecutor
from mer_search.engine.task import Task
from mer_search.engine.where import Where
from mer_search.engine.worker import settle
from mer_search.model.flops import memory, step_flop
from mer_search.model.network import Network
from mer_search.presets import preset
from mer_search.search import space
from mer_search.search.workspace import Loaded, Progress
from mer_search.training.compiled import features
from mer_search.training.dataset import Clips
from mer_search.training.predict_proba import precision

PRESETS = ("V1", "V3NR", "V4", "V5NR", "V6")
SMALL = {"flow.size": 48, "train.batch": 4}  # of a preset, where 224 px would take minutes a step
YARDSTICK = "V3NR"  # whose epoch is compared with the conventional loop's
SAMPLES = {"cpu": 4, "cuda": 20}  # batches in that epoch
CLIPS, SUBJECTS, FOLDS = 246, 26, 10  # of CASME II, and of a trial of the study `default`
SLOTS = (1, 4, 8)  # of one GPU, for small networks
LOADERS = 4  # processes that read for the conventional loop on a GPU; as public code has it


def measure(device: str, full: bool, runs: int, progress: Progress) -> dict[str, Any]:
    """The machine, its ceiling, steps, epochs and what is not training.

    Args:
        device: "cpu" or "cuda".
        full: 224 px, as published, instead of small settings.
        runs: of which medians are taken.
        progress: told of every measurement.
    """
    networks = {name: _sized(preset(name), device, full) for name in PRESETS}
    networks["demo's first trial"] = _first_trial("demo")
    if device == "cuda":
        settle(device, torch.get_num_threads(), exact=False)
    jobs: list[Callable[[], Any]] = [
        lambda: speed.ceiling(device, runs)._asdict(),
        lambda: _gpu_trials() if device == "cuda" else {},
        *(partial(_step, name, run, device, runs) for name, run in networks.items()),
        lambda: _ladder(networks[YARDSTICK], device, runs),
        lambda: _epoch(networks[YARDSTICK], device, runs),
        lambda: _demo(runs, progress),
    ]
    found = []
    progress("measuring", 0, len(jobs))
    for done, job in enumerate(jobs, 1):
        found.append(job())
        progress("measuring", done, len(jobs))
    top, trials, *steps, ladder, epoch, rest = found
    for step in steps:
        step["of_ceiling"] = step["flop_s"] / top["bf16" if step["bf16"] else "fp32"]
    return {
        "machine": _machine(device),
        "full": full,
        "runs": runs,
        "ceiling": top,
        "steps": steps,
        "techniques": {"network": YARDSTICK, "steps": ladder},
        "epoch": epoch,
        **rest,
        "gpu_trials": trials,
    }


def _sized(run: Run, device: str, full: bool) -> Run:
    return run if full and device == "cuda" else with_values(run, {"train.batch": 2} if full else SMALL)


def _first_trial(study: str) -> Run:
    return space.load(study).first


def _machine(device: str) -> dict[str, Any]:
    machine = {
        "device": platform.processor() or platform.machine(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": datetime.date.today().isoformat(),
    }
    if device == "cuda":
        machine |= {
            "device": torch.cuda.get_device_name(),
            "bytes": torch.cuda.get_device_properties(0).total_memory,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    return machine


def _step(name: str, run: Run, device: str, runs: int) -> dict[str, Any]:
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    ours = speed.step(run, device, runs)
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else None
    conventional = speed.conventional_step(run, device, max(2, runs // 2))
    return {
        "network": name,
        "pixels": run.flow.size,
        "batch": run.train.batch,
        **_seconds("step", ours),
        "samples_s": run.train.batch / ours.median,
        "flop_s": step_flop(run) / ours.median,
        "bf16": precision(run, device) is torch.bfloat16,
        "compiled": features(run, torch.device(device)) is not Network.features,
        "peak_bytes": peak,
        "held_bytes": memory(run),  # at least, in single precision
        **_seconds("conventional_step", conventional),
        "speedup": conventional.median / ours.median,
    }


def _ladder(run: Run, device: str, runs: int) -> list[dict[str, Any]]:
    """The step of a batch that is there, from the conventional one on, a technique more each time."""
    rows: list[dict[str, Any]] = []
    for count, name in enumerate(("conventional", *speed.TECHNIQUES)):
        times = speed.conventional_step(run, device, runs, count)
        before = rows[-1]["step_s"] if rows else times.median
        rows.append({"technique": name, **_seconds("step", times), "gain": before / times.median})
    return rows


def _epoch(run: Run, device: str, runs: int) -> dict[str, Any]:
    samples, loaders = SAMPLES[device] * run.train.batch, LOADERS if device == "cuda" else 0
    ours = speed.epoch(run, device, samples, runs)
    conventional = speed.conventional_epoch(run, device, samples, loaders, max(2, runs // 2))
    return {
        "network": YARDSTICK,
        "samples": samples,
        "loaders": loaders,
        **_seconds("epoch", ours),
        **_seconds("conventional_epoch", conventional),
        "speedup": conventional.median / ours.median,
    }


def _demo(runs: int, progress: Progress) -> dict[str, Any]:
    """Of the demo study, on a CPU: a trial's training, and what is not training."""
    file, loaded, first = space.load("demo"), overhead.load_demo(progress), _first_trial("demo")
    trial = _trial(first, loaded, loaded.select(file.subjects), runs)
    books, clip = overhead.bookkeeping(file, loaded), overhead.store_build(loaded, runs)
    return {
        "trial": trial,
        "store": {**_seconds("clip", clip), "clips_s_core": 1 / clip.median},
        "start": _seconds("first_epoch", overhead.start(max(2, runs // 2))),
        "bookkeeping": {"seconds_a_trial": books.seconds, "share": books.seconds / (books.seconds + trial["trial_s"])},
    }


def _trial(run: Run, loaded: Loaded, subjects: Sequence[str], runs: int) -> dict[str, Any]:
    """Training all folds of a trial as a study does, against conventional steps on batches that are there.

    Two epochs are timed; the others cost the same.
    """
    short = with_values(run, {"train.epochs": 2})
    with Where().open(short) as executor:
        executor.put(loaded.dataset, loaded.tensors)

        def trial() -> None:
            train_all(executor, [Task(short, loaded.dataset, 0, subject, short.train.epochs) for subject in subjects])

        ours = speed.timed(trial, max(2, runs // 2))
    conventional = speed.conventional_step(run, "cpu", runs)
    n_clips = Counter(loaded.subjects)
    steps = sum(math.ceil((len(loaded.clips) - n_clips[subject]) / run.train.batch) for subject in subjects)
    whole = ours.median * run.train.epochs / short.train.epochs
    return {
        "trial_s": whole,
        "conventional_trial_s": conventional.median * steps * run.train.epochs,
        "speedup": conventional.median * steps * short.train.epochs / ours.median,
    }


def _gpu_trials() -> dict[str, Any]:
    """Ten folds of the yardstick as published, and the folds of demo's first trial by slots, on a GPU; clips are noise,
    as many as CASME II's."""
    large, small = preset(YARDSTICK), _first_trial("demo")
    clips = {run: speed.noise(run, CLIPS, SUBJECTS) for run in (large, small)}
    rows = [(YARDSTICK, large, 1), *(("demo's first trial", small, slots) for slots in SLOTS)]
    return {"folds": FOLDS, "rows": [_gpu_trial(name, run, clips[run], slots) for name, run, slots in rows]}


def _gpu_trial(name: str, run: Run, clips: Clips, slots: int) -> dict[str, Any]:
    """Seconds of all epochs of ten folds: those of four, by when all is recorded, and what four more add to that, as
    often as needed."""
    with LocalExecutor("cuda", slots) as executor:
        executor.put(name, clips)

        def train(epochs: int) -> float:
            start = time.perf_counter()
            train_all(executor, [Task(run, name, 0, f"s{fold}", epochs) for fold in range(FOLDS)])
            return time.perf_counter() - start

        train(1)  # workers start, and libraries choose their kernels
        few, more = train(4), train(8)
    return {"network": name, "slots": slots, "trial_s": few + (more - few) / 4 * (run.train.epochs - 4)}


def _seconds(what: str, times: Times) -> dict[str, Any]:
    """A median and its spread."""
    return {f"{what}_s": times.median, f"{what}_s_spread": times.spread}
