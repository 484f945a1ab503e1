"""What a network costs: parameters, floating-point operations, memory. Nothing is computed or allocated.

An operation is a multiplication or an addition, of convolutions, matrix products and attention alone, as
torch.utils.flop_counter counts them, whose own way would load torch's compiler. Shapes are of one clip: T maps, C
channels, H W pixels.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mer_search.config import Run
from mer_search.model.blocks import CABlock, PositionBranch, SpatialConv, TemporalConv
from mer_search.model.channels import n_channels
from mer_search.model.network import Network

Shape = tuple[int, int, int, int]  # T, C, H, W


def _size(pixels: int, kernel: int, stride: int, padding: int) -> int:
    """What a convolution makes of so many pixels, or maps."""
    return (pixels + 2 * padding - kernel) // stride + 1


def _spatial(module: Any, shape: Shape) -> tuple[Shape, int]:
    conv, maps = module[0], shape[0]
    height, width = (_size(side, conv.kernel_size[0], conv.stride[0], conv.padding[0]) for side in shape[2:])
    return (maps, conv.out_channels, height, width), 2 * maps * height * width * conv.weight.numel()


def _temporal(module: TemporalConv, shape: Shape) -> tuple[Shape, int]:
    conv: Any = module[0]
    maps = _size(shape[0], *module.time)
    return (maps, conv.out_channels, *shape[2:]), 2 * maps * shape[2] * shape[3] * conv.weight.numel()


def _one_after_the_other(modules: Iterable[nn.Module], shape: Shape) -> tuple[Shape, int]:
    total = 0
    for module in modules:
        shape, flop = operations(module, shape)
        total += flop
    return shape, total


def _block(module: CABlock, shape: Shape) -> tuple[Shape, int]:
    (own, channels, height, width), flop = operations(module.body, shape)
    (other, *_), more = operations(module.shortcut, shape)
    maps = max(own, other)  # one map is added to two
    gate = 0 if module.attention is None else _spatial(module.attention[0], (maps, 2, height, width))[1]
    return (maps, channels, height, width), flop + more + gate


COUNTS: dict[type[nn.Module], Callable[[Any, Shape], tuple[Shape, int]]] = {
    TemporalConv: _temporal,
    SpatialConv: _spatial,
    CABlock: _block,
    nn.Sequential: _one_after_the_other,
    nn.ReLU: lambda module, shape: (shape, 0),
    nn.Identity: lambda module, shape: (shape, 0),
}


def operations(module: nn.Module, shape: Shape) -> tuple[Shape, int]:
    """The shape that a module makes of one, and the operations that it takes."""
    return COUNTS[type(module)](module, shape)


def _linear(module: nn.Module, rows: int) -> int:
    return 2 * rows * sum(part.weight.numel() for part in module.modules() if isinstance(part, nn.Linear))


def _position(module: PositionBranch) -> int:
    positions, width = module.position.shape[1:]
    attention = 4 * positions**2 * width * len(module.blocks)  # each position with each, and back
    return 2 * positions * module.embed.weight.numel() + _linear(module, positions) + attention


def operations_of(network: Network, shape: Shape) -> int:
    """Operations of a forward pass of one clip, of an input of this shape."""
    modules = [*network.external, *network.internal, *network.blocks]
    ends = [part for part in (network.units, network.head) if part is not None]
    position = 0 if network.position is None else _position(network.position)
    return _one_after_the_other(modules, shape)[1] + position + sum(_linear(part, 1) for part in ends)


class _NothingDrawn(TorchFunctionMode):
    """Weights are left as they are: on the meta device, drawing them takes most of the time."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0] if func in {Tensor.normal_, Tensor.uniform_} else func(*args, **(kwargs or {}))


def _shapes(run: Run, batch: int) -> tuple[Network, tuple[Tensor, Tensor]]:
    """A network and its input that are shapes alone, on the meta device."""
    with torch.device("meta"), _NothingDrawn():
        network, size = Network(run), run.flow.size
        maps = torch.empty(batch, run.frames.maps, n_channels(run.input), size, size)
        return network, (maps, torch.empty(batch, 3, network.grid, network.grid))


@lru_cache(maxsize=1024)
def cost(run: Run) -> tuple[int, int]:
    """(parameters, operations of one clip's forward pass)."""
    network, (maps, _) = _shapes(run, 1)
    _, count, channels, height, width = maps.shape
    return sum(p.numel() for p in network.parameters()), operations_of(network, (count, channels, height, width))


def network_bytes(run: Run) -> int:
    """Bytes that a network takes on a disk."""
    return 4 * cost(run)[0]


def state_bytes(run: Run) -> int:
    """Bytes that a half-trained fold takes on a disk: its weights and AdamW's two moments."""
    return 3 * network_bytes(run)


def step_flop(run: Run) -> int:
    """Operations of a training step: forward and backward of a batch."""
    return 3 * cost(run)[1] * run.train.batch


def memory(run: Run) -> int:
    """Bytes that a training step holds at least, in single precision; nothing is computed or allocated.

    They are the weights, their gradients and AdamW's two moments, and whatever the backward pass needs of a batch. A
    device needs more, but of two networks the one that holds more needs more.
    """
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    network, inputs = _shapes(run, run.train.batch)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(*inputs)
    weights = {parameter.untyped_storage()._cdata: parameter.nbytes for parameter in network.parameters()}
    return 4 * sum(weights.values()) + sum(len(storage) for key, storage in kept.items() if key not in weights)
