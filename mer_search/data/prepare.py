"""Frames become the images whose motion is measured: read, denoised, resized, masked."""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from cv2.typing import MatLike
from PIL import Image

from mer_search.config import Prep
from mer_search.data import masks
from mer_search.data.clips import Clip
from mer_search.data.images import Read, read_image
from mer_search.errors import DataError

PATCH, SEARCH = 7, 21  # pixels a side of what denoising compares and where it looks for it; OpenCV's defaults
NOTEBOOK_COLOUR, NOTEBOOK_PATCH = 7.0, 21  # TM-MMNET's notebook gives hColor what was meant for the patch


def prepared(clip: Clip, numbers: Iterable[int], prep: Prep, read: Read = read_image) -> dict[int, MatLike]:
    """The frames of these numbers as their motion is measured: number -> image (size, size, 3), BGR.

    Each is denoised at its own size together with its two neighbours, resized, then masked; a clip whose frames are
    `processed` already is only resized. One mask serves the whole clip: a mask that moves makes motion that is not
    there. No frame is decoded or denoised twice. TM-MMNET's notebook resizes first, and keeps what it has denoised and
    masked as JPEG.

    Raises:
        DataError: for a frame that cannot be decoded, frames of different sizes, or landmarks that do not fit.
        OSError: for a frame that cannot be read.
    """
    prep = in_force(clip, prep)
    window: dict[int, MatLike] = {}  # place in clip.frames -> what has been decoded and may be needed again
    if prep.mask in masks.BY_LANDMARKS:
        window[0] = read(clip.frames[0])
    mask = _mask(clip, prep, window.get(0))
    images: dict[int, MatLike] = {}
    sizes: set[tuple[int, int]] = set()
    for number in sorted(set(numbers)):
        places = neighbours(clip, number, prep)
        window = {k: window[k] if k in window else read(clip.frames[k]) for k in set(places)}
        check_sizes(sizes := sizes | {size_of(frame) for frame in window.values()})
        image = _denoised([window[k] for k in places], prep) if prep.denoise else window[places[0]]
        images[number] = resized(image, prep.size, prep.resize)
        if mask is not None:
            images[number] = images[number] * mask
            if prep.mask == "notebook":
                images[number] = _as_jpeg(images[number])
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
    return Prep(size=prep.size) if clip.processed or clip.is_flow else prep


def neighbours(clip: Clip, number: int, prep: Prep) -> list[int]:
    """Which of `clip.frames` the prepared frame `number` is made of: itself, or with denoising also the frames before
    and after. At the clip's ends the frame stands in for the neighbour that it lacks.

    TM-MMNET's notebook takes them in the order of their files' names, in which img10 comes before img9, and has the
    second frame in the place of the one before the first.
    """
    place, last = number - clip.onset, len(clip.frames) - 1
    if not prep.denoise:
        return [place]
    if clip.numbers:  # of the neighbours none is there
        return [place] * 3
    if prep.denoiser == "clip":
        return [max(place - 1, 0), place, min(place + 1, last)]
    order = sorted(range(last + 1), key=lambda k: clip.frames[k].name)
    rank = order.index(place)
    return [order[rank - 1 if rank else min(1, last)], place, order[min(rank + 1, last)]]


def denoised(three: Sequence[MatLike], strength: float) -> MatLike:
    """The middle one of three frames (H, W, 3) uint8, by non-local means over all three.

    `strength` is OpenCV's h and hColor, in grey levels. Source: Buades, Coll, Morel, "Denoising image sequences does
    not require motion estimation", AVSS 2005.
    """
    return cv2.fastNlMeansDenoisingColoredMulti(list(three), 1, 3, None, strength, strength, PATCH, SEARCH)


def _denoised(three: Sequence[MatLike], prep: Prep) -> MatLike:
    if prep.denoiser == "clip":
        return denoised(three, prep.denoise)
    small = [resized(frame, prep.size, prep.resize) for frame in three]
    found = cv2.fastNlMeansDenoisingColoredMulti(
        small, 1, 3, None, prep.denoise, NOTEBOOK_COLOUR, NOTEBOOK_PATCH, SEARCH
    )
    return _as_jpeg(found)


def _as_jpeg(image: MatLike) -> MatLike:
    """An image as it is read after cv2.imwrite has written it as JPEG."""
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", image)[1], cv2.IMREAD_COLOR))


def resized(image: MatLike, size: int, how: str = "area") -> MatLike:
    """An image (H, W, 3) -> (size, size, 3); `how` is Prep.resize."""
    if how == "pillow":
        return pillow_resized(image, size, size)
    shrinks = min(image.shape[:2]) > size and how == "area"
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def pillow_resized(image: MatLike, width: int, height: int) -> MatLike:
    """An image (H, W, 3) -> (height, width, 3) by Pillow's bilinear filter, as torchvision resizes what it is given as
    a PIL image."""
    picture = Image.fromarray(np.ascontiguousarray(image)).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture)


def _mask(clip: Clip, prep: Prep, onset: MatLike | None) -> MatLike | None:
    """The clip's mask (size, size, 1) of 1 and 0, or None; `onset` is its first frame, where landmarks are used."""
    if onset is not None:
        height, width = onset.shape[:2]
        if prep.mask == "notebook":
            return masks.notebook(masks.clip_points(clip), height, width, prep.size)[:, :, None]
        return masks.landmarks(masks.onset_points(clip, height, width), height, width, prep.size)[:, :, None]
    return masks.template(prep.size)[:, :, None] if prep.mask == "template" else None
