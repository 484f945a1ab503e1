"""The parts that the networks are made of. Every 3D convolution is folded into 2D ones, which is exact.

Shapes: B clips, T maps, C channels, H W pixels, D width, G x G positions.
"""

from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Time(NamedTuple):
    """Kernel, stride and padding over maps, of a convolution or a pooling; by default the maps stay apart."""

    kernel: int = 1
    stride: int = 1
    padding: int = 0


# `keep` mode, CA block by block: time of the main path and of the pooling of the attention before it.
KEEP_PATH = (Time(3, 1, 1), Time(3, 2, 1), Time(2, 1, 0), Time(2, 2, 0))
KEEP_ATTENTION = (Time(), Time(3, 2, 1), Time(1, 1, 0), Time(2, 2, 0))
GPU = "cuda"
ALIGNED = 8  # channels of bfloat16: 16 bytes, which a GPU's units for products read at once
MAX_MATMUL_WEIGHTS = 4096  # weights of a 1x1 convolution that a CPU computes faster as a product of matrices


class SpatialConv(nn.Sequential):
    """A (1, kernel, kernel) convolution, its batch normalisation and, if wanted, a ReLU: (B, T, C, H, W) -> (B, T, C',
    H', W').

    It is a 2D convolution over B*T images. The ReLU is done in place, before what a convolution puts out is seen as
    maps: afterwards, autograd would copy it. If `aligned`, it puts out zeros in further channels on a GPU, whose units
    for bfloat16 want a multiple of `ALIGNED`; the convolution that follows takes them.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        bias: bool = False,
        aligned: bool = False,
        relu: bool = False,
    ) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=bias), nn.BatchNorm2d(outputs))
        self.aligned, self.relu = aligned, relu

    def forward(self, maps: Tensor) -> Tensor:
        conv: Any = self[0]
        images = self.convolved(maps.flatten(0, 1), conv.weight, conv.stride, conv.padding)
        return images.unflatten(0, maps.shape[:2])

    def convolved(self, images: Tensor, weight: Tensor, stride: Any, padding: Any) -> Tensor:
        """Convolution, normalisation and ReLU of images (N, C, H, W); with zeros in further channels, if they are
        aligned."""
        conv, norm = cast(Any, self)
        bias, taken = conv.bias, images.shape[1] - weight.shape[1]
        added = -len(weight) % ALIGNED if self.aligned and images.device.type == GPU else 0
        if taken or added:
            weight = F.pad(weight, (0, 0, 0, 0, 0, taken, 0, added))
            bias = None if bias is None else F.pad(bias, (0, added))
        images = _convolve(images, weight, bias, stride, padding)
        images = self._aligned_norm(images, added) if added else norm(images)
        return F.relu_(images) if self.relu else images

    def _aligned_norm(self, images: Tensor, added: int) -> Tensor:
        """Normalisation of images with so many channels of zeros."""
        norm: Any = self[1]
        values = norm.running_mean, norm.running_var, norm.weight, norm.bias
        mean, variance, scale, shift = (F.pad(item, (0, added)) for item in values)
        images = F.batch_norm(images, mean, variance, scale, shift, norm.training, norm.momentum, norm.eps)
        if norm.training:
            norm.running_mean.copy_(mean[:-added])
            norm.running_var.copy_(variance[:-added])
            norm.num_batches_tracked.add_(1)
        return images


def _convolve(images: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, int], padding: Any) -> Tensor:
    """torch's conv2d, but on a CPU a 1x1 convolution takes the pixels of its stride first, which is equal and avoids a
    crash of torch 2.13's gradient, and a small one is a product of matrices; on a GPU, one that puts out one channel is
    a sum, for units for products would copy its few channels into eight."""
    if images.device.type == GPU and len(weight) == 1 and weight.shape[2:] == (1, 1) and bias is None:
        summed = (images[..., :: stride[0], :: stride[1]] * weight).sum(1, keepdim=True)
        return summed.to(images)  # autocast makes it float32, and with it all that attention is multiplied with
    if images.device.type != "cpu" or weight.shape[2:] != (1, 1):
        return F.conv2d(images, weight, bias, stride, padding)
    images = images[..., :: stride[0], :: stride[1]]
    if weight.numel() > MAX_MATMUL_WEIGHTS:
        return F.conv2d(images, weight, bias)
    return F.linear(images.movedim(1, -1), weight.flatten(1), bias).movedim(-1, 1)


class TemporalConv(SpatialConv):
    """A (kernel, 1, 1) convolution over T and its batch normalisation: (B, T, C, H, W) -> (B, T', C', H, W).

    It is a 2D convolution over images of T x H*W pixels, for which nothing is copied where channels are last in memory;
    on a GPU, one that leaves one map is a product of matrices: the gradient of the other would visit zeros, three of
    four times.
    """

    def __init__(
        self, inputs: int, outputs: int, time: Time, bias: bool = False, aligned: bool = False, relu: bool = False
    ) -> None:
        super().__init__(time.kernel * inputs, outputs, 1, bias=bias, aligned=aligned, relu=relu)
        self.time = time

    def forward(self, maps: Tensor) -> Tensor:
        kernel, stride, padding = self.time
        conv: Any = self[0]
        weight = conv.weight.unflatten(1, (kernel, -1))[..., 0]  # (C', kernel, C, 1)
        if maps.device.type == GPU and kernel == maps.shape[1] and not padding:
            weight = F.pad(weight, (0, 0, 0, maps.shape[2] - weight.shape[2])).flatten(1, 2)[..., None]
            beside = maps.permute(0, 3, 4, 1, 2).flatten(3).movedim(-1, 1)  # (B, T*C, H, W), channels last in memory
            return self.convolved(beside, weight, (1, 1), 0).unsqueeze(1)
        weight = weight.transpose(1, 2).contiguous()  # (C', C, kernel, 1): only oneDNN takes others' gradients
        pixels = maps.transpose(1, 2).flatten(3)  # (B, C, T, H*W)
        pixels = self.convolved(pixels, weight, (stride, 1), (padding, 0))  # (B, C', T', H*W)
        return pixels.unflatten(3, maps.shape[-2:]).transpose(1, 2)


def convolutions(
    inputs: int, middle: int, outputs: int, time: Time | None, kernel: int = 3, stride: int = 1, aligned: bool = False
) -> nn.Sequential:
    """A convolution over pixels; with `time`, one over pixels to `middle` channels, and one over maps. Each ends with a
    ReLU, whose place in the published networks, by which weights are named, is empty."""
    if time is None:
        return nn.Sequential(SpatialConv(inputs, outputs, kernel, stride, aligned=aligned, relu=True), nn.Identity())
    spatial = SpatialConv(inputs, middle, kernel, stride, aligned=True, relu=True)
    temporal = TemporalConv(middle, outputs, time, aligned=aligned, relu=True)
    return nn.Sequential(spatial, nn.Identity(), temporal, nn.Identity())


class CABlock(nn.Module):
    """Continuous attention (MMNet, section 3.2): a residual block whose spatial attention is multiplied by the
    attention of the block before it. Without `attention`, it is a plain residual block.

    `keep` is its place (from 0) in a network that keeps the maps apart; None where there is only one map.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, keep: int | None = None, attention: bool = True) -> None:
        super().__init__()
        self.stride = stride
        path, self.pooling = (None, Time()) if keep is None else (KEEP_PATH[keep], KEEP_ATTENTION[keep])
        middle = (27 * inputs * outputs) // (9 * inputs + 3 * outputs)  # as many parameters as 3x3x3: Tran et al., 2018
        self.body = convolutions(inputs, middle, outputs, path, stride=stride).append(SpatialConv(outputs, outputs, 1))
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = SpatialConv(inputs, outputs, 1, stride, bias=path is not None)
            if path is not None:  # in two steps, with biases, as the public code has it
                last = TemporalConv(outputs, outputs, Time(1, path.stride), bias=True)
                self.shortcut = nn.Sequential(self.shortcut, last)
        self.attention = nn.Sequential(SpatialConv(2, 1, 1), nn.Sigmoid()) if attention else None

    def forward(self, x: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """x (B, T, C, H, W), attention before (B, T, 1, H, W) -> features (B, T', C', H', W') and their attention.

        In `keep` mode the third block's shortcut has two maps and its main path one, which is added to both.
        """
        identity = self.shortcut(x)
        x = F.relu(self.body(x) + identity)
        if self.attention is None:
            return x, None
        attention = self.attention(torch.cat([x.mean(2, keepdim=True), _largest(x)], dim=2))
        if before is not None:
            attention = attention * self._pooled(before)
        return x * attention, attention

    def _pooled(self, attention: Tensor) -> Tensor:
        """The attention before (B, T, 1, H, W), max-pooled to this block's maps and pixels."""
        over_pixels = 3, self.stride, 1
        kernel, stride, padding = ((time, side, side) for time, side in zip(self.pooling, over_pixels, strict=True))
        volumes = attention.transpose(1, 2)
        if attention.is_cuda and torch.are_deterministic_algorithms_enabled():  # the pooling's own gradient is not
            pooled, places = F.max_pool3d(volumes.detach(), kernel, stride, padding, return_indices=True)
            return volumes.flatten(1).gather(1, places.flatten(1)).view_as(pooled).transpose(1, 2)
        return F.max_pool3d(volumes, kernel, stride, padding).transpose(1, 2)


def _largest(x: Tensor) -> Tensor:
    """The largest of the channels (B, T, C, H, W) -> (B, T, 1, H, W), whose gradient equal ones share.

    Compiled, the first of them has it, as in public code: what is shared is found by x == largest, and where x is
    computed again for the gradient, in another precision, nothing need be equal, so that 0 / 0 came out.
    """
    return x.max(2, keepdim=True).values if torch.compiler.is_compiling() else x.amax(2, keepdim=True)


class TransformerBlock(nn.Module):
    """Pre-norm transformer block on (B, G*G, D): 4 heads, GELU, qkv bias, LayerNorm eps 1e-6.

    `ratio` is the width of the perceptron's hidden layer, as a multiple of D; `drop` the share of clips whose attention
    is left out in training, and of those whose perceptron is (stochastic depth, Huang et al., ECCV 2016).
    """

    HEADS = 4

    def __init__(self, width: int, ratio: int, drop: float = 0.0) -> None:
        super().__init__()
        self.drop = drop
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, ratio * width), nn.GELU(), nn.Linear(ratio * width, width))

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(self.norm1(x)).unflatten(-1, (3, self.HEADS, -1))  # (B, G*G, 3, heads, D / heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        x = x + self._dropped(self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)))
        return x + self._dropped(self.mlp(self.norm2(x)))

    def _dropped(self, branch: Tensor) -> Tensor:
        """A branch (B, G*G, D), or 0 for some of the clips."""
        if not self.drop or not self.training:
            return branch
        return branch * F.dropout(branch.new_ones(len(branch), 1, 1), self.drop)


class PositionBranch(nn.Module):
    """Where things are on this face: the onset image (B, 3, G, G) -> position features (B, `width`, G, G).

    Its `depth` transformer blocks may be `inner` wide; a last linear layer leads to `width` then. `drop` is the last
    block's; the first has none, and those between lie between.
    """

    def __init__(self, width: int, grid: int, depth: int, inner: int, ratio: int, drop: float) -> None:
        super().__init__()
        self.grid, inner = grid, inner or width
        self.embed = nn.Conv2d(3, inner, 1)
        self.position = nn.Parameter(torch.empty(1, grid * grid, inner))
        drops = [drop * place / max(depth - 1, 1) for place in range(depth)]
        self.blocks = nn.Sequential(*(TransformerBlock(inner, ratio, each) for each in drops))
        self.norm = nn.LayerNorm(inner, eps=1e-6)
        self.widen = nn.Identity() if inner == width else nn.Linear(inner, width)
        nn.init.trunc_normal_(self.position, std=0.02)

    def forward(self, onset: Tensor) -> Tensor:
        tokens = self.embed(onset).flatten(2).transpose(1, 2) + self.position  # (B, G*G, D)
        return self.widen(self.norm(self.blocks(tokens))).transpose(1, 2).unflatten(2, (self.grid, self.grid))
