"""Motion between frames. Shapes: S frame sets, T maps, P components, H W pixels of the flow's own size."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.random import Generator
from numpy.typing import NDArray

from mer_search.config import Flow, Frames, Run, Train
from mer_search.data.clips import Clip
from mer_search.data.prepare import Read, pillow_resized, prepared, read_image, resized
from mer_search.errors import DataError, UsageError

# For each number of maps, which of (onset, between, middle, between, offset) are their ends.
ENDS = {1: (0, 2), 2: (0, 2, 4), 3: (0, 1, 2, 4), 4: (0, 1, 2, 3, 4)}


@dataclass(frozen=True)
class Measured:
    """One clip's motion."""

    flow: NDArray[np.float16]  # (S, T, P, H, W)
    onset: NDArray[np.uint8] | None  # (S, 3, H, W) RGB


def frame_sets(clip: Clip, config: Frames) -> list[tuple[int, ...]]:
    """Every set of T + 1 frame numbers that training may draw for a clip, the one without jitter first.

    The onset moves forward by up to int(jitter * (middle - onset) / 4) frames and the offset back by the same rule;
    the frames between follow, and with `jitter_apex` an apex moves back by the onset's rule. So a clip has few sets (1
    to 9 with the default jitter around the midpoint), and all of them can be measured beforehand. The middle is the
    annotated apex, where it is asked for and lies strictly inside the clip, else the midpoint. A clip of flow images
    has one set, that of its maps. Where only onset, apex and offset are there, the apex is the frame between, and
    nothing moves.
    """
    if clip.is_flow:
        return [tuple(range(min(config.maps, len(clip.frames))))]
    if clip.numbers and config.maps > 2:
        raise DataError(
            f"of its frames only onset, apex and offset are there, so that frames.maps must be 1 or 2, but is "
            f"{config.maps}; set it, or add the frames between"
        )
    inside = clip.apex is not None and clip.onset < clip.apex < clip.offset
    apex = clip.apex if inside and config.middle == "apex" else None
    middle = (clip.onset + clip.offset) // 2 if apex is None else apex
    forward = int(config.jitter * (middle - clip.onset) / 4)
    back = int(config.jitter * (clip.offset - middle) / 4)
    sets = []
    for onset in range(clip.onset, clip.onset + forward + 1):
        for offset in range(clip.offset, clip.offset - back - 1, -1):
            for earlier in range(forward + 1 if config.jitter_apex and apex is not None else 1):
                middle = (onset + offset) // 2 if apex is None else apex - earlier
                five = (onset, (onset + middle) // 2, middle, (middle + offset) // 2, offset)
                sets.append(tuple(five[end] for end in ENDS[config.maps]))
    return list(dict.fromkeys(sets))


def pairs(frames: Sequence[int], config: Frames) -> list[tuple[int, int]]:
    """The T pairs of frames between which flow is measured."""
    if config.pairs == "onset":
        return [(frames[0], frame) for frame in frames[1:]]
    return list(pairwise(frames))


def farneback(before: MatLike, after: MatLike, config: Flow) -> NDArray[np.float32]:
    """Flow (2, H, W) in pixels from one grey image (H, W) to another: u to the right, v downwards."""
    keys = ("pyr_scale", "levels", "winsize", "iterations", "poly_n", "poly_sigma")
    flow = cv2.calcOpticalFlowFarneback(before, after, None, *(getattr(config, key) for key in keys), 0)
    return np.ascontiguousarray(flow.transpose(2, 0, 1))


def dis(before: MatLike, after: MatLike, config: Flow) -> NDArray[np.float32]:
    """The same by dense inverse search (Kroeger et al., ECCV 2016); an object a call, for it is not thread-safe."""
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(config.dis_finest_scale)
    search.setPatchSize(config.dis_patch)
    search.setPatchStride(config.dis_stride)
    search.setGradientDescentIterations(config.dis_descent)
    search.setVariationalRefinementIterations(config.dis_refinement)
    return np.ascontiguousarray(search.calc(before, after, None).transpose(2, 0, 1))


def tvl1(before: MatLike, after: MatLike, config: Flow) -> NDArray[np.float32]:
    """The same by total variation with an L1 norm (Zach, Pock, Bischof, DAGM 2007), as scikit-image has it."""
    try:
        from skimage.registration import optical_flow_tvl1
    except ImportError:
        raise UsageError(
            'flow.method = "tvl1" needs scikit-image, which is not installed; '
            "pip install 'mer-search[tvl1]', or choose farneback or dis"
        ) from None
    v, u = optical_flow_tvl1(
        before.astype(np.float32) / 255, after.astype(np.float32) / 255,
        attachment=config.tvl1_attachment, tightness=config.tvl1_tightness, num_warp=config.tvl1_warps,
        num_iter=config.tvl1_iterations, tol=config.tvl1_tolerance,
    )  # fmt: skip
    return np.stack([u, v]).astype(np.float32)


GREYS = {"luma": cv2.COLOR_BGR2GRAY, "swapped": cv2.COLOR_RGB2GRAY}  # of BGR images
METHODS: dict[str, Callable[..., NDArray[np.float32]]] = {"farneback": farneback, "dis": dis, "tvl1": tvl1}


def _planes(image: NDArray[Any]) -> NDArray[Any]:
    """An image (H, W, 3) BGR -> (3, H, W) RGB."""
    return np.ascontiguousarray(image[:, :, ::-1].transpose(2, 0, 1))


def resize_flow(flow: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Flow (2, H, W) -> (2, size, size); the vectors are scaled with the image."""
    if flow.shape[-1] == size:
        return flow
    interpolation = cv2.INTER_AREA if flow.shape[-1] > size else cv2.INTER_LINEAR
    resized = np.stack([cv2.resize(component, (size, size), interpolation=interpolation) for component in flow])
    return resized * np.float32(size / flow.shape[-1])


def measure(clip: Clip, sets: Sequence[Sequence[int]], run: Run, read: Read = read_image) -> Measured:
    """The clip's motion for each of its frame sets.

    Raises:
        DataError: for a frame that cannot be decoded or prepared (see data.prepare), or flow that is not finite.
    """
    if clip.is_flow:
        maps = [read_flow_image(clip.frames[number], run.flow.size) for number in sets[0]]
        return Measured(np.concatenate(maps, axis=1), None)
    numbers = (number for frame_set in sets for number in frame_set)
    return motion(prepared(clip, numbers, run.prep, read), sets, run)


def motion(images: Mapping[int, MatLike], sets: Sequence[Sequence[int]], run: Run) -> Measured:
    """The motion of frame sets whose frames are prepared: number -> image (H, W, 3), BGR."""
    steps = [pairs(frame_set, run.frames) for frame_set in sets]
    wanted = {pair for step in steps for pair in step}
    between = {pair: _between(images[pair[0]], images[pair[1]], run.flow) for pair in wanted}
    flow = np.stack([[between[pair] for pair in step] for step in steps])
    with np.errstate(over="ignore"):
        half = flow.astype(np.float16)
    if not np.isfinite(half).all():  # what is finite but longer than 65,504 pixels is none either
        raise DataError("its optical flow must be finite, but is not; try other flow settings")
    small = (cv2.resize(images[frames[0]], (run.flow.size,) * 2, interpolation=cv2.INTER_AREA) for frames in sets)
    return Measured(half, np.stack([_planes(image) for image in small]))


def _between(before: MatLike, after: MatLike, config: Flow) -> NDArray[np.float32]:
    """Motion (P, size, size) from one prepared frame to another: flow, or the RGB grey levels that a pixel gained."""
    if config.method == "difference":
        before, after = (resized(image, config.size) for image in (before, after))
        return _planes(after.astype(np.float32) - before)
    before, after = (cv2.cvtColor(image, GREYS[config.grey]) for image in (before, after))
    return resize_flow(METHODS[config.method](before, after, config), config.size)


def read_flow_image(path: Path, size: int) -> NDArray[np.float16]:
    """A flow image, R G B = u v strain min-max scaled -> (1, 1, 3, size, size) in [-1, 1]; a byte x becomes
    x / 127.5 - 1, so that negating u is what a horizontal flip does to it."""
    image = read_image(path)
    height, width = image.shape[:2]
    if max(height, width) >= 2 * min(height, width):  # no face's
        raise DataError(f"a flow image must be about square, but {path} has {width} x {height} pixels")
    if (image == image[:, :, :1]).all() and image.min() < image.max():
        raise DataError(f"a flow image must hold u, v and strain as red, green and blue, but {path} is grey")
    if image.shape[:2] != (size, size):
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    return _planes(image.astype(np.float32) / 127.5 - 1)[None, None].astype(np.float16)


def with_copies(clip: Clip, sets: Sequence[Sequence[int]], run: Run, read: Read = read_image) -> Measured:
    """The clip's motion as it is, in the first of its frame sets, and then `run.frames.crops` copies (S = 1 + crops),
    each of one of the sets, that are cropped before their motion is measured, as TM-MMNET's public code does for every
    sample. The same clip has the same copies in every run. Ours is one crop of the whole clip, of flow that is measured
    already (training.augment).
    """
    images = prepared(clip, (number for frame_set in sets for number in frame_set), run.prep, read)
    random = np.random.default_rng(list(hashlib.sha256(clip.id.encode()).digest()))
    measured = [motion(images, sets[:1], run)]
    for _ in range(run.frames.crops):
        frames = cropped([images[number] for number in sets[random.integers(len(sets))]], run.train, random)
        measured.append(motion(dict(enumerate(frames)), [range(len(frames))], run))
    onsets = [item.onset for item in measured if item.onset is not None]
    return Measured(np.concatenate([item.flow for item in measured]), np.concatenate(onsets))


def cropped(frames: Sequence[MatLike], config: Train, random: Generator) -> list[MatLike]:
    """Frames (size, size, 3) flipped or not, cropped by `config.crop`, and as wide as before.

    All are flipped together and lose the same rows; the sides of each are cropped on their own, so that its flow is
    mostly the difference of two crops. The rows are not stretched back: the copy ends in a black band.
    """
    size = frames[0].shape[0]
    rows = round(config.crop * size)  # 15 of 224
    flip, top = config.flip and random.integers(2), random.integers(rows + 1)
    copies = []
    for frame in frames:
        side = int(random.integers(rows // 2 + 1))
        kept = (frame[:, ::-1] if flip else frame)[top : top + size - rows, side : size - side]
        copies.append(cv2.copyMakeBorder(pillow_resized(kept, size, size - rows), 0, rows, 0, 0, cv2.BORDER_CONSTANT))
    return copies
