# mypy: ignore-errors
# (modules are found by their public names here, which mypy cannot follow)
"""The published networks in their conventional form, Conv3d and all: the yardstick for speed, and for our own form's
results (tests/test_public.py). Nothing is trained with it.

Written from the facts alone: names, shapes, strides and paddings. `main_branch.layer1.0.conv1.weight` and all the other
public names fall out of the modules' names. Shapes as in model.network; G is the side of the last map.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mer_search.config import Run
from mer_search.model.channels import n_channels

# `keep`: kernel, stride, padding over time of each block's path, and of the pooling of the attention before it.
TIMES = (((3, 1, 1), None), ((3, 2, 1), (3, 2, 1)), ((2, 1, 0), (1, 1, 0)), ((2, 2, 0), (2, 2, 0)))


def stem(inputs: int, middle: int, outputs: int, stride: int, time: tuple[int, int, int]) -> nn.Sequential:
    """A convolution over pixels, and one over time: its kernel, stride and padding."""
    kernel, step, padding = time
    spatial = nn.Conv3d(inputs, middle, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False)
    temporal = nn.Conv3d(middle, outputs, (kernel, 1, 1), (step, 1, 1), (padding, 0, 0), bias=False)
    return nn.Sequential(spatial, nn.BatchNorm3d(middle), nn.ReLU(), temporal, nn.BatchNorm3d(outputs), nn.ReLU())


class Block(nn.Module):
    """A CA block on (B, C, H, W), or on (B, C, T, H, W) where it has a place in `keep` mode."""

    def __init__(self, inputs: int, outputs: int, stride: int, place: int | None = None) -> None:
        super().__init__()
        conv, norm = (nn.Conv2d, nn.BatchNorm2d) if place is None else (nn.Conv3d, nn.BatchNorm3d)
        self.place = place
        changes = stride != 1 or inputs != outputs
        if place is None:
            self.conv1 = conv(inputs, outputs, 3, stride, 1, bias=False)
            if changes:
                self.downsample = nn.Sequential(conv(inputs, outputs, 1, stride, bias=False), norm(outputs))
        else:
            time = TIMES[place][0]
            middle = 27 * inputs * outputs // (9 * inputs + 3 * outputs)
            self.conv1 = stem(inputs, middle, outputs, stride, time)[:4]  # without the last norm, which is bn1
            if changes:
                pixels = conv(inputs, outputs, 1, (1, stride, stride))
                times = conv(outputs, outputs, 1, (time[1], 1, 1))
                self.downsample = nn.Sequential(pixels, norm(outputs), times, norm(outputs))
        self.bn1, self.bn2 = norm(outputs), norm(outputs)
        self.conv2 = conv(outputs, outputs, 1, bias=False)
        self.attn = nn.Sequential(conv(2, 1, 1, bias=False), norm(1), nn.Sigmoid())

    def forward(self, x: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        shortcut = self.downsample(x) if hasattr(self, "downsample") else x
        x = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + shortcut)
        attention = self.attn(torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True)[0]], 1))
        if before is not None and self.place is None:
            attention = attention * F.max_pool2d(before, 3, 2, 1)
        elif before is not None:
            kernel, stride, padding = TIMES[self.place][1]
            pooled = F.max_pool3d(before, (1, 3, 3), (1, 2, 2), (0, 1, 1))
            attention = attention * F.max_pool3d(pooled, (kernel, 1, 1), (stride, 1, 1), (padding, 0, 0))
        return x * attention, attention


class TransformerBlock(nn.Module):
    """Attention written out, head by head: (B, G * G, D)."""

    HEADS = 4

    def __init__(self, width: int, ratio: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, ratio * width), "fc2": nn.Linear(ratio * width, width)})

    def forward(self, x: Tensor) -> Tensor:
        queries, keys, values = self.attn["qkv"](self.norm1(x)).chunk(3, dim=-1)
        heads = []
        for q, k, v in zip(*(part.chunk(self.HEADS, dim=-1) for part in (queries, keys, values)), strict=True):
            heads.append(torch.softmax(q @ k.transpose(1, 2) / q.shape[-1] ** 0.5, dim=-1) @ v)
        x = x + self.attn["proj"](torch.cat(heads, dim=-1))
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


class Position(nn.Module):
    """The position branch: (B, 3, G, G) -> (B, D, G, G)."""

    def __init__(self, width: int, grid: int, depth: int, ratio: int) -> None:
        super().__init__()
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, 1)})
        self.pos_embed = nn.Parameter(torch.zeros(1, grid * grid, width))
        self.blocks = nn.ModuleList([TransformerBlock(width, ratio) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, eps=1e-6)
        # never used:
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.head = nn.Linear(width, 5)
        self.to_Mask = nn.Sequential(nn.Linear(width, 1), nn.Sigmoid())

    def forward(self, onset: Tensor) -> Tensor:
        x = self.patch_embed["proj"](onset)
        shape = x.shape
        x = x.flatten(2).transpose(1, 2) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.norm(x).transpose(1, 2).reshape(shape)


class MainBranch(nn.Module):
    """From the stem's features to logits."""

    def __init__(self, inputs: int, middle: int, width: int, grid: int, keep: bool) -> None:
        super().__init__()
        if keep:
            self.stem = stem(inputs, middle, width, 1, (3, 1, 1))
        else:
            self.conv1, self.bn1 = nn.Conv2d(inputs, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        widths, strides = (width, width, width, 2 * width, 4 * width), (1, 2, 2, 2)
        for k in range(4):
            block = Block(widths[k], widths[k + 1], strides[k], k if keep else None)
            setattr(self, f"layer{k + 1}", nn.Sequential(block))
        self.fc = nn.Linear(widths[-1] * grid * grid, 5)

    def forward(self, x: Tensor, position: Tensor | int) -> Tensor:
        x = self.stem(x) if hasattr(self, "stem") else F.relu(self.bn1(self.conv1(x)))
        attention = None
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x, attention = layer[0](x, attention)
        if x.ndim == 5:
            x = x.squeeze(2)
        return self.fc((x + position).flatten(1))


class PublicNetwork(nn.Module):
    """MMNet for the mode "none", TM-MMNET's V3 to V5 for "collapse", V1 and V2 for "keep".

    `grid` is the side of the last map: 14 for 224 pixels.
    """

    def __init__(self, run: Run, grid: int) -> None:
        super().__init__()
        model, channels = run.model, n_channels(run.input)
        self.mode, stem_width, width = model.temporal, model.stem_width, model.attention_width
        if self.mode == "none":
            conv = nn.Conv2d(channels, stem_width, 3, 2, 1, bias=False)
            self.conv_act = nn.Sequential(conv, nn.BatchNorm2d(stem_width), nn.ReLU())
        else:
            time = (4, 1, 0) if self.mode == "collapse" else (3, 1, 1)
            self.conv_act = stem(channels, model.stem_mid, stem_width, 2, time)
        self.vit_pos = Position(4 * width, grid, model.position_depth, model.position_mlp)
        self.main_branch = MainBranch(stem_width, model.internal_mid, width, grid, self.mode == "keep")
        # never used:
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(8 * 8, 38, bias=False))
        self.timeembed = nn.Parameter(torch.zeros(1, 4, 7, 7))
        if self.mode == "none":
            self.pos = nn.Sequential(nn.Conv2d(3, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width), nn.ReLU())

    def forward(self, maps: Tensor, onset: Tensor | None) -> Tensor:
        """Maps (B, T, C, H, W) with C in the public order, onset (B, 3, grid, grid), None for no
        position branch -> logits (B, 5)."""
        x = self.conv_act(maps.squeeze(1) if self.mode == "none" else maps.transpose(1, 2))
        x = x.squeeze(2) if self.mode == "collapse" else x
        return self.main_branch(x, 0 if onset is None else self.vit_pos(onset))


class TwoStageNetwork(nn.Module):
    """TM-MMNET's V6c, or V6 as it is described: an action-unit network, and a last layer over what it saw and said."""

    def __init__(self, run: Run, grid: int, units: int) -> None:
        super().__init__()
        self.thresholded = run.units.use == "thresholded"
        self.pretrained = PublicNetwork(run, grid)
        branch = self.pretrained.main_branch
        features = branch.fc.in_features
        branch.fc = nn.Identity()
        branch.embedau = nn.Linear(features, units)
        self.last_layer = nn.Linear(features + units, 5)

    def forward(self, maps: Tensor, onset: Tensor) -> Tensor:
        features = self.pretrained(maps, onset)
        said = self.pretrained.main_branch.embedau(features)
        return self.last_layer(torch.cat([features, (said.sigmoid() > 0.5).double() if self.thresholded else said], 1))


def public_network(run: Run, grid: int, units: int) -> nn.Module:
    """The conventional form of a run's network, if it is one of MMNet's or TM-MMNET's. `grid` is G, and `units` how
    many action units there are, if it is trained in two stages."""
    return PublicNetwork(run, grid) if run.units.use == "none" else TwoStageNetwork(run, grid, units)
