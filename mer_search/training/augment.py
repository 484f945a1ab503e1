"""Augmentation on the device: one flip, crop, shift and turn a clip, for all its maps and its onset image alike.

All of it is one bilinear resampling, and the flow vectors change with it: a flip negates u, a stretch multiplies u and
v, a turn turns them. Optical strain, which knows no direction, is not changed. What comes from beyond the image's edge
is black, or no motion. (TM-MMNET's public code draws the side crop frame by frame, which adds motion that is not
there: see data.flow.) Shapes: B clips, T maps, P components, H W pixels.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from mer_search.config import Train
from mer_search.model.channels import IMAGENET_MEAN


class Moves(NamedTuple):
    """What happens to each clip, each (B,). Lengths are shares of the image's height or width."""

    flip: Tensor  # bool
    top: Tensor  # cut off at the top
    height: Tensor  # kept
    side: Tensor  # cut off at the left, and at the right
    right: Tensor  # the image is moved by this
    down: Tensor  # and by this
    turn: Tensor | None  # radians, clockwise as seen, after the flip and before the move; None where none is turned


def draw(clips: int, config: Train, generator: Generator, size: int) -> Moves:
    """Random moves: the new augmentation's crop, and the original one's turn and crop after padding.

    New (TM-MMNET): `config.crop` off the height at a random place, 0 to half of that off each side. Original (MMNet):
    turned by up to `config.rotate` degrees, padded by `config.pad` and cropped back at a random place; of images of
    `size` pixels by whole ones, if resampling is "nearest".
    """
    flip, top, side = torch.rand(3, clips, generator=generator, device=generator.device)
    right = down = turn = torch.zeros_like(top)
    if config.rotate or config.pad:
        right, down, turn = 2 * torch.rand(3, clips, generator=generator, device=generator.device) - 1
    shift = torch.stack([right, down]) * config.pad
    if config.resampling == "nearest":
        most = round(config.pad * size)
        shift = (torch.stack([right, down]) * (most + 0.5)).round().clamp(-most, most) / size
    flipped, height = (flip < 0.5) & config.flip, torch.full_like(top, 1 - config.crop)
    turned = torch.deg2rad(turn * config.rotate) if config.rotate else None
    return Moves(flipped, top * config.crop, height, side * config.crop / 2, shift[0], shift[1], turned)


def resample(images: Tensor, moves: Moves, how: str = "bilinear") -> Tensor:
    """Images (B, C, H, W), H = W, flipped, cropped, resized back, turned and moved. With "nearest", what was beyond the
    edge when the image had been turned stays beyond it, as where one is done after the other."""
    width = 1 - 2 * moves.side
    across, down = torch.where(moves.flip, -width, width), moves.height
    turn = torch.zeros_like(width) if moves.turn is None else moves.turn
    cos, sin = turn.cos(), turn.sin()
    x, y = 2 * moves.right, 2 * moves.down
    rows = (  # output coordinates in [-1, 1] -> input coordinates
        (across * cos, across * sin, -across * (cos * x + sin * y)),
        (-down * sin, down * cos, 2 * moves.top + down - 1 - down * (cos * y - sin * x)),
    )
    theta = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid.to(images.dtype), how, padding_mode="border", align_corners=False)
    inside = (grid.abs() <= 1).all(-1)
    if how == "nearest":
        places = (2 * torch.arange(images.shape[-1], device=images.device) + 1) / images.shape[-1] - 1
        for shift, shape in ((x, (-1, 1, places.numel())), (y, (-1, places.numel(), 1))):
            inside = inside & ((places - shift[:, None]).abs() <= 1).view(shape)
    return moved.mul_(inside.unsqueeze(1))


def augment_onset(images: Tensor, moves: Moves, config: Train) -> Tensor:
    """Onset images (B, 3, H, W), RGB in grey levels. MMNet's public code fills what comes from beyond the edge with
    ImageNet's mean colour, which is black after its normalisation."""
    if config.resampling == "bilinear":
        return resample(images, moves)
    mean = torch.cat([torch.full_like(images[:, :1], 255 * each) for each in IMAGENET_MEAN], dim=1)
    return resample(images - mean, moves, config.resampling) + mean


def augment(maps: Tensor, moves: Moves, vectors: bool = True, how: str = "bilinear") -> Tensor:
    """Motion maps (B, T, P, H, W) as if the frames had been augmented: flow vectors (P = u v or u v o), or differences
    of pictures."""
    moved = resample(maps.flatten(1, 2), moves, how).view_as(maps)
    if not vectors:
        return moved

    def each(values: Tensor) -> Tensor:
        return values[:, None, None, None]

    u = moved[:, :, 0].mul_(each(torch.where(moves.flip, -1.0, 1.0) / (1 - 2 * moves.side)))
    v = moved[:, :, 1].div_(each(moves.height))
    if moves.turn is not None:
        cos, sin = each(moves.turn.cos()), each(moves.turn.sin())
        moved[:, :, :2] = torch.stack([cos * u - sin * v, sin * u + cos * v], dim=2)
    return moved


def mirror(flow: Tensor, vectors: bool = True) -> Tensor:
    """Motion maps (B, T, P, H, W) of the mirrored faces."""
    mirrored = flow.flip(-1)
    return torch.cat([-mirrored[:, :, :1], mirrored[:, :, 1:]], dim=2) if vectors else mirrored
