"""A function on a GPU that is recorded as a CUDA graph and replayed: small networks wait for launches, not for work."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

WARM_UP = 2  # calls before the recording, at which libraries choose their kernels and allocate memory


class Graphed:
    """A function of tensors of fixed shapes that returns a tensor, and does the same at every call.

    Whatever else it reads or writes (weights, moments, batch statistics) must keep its place in memory, and nothing in
    it may wait for the device or copy from the host. Random numbers go on from call to call as without a recording.

    Args:
        generator: whose random numbers the function takes, beside the device's own generator.
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
            self.graph = self._record(work, *inputs)
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

    def _record(self, work: Callable[..., Tensor], *inputs: Tensor) -> torch.cuda.CUDAGraph:
        self.inputs = [item.clone() for item in inputs]
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self.generator)
        with torch.cuda.graph(graph, stream=self.stream):
            self.output = work(*self.inputs)
        return graph
