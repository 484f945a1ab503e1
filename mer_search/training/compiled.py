"""Networks compiled by torch for a GPU, which then passes over its memory less often: half a minute that long training
repays."""

import warnings
from collections.abc import Callable
from functools import cache, lru_cache
from typing import TypeVar

import torch
from torch import Tensor

from mer_search.config import Run
from mer_search.model.flops import step_flop
from mer_search.model.network import Network

REPAYS = 1e13  # operations that training takes a clip; V3's 1.7e13 save twice their compiling in ten folds (H200)
Features = Callable[[Network, Tensor, Tensor | None], Tensor]
T = TypeVar("T")
_not_compilable: set[Run] = set()


def features(run: Run, device: torch.device) -> Features:
    """What computes a network's features in training: `Network.features`, compiled where that is worth its time.

    It depends on the run and the device alone, so that a fold is computed alike wherever it is trained or resumed.
    """
    operations = step_flop(run) / run.train.batch * (run.train.epochs + run.units.epochs * (run.units.use != "none"))
    if device.type != "cuda" or operations < REPAYS or run in _not_compilable or not compiler_works():
        return Network.features
    return _compiled(run, torch.are_deterministic_algorithms_enabled())


def or_plain(run: Run, train: Callable[[], T]) -> T:
    """What `train` gives; if torch's compiler fails, then of a network that this process does not compile any more."""
    try:
        return train()
    except Exception as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
    _not_compilable.add(run)
    return train()


@cache
def compiler_works() -> bool:
    """Whether torch can compile here: it needs Triton, a C compiler and a folder to write to."""
    try:
        _compile(torch.sin, exact=True)(torch.ones(8, device="cuda"))
    except Exception:  # each part fails in its own way
        return False
    return True


@lru_cache(maxsize=1)
def _compiled(run: Run, exact: bool) -> Features:
    """Compiled at its first call, for the shapes of that run."""
    torch.compiler.reset()  # it holds few networks
    return _compile(Network.features, exact)


def _compile(function: Callable[..., Tensor], exact: bool) -> Callable[..., Tensor]:
    """A function for one shape at a time; exactly the same kernels in every process, or the fastest."""
    warnings.filterwarnings("ignore", "TensorFloat32 tensor cores")  # where float32 is asked for, it is meant
    return torch.compile(function, dynamic=False, options={"deterministic": exact})
