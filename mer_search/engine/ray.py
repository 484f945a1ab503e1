"""The executor of a Ray cluster: an actor for each slot. Its machines share nothing but Ray: no disk, no database."""

import re
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import Any

from mer_search.config import Run
from mer_search.engine.executor import POLL, Executor, Silence, Slot
from mer_search.engine.stop import check
from mer_search.engine.task import Event, Task, Timing
from mer_search.engine.worker import Cancelled, Result, execute, on_device, settle
from mer_search.errors import MerSearchError, UsageError
from mer_search.training.dataset import Clips
from mer_search.training.loop import Epoch
from mer_search.training.predict_proba import large

try:
    import ray
    from ray.exceptions import RayActorError, RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from mer_search.engine.ray_cluster import answering, connect, disconnect, first_line, head_answers
except ImportError as missing:
    raise UsageError("--executor ray needs Ray, which is not installed; pip install 'mer-search[ray]'") from missing

LOOK = 1.0  # seconds between two looks at the cluster's nodes
START = 60.0  # seconds within which a first worker must have started
SILENT = 20.0  # seconds without an answer of its head after which a cluster is given up
GONE = 600.0  # ... and seconds without any worker, once there was one


class Worker:
    """The actor of a slot. It trains in a thread of its own, so that it can be told and asked meanwhile."""

    def __init__(self, device: str, threads: int, exact: bool) -> None:
        self._device = device
        self._orders: SimpleQueue[tuple[Any, ...]] = SimpleQueue()
        self._news: SimpleQueue[tuple[Any, bytes | None]] = SimpleQueue()
        self._unwanted = 0
        self._held: tuple[str, Clips] | None = None
        self._news.put((_versions(), None))
        threading.Thread(target=self._work, args=(threads, exact), daemon=True).start()

    @ray.method(num_returns=2)
    def next_news(self) -> tuple[Any, bytes | None]:
        """Wait for news: first of the versions here, then of a task's epochs, and its result. The second value, an
        object of its own, is the state of a fold that can go on."""
        return self._news.get()

    def start(self, number: int, task: Task | Timing, clips: list[Any], state: list[Any]) -> None:
        """Begin a task. Clips and state are references, in lists so that Ray leaves them as they are."""
        self._orders.put((number, task, clips, state))

    def cancel(self, number: int) -> None:
        """Stop the task of that number at the end of its epoch."""
        self._unwanted = number

    def _work(self, threads: int, exact: bool) -> None:
        settle(self._device, threads, exact)
        while True:
            order = self._orders.get()
            try:
                self._news.put(self._result(*order))
            except Exception as error:  # of Ray, or of the disk
                self._news.put((first_line(error), None))

    def _result(self, number: int, task: Task | Timing, clips: list[Any], state: list[Any]) -> tuple[Result, Any]:
        def tell(epoch: Epoch) -> None:
            if self._unwanted == number:
                raise Cancelled
            self._news.put((epoch, None))

        with TemporaryDirectory(prefix="mer-search-") as folder:
            file = Path(folder, "state")
            with suppress(RayError):  # lost with its node: the fold is trained from its start
                for reference in state:
                    file.write_bytes(ray.get(reference, timeout=60))
            here = replace(task, state=file) if isinstance(task, Task) and task.state else task
            result = execute(here, lambda: self._clips(*clips), tell)
            return result, file.read_bytes() if _state_left(task, result) else None

    def _clips(self, reference: Any) -> Clips:
        """The clips on the device; on a CPU they are the object store's own memory."""
        if self._held is None or self._held[0] != reference.hex():
            self._held = None  # first, so that there is room for the others
            self._held = reference.hex(), on_device(Clips.of_arrays(ray.get(reference)), self._device)
        return self._held[1]


@dataclass(eq=False, kw_only=True)
class _Slot(Slot):
    actor: Any
    node: str
    ready: bool = False  # whether it has told its versions
    news: Any = None  # reference of what it tells next
    state: Any = None  # reference of the state that comes with that
    started: Any = None  # reference of the call that begins the task, until that has returned
    number: int = 0  # of the task

    def listen(self) -> None:
        self.news, self.state = self.actor.next_news.remote()


class RayExecutor(Executor):
    """Slots on a Ray cluster (see `connect`): one a CPU for small networks, one a node for large ones, or one a GPU.
    MerSearchError if the cluster cannot be reached, or no worker can start on it."""

    def __init__(
        self, address: str, run: Run, device: str, slots: int | None = None, exact: bool = False,
        silence: Silence | None = None,
    ) -> None:  # fmt: skip
        super().__init__(silence)
        self._device, self._limit, self._exact = device, slots, exact
        self._whole_nodes = device == "cpu" and large(run)
        self._states: dict[Path, Any] = {}  # Task.state -> reference
        self._number = 0
        self._next_look, self._patience, self._cause = 0.0, START, "no node has room for it"
        self._connected = connect(address)
        self._heard = self._seen = time.monotonic()  # when the head answered, and when a worker was there
        try:
            while not self.free:
                check()
                self.poll()
        except BaseException:
            self.close()
            raise

    @property
    def free(self) -> int:
        self._look()
        return len(self._idle())

    def _idle(self) -> list[_Slot]:
        return [slot for slot in self._slots if slot.ready and slot.task is None]

    def put(self, dataset: str, clips: Clips) -> None:
        if dataset not in self._clips:
            with answering():
                self._clips[dataset] = ray.put(clips.arrays())

    def submit(self, task: Task | Timing) -> None:
        slot = self._idle()[0]
        self._number = slot.number = self._number + 1
        states = [self._states[task.state]] if task.state in self._states else []
        with answering():
            slot.started = slot.actor.start.remote(slot.number, task, [self._clips[task.dataset]], states)
        self._begin(slot, task)

    def cancel(self, task: Task) -> None:
        for slot in self._slots:
            if slot.task is task:
                slot.wanted = False
                slot.actor.cancel.remote(slot.number)

    def discard(self, state: Path) -> None:
        self._states.pop(state, None)

    def poll(self, timeout: float = POLL) -> list[Event]:
        self._look()
        waiting = {slot.news: slot for slot in self._slots} | {s.started: s for s in self._slots if s.started}
        if not waiting:
            time.sleep(timeout)
            return []
        with answering():
            ray.wait(list(waiting), timeout=timeout, fetch_local=False)
            ready, _ = ray.wait(list(waiting), num_returns=len(waiting), timeout=0, fetch_local=False)
            events = [event for reference in ready for event in self._receive(waiting[reference], reference)]
        return events + self._lose_hanging()

    def close(self) -> None:
        with suppress(Exception):  # of a cluster that is gone, and the workers with it
            for slot in self._slots if ray.is_initialized() and head_answers() else []:
                ray.kill(slot.actor)
        self._slots.clear()
        if self._connected:
            self._connected = False
            disconnect()

    def _look(self) -> None:
        """Start workers where the cluster has room for them, at most once in LOOK seconds."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + LOOK
        with answering():
            if not head_answers():
                if now - self._heard > SILENT:
                    raise ConnectionError("its head is gone")
                return
            self._heard = now
            nodes = {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
            room = {node: self._shape(resources)[0] for node, resources in nodes.items()}
            for slot in self._slots:
                room[slot.node] = room.get(slot.node, 0) - 1
            while room and (self._limit is None or self.slots < self._limit):
                node = max(room, key=lambda node: room[node])
                if room[node] <= 0:
                    break
                room[node] -= 1
                self._employ(node, nodes[node])
        if any(slot.ready for slot in self._slots):
            self._seen, self._patience = now, GONE
        elif now - self._seen > self._patience:
            raise MerSearchError(
                f"a worker must start within {self._patience:.0f} s on the Ray cluster, but on its {len(nodes)} nodes "
                f"none has ({self._cause}); see `ray status`; every node must have {_versions()}"
            )

    def _shape(self, node: dict[str, float]) -> tuple[int, dict[str, int], int]:
        """How many slots a node with these resources has, what each takes of them, and how many threads it has."""
        cpus, gpus = int(node.get("CPU", 0)), int(node.get("GPU", 0))
        if self._device == "cuda":
            return gpus, {"num_cpus": 0, "num_gpus": 1}, max(1, cpus // max(1, gpus))
        return (min(cpus, 1), {"num_cpus": cpus}, cpus) if self._whole_nodes else (cpus, {"num_cpus": 1}, 1)

    def _employ(self, node: str, resources: dict[str, float]) -> None:
        """Start a worker on a node."""
        _, takes, threads = self._shape(resources)
        place = NodeAffinitySchedulingStrategy(node, soft=False)
        worker = ray.remote(Worker).options(**takes, max_concurrency=2, scheduling_strategy=place)
        slot = _Slot(actor=worker.remote(self._device, threads, self._exact), node=node)
        slot.listen()
        self._slots.append(slot)

    def _receive(self, slot: _Slot, reference: Any) -> list[Event]:
        """What has come of a call."""
        if slot not in self._slots:  # it was lost a moment ago
            return []
        try:
            told = ray.get(reference)
        except RayError as error:
            return self._lose(slot, _cause(error))
        if reference == slot.started:
            slot.started = None
            return []
        state, task = slot.state, slot.task
        slot.listen()
        if not slot.ready:
            _check_versions(told)
            slot.ready = True
        if task is None:
            return []
        if slot.wanted and (name := _state_left(task, told)):
            self._states[name] = state
        return self._hear(slot, told)

    def _lose(self, slot: Slot, cause: str) -> list[Event]:
        self._cause = cause
        return super()._lose(slot, cause)

    def _end(self, slot: _Slot) -> None:
        """Another one takes its place at the next look."""
        self._slots.remove(slot)
        if slot.ready:
            self._next_look = 0.0
        with suppress(Exception):  # it is dead, or its node is
            ray.kill(slot.actor)


def _state_left(task: Task | Timing, told: Any) -> Path | None:
    """The name under which a task has left a fold behind that can go on, if it has."""
    finished = isinstance(told, tuple) and not isinstance(told, Epoch)
    return task.state if finished and isinstance(task, Task) and task.epochs < task.run.train.epochs else None


def _versions() -> str:
    """What must be the same on all machines. (A torch for GPUs may go with one for CPUs.)"""
    return " and ".join(f"{name} {version(name).partition('+')[0]}" for name in ("mer-search", "torch"))


def _check_versions(there: str) -> None:
    if there != _versions():
        raise MerSearchError(f"every node of the Ray cluster must have {_versions()}, but one has {there}")


def _cause(error: RayError) -> str:
    """How a worker was lost: Ray says it in a page of advice, or, of a Python error, at the end of its traceback."""
    text = str(error).strip()
    if isinstance(error, RayActorError) and not error.actor_init_failed:
        found = re.search(r"(?:died|dead) because (its [^.\n]+)", text)
        return found[1] if found else "it cannot be reached"
    return text.splitlines()[-1]
