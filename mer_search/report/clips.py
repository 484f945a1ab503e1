"""What is shown of clips: a dataset's table, a clip as the network meets it, small pictures for contact sheets.

Small pictures are RGB (SIDE, SIDE, 3), grounds, over which maps are laid, grey (SIDE, SIDE), both in [0, 1].
"""

import io
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from cv2.typing import MatLike
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mer_search.config import COLOURS, Input, Run, with_values
from mer_search.data import Folder
from mer_search.data.check import facts_of
from mer_search.data.clips import Clip
from mer_search.data.flow import frame_sets, measure, motion, pairs
from mer_search.data.prepare import in_force, prepared, read_image, resized
from mer_search.model.channels import channels
from mer_search.report.document import Table, Tile
from mer_search.report.terminal import out, plural, say, show

USUAL = 0.99  # share of a map's pixels that its colours are stretched for
SIDE = 112  # pixels of small pictures
# Motion from onset to apex as a person looks at it, whatever the networks are shown.
PLAIN = with_values(
    Run(), {"frames.maps": 1, "frames.middle": "apex", "frames.jitter": 0.0, "prep.size": SIDE, "flow.size": SIDE}
)
RED, COVER = (0.9, 0.1, 0.0), 0.75  # how much of the ground the strongest place of a map hides

Picture = NDArray[np.float32]
Map = NDArray[Any]  # (G, G) places, or a ground
Rows = list[tuple[str, list[tuple[str, Picture]]]]  # (row's label, [(title, image)])


def print_check(folder: Folder) -> None:
    """A dataset's clips per subject and class, and its problems."""
    facts = facts_of(folder)
    say(f"{facts['dataset']}: {facts['n_clips']} clips, {facts['n_subjects']} subjects, checksum {facts['checksum']}")
    if facts["annotation"]:
        say(f"annotation: {facts['annotation']}")
    rows = [(subject, *(count or None for count in row), sum(row)) for subject, row in facts["clips"].items()]
    totals = [sum(row[place] for row in facts["clips"].values()) for place in range(len(facts["classes"]))]
    show(Table(("subject", *facts["classes"], "all"), [*rows, ("all", *totals, sum(totals))], strong=len(rows)))
    for name, kinds in facts["emotions_of_classes"].items():
        made = "; ".join(f"{kind} = {', '.join(some) or 'none'}" for kind, some in kinds.items())
        say(f"classes of {name}: {made}")
    if outside := facts["outside_the_task"]:
        say(f"not in this task: {', '.join(f'{count} {emotion}' for emotion, count in outside.items())}")
    if not folder.dataset.flow_images:
        say(f"action units are known of {facts['n_with_action_units']} clips")
    if few := facts["n_of_three_frames"]:
        say(f"of {few} clips only the onset, apex and offset frames are there: enough for frames.maps 1 or 2")
    for problem in sorted(folder.problems, key=lambda problem: problem.clip):
        out.print(f"- {problem}")
    unusable = {problem.clip for problem in folder.problems if not problem.usable}
    told = plural(len(folder.problems), "problem") + (f", {plural(len(unusable), 'clip')} left out" if unusable else "")
    say(told if folder.problems else "no problems")
    if lost := facts["subjects_without_clips"]:
        say(f"No clip is left of {', '.join(lost)}.")
    if facts["usable"]:
        task = f" --task {folder.other_task}" if folder.other_task else ""
        out.print(f"next: mer-search run --data {shlex.quote(facts['path'])}{task}")
    else:
        say("A run cannot use this: it needs clips of two subjects and two classes at least.")


def preview(clip: Clip, run: Run, name: str) -> bytes:
    """PNG of a clip as a run of this name meets it: its frames without jitter, the same denoised and masked, its motion
    maps and their channels.

    Raises:
        DataError: for a frame that cannot be decoded, or landmarks that do not fit (see data.prepare).
    """
    sets = frame_sets(clip, run.frames)[:1]
    if clip.is_flow:
        rows = _motion_rows(measure(clip, sets, run).flow, ["onset to apex"], run)
    else:
        frames = prepared(clip, sets[0], run.prep)
        titles = [f"{clip.annotated(k)} to {clip.annotated(after)}" for k, after in pairs(sets[0], run.frames)]
        rows = _frame_rows(clip, sets[0], frames) + _motion_rows(motion(frames, sets, run).flow, titles, run)
    width = max(3, *(len(images) for _, images in rows))  # 3: the title needs room
    figure = Figure(figsize=(1.9 * width + 1.1, 2.2 * len(rows) + 0.6), dpi=100)
    figure.set_layout_engine("constrained", h_pad=0.09)  # inches, so that a title stands clear of the picture above
    grid = figure.subplots(len(rows), width, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for line, (label, images) in zip(grid, rows, strict=True):
        for axes, (title, image) in zip(line, images, strict=False):
            _draw(axes, image, title)
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
    prep, apex = in_force(clip, run.prep), "not given" if clip.apex is None else clip.annotated(clip.apex)
    return (
        f"{clip.id}: {clip.label}, {units}, apex {apex}\n"
        f"{name}: frames {prep.size} px, denoised {prep.denoise:g}, mask {prep.mask}; {run.flow.method} at "
        f"{run.flow.size} px, in pixels; u to the right, v down"
    )


def _draw(axes: Axes, image: Picture, title: str) -> None:
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


def _frame_rows(clip: Clip, numbers: Sequence[int], frames: Mapping[int, MatLike]) -> Rows:
    """The frames as they lie on disk, and as they are prepared."""
    titles = [f"{clip.annotated(number)}{' onset' * (place == 0)}" for place, number in enumerate(numbers)]
    found = {
        "frames": [read_image(clip.frames[number - clip.onset]) for number in numbers],
        "prepared": [frames[number] for number in numbers],
    }
    return [(label, list(zip(titles, map(_rgb, images), strict=True))) for label, images in found.items()]


def _rgb(image: MatLike) -> Picture:
    """OpenCV's BGR in 0 to 255 as RGB in [0, 1]."""
    return np.asarray(image[:, :, ::-1] / np.float32(255))


def _motion_rows(measured: NDArray[np.float16], titles: Sequence[str], run: Run) -> Rows:
    """Motion as colour, and every channel."""
    flow = torch.from_numpy(measured).float()  # (1, T, P, H, W)
    rows: Rows = []
    if run.flow.method != "difference":
        rows.append(("motion as colour", list(zip(titles, _pictures(colours(flow)), strict=True))))
    stack = channels(flow, run.input)
    if run.input.channels in COLOURS:
        stack = (stack + 1) / 2 if run.input.channels == "rgb" else stack  # a difference: none is grey
        return [*rows, (f"channels {run.input.channels}", list(zip(titles, _pictures(stack), strict=True)))]
    names = [f"{component}_{letter}" for letter in run.input.channels for component in run.input.components]
    maps = stack[0].transpose(0, 1).numpy()  # (C, T, H, W)
    return rows + [(f"channel {name}", list(zip(titles, maps[c], strict=True))) for c, name in enumerate(names)]


def colours(flow: torch.Tensor) -> torch.Tensor:
    """Flow (B, T, P, H, W) as colour pictures (B, T, 3, H, W), RGB in [0, 1]; a few pixels may be far out, and are no
    brighter than the rest."""
    most = torch.quantile(torch.hypot(flow[:, :, 0], flow[:, :, 1]).flatten(2), USUAL, dim=2)[..., None, None, None]
    usual = flow * (most / torch.hypot(flow[:, :, :1], flow[:, :, 1:2]).clamp_min(1e-6)).clamp_max(1)
    return channels(usual, Input(channels="hsv"))


def _pictures(rgb: torch.Tensor) -> Picture:
    """(1, T, 3, H, W) -> (T, H, W, 3), RGB in [0, 1]."""
    return np.asarray(rgb[0].permute(0, 2, 3, 1).clip(0, 1).numpy())


def faces(clip: Clip) -> list[tuple[str, Picture]]:
    """Its onset and its apex (the middle frame where none is given), with their names; of a flow image none."""
    if clip.is_flow:
        return []
    onset, apex = frame_sets(clip, PLAIN.frames)[0]
    return [("onset", _face(clip, onset)), ("apex" if apex == clip.apex else "middle", _face(clip, apex))]


def _face(clip: Clip, number: int) -> Picture:
    return _rgb(resized(read_image(clip.frames[number - clip.onset]), SIDE))


def motion_picture(clip: Clip) -> Picture:
    """Its motion from onset to apex: the direction is the hue, the strength the brightness."""
    return np.asarray(_pictures(colours(_flow(clip)))[0])


def _flow(clip: Clip) -> torch.Tensor:
    """(1, 1, P, SIDE, SIDE).

    A flow image has lost where its zero is; most of a face is still, so that it is taken to be the median.
    """
    flow = torch.from_numpy(measure(clip, frame_sets(clip, PLAIN.frames)[:1], PLAIN).flow).float()
    return flow - flow.flatten(3).median(3).values[..., None, None] if clip.is_flow else flow


def ground(clip: Clip) -> Map:
    """What maps are laid over: the onset face, or how strongly each place of a flow image moves."""
    if not clip.is_flow:
        return np.asarray(_face(clip, clip.onset).mean(2))
    return stretched(torch.hypot(*_flow(clip)[0, 0, :2]).numpy())


def grey(below: Map) -> Picture:
    """A ground as it is."""
    return np.repeat(below[:, :, None], 3, axis=2)


def over(below: Map, heat: Map) -> Picture:
    """A map (G, G) over a ground: the redder, the closer to its greatest value."""
    large = cv2.resize(np.asarray(stretched(heat), np.float32), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    cover = COVER * large.clip(0, 1)[:, :, None]
    return np.asarray((1 - cover) * below[:, :, None] + cover * np.array(RED), np.float32)


def stretched(heat: Map) -> Map:
    """A map from its least value to its greatest -> from 0 to 1; a flat one is 0."""
    spread = float(heat.max() - heat.min())
    return np.asarray((heat - heat.min()) / spread if spread > 0 else np.zeros_like(heat))


def mean_share(maps: Sequence[Map]) -> Map:
    """The mean of maps of at least 0, each as a share of its greatest value, so that each clip counts alike."""
    return np.asarray(np.mean([map_ / max(float(map_.max()), 1e-12) for map_ in maps], axis=0))


def tile(title: str, text: str, pictures: Sequence[tuple[str, Picture]]) -> Tile:
    """A tile of a contact sheet, its pictures as PNG."""
    files = []
    for label, picture in pictures:
        pixels = np.round(picture[:, :, ::-1] * 255).clip(0, 255).astype(np.uint8)
        files.append((label, cv2.imencode(".png", pixels)[1].tobytes()))
    return Tile(title, text, files)
