"""Folds that are trained on a Ray cluster, whose nodes are processes of this machine."""

import os
import signal
import socket
import time
from contextlib import closing

import numpy as np
import pytest
import torch
from safetensors.torch import load
from small import TINY

from mer_search.bench.speed import noise
from mer_search.config import Run, with_values
from mer_search.engine.executor import Silence
from mer_search.engine.task import Failed, Finished, Progress, Task, Timed, Timing
from mer_search.engine.worker import Defect
from mer_search.errors import Infeasible, MerSearchError
from mer_search.training.dataset import Clips
from mer_search.training.loop import LAST, train_fold

ray = pytest.importorskip("ray")
from ray._raylet import Config  # noqa: E402
from ray.cluster_utils import Cluster  # noqa: E402
from ray.util.client.worker import Worker as ClientWorker  # noqa: E402

import mer_search.engine.ray as ray_executor  # noqa: E402
from mer_search.engine.ray import RayExecutor  # noqa: E402

STORE = 80_000_000  # bytes, about the least that Ray takes


def run(epochs: int = 3, **more: object) -> Run:
    return with_values(Run(), TINY | {"model.position": False, "train.epochs": epochs} | more)


def clips() -> Clips:
    return noise(run(), 24, subjects=4)


@pytest.fixture(scope="module")
def cluster():
    """A head that trains nothing, and a node with one CPU."""
    with socket.socket() as found, pytest.MonkeyPatch.context() as environment:
        found.bind(("", 0))
        port = found.getsockname()[1]
        for name, value in (("AUTH_MODE", "token"), ("AUTH_TOKEN", "of-a-test"), ("USAGE_STATS_ENABLED", "0")):
            environment.setenv(f"RAY_{name}", value)
        environment.setenv("GRPC_ENABLE_FORK_SUPPORT", "0")  # else a client's server dies now and then as it is forked
        Config.initialize("")  # Ray has read the variables when it was imported
        found.close()
        head = {"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False, "ray_client_server_port": port}
        started = Cluster(initialize_head=True, head_node_args=head)
        started.node = started.add_node(num_cpus=1, object_store_memory=STORE)
        started.client = f"ray://127.0.0.1:{port}"
        environment.setenv("RAY_ADDRESS", started.address)
        yield started
        started.shutdown()


@pytest.fixture(scope="module")
def executor(cluster):
    with closing(RayExecutor("", run(), "cpu", silence=Silence(floor=30))) as opened:
        opened.put("clips", clips())
        yield opened


def task(subject: str = "s1", epochs: int = 3, **more: object) -> Task:
    return Task(run(), "clips", 0, subject, epochs, **more)


LONG = Task(run(10_000), "clips", 0, "s3", 10_000)


def listen(executor: RayExecutor, *kinds: type) -> list:
    """What happens until the first event of some kinds, or else until an end, and with it."""
    events, limit = [], time.monotonic() + 60
    while not any(isinstance(event, kinds or (Finished, Timed, Failed)) for event in events):
        events += executor.poll()
        assert time.monotonic() < limit, events
    return events


def begin(executor: RayExecutor, wanted: Task | Timing, *kinds: type) -> list:
    """Submit a task as soon as there is a worker, and listen."""
    limit = time.monotonic() + 60
    while not executor.free:
        assert executor.poll() == [] and time.monotonic() < limit
    executor.submit(wanted)
    return listen(executor, *kinds)


def inside(executor: RayExecutor, do) -> object:
    """What a function of the actor gives in the process of the only slot."""
    return ray.get(executor._slots[0].actor.__ray_call__.remote(do))


def test_a_cluster_that_does_not_answer_is_told_in_one_line():
    for address in ("ray://127.0.0.1:1", "127.0.0.1:1"):
        with pytest.raises(MerSearchError, match=r"must answer, but does not .*refused.*; check its name") as caught:
            RayExecutor(address, run(), "cpu")
        assert "\n" not in str(caught.value)


def test_a_fold_is_the_same_to_the_bit_and_its_epochs_come_before_its_end(executor):
    *epochs, end = begin(executor, task(keep=(LAST,)))
    alone = train_fold(run(), clips(), "s1", 0)
    assert [(type(event), event.epoch.epoch) for event in epochs] == [(Progress, 1), (Progress, 2), (Progress, 3)]
    assert np.array_equal(end.predictions.probabilities, alone.predictions.probabilities)
    weights = load(end.weights[LAST])
    assert [key for key, value in alone.network.state_dict().items() if not torch.equal(weights[key], value)] == []


def test_a_rungs_state_goes_on_without_a_file(executor, tmp_path):
    state = tmp_path / "s2.state"
    first, second = (begin(executor, task("s2", epochs, state=state)) for epochs in (1, 3))
    assert [len(events) for events in (first, second)] == [2, 3]  # one epoch, then two, and an end each
    once = begin(executor, task("s2"))[-1]
    assert np.array_equal(second[-1].predictions.probabilities, once.predictions.probabilities)
    executor.discard(state)
    assert not executor._states and not state.exists()


def test_a_cancelled_task_frees_its_slot_and_tells_nothing_more(executor):
    begin(executor, LONG, Progress)
    executor.cancel(LONG)
    assert executor.free == 0
    assert {event.task.subject for event in begin(executor, task("s0"))} == {"s0"}


def test_what_is_wrong_with_a_task_is_told_and_the_next_one_works(executor):
    executor.put("broken", clips()._replace(flow=torch.full_like(clips().flow, torch.nan)))
    diverges = Task(run(), "broken", 0, "s1", 3)
    broken = Task(run(**{"frames.maps": 3}), "clips", 0, "s1", 3)  # not what the clips are
    for wrong, kind in ((diverges, Infeasible), (broken, Defect)):
        failed = begin(executor, wrong)[-1]
        assert isinstance(failed, Failed) and isinstance(failed.error, kind), failed
    timed = begin(executor, Timing(run(), "clips"))[-1]
    assert isinstance(timed, Timed) and timed.seconds > 0


def test_a_worker_that_dies_says_nothing_of_its_task(executor):
    begin(executor, LONG, Progress)
    os.kill(inside(executor, lambda _: os.getpid()), signal.SIGKILL)
    assert listen(executor)[-1] == Failed(LONG, None, "its worker process has died")


def test_a_node_that_leaves_costs_its_folds_and_one_that_joins_is_used(executor, cluster):
    begin(executor, LONG, Progress)
    cluster.remove_node(cluster.node)
    failed = listen(executor)[-1]
    assert failed.error is None and "node" in failed.cause
    assert executor.free == 0
    cluster.node = cluster.add_node(num_cpus=1, object_store_memory=STORE)
    assert isinstance(begin(executor, task())[-1], Finished)


def test_a_worker_that_hangs_is_replaced(executor):
    while not executor.free:
        executor.poll()
    inside(executor, lambda worker: setattr(worker, "_clips", lambda *_: time.sleep(1000)))
    executor._silence.patience = 1
    assert begin(executor, LONG)[-1] == Failed(LONG, None, "a worker that trained no epoch for much too long")
    assert executor.free == 0


def test_a_ray_client_does_the_same_though_its_server_dies_at_first(cluster, executor, tmp_path, monkeypatch):
    executor.close()
    assert not ray.is_initialized()
    start, died = ClientWorker._server_init, []

    def init(*args):
        start(*args)
        if not died:
            died.append(True)
            raise ConnectionAbortedError("Initialization failure from server:")

    monkeypatch.setattr(ClientWorker, "_server_init", init)
    with closing(RayExecutor(cluster.client, run(), "cpu", slots=1)) as client:
        client.put("clips", clips())
        state = tmp_path / "s2.state"
        first, second = (begin(client, task("s2", epochs, state=state)) for epochs in (1, 3))
    assert [len(events) for events in (first, second)] == [2, 3]
    alone = train_fold(run(), clips(), "s2", 0).predictions
    assert np.array_equal(second[-1].predictions.probabilities, alone.probabilities)


def test_other_versions_are_refused():
    with pytest.raises(MerSearchError, match=r"must have mer-search .* and torch .*, but one has mer-search 0 and"):
        ray_executor._check_versions("mer-search 0 and torch 2.0")
