"""Training on a GPU: what a CPU cannot show. Run it: make gpu"""

import os
import signal
from dataclasses import replace

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it at its first use

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from deadly import Deadly
from small import NARROW, events_until

from mer_search.bench.speed import noise
from mer_search.config import with_values
from mer_search.engine.executor import train_all
from mer_search.engine.local import LocalExecutor
from mer_search.engine.task import Failed, Finished, Progress, Task
from mer_search.engine.worker import execute, on_device, settle
from mer_search.errors import CLIPS_DO_NOT_FIT
from mer_search.model.network import Network
from mer_search.presets import PRESETS, preset
from mer_search.training import gpu
from mer_search.training.augment import draw
from mer_search.training.learner import augmented_input
from mer_search.training.loop import train_fold
from mer_search.training.predict_proba import network_input

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]
SMALL = NARROW | {"train.batch": 8, "train.epochs": 4}
EVERYTHING = {"train.mixup": 0.4, "train.noise": 0.1, "model.dropout": 0.3, "train.class_weights": 1.0,
              "train.mirror": True, "train.val_subjects": 1}  # fmt: skip


@pytest.fixture
def exact():
    """Kernels that give the same result again, in this process."""
    settle("cuda", 4, exact=True)
    yield
    settle("cuda", 4, exact=False)
    torch.backends.cudnn.benchmark = False


@pytest.fixture
def little_memory():
    """A function that limits this process to so many bytes of the GPU beyond those in use."""

    def limit(nbytes):
        torch.cuda.empty_cache()
        whole = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + nbytes) / whole)

    yield limit
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def _run(name="V3NR", **values):
    return with_values(preset(name), SMALL | {key.replace("__", "."): value for key, value in values.items()})


def _probabilities(run, clips, until=None, kept=None, microbatches=1):
    trained = train_fold(run, clips, "s1", 0, max_epochs=until, checkpoint=kept, microbatches=microbatches)
    return trained.predictions.probabilities


def _input(run, clips, device):
    network = Network(run)
    flow, onset = (item[:4].float() for item in (clips.flow, clips.onset))
    return network, [item.to(device) for item in network_input(run, flow, onset, network.grid)]


@pytest.mark.parametrize("name", PRESETS)
def test_every_network_learns_at_full_size(name):
    run = with_values(preset(name), {"train.batch": 4})
    clips = noise(run, 4).to("cuda")
    with torch.device("cuda"):
        network = Network(run).to(memory_format=torch.channels_last)
    maps, onset = network_input(run, clips.flow.float(), clips.onset.float(), network.grid)
    with torch.autocast("cuda", torch.bfloat16):
        logits = network(maps, onset)
    F.cross_entropy(logits.float(), clips.labels).backward()
    assert logits.shape == (4, 5)
    learning = [p.grad for key, p in network.named_parameters() if not (name == "V6c" and key.startswith("units."))]
    assert all(gradient.isfinite().all() and gradient.any() for gradient in learning)


@pytest.mark.parametrize("name", ["V3NR", "V1", "V2", "V6", "MMNet"])
def test_a_gpu_computes_what_a_cpu_does(name):
    run = _run(name, model__stem_mid=5)
    network, inputs = _input(run, noise(run, 4), "cpu")
    network, inputs = network.double(), [item.double() for item in inputs]  # in single a gradient of 0 may be 2e-5
    expected = network(*inputs)
    expected.square().sum().backward()
    gradients = [parameter.grad.clone() for parameter in network.parameters()]
    network.zero_grad()
    found = network.cuda()(*(item.cuda() for item in inputs))
    found.square().sum().backward()
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-6, atol=1e-8)
    for gradient, parameter in zip(gradients, network.parameters(), strict=True):
        error = (parameter.grad.cpu() - gradient).norm() / gradient.norm().clamp_min(1e-3)
        assert error < 1e-6, error


def test_a_step_in_bfloat16_is_nearly_that_in_single_precision():
    run = with_values(preset("V3NR"), {"flow.size": 112})
    network, inputs = _input(run, noise(run, 4), "cuda")
    network.cuda()
    found = []
    for low in (False, True):
        network.zero_grad()
        with torch.autocast("cuda", torch.bfloat16, enabled=low):
            logits = network(*inputs).float()
        F.cross_entropy(logits, torch.arange(4, device="cuda")).backward()
        gradient = torch.cat([parameter.grad.flatten() for parameter in network.parameters()])
        found.append((logits.detach(), gradient))
    (exact_logits, exact_gradient), (logits, gradient) = found
    assert (logits - exact_logits).norm() / exact_logits.norm() < 0.05
    assert F.cosine_similarity(gradient, exact_gradient, dim=0) > 0.95  # .991 where a CPU emulates it


def test_a_compiled_network_is_the_network_itself():
    run = with_values(preset("V3NR"), {"flow.size": 112, "train.batch": 8})
    device = torch.device("cuda")
    network, inputs = _input(run, noise(run, 8), device)
    network.to(device)
    compiler = gpu.compiler(with_values(run, {"train.epochs": 2000}), device)
    assert gpu.compiler_works() and compiler is not gpu.as_it_is
    features = compiler(Network.features)
    found = []
    for compute in (Network.features, features):
        network.zero_grad()
        with torch.autocast("cuda", torch.bfloat16):
            logits = network.emotions(compute(network, *inputs)).float()
        F.cross_entropy(logits, torch.arange(4, device="cuda")).backward()
        gradient = torch.cat([part.grad.flatten() for part in network.parameters() if part.grad is not None])
        statistics = torch.cat([item.flatten().float() for item in network.buffers()])
        found.append((logits.detach(), gradient, statistics))
    (expected, slope, before), (logits, gradient, after) = found
    assert (logits - expected).norm() / expected.norm() < 0.05
    assert F.cosine_similarity(gradient, slope, dim=0) > 0.95
    assert not torch.equal(before, after)  # its statistics go on


@pytest.mark.parametrize("name", ["V3NR", "V2", "MMNet"])
def test_compiled_augmentation_and_channels_are_those_themselves(name):
    run = with_values(preset(name), {"train.epochs": 10**4})
    clips, random = noise(run, 8).to("cuda"), torch.Generator("cuda").manual_seed(0)
    compiled = gpu.compiler(run, torch.device("cuda"))(augmented_input)
    assert compiled is not augmented_input
    for _ in range(2):
        given = run, *clips.of_sets(clips.first), draw(8, run.train, random, run.flow.size), 14
        for found, expected in zip(compiled(*given), augmented_input(*given), strict=True):
            near = torch.isclose(found, expected, rtol=1e-3, atol=1e-3)
            assert near.float().mean() > 0.999  # places at the image's edge may fall inside or outside it


@pytest.mark.parametrize(
    "run",
    [_run(), _run(**EVERYTHING), _run("V6", units__epochs=4, units__unfreeze_epoch=2),
     _run("MMNet"), _run("MMNet", train__resampling="nearest")],
    ids=["plain", "everything", "two stages", "differences", "as published"],
)  # fmt: skip
def test_a_recorded_step_is_the_step_itself(run, exact, monkeypatch):
    clips = noise(run, 32, subjects=4).to("cuda")
    recorded = _probabilities(run, clips)
    monkeypatch.setattr(gpu, "WARM_UP", 10**9)
    np.testing.assert_array_equal(recorded, _probabilities(run, clips))


@pytest.mark.parametrize("run", [_run(**EVERYTHING), _run("V6", units__epochs=2)], ids=["everything", "two stages"])
def test_a_fold_goes_on_to_the_bit(run, exact, tmp_path):
    clips, kept = noise(run, 32, subjects=4).to("cuda"), tmp_path / "s1.state"
    whole = _probabilities(run, clips)
    for epochs in (1, 3):
        part = _probabilities(run, clips, epochs, kept)
        np.testing.assert_array_equal(part, whole[:epochs])
    np.testing.assert_array_equal(_probabilities(run, clips, 4, kept), whole)


@pytest.mark.parametrize("name", ["V3NR", "V1", "V5NR"])
def test_a_confirmation_gives_the_same_again(name):
    run = with_values(preset(name), {"train.batch": 8})  # so many epochs that it is compiled
    clips, found = noise(run, 24, subjects=3), []
    for _ in range(2):
        with LocalExecutor("cuda", 1, 4, exact=True) as executor:
            executor.put("noise", clips)
            ended = train_all(executor, [Task(run, "noise", 0, "s1", 2)])
        found.append(ended[0].predictions.probabilities)
        assert {row.microbatches for row in ended[0].history} == {1}  # the memory was enough
    np.testing.assert_array_equal(*found)


def test_folds_of_one_run_share_what_is_compiled(exact):
    run = with_values(preset("V3NR"), {"flow.size": 112, "train.batch": 8, "train.epochs": 400})
    clips = noise(run, 24, subjects=3).to("cuda")
    compiled_frames = torch._dynamo.utils.counters["frames"]
    counts = []
    for subject in ("s0", "s1", "s2"):
        train_fold(run, clips, subject, 0, max_epochs=2)
        counts.append(compiled_frames["total"])
    assert counts[0] > 0 and counts[0] == counts[-1]


def test_slots_of_one_gpu_train_what_one_slot_does():
    run = _run()
    clips, found = noise(run, 32, subjects=4), []
    for slots in (1, 3):
        with LocalExecutor("cuda", slots, exact=True) as executor:
            executor.put("noise", clips)
            ended = train_all(executor, [Task(run, "noise", 0, f"s{k}", 4) for k in range(4)])
        found.append(np.stack([event.predictions.probabilities for event in ended]))
    np.testing.assert_array_equal(*found)


def test_batches_that_do_not_fit_are_cut_into_pieces(exact, little_memory):
    run = with_values(preset("V3NR"), {"train.epochs": 2, "train.batch": 16})
    clips = noise(run, 48, subjects=3).to("cuda")
    torch.cuda.reset_peak_memory_stats()
    expected = _probabilities(run, clips, microbatches=2)
    needed = torch.cuda.max_memory_reserved() - torch.cuda.memory_reserved()
    little_memory(max(needed, torch.cuda.max_memory_allocated()))
    predictions, history, _ = execute(Task(run, "noise", 0, "s1", 2), lambda: clips, lambda epoch: None)
    assert {row.microbatches for row in history} <= {2, 4}
    if history[0].microbatches == 2:
        np.testing.assert_array_equal(predictions.probabilities, expected)


def test_clips_that_do_not_fit_are_told_as_that(little_memory):
    run = preset("V3NR")
    clips = noise(run, 48)
    little_memory(10**6)
    found = execute(Task(run, "noise", 0, "s1", 2), lambda: on_device(clips, "cuda"), lambda epoch: None)
    assert found.constraint == CLIPS_DO_NOT_FIT


def test_a_killed_worker_and_a_poisoned_gpu_cost_one_fold_each():
    run = _run(train__epochs=2000)
    with LocalExecutor("cuda", 1) as executor:
        executor.put("noise", noise(run, 32, subjects=4))
        torch.ones(1, device="cuda")  # this process uses the GPU too: nothing may be forked from it
        task = Task(run, "noise", 0, "s1", 2000)
        executor.submit(task)
        events_until(executor, Progress)
        os.kill(executor._slots[0].process.pid, signal.SIGKILL)
        assert events_until(executor, Failed)[-1] == Failed(task, None, "SIGKILL")
        poisoned = replace(task, epochs=1, state=Deadly("assert"))
        executor.submit(poisoned)
        failed = events_until(executor, Failed)[-1]
        assert failed.task is poisoned and failed.error is None and "device-side assert" in failed.cause
        executor.submit(replace(task, epochs=3, run=_run(train__epochs=3)))
        assert len(events_until(executor, Finished)[-1].history) == 3
