"""Frames become the images whose motion is measured: read, denoised, resized, masked."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import cv2
from cv2.typing import MatLike

from mer_search.config import Prep
from mer_search.data import masks
from mer_search.data.clips import Clip
from mer_search.data.images import read_image
from mer_search.errors import DataError

Read = Callable[[Path], MatLike]  # a frame's path -> image (H, W, 3), BGR; see data.images.read_image
PATCH, SEARCH = 7, 21  # pixels a side of what denoising compares and where it looks for it; OpenCV's defaults


def prepared(clip: Clip, numbers: Iterable[int], prep: Prep, read: Read = read_image) -> dict[int, MatLike]:
    """The frames of these numbers as their motion is measured: number -> image (size, size, 3), BGR.

    Each is denoised at its own size together with its two neighbours, resized, then masked; a clip whose frames are
    `processed` already is only resized. One mask serves the whole clip: a mask that moves makes motion that is not
    there. No frame is decoded or denoised twice.

    Raises:
        DataError: for a frame that cannot be decoded, frames of different sizes, or landmarks that do not fit.
        OSError: for a frame that cannot be read.
    """
    prep = in_force(clip, prep)
    window: dict[int, MatLike] = {}  # place in clip.frames -> what has been decoded and may be needed again
    if prep.mask == "landmarks":
        window[0] = read(clip.frames[0])
    mask = _mask(clip, prep, window.get(0))
    images: dict[int, MatLike] = {}
    sizes: set[tuple[int, int]] = set()
    for number in sorted(set(numbers)):
        places = neighbours(clip, number, prep)
        window = {k: window[k] if k in window else read(clip.frames[k]) for k in set(places)}
        check_sizes(sizes := sizes | {size_of(frame) for frame in window.values()})
        image = denoised([window[k] for k in places], prep.denoise) if prep.denoise else window[places[0]]
        images[number] = resized(image, prep.size)
        if mask is not None:
            images[number] = images[number] * mask
    return images


def size_of(image: MatLike) -> tuple[int, int]:
    """Width and height."""
    return image.shape[1], image.shape[0]


def check_sizes(sizes: Iterable[tuple[int, int]]) -> None:
    """Raise DataError unless the frames of a clip have one size: motion from one crop to another is none of the
    face's."""
    if len(two := sorted(set(sizes))[:2]) > 1:
        (width, height), (other_width, other_height) = two
        raise DataError(
            f"the frames of a clip must have one size, but are {width} x {height} and {other_width} x {other_height} "
            "pixels; crop them alike"
        )


def in_force(clip: Clip, prep: Prep) -> Prep:
    """What is still to be done to the clip's frames: all of `prep`, or its size alone where they are `processed` or
    are flow images."""
    return Prep(size=prep.size) if clip.processed or len(clip.frames) == 1 else prep


def neighbours(clip: Clip, number: int, prep: Prep) -> list[int]:
    """Which of `clip.frames` the prepared frame `number` is made of: itself, or with denoising also the frames before
    and after. At the clip's ends the frame stands in for the neighbour that it lacks."""
    place, last = number - clip.onset, len(clip.frames) - 1
    return [max(place - 1, 0), place, min(place + 1, last)] if prep.denoise else [place]


def denoised(three: Sequence[MatLike], strength: float) -> MatLike:
    """The middle one of three frames (H, W, 3) uint8, by non-local means over all three.

    `strength` is OpenCV's h and hColor, in grey levels. Source: Buades, Coll, Morel, "Denoising image sequences does
    not require motion estimation", AVSS 2005.
    """
    return cv2.fastNlMeansDenoisingColoredMulti(list(three), 1, 3, None, strength, strength, PATCH, SEARCH)


def resized(image: MatLike, size: int) -> MatLike:
    """An image (H, W, 3) -> (size, size, 3)."""
    interpolation = cv2.INTER_AREA if min(image.shape[:2]) > size else cv2.INTER_LINEAR
    return cv2.resize(image, (size, size), interpolation=interpolation)


def _mask(clip: Clip, prep: Prep, onset: MatLike | None) -> MatLike | None:
    """The clip's mask (size, size, 1) of 1 and 0, or None; `onset` is its first frame, where landmarks are used."""
    if onset is not None:
        height, width = onset.shape[:2]
        return masks.landmarks(masks.onset_points(clip, height, width), height, width, prep.size)[:, :, None]
    return masks.template(prep.size)[:, :, None] if prep.mask == "template" else None
