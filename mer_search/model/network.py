"""One network for the whole family; a variant is a value of `config.Model`, never a subclass."""

import math
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mer_search.config import Model, Run
from mer_search.model.blocks import CABlock, PositionBranch, TemporalConv, Time, convolutions
from mer_search.model.channels import n_channels

STRIDES = (1, 2, 2, 2)  # of the stages of CA blocks
TYPICAL_UNITS = 35  # action units in CASME II's 5-class task, L and R told apart: for costs, before data are at hand


def last_map(run: Run) -> int:
    """Pixels a side of the map that the last CA block puts out: convolutions of stride 2 halve them, and round up."""
    shrunk = run.model.stem_stride * math.prod(STRIDES[: run.model.blocks])
    return -(-run.flow.size // shrunk)


def _blocks(model: Model) -> list[CABlock]:
    """`depth` blocks a stage, the first of them with the stage's stride."""
    keeps = model.temporal == "keep"
    widths = (model.attention_width, *model.widths)
    blocks = []
    for place, (inputs, outputs) in enumerate(pairwise(widths)):
        blocks.append(CABlock(inputs, outputs, STRIDES[place], place if keeps else None, model.attention))
        blocks += [CABlock(outputs, outputs, 1, attention=model.attention) for _ in range(1, model.depth)]
    return blocks


class Network(nn.Module):
    """Motion maps and the onset image -> class logits.

    Source: MMNet (Li et al., IJCAI 2022), TM-MMNET V1 to V6; shapes in the comments are V3's at 224 pixels. `units` is
    A, how many action units training in two stages knows.
    """

    def __init__(self, run: Run, units: int = TYPICAL_UNITS) -> None:
        super().__init__()
        model = run.model
        self.grid, self.channels = last_map(run), n_channels(run.input)
        time = {"none": None, "keep": Time(3, 1, 1), "collapse": Time(run.frames.maps)}[model.temporal]
        self.external = convolutions(  # (B, T, C, H, W) -> (B, T', stem_width, H / stride, W / stride)
            self.channels, model.stem_mid, model.stem_width, time, model.stem_kernel, model.stem_stride, aligned=True
        )
        time = time if model.temporal == "keep" else None
        self.internal = convolutions(model.stem_width, model.internal_mid, model.attention_width, time)
        self.blocks = nn.ModuleList(_blocks(model))
        width, position = model.widths[-1], (model.position_depth, model.position_width, model.position_mlp)
        self.position = PositionBranch(width, self.grid, *position, model.position_drop) if model.position else None
        self.head_grid = model.head_grid or self.grid
        self.dropout = nn.Dropout(model.dropout)
        features, self.thresholded = width * self.head_grid**2, run.units.use == "thresholded"
        self.units: Any = None if run.units.use == "none" else nn.Linear(features, units)  # logits of action units
        self.head = nn.Linear(features + (0 if self.units is None else units), len(run.data.classes))
        if model.init == "kaiming":
            self.apply(_initialise)
        else:
            self._initialise_as_published(model)
        self.to(memory_format=torch.channels_last)

    def _initialise_as_published(self, model: Model) -> None:
        """Kaiming-normal for the internal stem and the CA blocks where they are in 2D, a truncated normal of sd .02 for
        the transformer's linear layers, else torch's defaults. Source: CA_Block.py and PC_module.py of V3 to V5; the
        loop there that looks for Conv2d meets none in V1 and V2."""
        for part in () if model.temporal == "keep" else (self.internal, self.blocks):
            part.apply(_initialise)
        for module in () if self.position is None else self.position.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, maps: Tensor, onset: Tensor | None = None) -> Tensor:
        """maps (B, T, C, H, W), onset (B, 3, G, G) with G = self.grid (None without position branch) -> (B, K)."""
        return self.emotions(self.features(maps, onset))

    def emotions(self, features: Tensor) -> Tensor:
        """What `features` gives (B, D * cells) -> logits of the classes (B, K)."""
        if self.units is not None:
            units = self.units(features)
            features = torch.cat([features, (units > 0).to(units) if self.thresholded else units], dim=1)
        return self.head(self.dropout(features))

    def features(self, maps: Tensor, onset: Tensor | None) -> Tensor:
        """As forward, but -> what the last layer sees of the clip (B, D * cells)."""
        if maps.shape[2] != self.channels:
            raise ValueError(f"maps must be (B, T, {self.channels}, H, W), but are {tuple(maps.shape)}")
        images = maps.flatten(0, 1).contiguous(memory_format=torch.channels_last)  # as the weights are
        x = self.internal(self.external(images.unflatten(0, maps.shape[:2])))  # (B, 1, 256, 112, 112)
        attention = None
        for block in self.blocks:
            x, attention = block(x, attention)  # (B, 1, 256, 112, 112) ... (B, 1, 1024, 14, 14)
        x = x.squeeze(1)
        if self.position is not None:
            x = x + self.position(onset)
        if self.head_grid != self.grid:
            x = averaged(x, self.head_grid)
        return x.flatten(1)


def averaged(x: Tensor, grid: int) -> Tensor:
    """Adaptive average pooling (..., G, G) -> (..., grid, grid), whose gradient is exact on a GPU, too."""
    size = x.shape[-1]
    if size % grid == 0:
        return F.avg_pool2d(x, size // grid)
    cell, places = torch.arange(grid, device=x.device)[:, None], torch.arange(size, device=x.device)
    cells = ((places >= cell * size // grid) & (places < -((cell + 1) * -size // grid))).to(x)
    cells = cells / cells.sum(1, keepdim=True)  # (grid, G) what each cell takes of each place
    return cells @ x @ cells.T


def _initialise(module: nn.Module) -> None:
    """Kaiming-normal, by fan-out; that of a temporal convolution counts its kernel, which is folded into channels."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    if isinstance(module, TemporalConv):  # its convolution has been visited before it
        with torch.no_grad():
            next(module.parameters()).mul_(module.time.kernel**-0.5)
