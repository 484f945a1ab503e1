"""One clip as the network meets it, in one picture: frames, prepared frames, motion as colour, and every channel."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from cv2.typing import MatLike
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mer_search.config import COLOURS, Input, Run
from mer_search.data.clips import Clip
from mer_search.data.flow import frame_sets, measure, motion, pairs
from mer_search.data.prepare import in_force, prepared, read_image
from mer_search.model.channels import channels

USUAL = 0.99  # share of a map's pixels that its colours are stretched for

Rows = list[tuple[str, list[tuple[str, NDArray[np.float32]]]]]  # (row's label, [(title, image)])


def preview(clip: Clip, run: Run, name: str) -> bytes:
    """PNG of the clip's frames without jitter, the same denoised and masked, its motion maps and their channels.

    Args:
        clip: what is looked at.
        run: what is done to it.
        name: of the run, for the title.

    Raises:
        DataError: for a frame that cannot be decoded, or landmarks that do not fit (see data.prepare).
    """
    sets = frame_sets(clip, run.frames)[:1]
    if clip.is_flow:  # a flow image
        rows = _motion(measure(clip, sets, run).flow, ["onset to apex"], run)
    else:
        prepared_frames = prepared(clip, sets[0], run.prep)
        titles = [f"{clip.annotated(k)} to {clip.annotated(after)}" for k, after in pairs(sets[0], run.frames)]
        rows = _frames(clip, sets[0], prepared_frames) + _motion(motion(prepared_frames, sets, run).flow, titles, run)
    width = max(3, *(len(images) for _, images in rows))  # 3: the title needs room
    figure = Figure(figsize=(1.9 * width + 1.1, 2.2 * len(rows) + 0.6), dpi=100)
    figure.set_layout_engine("constrained", h_pad=0.09)  # inches, so that a title stands clear of the picture above
    grid = figure.subplots(len(rows), width, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for line, (label, images) in zip(grid, rows, strict=True):
        for axes, (title, image) in zip(line, images, strict=False):
            _show(axes, image, title)
        line[0].text(-0.08, 0.5, label, rotation=90, ha="right", va="center", transform=line[0].transAxes, fontsize=9)
    figure.suptitle(_title(clip, run, name), fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _title(clip: Clip, run: Run, name: str) -> str:
    """What is seen, and what was done to it."""
    units = f"action units {' '.join(clip.action_units) or 'not given'}"
    if clip.is_flow:
        return f"{clip.id}: {clip.label}, {units}\n{name}: flow image at {run.flow.size} px"
    prep = in_force(clip, run.prep)
    return (
        f"{clip.id}: {clip.label}, {units}, apex {'not given' if clip.apex is None else clip.annotated(clip.apex)}\n"
        f"{name}: frames {prep.size} px, denoised {prep.denoise:g}, mask {prep.mask}; {run.flow.method} at "
        f"{run.flow.size} px, in pixels; u to the right, v down"
    )


def _show(axes: Axes, image: NDArray[np.float32], title: str) -> None:
    """A colour picture (H, W, 3) in [0, 1], or a map (H, W) in red and blue with its own range in the title.

    A few pixels at a mask's edge may be far out: the range leaves them out, and the title says how far.
    """
    if image.ndim == 3:
        axes.imshow(image)
    else:
        most = float(np.abs(image).max()) or 1.0
        usual = float(np.quantile(np.abs(image), USUAL)) or most
        axes.imshow(image, cmap="RdBu_r", vmin=-usual, vmax=usual)
        title = f"{title}  ±{usual:.2g}" + (f" (most {most:.2g})" if most > 1.5 * usual else "")
    axes.set_title(title, fontsize=8)


def _frames(clip: Clip, numbers: Sequence[int], images: Mapping[int, MatLike]) -> Rows:
    """The frames as they lie on disk, and as they are prepared."""
    found = [read_image(clip.frames[number - clip.onset]) for number in numbers]
    titles = [f"{clip.annotated(number)}{' onset' * (place == 0)}" for place, number in enumerate(numbers)]
    return [
        (label, [(title, image[:, :, ::-1] / np.float32(255)) for title, image in zip(titles, pictures, strict=True)])
        for label, pictures in (("frames", found), ("prepared", [images[number] for number in numbers]))
    ]


def _motion(measured: NDArray[np.float16], titles: Sequence[str], run: Run) -> Rows:
    flow = torch.from_numpy(measured).float()  # (1, T, P, H, W)
    rows: Rows = []
    if run.flow.method != "difference":
        rows.append(("motion as colour", _pictures(colours(flow), titles)))
    if run.input.channels in COLOURS:
        picture = channels(flow, run.input)
        if run.input.channels == "rgb":  # a difference: none is grey
            picture = (picture + 1) / 2
        return [*rows, (f"channels {run.input.channels}", _pictures(picture, titles))]
    names = [f"{component}_{letter}" for letter in run.input.channels for component in run.input.components]
    stack = channels(flow, run.input)[0].numpy()  # (T, C, H, W)
    return rows + [
        (f"channel {name}", [(title, maps[c]) for title, maps in zip(titles, stack, strict=True)])
        for c, name in enumerate(names)
    ]


def colours(flow: torch.Tensor) -> torch.Tensor:
    """Flow (B, T, P, H, W) as colour pictures (B, T, 3, H, W), RGB in [0, 1]; a few pixels may be far out, and are no
    brighter than the rest."""
    most = torch.quantile(torch.hypot(flow[:, :, 0], flow[:, :, 1]).flatten(2), USUAL, dim=2)[..., None, None, None]
    usual = flow * (most / torch.hypot(flow[:, :, :1], flow[:, :, 1:2]).clamp_min(1e-6)).clamp_max(1)
    return channels(usual, Input(channels="hsv"))


def _pictures(rgb: torch.Tensor, titles: Sequence[str]) -> list[tuple[str, NDArray[np.float32]]]:
    """(1, T, 3, H, W), RGB in [0, 1] -> titled pictures (H, W, 3)."""
    return [
        (title, picture.clip(0, 1)) for title, picture in zip(titles, rgb[0].permute(0, 2, 3, 1).numpy(), strict=True)
    ]
