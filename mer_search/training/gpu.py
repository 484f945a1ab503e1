"""What makes training fast on a GPU: networks compiled by torch, which pass over its memory less often, and steps that
are recorded as CUDA graphs and replayed, because small networks wait for launches, not for work."""

import warnings
from collections.abc import Callable
from functools import cache, lru_cache, partial
from typing import Any, TypeVar

import torch
from torch import Generator, Tensor

from mer_search.config import Run
from mer_search.model.flops import step_flop

# Operations that training takes a clip and that repay compiling. In ten folds of a search V3's 1.7e13 save twice that,
# V4's .65e13 little more (H200); a confirmation, whose kernels are exact, trains many more folds.
REPAYS = {False: 1e13, True: 1e12}
WARM_UP = 2  # calls before a recording, at which libraries choose their kernels and allocate memory
OfTensors = Callable[..., Any]  # a function of tensors
T = TypeVar("T")
_not_compilable: set[Run] = set()


def compiler(run: Run, device: torch.device) -> Callable[[OfTensors], OfTensors]:
    """What training's functions go through: torch.compile where that is worth half a minute, else `as_it_is`.

    It depends on the run, the device and whether kernels are exact, so that a fold is computed alike wherever it is
    trained or resumed.
    """
    operations, exact = step_flop(run) / run.train.batch * run.epochs, torch.are_deterministic_algorithms_enabled()
    if device.type != "cuda" or operations < REPAYS[exact] or run in _not_compilable or not compiler_works():
        return as_it_is
    return _compiler(run, exact)


def as_it_is(function: OfTensors) -> OfTensors:
    """The function itself."""
    return function


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
def _compiler(run: Run, exact: bool) -> Callable[[OfTensors], OfTensors]:
    """Of one run's shapes at a time: a function is compiled at its first call, and once for all folds."""
    torch.compiler.reset()  # it holds few networks
    return cache(partial(_compile, exact=exact))


def _compile(function: OfTensors, exact: bool) -> OfTensors:
    """A function for one shape at a time; exactly the same kernels in every process, or the fastest."""
    warnings.filterwarnings("ignore", "TensorFloat32 tensor cores")  # where float32 is asked for, it is meant
    return torch.compile(function, dynamic=False, options={"deterministic": exact})


class Graphed:
    """A function of tensors of fixed shapes that returns a tensor, does the same at every call, and is recorded.

    Whatever else it reads or writes (weights, moments, batch statistics) must keep its place in memory, and nothing in
    it may wait for the device or copy from the host. Random numbers, the device's own and those of `generator`, go on
    from call to call as without a recording.
    """

    def __init__(self, generator: Generator) -> None:
        self.generator, self.calls = generator, 0
        self.stream = torch.cuda.Stream()
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: list[Tensor] = []
        self.output = torch.empty(0)

    def __call__(self, work: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """What `work`, the function, returns. (It is not kept, which would make a reference cycle.)"""
        self.calls += 1
        if self.calls <= WARM_UP:
            return self._aside(work, *inputs)
        if self.graph is None:
            self.inputs = [item.clone() for item in inputs]
            graph = torch.cuda.CUDAGraph()
            graph.register_generator_state(self.generator)
            with torch.cuda.graph(graph, stream=self.stream):
                self.output = work(*self.inputs)
            self.graph = graph
        for place, item in zip(self.inputs, inputs, strict=True):
            place.copy_(item)
        self.graph.replay()
        return self.output.clone()

    def _aside(self, work: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """Call the function on a stream of its own: autograd remembers streams, and a recording must meet no other."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            output = work(*inputs)
        torch.cuda.current_stream().wait_stream(self.stream)
        output.record_stream(torch.cuda.current_stream())
        return output
