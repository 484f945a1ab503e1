"""The parts that the networks are made of. Every temporal convolution is folded into a 2D one.

Shapes: B clips, T maps, C channels, H W pixels, D width, G x G positions.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    """A convolution without bias and its batch normalisation."""
    return [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs)]


class ExternalStem(nn.Module):
    """(2+1)D stem in `collapse` mode: (B, T, C, H, W) -> (B, width, H / stride, W / stride).

    A (1, 3, 3) convolution is a 2D one over B*T images; a temporal kernel over all T maps without padding is a 1x1
    convolution over T*mid channels.
    """

    def __init__(self, channels: int, maps: int, mid: int, width: int, stride: int) -> None:
        super().__init__()
        self.spatial = nn.Sequential(*conv_bn(channels, mid, 3, stride), nn.ReLU())
        self.temporal = nn.Sequential(*conv_bn(maps * mid, width, 1), nn.ReLU())

    def forward(self, maps: Tensor) -> Tensor:
        clips = maps.shape[0]
        x = self.spatial(maps.flatten(0, 1))  # (B*T, mid, H', W')
        return self.temporal(x.unflatten(0, (clips, -1)).flatten(1, 2))  # (B, T*mid, H', W') -> (B, width, H', W')


class CABlock(nn.Module):
    """Continuous attention (MMNet, section 3.2): a residual block whose spatial attention is multiplied by the
    attention of the block before it."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.body = nn.Sequential(*conv_bn(inputs, outputs, 3, stride), nn.ReLU(), *conv_bn(outputs, outputs, 1))
        changes = stride != 1 or inputs != outputs
        self.shortcut = nn.Sequential(*conv_bn(inputs, outputs, 1)) if changes else nn.Identity()
        self.attention = nn.Sequential(*conv_bn(2, 1, 1), nn.Sigmoid())

    def forward(self, x: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        """x (B, C, H, W), attention before (B, 1, H, W) -> features (B, C', H', W'), attention (B, 1, H', W')."""
        # Subsampling before the 1x1 convolution equals its stride, and avoids a crash of torch 2.13's CPU backward.
        identity = self.shortcut(x[..., :: self.stride, :: self.stride])
        x = F.relu(self.body(x) + identity)
        attention = self.attention(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1))
        if before is not None:
            attention = attention * F.max_pool2d(before, 3, self.stride, 1)
        return x * attention, attention


class TransformerBlock(nn.Module):
    """Pre-norm transformer block on (B, G*G, D): 4 heads, MLP ratio 4, GELU, qkv bias, LayerNorm eps 1e-6."""

    HEADS = 4

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(self.norm1(x)).unflatten(-1, (3, self.HEADS, -1))  # (B, G*G, 3, heads, D / heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


class PositionBranch(nn.Module):
    """Where things are on this face: the onset image (B, 3, G, G) -> position features (B, D, G, G)."""

    DEPTH = 2

    def __init__(self, width: int, grid: int) -> None:
        super().__init__()
        self.grid = grid
        self.embed = nn.Conv2d(3, width, 1)
        self.position = nn.Parameter(torch.empty(1, grid * grid, width))
        self.blocks = nn.Sequential(*(TransformerBlock(width) for _ in range(self.DEPTH)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        nn.init.trunc_normal_(self.position, std=0.02)

    def forward(self, onset: Tensor) -> Tensor:
        tokens = self.embed(onset).flatten(2).transpose(1, 2) + self.position  # (B, G*G, D)
        return self.norm(self.blocks(tokens)).transpose(1, 2).unflatten(2, (self.grid, self.grid))
