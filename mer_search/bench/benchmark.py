"""`mer-search bench`: everything about this machine's speed, in one run, as one JSON document."""

import datetime
import math
import os
import platform
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch

from mer_search.bench import speed
from mer_search.config import Run, with_values
from mer_search.data.flow import frame_sets
from mer_search.data.flow import measure as measure_motion
from mer_search.engine.executor import Executor, cores, train_all
from mer_search.engine.local import LocalExecutor
from mer_search.engine.task import Task
from mer_search.engine.where import Where
from mer_search.engine.worker import settle
from mer_search.model.flops import memory, step_flop
from mer_search.presets import preset
from mer_search.search import space
from mer_search.search.scheduler import Scheduler
from mer_search.search.space import StudyFile
from mer_search.search.storage import open_storage
from mer_search.search.study import Event, Trained, open_study
from mer_search.search.study import run as run_study
from mer_search.search.trial import Search
from mer_search.search.workspace import Loaded, Progress, find_data, load_data, silent
from mer_search.training.gpu import as_it_is, compiler
from mer_search.training.predict_proba import precision

PRESETS = ("V1", "V3NR", "V4", "V5NR")
SMALL = {"flow.size": 48, "train.batch": 4}  # of a preset, where 224 px would take minutes a step
YARDSTICK = "V3NR"  # whose epoch is compared with the conventional loop's
DEMO = "demo's first trial"
STEPS = {"cpu": 1, "cuda": 7}  # in the epochs of which a step is timed: on a GPU as many as CASME II's clips make
SAMPLES = {"cpu": 4, "cuda": 10}  # batches in that epoch
CLIPS, SUBJECTS, FOLDS = 246, 26, 10  # of CASME II, and of a trial of the study `default`
SLOTS = (1, 4)  # of one GPU, for small networks
LOADERS = 4  # processes that read for the conventional loop on a GPU; as public code has it
STORED, TRIALS = 6, 3  # clips whose motion is measured, trials whose bookkeeping is


def measure(device: str, full: bool, runs: int, progress: Progress) -> dict[str, Any]:
    """The machine, its ceiling, steps, epochs and what is not training: medians of so many runs; `full` for 224 px, as
    published, instead of small settings."""
    smaller = {} if full and device == "cuda" else {"train.batch": 2} if full else SMALL
    networks = {name: with_values(preset(name), smaller) for name in PRESETS} | {DEMO: space.load("demo").first}
    if device == "cuda":
        settle(device, torch.get_num_threads(), exact=False)
    jobs: list[Callable[[], Any]] = [
        lambda: speed.ceiling(device, runs),
        lambda: {"gpu_trials": _gpu_trials()} if device == "cuda" else _demo(runs, progress),
        *(partial(_step, name, run, device, runs) for name, run in networks.items()),
        lambda: _ladder(networks[YARDSTICK], device, runs),
        lambda: _epoch(networks[YARDSTICK], device, runs),
    ]
    found = []
    progress("measuring", 0, len(jobs))
    for done, job in enumerate(jobs, 1):
        found.append(job())
        progress("measuring", done, len(jobs))
    top, trials, *steps, ladder, epoch = found
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
        **trials,
    }


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


def _against(what: str, ours: Sequence[float], conventional: Sequence[float]) -> dict[str, Any]:
    """The seconds of our way and of the conventional one, and how much faster ours is."""
    faster = median(conventional) / median(ours)
    return {**_seconds(what, ours), **_seconds(f"conventional_{what}", conventional), "speedup": faster}


def _seconds(what: str, seconds: Sequence[float]) -> dict[str, Any]:
    """A median, the shortest and the longest."""
    return {f"{what}_s": median(seconds), f"{what}_s_spread": (min(seconds), max(seconds))}


def _step(name: str, run: Run, device: str, runs: int) -> dict[str, Any]:
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    steps = STEPS[device]
    ours = [seconds / steps for seconds in speed.epoch(run, device, steps * run.train.batch, runs)]
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else None
    return {
        "network": name,
        "pixels": run.flow.size,
        "batch": run.train.batch,
        **_against("step", ours, speed.conventional_step(run, device, max(2, runs // 2))),
        "samples_s": run.train.batch / median(ours),
        "flop_s": step_flop(run) / median(ours),
        "bf16": precision(run, device) is torch.bfloat16,
        "compiled": compiler(run, torch.device(device)) is not as_it_is,
        "peak_bytes": peak,
        "held_bytes": memory(run),  # at least, in single precision
    }


def _ladder(run: Run, device: str, runs: int) -> list[dict[str, Any]]:
    """The step of a batch that is there, from the conventional one on, a technique more each time."""
    rows: list[dict[str, Any]] = []
    for count, name in enumerate(("conventional", *speed.TECHNIQUES)):
        seconds = speed.conventional_step(run, device, runs, count)
        before = rows[-1]["step_s"] if rows else median(seconds)
        rows.append({"technique": name, **_seconds("step", seconds), "gain": before / median(seconds)})
    return rows


def _epoch(run: Run, device: str, runs: int) -> dict[str, Any]:
    samples, loaders = SAMPLES[device] * run.train.batch, LOADERS if device == "cuda" else 0
    ours = speed.epoch(run, device, samples, runs)
    conventional = speed.conventional_epoch(run, device, samples, loaders, max(2, runs // 2))
    return {"network": YARDSTICK, "samples": samples, "loaders": loaders, **_against("epoch", ours, conventional)}


def _demo(runs: int, progress: Progress) -> dict[str, Any]:
    """Of the demo study, on a CPU: a trial's training, and what is not training."""
    file, loaded = space.load("demo"), load_demo(progress)
    trial = _trial(file.first, loaded, loaded.select(file.subjects), runs)
    books, clip = bookkeeping(file, loaded), _store_build(loaded, runs)
    return {
        "trial": trial,
        "store": {**_seconds("clip", clip), "clips_s_core": 1 / median(clip)},
        "start": _seconds("first_epoch", _start(max(2, runs // 2))),
        "bookkeeping": {"seconds_a_trial": books, "share": books / (books + trial["trial_s"])},
    }


def load_demo(progress: Progress) -> Loaded:
    """The demo study's clips and motion."""
    return load_data(find_data(None, progress), space.load("demo").base, progress)


def _trial(run: Run, loaded: Loaded, subjects: Sequence[str], runs: int) -> dict[str, Any]:
    """Training all folds of a trial as a study does, against conventional steps on batches that are there. Two epochs
    are timed; the others cost the same."""
    short = with_values(run, {"train.epochs": 2})
    tasks = [Task(short, loaded.dataset, 0, subject, short.train.epochs) for subject in subjects]
    with Where().open(short) as executor:
        executor.put(loaded.dataset, loaded.tensors)
        ours = median(speed.timed(lambda: train_all(executor, tasks), max(2, runs // 2)))
    n_clips = Counter(loaded.subjects)
    steps = sum(math.ceil((len(loaded.clips) - n_clips[subject]) / run.train.batch) for subject in subjects)
    conventional = median(speed.conventional_step(run, "cpu", runs)) * steps * short.train.epochs
    rest = run.train.epochs / short.train.epochs
    return {"trial_s": ours * rest, "conventional_trial_s": conventional * rest, "speedup": conventional / ours}


def _store_build(loaded: Loaded, runs: int) -> list[float]:
    """Seconds a clip on one core: its frames read, prepared, and their flow measured."""
    clips, run = loaded.clips[:STORED], loaded.run
    times = speed.timed(lambda: [measure_motion(clip, frame_sets(clip, run.frames), run) for clip in clips], runs)
    return [seconds / len(clips) for seconds in times]


def _start(runs: int) -> list[float]:
    """Seconds from the start of a program to the end of its first epoch, the store being warm: imports, storage,
    processes."""
    code = f"import sys; from {__name__} import first_epoch; first_epoch(sys.argv[1])"

    def once() -> None:
        with TemporaryDirectory() as folder:
            command = [sys.executable, "-c", code, folder]
            subprocess.run(command, check=True, capture_output=True)  # noqa: S603 (nothing in it is from outside)

    return speed.timed(once, runs)


def first_epoch(folder: str) -> None:
    """What `run` does until its first epoch has ended."""
    loaded = load_demo(silent)
    with Where().open(loaded.run) as executor:
        for event in _search(space.load("demo"), loaded, executor, Path(folder), 1):
            if isinstance(event, Trained):
                os._exit(0)  # what comes after is not measured


def bookkeeping(file: StudyFile, loaded: Loaded) -> float:
    """Seconds that a trial needs beside its training: Optuna, storage, files, processes, evaluation. Epochs are few, so
    that it can be told from the training."""
    short = replace(loaded, run=with_values(loaded.run, {"train.epochs": 2}))
    with TemporaryDirectory() as folder, Where().open(loaded.run) as executor:
        deque(_search(file, short, executor, Path(folder), 1), 0)  # processes have started, and have the clips
        start, training = time.perf_counter(), 0.0
        for event in _search(file, short, executor, Path(folder), 1 + TRIALS):
            training += event.epoch.seconds if isinstance(event, Trained) else 0.0
        return (time.perf_counter() - start - training / executor.slots) / TRIALS


def _search(file: StudyFile, loaded: Loaded, executor: Executor, folder: Path, trials: int) -> Iterator[Event]:
    file = replace(file, pruner="none")
    search = Search(file, loaded, loaded.select(file.subjects), 0, folder / "runs")
    opened = open_study(search, open_storage(f"sqlite:///{folder}/study.db", create=True), "speed")
    return run_study(search, opened, Scheduler(executor, 1), trials)


def _gpu_trials() -> dict[str, Any]:
    """Ten folds of the yardstick as published, and the folds of demo's first trial by slots, on a GPU; clips are noise,
    as many as CASME II's."""
    rows = [(YARDSTICK, preset(YARDSTICK), 1), *((DEMO, space.load("demo").first, slots) for slots in SLOTS)]
    return {"folds": FOLDS, "rows": [_gpu_trial(*row) for row in rows]}


def _gpu_trial(name: str, run: Run, slots: int) -> dict[str, Any]:
    """Seconds of all epochs of ten folds: those of four, by when all is recorded, and what four more add to that, as
    often as needed."""
    with LocalExecutor("cuda", slots) as executor:
        executor.put(name, speed.noise(run, CLIPS, SUBJECTS))

        def train(epochs: int) -> float:
            start = time.perf_counter()
            train_all(executor, [Task(run, name, 0, f"s{fold}", epochs) for fold in range(FOLDS)])
            return time.perf_counter() - start

        train(1)  # workers start, and kernels are compiled and chosen
        few, more = train(4), train(8)
    return {"network": name, "slots": slots, "trial_s": few + (more - few) / 4 * (run.train.epochs - 4)}
