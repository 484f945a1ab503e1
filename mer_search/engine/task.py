"""What a search asks of an executor, and what it is told: plain values that can be sent to another process."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

from mer_search.config import Run
from mer_search.evaluation.predictions import Predictions
from mer_search.training.loop import Epoch


@dataclass(frozen=True, eq=False)
class Task:
    """A fold to train: a network on everybody in the dataset but one subject, which it then predicts.

    It is kept under the name `state` if epochs are left in the end, and taken up again if it is there: a local executor
    has a file of that name, Ray an object.
    """

    run: Run
    dataset: str  # the name under which the executor was given the clips
    seed: int  # of the run; the fold's own is made of it and of the subject
    subject: str  # who is tested
    epochs: int  # that there shall be in the end, at most the run's
    state: Path | None = None
    keep: tuple[str, ...] = ()  # which weights are wanted, of training.loop.KEPT


@dataclass(frozen=True, eq=False)
class Timing:
    """A request to measure how long a training step of `run` takes on the dataset."""

    run: Run
    dataset: str
    state: ClassVar[None] = None


class Progress(NamedTuple):
    """A fold has trained an epoch."""

    task: Task
    epoch: Epoch


class Finished(NamedTuple):
    """A fold has all the epochs that its task asked for."""

    task: Task
    predictions: Predictions
    history: list[Epoch]
    weights: Mapping[str, bytes] = MappingProxyType({})  # of those that were wanted: safetensors


class Timed(NamedTuple):
    """A training step was measured."""

    task: Timing
    seconds: float


class Failed(NamedTuple):
    """A task has no result.

    `error` is what is wrong with the task: an `errors.Infeasible` of its configuration, or a defect of the program. It
    is None if the worker process died or was lost, which says nothing about the task; `cause` says how.
    """

    task: Any  # a Task or a Timing
    error: Exception | None
    cause: str = ""


Event = Progress | Finished | Timed | Failed
