"""Files become the images whose motion is measured: decoded, denoised, resized, masked.

OpenCV decodes. It fills what a damaged JPEG or TIFF lacks with grey or rubbish and says so on stderr alone, so a
stricter decoder is asked first: libjpeg-turbo through simplejpeg, at an eighth of the size, whose warnings are errors,
or libtiff through Pillow. A header that announces more than `MAX_PIXELS` is refused before anything is decoded.
"""

import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from cv2.typing import MatLike
from PIL import Image

from mer_search.config import Prep
from mer_search.data import masks
from mer_search.data.clips import Clip
from mer_search.errors import DataError
from mer_search.files import content_of

Read = Callable[[Path], MatLike]  # a frame's path -> image (H, W, 3), BGR; see `read_image`
MAX_PIXELS = 40_000_000  # pixels; SAMM's frames have 2 million, an 8K film's 33
FORMATS = ("JPEG", "PNG", "BMP", "TIFF")
Image.MAX_IMAGE_PIXELS = None  # MAX_PIXELS is less than Pillow's own limit, which warns on stderr
PATCH, SEARCH = 7, 21  # pixels a side of what denoising compares and where it looks for it; OpenCV's defaults
NOTEBOOK_COLOUR, NOTEBOOK_PATCH = 7.0, 21  # TM-MMNET's notebook gives hColor what was meant for the patch


def read_image(path: Path) -> MatLike:
    """A colour image (H, W, 3), BGR, 8 bits a channel whatever the file has; what is transparent is not.

    Raises:
        DataError: if the file is no whole image, or of more than `MAX_PIXELS` pixels.
        OSError: if it cannot be read.
    """
    content = content_of(path)
    try:
        return _decoded(content)
    except DataError as error:
        raise DataError(f"a frame must be a whole image, but {path} {error}") from None
    except Exception as error:  # Pillow, simplejpeg and OpenCV each have their own
        raise DataError(f"a frame must be a whole image, but {path} cannot be decoded") from error


def _decoded(content: bytes) -> MatLike:
    with Image.open(io.BytesIO(content), formats=FORMATS) as header:
        width, height = header.size
        if width * height > MAX_PIXELS:
            raise DataError(f"has {width} x {height} pixels, and {MAX_PIXELS:,} in all are the most")
        if header.format == "TIFF":
            header.load()
    if content.startswith(b"\xff\xd8"):
        simplejpeg.decode_jpeg(content, "GRAY", min_height=1, min_width=1, min_factor=8, strict=True)
    image: MatLike | None = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise DataError("cannot be decoded")
    return image


def prepared(clip: Clip, numbers: Iterable[int], prep: Prep, read: Read = read_image) -> dict[int, MatLike]:
    """The frames of these numbers as their motion is measured: number -> image (size, size, 3), BGR.

    Each is denoised at its own size together with its two neighbours, resized, then masked; a clip whose frames are
    `processed` already is only resized. One mask serves the whole clip: a mask that moves makes motion that is not
    there. No frame is decoded or denoised twice. TM-MMNET's notebook resizes first, and keeps what it has denoised and
    masked as JPEG.
    """
    prep = in_force(clip, prep)
    window: dict[int, MatLike] = {}  # place in clip.frames -> what has been decoded and may be needed again
    mask = masks.template(prep.size) if prep.mask == "template" else None
    if prep.mask in masks.BY_LANDMARKS:
        window[0] = read(clip.frames[0])
        mask = masks.by_landmarks(clip, window[0], prep)
    images: dict[int, MatLike] = {}
    sizes: set[tuple[int, int]] = set()
    for number in sorted(set(numbers)):
        places = neighbours(clip, number, prep)
        window = {k: window[k] if k in window else read(clip.frames[k]) for k in set(places)}
        sizes = check_sizes(window.values(), sizes)
        image = denoised([window[k] for k in places], prep) if prep.denoise else window[places[0]]
        images[number] = resized(image, prep.size, prep.resize)
        if mask is not None:
            images[number] = images[number] * mask[:, :, None]
            if prep.mask == "notebook":
                images[number] = _as_jpeg(images[number])
    return images


def check_sizes(images: Iterable[MatLike], met: Iterable[tuple[int, int]] = ()) -> set[tuple[int, int]]:
    """The one size that the frames (H, W, 3) of a clip must have, of which some were `met` before: motion from one crop
    to another is none of the face's."""
    sizes = {image.shape[1::-1] for image in images} | {*met}
    if len(sizes) > 1:
        sides = " and ".join(f"{width} x {height}" for width, height in sorted(sizes)[:2])
        raise DataError(f"the frames of a clip must have one size, but are {sides} pixels; crop them alike")
    return sizes


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


def denoised(three: Sequence[MatLike], prep: Prep) -> MatLike:
    """The middle one of three frames (H, W, 3) uint8, by non-local means over all three.

    Prep.denoise is OpenCV's h and hColor, in grey levels. Source: Buades, Coll, Morel, "Denoising image sequences does
    not require motion estimation", AVSS 2005.
    """
    notebook = prep.denoiser == "notebook"
    frames = [resized(frame, prep.size, prep.resize) if notebook else frame for frame in three]
    colour, patch = (NOTEBOOK_COLOUR, NOTEBOOK_PATCH) if notebook else (prep.denoise, PATCH)
    found = cv2.fastNlMeansDenoisingColoredMulti(frames, 1, 3, None, prep.denoise, colour, patch, SEARCH)
    return _as_jpeg(found) if notebook else found


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
    """An image (H, W, 3) -> (height, width, 3) by Pillow's bilinear filter, as torchvision resizes PIL images."""
    picture = Image.fromarray(np.ascontiguousarray(image)).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture)
