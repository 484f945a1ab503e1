"""What a worker process does with a task, on whichever executor."""

import os
import traceback
from collections.abc import Callable, Mapping

import torch
from safetensors.torch import save

from mer_search.engine.task import Task, Timing
from mer_search.errors import CLIPS_DO_NOT_FIT, DOES_NOT_FIT, Infeasible, MerSearchError
from mer_search.evaluation.predictions import Predictions
from mer_search.training.dataset import Clips
from mer_search.training.gpu import or_plain
from mer_search.training.learner import microbatch_counts
from mer_search.training.loop import Epoch, Trained, seconds_per_step, train_fold

Result = tuple[Predictions, list[Epoch], Mapping[str, bytes]] | float | Exception | str


class Cancelled(Exception):  # noqa: N818 (no error)
    """The task was cancelled."""


class Defect(Exception):  # noqa: N818
    """An error of the program in a worker, with its traceback as text."""


def settle(device: str, threads: int, exact: bool) -> None:
    """Choose a new process's threads, and a GPU's kernels: the fastest, or those that give the same result again."""
    torch.set_num_threads(threads)
    if device == "cuda":
        if exact:
            os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # as cuBLAS asks for
        torch.use_deterministic_algorithms(exact)
        torch.backends.cudnn.benchmark = not exact
        torch.backends.cudnn.deterministic = exact
        torch.backends.cudnn.allow_tf32 = False  # where float32 is asked for, it is meant; the rest is in bfloat16
        for fused in (torch.backends.cuda.enable_flash_sdp, torch.backends.cuda.enable_mem_efficient_sdp,
                      torch.backends.cuda.enable_cudnn_sdp):  # fmt: skip
            fused(not exact)  # attention whose gradient adds in varying order


FULL = ("CUDNN_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED", "out of memory", "unable to find an engine")


def is_out_of_memory(error: Exception) -> bool:
    """Whether the device's memory was full: torch says so in one way, the libraries below it in others."""
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in FULL)


def on_device(clips: Clips, device: str) -> Clips:
    """The clips on the device, or an Infeasible if they do not fit it."""
    try:
        return clips.to(device)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        torch.cuda.empty_cache()
        free, whole = torch.cuda.mem_get_info()
        raise Infeasible(
            f"the motion of all clips, {clips.nbytes / 1e9:.2g} GB, must fit the device's memory, but of its "
            f"{whole / 1e9:.2g} GB only {free / 1e9:.2g} are free; make flow.size or the number of frame sets "
            "(frames.jitter, frames.crops) smaller, use fewer --slots, or train with --device cpu",
            CLIPS_DO_NOT_FIT,
        ) from error


def execute(task: Task | Timing, clips: Callable[[], Clips], tell: Callable[[Epoch], None]) -> Result:
    """What becomes of a task: predictions, history and weights; seconds; an exception that says what is wrong with the
    task; or, as text, why this process is of no use any more.

    Args:
        clips: gives the task's clips, on the device.
        tell: called after every epoch; raises Cancelled if the task is not wanted any more.
    """
    try:
        if isinstance(task, Timing):
            return or_plain(task.run, lambda: seconds_per_step(task.run, clips()))
        trained = _fitting(task, clips(), tell)
        weights = {
            name: save({key: item.contiguous() for key, item in state.items()})
            for name, state in trained.weights.items()
        }
        return trained.predictions, trained.history, weights
    except (MerSearchError, Cancelled) as error:
        error.__cause__ = error.__context__ = None  # whose frames, as its own, would keep the network and the clips
        return error.with_traceback(None)
    except Exception as error:
        if is_out_of_memory(error):
            torch.cuda.empty_cache()
            return Infeasible("the network and a few clips must fit the device's memory, but do not", DOES_NOT_FIT)
        if isinstance(error, torch.AcceleratorError):  # whatever else is asked of the device here fails, too
            return str(error).splitlines()[0]
        return Defect(f"{type(error).__name__}: {error}\n{traceback.format_exc()}")


def _fitting(task: Task, clips: Clips, tell: Callable[[Epoch], None]) -> Trained:
    """Train a fold, its batches whole or in as few microbatches as fit the device."""

    def train(microbatches: int) -> Trained:
        fold = task.run, clips, task.subject, task.seed, tell, task.epochs, task.state
        return or_plain(task.run, lambda: train_fold(*fold, microbatches, task.keep))

    *fewer, most = microbatch_counts(task.run.train.batch)
    for microbatches in fewer:
        try:
            return train(microbatches)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        torch.cuda.empty_cache()  # what the error held is free by now
    return train(most)
