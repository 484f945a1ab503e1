"""What a network costs: parameters, floating-point operations, memory. Nothing is computed or allocated.

An operation is a multiplication or an addition, of convolutions, matrix products and attention alone, as
torch.utils.flop_counter counts them, whose own way would load torch's compiler.
"""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mer_search.config import Run
from mer_search.model.blocks import CABlock, SpatialConv, TemporalConv
from mer_search.model.channels import n_channels
from mer_search.model.network import Network


def _size(places: int, kernel: int, stride: int, padding: int) -> int:
    """What a convolution makes of so many pixels, or maps."""
    return (places + 2 * padding - kernel) // stride + 1


def _operations(module: Any, maps: int, side: int) -> tuple[int, int, int]:
    """Maps that a module puts out, their pixels a side, and the operations that it takes."""
    if isinstance(module, SpatialConv):
        conv: Any = module[0]
        if isinstance(module, TemporalConv):
            maps = _size(maps, *module.time)
        else:
            side = _size(side, conv.kernel_size[0], conv.stride[0], conv.padding[0])
        return maps, side, 2 * maps * side**2 * conv.weight.numel()
    if isinstance(module, CABlock):
        other, _, shortcut = _operations(module.shortcut, maps, side)
        own, side, body = _operations(module.body, maps, side)
        maps = max(own, other)  # one map is added to two
        attention = 0 if module.attention is None else _operations(module.attention, maps, side)[2]
        return maps, side, shortcut + body + attention
    total = 0
    for part in module.children():
        maps, side, flop = _operations(part, maps, side)
        total += flop
    return maps, side, total


def _weights(module: nn.Module | None) -> int:
    """Weights of a module's linear layers and 1x1 convolutions; each is multiplied and added once a position."""
    parts = module.modules() if module else ()
    return sum(part.weight.numel() for part in parts if isinstance(part, nn.Linear | nn.Conv2d))


class _NothingDrawn(TorchFunctionMode):
    """Weights are left as they are: on the meta device, drawing them takes most of the time."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0] if func in {Tensor.normal_, Tensor.uniform_} else func(*args, **(kwargs or {}))


def _shapes(run: Run) -> Network:
    """A network of shapes alone, on the meta device."""
    with torch.device("meta"), _NothingDrawn():
        return Network(run)


@lru_cache(maxsize=1024)
def cost(run: Run) -> tuple[int, int]:
    """(parameters, operations of one clip's forward pass)."""
    network = _shapes(run)
    convolved = nn.Sequential(network.external, network.internal, *network.blocks)
    total = 2 * (_weights(network.units) + _weights(network.head))
    total += _operations(convolved, run.frames.maps, run.flow.size)[2]
    if network.position is not None:
        places, width = network.position.position.shape[1:]
        attention = 4 * places**2 * width * len(network.position.blocks)  # each position with each, and back
        total += 2 * places * _weights(network.position) + attention
    return sum(p.numel() for p in network.parameters()), total


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
    """Bytes that a training step holds at least, in single precision: weights, gradients, AdamW's two moments, and what
    the backward pass needs of a batch. A device needs more, but of two networks the one that holds more needs more.
    """
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    network, size = _shapes(run), run.flow.size
    maps = torch.empty(run.train.batch, run.frames.maps, n_channels(run.input), size, size, device="meta")
    onset = torch.empty(run.train.batch, 3, network.grid, network.grid, device="meta")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(maps, onset)
    weights = {parameter.untyped_storage()._cdata: parameter.nbytes for parameter in network.parameters()}
    return 4 * sum(weights.values()) + sum(len(storage) for key, storage in kept.items() if key not in weights)
