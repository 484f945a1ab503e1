"""Worker processes of this machine: what they train, how they die, and that no task is lost with them."""

import math
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from deadly import Deadly
from safetensors.torch import load as load_weights
from small import events_until

from mer_search.config import with_values
from mer_search.engine import local, worker
from mer_search.engine.executor import Silence, train_all
from mer_search.engine.local import LocalExecutor, choose_device, machine_slots
from mer_search.engine.task import Failed, Finished, Progress, Task, Timing
from mer_search.engine.where import Where
from mer_search.engine.worker import Defect
from mer_search.errors import CLIPS_DO_NOT_FIT, DOES_NOT_FIT, Infeasible, UsageError
from mer_search.search.workspace import silent
from mer_search.training.dataset import Clips
from mer_search.training.loop import LAST, train_fold

SUBJECTS = ("sub01", "sub02", "sub03", "sub04")


@pytest.fixture
def loaded(make_search, executor):
    loaded = make_search().loaded
    executor.put(loaded.dataset, loaded.tensors)
    return loaded


def _tasks(loaded, subjects=SUBJECTS, **given):
    epochs = given.pop("epochs", loaded.run.train.epochs)
    return [Task(loaded.run, loaded.dataset, 0, subject, epochs, **given) for subject in subjects]


@pytest.fixture
def own(loaded):
    """An executor of the test's own, with one slot."""
    with LocalExecutor("cpu", 1) as started:
        started.put(loaded.dataset, loaded.tensors)
        yield started


def test_folds_are_what_one_process_trains(executor, loaded):
    (long,) = _tasks(replace(loaded, run=with_values(loaded.run, {"train.epochs": 4})), SUBJECTS[:1])
    for task, event in zip((*_tasks(loaded), long), train_all(executor, [*_tasks(loaded), long]), strict=True):
        alone = train_fold(task.run, loaded.tensors, task.subject, 0)
        assert (event.predictions.subject, event.weights) == (task.subject, {})
        np.testing.assert_array_equal(event.predictions.probabilities, alone.predictions.probabilities)
        assert [row.epoch for row in event.history] == [row.epoch for row in alone.history]


def test_processes_take_other_clips_when_they_are_given_them(executor, loaded):
    small = loaded.with_values({"flow.size": 16}, silent)
    assert small.tensors.flow.shape[-1] == 16
    executor.put(small.dataset, small.tensors)
    assert len(train_all(executor, [*_tasks(loaded), *_tasks(small), *_tasks(loaded)])) == 12


@pytest.mark.parametrize(
    ("damage", "trained"),
    [
        (lambda content: content, [2]),
        (lambda content: content[:-1], [1, 2]),
        (lambda content: content[:-1] + bytes([content[-1] ^ 1]), [1, 2]),
        (lambda content: b"", [1, 2]),
    ],
    ids=["whole", "cut short", "a bit changed", "empty"],
)
def test_a_half_trained_fold_goes_on_where_it_was_and_a_torn_one_from_its_start(
    executor, loaded, tmp_path, damage, trained
):
    state, (whole,) = tmp_path / "sub02.state", train_all(executor, _tasks(loaded, ["sub02"]))
    train_all(executor, _tasks(loaded, ["sub02"], epochs=1, state=state))
    state.write_bytes(damage(state.read_bytes()))
    (task,) = _tasks(loaded, ["sub02"], state=state)
    executor.submit(task)
    found = events_until(executor, Finished)
    assert [event.epoch.epoch for event in found if isinstance(event, Progress)] == trained
    np.testing.assert_array_equal(found[-1].predictions.probabilities, whole.predictions.probabilities)
    assert [row.epoch for row in found[-1].history] == [1, 2]
    executor.discard(state)
    assert not state.exists()


def test_weights_are_those_that_made_the_last_predictions(executor, loaded):
    (event,) = train_all(executor, _tasks(loaded, ["sub01"], keep=(LAST,)))
    alone = train_fold(loaded.run, loaded.tensors, "sub01", 0).network.state_dict()
    assert {
        key: torch.equal(value, alone[key]) for key, value in load_weights(event.weights[LAST]).items()
    } == dict.fromkeys(alone, True)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_worker_says_nothing_of_its_task_and_is_replaced(own, loaded, number):
    (task,) = _tasks(replace(loaded, run=with_values(loaded.run, {"train.epochs": 500})), ["sub01"])
    own.submit(task)
    events_until(own, Progress)
    pid = own._slots[0].process.pid
    os.kill(pid, number)
    if number == signal.SIGTERM:  # workers do not hear it
        os.kill(pid, signal.SIGKILL)
    lost = events_until(own, Failed)[-1]
    assert (lost.task, lost.error) == (task, None)
    assert lost.cause == ("SIGKILL" if number == signal.SIGTERM else number.name)
    assert own.free == 1
    assert len(train_all(own, _tasks(loaded))) == 4
    assert own._slots[0].process.pid != pid


def test_a_worker_that_dies_between_two_tasks_costs_nothing(own, loaded):
    assert train_all(own, [Timing(loaded.run, loaded.dataset)])[0].seconds > 0
    process = own._slots[0].process
    process.kill()
    process.join()
    assert len(train_all(own, _tasks(loaded))) == 4


def test_a_worker_that_is_silent_for_too_long_counts_as_dead(loaded):
    silence = Silence()
    with LocalExecutor("cpu", 1, silence=silence) as own:
        own.put(loaded.dataset, loaded.tensors)
        train_all(own, _tasks(loaded, ["sub01"]))
        os.kill(own._slots[0].process.pid, signal.SIGSTOP)
        silence.patience = 0.5
        own.submit(_tasks(loaded, ["sub01"])[0])
        (lost,) = events_until(own, Failed)
        silence.patience = 3600.0
        assert (lost.error, lost.cause) == (None, "a worker that trained no epoch for much too long")
        assert len(train_all(own, _tasks(loaded))) == 4


def test_how_long_a_worker_may_be_silent_follows_from_its_epochs(monkeypatch, loaded):
    now = [0.0]
    monkeypatch.setattr("mer_search.engine.executor.time.monotonic", lambda: now[0])
    (task, other), silence = _tasks(loaded, SUBJECTS[:2]), Silence(patience=1000, factor=20, floor=60)
    both = task, other
    for each in both:
        silence.started(each)
    for now[0], overdue in ((999, []), (1001, [task, other])):
        assert [task for task in both if silence.is_overdue(task)] == overdue
    silence.heard(task)  # an epoch of this configuration takes 1001 s
    now[0] = 1001 + 20 * 1001
    assert [silence.is_overdue(each) for each in both] == [False, True]


def test_a_defect_is_told_with_its_traceback_and_its_worker_is_replaced(own, loaded):
    broken = replace(loaded, run=with_values(loaded.run, {"flow.size": 64, "frames.maps": 2}))  # unlike the clips
    own.put(broken.dataset, loaded.tensors)
    own.submit(_tasks(broken, ["sub01"])[0])
    (failed,) = events_until(own, Failed)
    assert isinstance(failed.error, Defect)
    assert "Traceback" in str(failed.error)
    assert own._slots == []
    assert len(train_all(own, _tasks(loaded))) == 4


@pytest.mark.parametrize("cause", ["SIGSEGV", "exit code 3", "CUDA error: device-side assert triggered"])
def test_whatever_ends_a_worker_is_a_death_and_not_a_fault_of_the_task(own, loaded, cause):
    (task,) = _tasks(loaded, ["sub01"], state=Deadly(cause))
    own.submit(task)
    (failed,) = events_until(own, Failed)
    assert (failed.error, failed.cause) == (None, cause)
    assert own._slots == []


def test_a_cancelled_task_is_heard_of_no_more_and_leaves_nothing(own, loaded, tmp_path):
    long = replace(loaded, run=with_values(loaded.run, {"train.epochs": 500}))
    (task,) = _tasks(long, ["sub01"], epochs=499, state=tmp_path / "state")
    own.submit(task)
    events_until(own, Progress)
    own.cancel(task)
    own.discard(task.state)
    (other,) = _tasks(loaded, ["sub02"])
    while not own.free:
        assert own.poll() == []
    assert [event.task for event in train_all(own, [other])] == [other]
    assert not list(tmp_path.glob("state*"))


def test_closing_does_not_wait_for_an_epoch_and_leaves_no_process(own, loaded):
    own.submit(_tasks(replace(loaded, run=with_values(loaded.run, {"train.epochs": 500})), ["sub01"])[0])
    events_until(own, Progress)
    process = own._slots[0].process
    own.close()
    assert own._slots == []
    assert not process.is_alive()
    assert len(train_all(own, _tasks(loaded))) == 4


def test_slots_suit_the_network(loaded, monkeypatch):
    small = loaded.run
    large = with_values(small, {"flow.size": 224, "model.attention_width": 256, "train.batch": 36})
    monkeypatch.setattr(local, "cores", lambda: 8)
    assert machine_slots(small, "cpu", None) == (8, 1)
    assert machine_slots(small, "cpu", 3) == (3, 1)  # threads would change the last bits of a result
    assert machine_slots(large, "cpu", None) == (1, 8)
    assert machine_slots(large, "cpu", 2) == (2, 4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert machine_slots(large, "cuda", None) == (2, 4)
    assert machine_slots(small, "cuda", None) == (8, 1)
    assert machine_slots(small, "cuda", 4) == (4, 2)
    with pytest.raises(UsageError, match=r"--executor must be local, ray or ray://HOST:10001, but got 'slurm'"):
        Where("slurm")


def test_a_gpu_that_is_not_there_is_refused():
    assert choose_device("cpu") == "cpu"
    if not torch.cuda.is_available():
        assert choose_device("auto") == "cpu"
        with pytest.raises(UsageError, match="use --device cpu or auto"):
            choose_device("cuda")


def test_where_little_memory_can_be_shared_each_worker_gets_a_copy(own, loaded, monkeypatch):
    """As in a container, whose /dev/shm has 64 MB."""

    def full(self):
        raise RuntimeError("unable to allocate shared memory(shm) for file: No space left on device (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    clips = Clips.of(loaded.clips, loaded.motion, loaded.labels)
    assert loaded.tensors.is_shared and not clips.is_shared
    own.put("copied", clips)
    expected = train_all(own, _tasks(loaded))
    found = train_all(own, [replace(task, dataset="copied") for task in _tasks(loaded)])
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one.predictions.probabilities, other.predictions.probabilities)


@pytest.mark.parametrize(
    ("batch", "fits", "microbatches"),
    [(36, 36, [1]), (36, 9, [1, 2, 4]), (36, 5, [1, 2, 4, 8]), (7, 7, [1]), (8, 4, [1, 2]), (36, 3, [1, 2, 4, 8])],
)
def test_batches_are_cut_into_as_few_pieces_as_fit_but_into_none_of_less_than_four(
    loaded, monkeypatch, batch, fits, microbatches
):
    tried = []

    def train_fold(run, clips, subject, seed, on_epoch, until, kept, microbatches, keep):
        tried.append(microbatches)
        if math.ceil(run.train.batch / microbatches) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        raise Infeasible("trained", "trained")

    monkeypatch.setattr(worker, "train_fold", train_fold)
    (task,) = _tasks(replace(loaded, run=with_values(loaded.run, {"train.batch": batch})), ["sub01"])
    found = worker.execute(task, lambda: loaded.tensors, lambda epoch: None)
    assert found.constraint == ("trained" if math.ceil(batch / microbatches[-1]) <= fits else DOES_NOT_FIT)
    assert tried == microbatches


def test_clips_that_do_not_fit_the_device_are_told_as_that(loaded, monkeypatch):
    def full(self, device):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Clips, "to", full)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (2 * 10**9, 80 * 10**9))
    found = worker.execute(
        _tasks(loaded, ["sub01"])[0], lambda: worker.on_device(loaded.tensors, "cuda"), lambda epoch: None
    )
    assert found.constraint == CLIPS_DO_NOT_FIT
    assert "of its 80 GB only 2 are free; make flow.size" in str(found)
