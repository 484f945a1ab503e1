"""What is measured is what it says; how fast it is, is never a test."""

import json
import math
import time
from functools import partial
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from small import NARROW, STUDY
from torch.utils._python_dispatch import TorchDispatchMode

from mer_search.bench import benchmark, speed
from mer_search.config import with_values
from mer_search.engine.task import Task
from mer_search.engine.worker import execute
from mer_search.model import blocks
from mer_search.model.losses import loss, units_loss
from mer_search.model.network import TYPICAL_UNITS, Network
from mer_search.presets import RECIPES, preset
from mer_search.report.costs import print_speed
from mer_search.training import gpu
from mer_search.training.augment import Moves
from mer_search.training.dataset import Clips
from mer_search.training.learner import augmented_input
from mer_search.training.loop import train_fold
from mer_search.training.predict_proba import mean_proba

SMALL = NARROW | {"prep.size": 40, "train.batch": 4}


@pytest.fixture
def run():
    return with_values(preset("V3NR"), SMALL)


def test_work_is_repeated_after_a_warm_up_and_told_by_its_median():
    seen = []
    assert (len(speed.timed(lambda: seen.append(1), 3)), len(seen)) == (3, 4)
    assert benchmark._seconds("x", [0.3, 0.1, 0.2]) == {"x_s": 0.2, "x_s_spread": (0.1, 0.3)}


def test_the_ceiling_counts_operations_and_bytes():
    found = speed.ceiling("cpu", 1)
    assert set(found) == {"fp32", "bf16", "copy"} and all(1e8 < each < math.inf for each in found.values())


def test_an_epoch_has_the_samples_that_it_says(run, monkeypatch):
    clips = speed.noise(run, 24)
    assert isinstance(clips, Clips)
    assert [clips.subjects.count(subject) for subject in ("s0", "s1")] == [12, 12]
    seen = []
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: seen.append(1))
    assert len(speed.epoch(run, "cpu", 12, 2)) == 2
    assert len(seen) == 3 * 3  # one epoch to warm up, two that are timed


@pytest.mark.parametrize("name", benchmark.PRESETS)
def test_a_step_of_every_network_can_be_timed(name):
    assert len(speed.epoch(with_values(preset(name), SMALL), "cpu", 4, 1)) == 1


@pytest.mark.parametrize("techniques", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("name", ["V3NR", "V1", "V5NRS", "V6"])
def test_the_conventional_step_trains_the_published_network(name, techniques):
    run = with_values(preset(name), SMALL)
    learner = speed._Conventional(run, "cpu", techniques)
    before = [parameter.clone() for parameter in learner.network.parameters()]
    assert len(speed.conventional_step(run, "cpu", 1, techniques)) == 1
    maps = torch.randn(4, run.frames.maps, speed.n_channels(run.input), 32, 32)
    told = learner.step(maps, torch.rand(4, 3, learner.grid, learner.grid), torch.zeros(4).long())
    assert math.isfinite(told) == (techniques < 2)  # then it is not read
    after = learner.network.parameters()
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))


def test_the_conventional_epoch_reads_and_measures_every_sample(run, monkeypatch):
    reads, flows = [], []
    real_read, real_flow = cv2.imread, speed.farneback
    monkeypatch.setattr(cv2, "imread", lambda path: reads.append(path) or real_read(path))
    monkeypatch.setattr(speed, "farneback", lambda *images: flows.append(1) or real_flow(*images))
    assert len(speed.conventional_epoch(run, "cpu", 8, 0, 1)) == 1
    assert (len(reads), len(flows)) == (2 * 8 * 5, 2 * 8 * 4)  # the warm-up too


def test_the_frames_of_the_conventional_loop_move(run):
    with speed._jpegs(40) as folder:
        reading = speed._Reading(run, folder, 3, 2)
        maps, onset, label = reading[1]
    assert maps.shape == (4, 4, 32, 32)
    assert onset.shape == (3, 2, 2)
    assert label == 1
    raw_u = maps[:, 2]  # u_n v_n u_r v_r
    assert np.median(raw_u.numpy()) == pytest.approx(0.8, abs=0.3)  # one pixel of 40 is .8 of 32


def test_a_trials_bookkeeping_is_what_its_training_leaves(make_search):
    search, start = make_search(STUDY), time.perf_counter()
    books = benchmark.bookkeeping(search.file, search.loaded)
    assert 0 < books < (time.perf_counter() - start) / benchmark.TRIALS


def test_a_trial_is_compared_at_equal_steps(make_search, monkeypatch):
    search = make_search(STUDY)
    monkeypatch.setattr(speed, "conventional_step", lambda *_: [0.5])
    run = with_values(search.loaded.run, {"train.epochs": 10, "train.batch": 4})
    found = benchmark._trial(run, search.loaded, search.subjects, 2)
    steps = sum(math.ceil((24 - 6) / 4) for _ in search.subjects) * 10
    assert found["conventional_trial_s"] == 0.5 * steps
    assert found["speedup"] == pytest.approx(found["conventional_trial_s"] / found["trial_s"])


def test_everything_is_measured_and_fits_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "PRESETS", ("V3NR",))
    monkeypatch.setattr(benchmark, "SMALL", SMALL)
    small = SimpleNamespace(first=with_values(preset("V3NR"), SMALL))
    monkeypatch.setattr(benchmark.space, "load", lambda study: small)
    monkeypatch.setattr(benchmark, "_demo", lambda runs, progress: OVERHEAD)
    told = []
    facts = benchmark.measure("cpu", False, 2, lambda *progress: told.append(progress[1:]))
    assert told == [(done, 6) for done in range(7)]
    assert json.loads(json.dumps(facts))["machine"]["torch"] == torch.__version__
    (own, _), epoch = facts["steps"], facts["epoch"]
    assert own["of_ceiling"] == own["flop_s"] / facts["ceiling"]["fp32"]
    assert own["speedup"] == own["conventional_step_s"] / own["step_s"]
    assert own["samples_s"] == 4 / own["step_s"]
    assert (epoch["samples"], epoch["loaders"]) == (16, 0)
    print_speed(facts)
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    assert "12.0 clips/s a core" in printed
    found = {"folds": 10, "rows": [{"network": "V3NR", "slots": 1, "trial_s": 150.0}]}
    print_speed({key: value for key, value in facts.items() if key not in OVERHEAD} | {"gpu_trials": found})
    assert "10 folds, all epochs, from those of eight: V3NR 150 s (1 slot)" in capsys.readouterr().out


OVERHEAD = {
    "store": {"clips_s_core": 12.0},
    "start": {"first_epoch_s": 4.0},
    "bookkeeping": {"seconds_a_trial": 0.3, "share": 0.0148},
    "trial": {"trial_s": 20.0, "conventional_trial_s": 36.0, "speedup": 1.8},
}


@pytest.mark.parametrize(("name", "exact", "device", "works", "expected"), [
    ("V3NR", False, "cuda", True, "compiled"), ("V5NR", False, "cuda", True, "compiled"),
    ("V4", False, "cuda", True, gpu.as_it_is), ("V4", True, "cuda", True, "compiled, exact"),
    ("V3NR", False, "cuda", False, gpu.as_it_is), ("V3NR", True, "cpu", True, gpu.as_it_is),
])  # fmt: skip
def test_only_long_training_on_a_gpu_is_compiled(name, exact, device, works, expected, monkeypatch):
    monkeypatch.setattr(gpu, "compiler_works", lambda: works)
    monkeypatch.setattr(gpu, "_compiler", lambda run, exact: "compiled, exact" if exact else "compiled")
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: exact)
    assert gpu.compiler(preset(name), torch.device(device)) == expected


class _Copies(TorchDispatchMode):
    """Counts tensors that are copied to another device."""

    def __init__(self):
        super().__init__()
        self.found = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        given = [item.device for item in args if isinstance(item, torch.Tensor) and item.ndim]  # a number may be
        self.found += isinstance(result, torch.Tensor) and any(device != result.device for device in given)
        return result


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("name", ["MMNet", "V1", "V2", "V3NR", "V6c"])
def test_a_step_copies_nothing_to_the_device(name, recipe, monkeypatch):
    """No recording of a GPU's step could do that. The device is "meta" here, which computes shapes alone."""
    monkeypatch.setattr(blocks, "GPU", "meta")
    run = with_values(preset(name, recipe), NARROW)
    network, size, classes = Network(run).to("meta"), run.flow.size, len(run.data.classes)
    empty = partial(torch.empty, device="meta")
    with _Copies() as copies:
        flow, onset = empty(4, run.frames.maps, 3, size, size), empty(4, 3, size, size)
        moves = None if run.frames.crops else Moves(empty(4) > 0, *empty(6, 4))
        features = network.features(*augmented_input(run, flow, onset, moves, network.grid))
        loss(network.emotions(features), empty(4, classes), empty(classes), run.train).backward()
        if run.units.use != "none":
            units_loss(network.units(features.detach()), empty(4, TYPICAL_UNITS)).backward()
        mean_proba(network.eval(), run, flow, onset)
    assert copies.found == 0


def test_a_network_that_torch_cannot_compile_is_trained_as_it_is(monkeypatch):
    run = with_values(preset("V3NR"), NARROW | {"train.batch": 4, "train.epochs": 1})
    clips, calls = speed.noise(run, 12, subjects=3), []
    task = Task(run, "", 0, "s1", 1)
    plain, *_ = execute(task, lambda: clips, lambda epoch: None)

    def refuse(graph, inputs):
        calls.append(graph)
        raise ValueError("no kernel for this")

    monkeypatch.setattr(gpu, "REPAYS", {False: 0})
    monkeypatch.setattr(gpu, "compiler_works", lambda: True)
    monkeypatch.setattr(gpu, "_compiler", lambda *_: partial(torch.compile, backend=refuse))
    real = gpu.compiler
    monkeypatch.setattr(gpu, "compiler", lambda run, _: real(run, torch.device("cuda")))
    for _ in range(2):  # the second time it is not tried
        found, *_ = execute(task, lambda: clips, lambda epoch: None)
        assert np.array_equal(found.probabilities, plain.probabilities)
    assert len(calls) == 1


@pytest.mark.parametrize(("microbatches", "expected"), [
    (1, 2 * [("augmented_input", 4, None), ("features", 4, True)]), (2, []),
])  # fmt: skip
def test_whole_batches_in_training_are_computed_by_what_is_compiled(microbatches, expected, monkeypatch):
    seen = []

    def spied(function):
        def called(first, second, *rest):
            seen.append((function.__name__, len(second), getattr(first, "training", None)))  # of a network
            return function(first, second, *rest)

        return called

    monkeypatch.setattr(gpu, "compiler", lambda run, device: spied)
    run = with_values(preset("V3NR"), NARROW | {"train.batch": 4, "train.last_batch": "smaller", "train.epochs": 1})
    train_fold(run, speed.noise(run, 15, subjects=3), "s1", 0, microbatches=microbatches)  # 10 clips: 4, 4 and 2
    assert seen == expected
