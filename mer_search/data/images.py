"""Files become images: whole ones of a sensible size, or a refusal.

OpenCV decodes. It fills what a damaged JPEG or TIFF lacks with grey or rubbish and says so on stderr alone, so a
stricter decoder is asked first: libjpeg-turbo through simplejpeg, at an eighth of the size, whose warnings are errors,
or libtiff through Pillow. A header that announces more than `MAX_PIXELS` is refused before anything is decoded.
"""

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from cv2.typing import MatLike
from PIL import Image

from mer_search.errors import DataError
from mer_search.files import content_of

Read = Callable[[Path], MatLike]  # a frame's path -> image (H, W, 3), BGR; see `read_image`
MAX_PIXELS = 40_000_000  # pixels; SAMM's frames have 2 million, an 8K film's 33
FORMATS = ("JPEG", "PNG", "BMP", "TIFF")
Image.MAX_IMAGE_PIXELS = None  # MAX_PIXELS is less than Pillow's own limit, which warns on stderr


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
