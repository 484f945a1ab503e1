"""Augmentation on the device: one flip and one crop a clip, for all its maps and its onset image alike.

The crop is resized back, so it is one bilinear resampling, and the flow vectors change with it: a flip negates u, a
stretch multiplies u and v. Optical strain, a derivative, is not changed by either. (TM-MMNET's public code draws the
side crop frame by frame, which adds motion that is not there.) Shapes: B clips, T maps, P components, H W pixels.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from mer_search.config import Train


class Crops(NamedTuple):
    """What happens to each clip, each (B,). Lengths are shares of the image's height or width."""

    flip: Tensor  # bool
    top: Tensor  # cut off at the top
    height: Tensor  # kept
    side: Tensor  # cut off at the left, and at the right


def draw(clips: int, config: Train, generator: Generator) -> Crops:
    """Random crops: `config.crop` off the height at a random place, 0 to half of that off each side."""
    flip, top, side = torch.rand(3, clips, generator=generator, device=generator.device)
    return Crops(
        (flip < 0.5) & config.flip, top * config.crop, torch.full_like(top, 1 - config.crop), side * config.crop / 2
    )


def resample(images: Tensor, crops: Crops) -> Tensor:
    """Images (B, C, H, W) flipped, cropped and resized back to (B, C, H, W), bilinear."""
    width = 1 - 2 * crops.side
    zero = torch.zeros_like(width)
    theta = torch.stack(
        [  # output coordinates in [-1, 1] -> input coordinates
            torch.stack([torch.where(crops.flip, -width, width), zero, zero], dim=1),
            torch.stack([zero, crops.height, 2 * crops.top + crops.height - 1], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid.to(images.dtype), padding_mode="border", align_corners=False)


def augment(maps: Tensor, crops: Crops, vectors: bool) -> Tensor:
    """Motion maps (B, T, P, H, W) as if the frames had been augmented: flow vectors, or differences of pictures."""
    if vectors:
        return augment_flow(maps, crops)
    return resample(maps.flatten(1, 2), crops).view_as(maps)


def augment_flow(flow: Tensor, crops: Crops) -> Tensor:
    """Flow (B, T, P, H, W), P = u v or u v o, as if the frames had been flipped, cropped and resized."""
    moved = resample(flow.flatten(1, 2), crops).view_as(flow)
    sign = torch.where(crops.flip, -1.0, 1.0)
    scale = torch.ones(flow.shape[0], flow.shape[2], device=flow.device)
    scale[:, 0] = sign / (1 - 2 * crops.side)
    scale[:, 1] = 1 / crops.height
    return moved * scale[:, None, :, None, None]


def mirror(flow: Tensor, vectors: bool = True) -> Tensor:
    """Motion maps (B, T, P, H, W) of the mirrored faces."""
    if not vectors:
        return flow.flip(-1)
    sign = torch.ones(flow.shape[2], device=flow.device)
    sign[0] = -1
    return flow.flip(-1) * sign[:, None, None]
