"""Motion becomes channels: normalised copies of the flow, derived on the device after augmentation.

Shapes: B clips, T maps, P components (u, v or u, v, o), H W pixels.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mer_search.config import COLOURS, Input

IMAGENET_MEAN, IMAGENET_SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # RGB, of torchvision's models
COMPONENTS = "uvo"  # the order in which components are stored: horizontal flow, vertical flow, optical strain
FLAT = 1e-6  # a spread at or under this, or this share of the values, is none: a flat map becomes zeros, never NaN


def min_max(maps: Tensor) -> Tensor:
    """Each map stretched to [-1, 1]; a flat map becomes 0."""
    low, high = _ends(maps)
    return _divide(maps - low, (high - low) / 2, low, high, 1.0)


def _ends(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Each map's least and largest value (..., 1, 1)."""
    return maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)  # aminmax takes five times as long


def _divide(above: Tensor, spread: Tensor, low: Tensor, high: Tensor, shift: float = 0.0) -> Tensor:
    """above / spread - shift, in one pass; 0 where the spread is no more than rounding makes of values so large."""
    some = spread > FLAT * (1 + torch.maximum(low.abs(), high.abs()))
    return torch.addcmul(torch.where(some, -shift, 0.0), above, torch.where(some, 1 / spread.clamp_min(FLAT), 0.0))


def _standardise(maps: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Maps with mean 0 and deviation 1 along some of their dimensions."""
    centred = maps - maps.mean(dims, keepdim=True)
    return _divide(centred, centred.square().mean(dims, keepdim=True).sqrt(), *_ends(maps))


NORMALISATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "n": min_max,  # TM-MMNET's
    "r": lambda maps: maps,  # TM-MMNET's
    "s": lambda maps: _standardise(maps, (-2,)),  # each column of an image, as sklearn's StandardScaler. TM-MMNET's
    "z": lambda maps: _standardise(maps, (-2, -1)),  # each map over all its pixels
}
SHEARS = {"shear_twice": 2, "shear_once": 1}  # how often e_xy^2 counts in the strain's magnitude


def strain(flow: Tensor, formula: str) -> Tensor:
    """Flow (..., 2, H, W) -> magnitude of its optical strain (..., 1, H, W).

    With e_xx = du/dx, e_yy = dv/dy and e_xy = e_yx = (du/dy + dv/dx) / 2, the magnitude is the root of

    - `shear_twice`: e_xx^2 + e_yy^2 + e_xy^2 + e_yx^2 (Shreve et al., FG 2011), as in most public code of the field.
    - `shear_once`: e_xx^2 + e_yy^2 + e_xy^2, as in some public code. We know of no paper that argues for it.
    """
    (du_dy, dv_dy), (du_dx, dv_dx) = (_slope(flow, dim).unbind(-3) for dim in (-2, -1))
    shear = SHEARS[formula] * (du_dy + dv_dx).square() / 4
    return (du_dx.square() + dv_dy.square() + shear).sqrt().unsqueeze(-3)


def _slope(maps: Tensor, dim: int) -> Tensor:
    """What torch.gradient gives along a dimension, to the bit; an exported network cannot have that, for it fixes B."""
    ends = maps.narrow(dim, 0, 2), maps.narrow(dim, -2, 2)
    inner = (maps.narrow(dim, 2, maps.shape[dim] - 2) - maps.narrow(dim, 0, maps.shape[dim] - 2)) / 2
    first, last = (end.narrow(dim, 1, 1) - end.narrow(dim, 0, 1) for end in ends)
    return torch.cat([first, inner, last], dim)


def hsv(flow: Tensor, colours: str = "exact") -> Tensor:
    """Flow (..., P, H, W) -> its usual colour picture (..., 3, H, W), RGB in [0, 1].

    The direction is the hue, the magnitude (min-max per map) the value, at full saturation, as TM-MMNET's V2 takes it.
    In "bytes" hue, value and colours are those of OpenCV's 8-bit pictures, as its public code has them.
    """
    whole = colours == "bytes"
    u, v = flow[..., 0, :, :], flow[..., 1, :, :]
    hue = torch.atan2(v, u) % (2 * torch.pi) * (3 / torch.pi)  # [0, 6)
    value = (min_max(torch.hypot(u, v)) + 1) / 2
    if whole:
        hue, value = (hue * 30).floor() / 30, (value * 255).floor() / 255
    sixths = torch.stack([(hue + shift) % 6 for shift in (5, 3, 1)], dim=-3)  # of red, green, blue
    picture = value.unsqueeze(-3) * (1 - torch.minimum(sixths, 4 - sixths).clamp(0, 1))
    return (picture * 255).round() / 255 if whole else picture


def imagenet(rgb: Tensor, means: Sequence[float] = IMAGENET_MEAN) -> Tensor:
    """Pictures (..., 3, H, W), RGB in [0, 1], normalised as ImageNet's; without a tensor of constants, which would have
    to be copied to the device."""
    return torch.stack([(rgb[..., k, :, :] - means[k]) / IMAGENET_SD[k] for k in range(3)], dim=-3)


def n_channels(config: Input) -> int:
    """C, channels of the network's input."""
    return 3 if config.channels in COLOURS else len(config.channels) * len(config.components)


def channels(flow: Tensor, config: Input) -> Tensor:
    """Flow (B, T, P, H, W) -> channels (B, T, C, H, W): for each letter of `config.channels` its normalised copy of
    the components, so "nr" on "uv" gives u_n v_n u_r v_r; or a colour picture, or a difference of normalised ones."""
    if config.channels in COLOURS:
        return hsv(flow, config.colours) if config.channels == "hsv" else imagenet(flow / 255, (0.0, 0.0, 0.0))
    if "o" in config.components and flow.shape[2] == 2:  # flow images bring their own
        flow = torch.cat([flow, strain(flow, config.strain)], dim=2)
    places = [COMPONENTS.index(letter) for letter in config.components]
    picked = flow if places == [*range(flow.shape[2])] else torch.stack([flow[:, :, place] for place in places], dim=2)
    return torch.cat([NORMALISATIONS[letter](picked) for letter in config.channels], dim=2)
