"""What a worker process does with a task, on whichever executor."""

import os
import traceback
from collections.abc import Callable
from contextlib import suppress

import torch
from safetensors.torch import save

from mer_search.engine.task import Task, Timing
from mer_search.errors import CLIPS_DO_NOT_FIT, DOES_NOT_FIT, Infeasible, MerSearchError
from mer_search.training.clips import Clips
from mer_search.training.learner import splits
from mer_search.training.loop import Epoch, Trained, seconds_per_step, train_fold
from mer_search.training.predictions import Predictions

Result = tuple[Predictions, list[Epoch], bytes | None] | float | Exception | str


class Cancelled(Exception):  # noqa: N818 (no error)
    """Nobody wants this task any more."""


class Defect(Exception):  # noqa: N818
    """An error of the program in a worker, with its traceback as text."""


def settle(device: str, threads: int, exact: bool) -> None:
    """Choose a new process's threads, and a GPU's kernels: the fastest, or those that give the same result again."""
    torch.set_num_threads(threads)
    if device == "cuda":
        if exact:
            os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # as cuBLAS asks for
        torch.use_deterministic_algorithms(exact, warn_only=True)
        torch.backends.cudnn.benchmark = not exact
        torch.backends.cudnn.deterministic = exact


def on_device(clips: Clips, device: str) -> Clips:
    """The clips on the device.

    Raises:
        Infeasible: if they do not fit it.
    """
    try:
        return clips.to(device)
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        free, whole = torch.cuda.mem_get_info()
        raise Infeasible(
            f"the motion of all clips, {clips.nbytes / 1e9:.2g} GB, must fit the device's memory, but of its "
            f"{whole / 1e9:.2g} GB only {free / 1e9:.2g} are free; make flow.size or the number of frame sets "
            "(frames.jitter) smaller, use fewer --slots, or train with --device cpu",
            CLIPS_DO_NOT_FIT,
        ) from error


def execute(task: Task | Timing, clips: Callable[[], Clips], tell: Callable[[Epoch], None]) -> Result:
    """What becomes of a task: predictions, history and weights; seconds; an exception that says what is wrong with the
    task; or, as text, why this process is of no use any more.

    Args:
        task: what to train.
        clips: gives the task's clips, on the device.
        tell: called after every epoch; raises Cancelled if the task is not wanted any more.
    """
    try:
        if isinstance(task, Timing):
            return seconds_per_step(task.run, clips())
        trained = _fitting(task, clips(), tell)
        weights = {key: value.contiguous() for key, value in trained.network.state_dict().items()}
        return trained.predictions, trained.history, save(weights) if task.weights else None
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return Infeasible("the network and a few clips must fit the device's memory, but do not", DOES_NOT_FIT)
    except (MerSearchError, Cancelled) as error:
        return error
    except torch.AcceleratorError as error:  # whatever else is asked of the device in this process fails, too
        return str(error).splitlines()[0]
    except Exception as error:
        return Defect(f"{type(error).__name__}: {error}\n{traceback.format_exc()}")


def _fitting(task: Task, clips: Clips, tell: Callable[[Epoch], None]) -> Trained:
    """Train a fold, its batches whole or in as few pieces as fit the device."""
    *fewer, most = splits(task.run.train.batch)
    for pieces in fewer:
        with suppress(torch.OutOfMemoryError):
            return train_fold(task.run, clips, task.subject, task.seed, tell, task.epochs, task.state, pieces)
        torch.cuda.empty_cache()
    return train_fold(task.run, clips, task.subject, task.seed, tell, task.epochs, task.state, most)
