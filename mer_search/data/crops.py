"""Copies of a clip that are cropped before their motion is measured, as TM-MMNET's public code does for every sample.

All frames of a copy are flipped together and lose the same rows; the sides of each frame are cropped on their own, so
that its flow is mostly the difference of two crops. The rows are not stretched back: the copy ends in a black band.
Ours is one crop of the whole clip, of flow that is measured already (training.augment).
"""

import hashlib
from collections.abc import Sequence

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.random import Generator

from mer_search.config import Run, Train
from mer_search.data.clips import Clip
from mer_search.data.flow import Measured, motion
from mer_search.data.images import Read, read_image
from mer_search.data.prepare import pillow_resized, prepared


def with_copies(clip: Clip, sets: Sequence[Sequence[int]], run: Run, read: Read = read_image) -> Measured:
    """The clip's motion as it is, in the first of its frame sets, and then `run.frames.crops` copies (S = 1 + crops),
    each of one of the sets. The same clip has the same copies in every run.

    Raises:
        DataError: as data.flow.measure.
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
    """Frames (size, size, 3) flipped or not, cropped by `config.crop`, and as wide as before."""
    size = frames[0].shape[0]
    rows = round(config.crop * size)  # 15 of 224
    flip, top = config.flip and random.integers(2), random.integers(rows + 1)
    copies = []
    for frame in frames:
        side = int(random.integers(rows // 2 + 1))
        kept = (frame[:, ::-1] if flip else frame)[top : top + size - rows, side : size - side]
        copies.append(cv2.copyMakeBorder(pillow_resized(kept, size, size - rows), 0, rows, 0, 0, cv2.BORDER_CONSTANT))
    return copies
