"""Masks: the eyes, and what lies beyond the jaw, are made black, so that blinks, gaze and collars count as no motion.

A mask is (H, W) uint8, 1 where the face is seen and 0 where it is black. What the template is made of is given as
fractions of the image: x from the left, y from the top. The points of a face are the 68 that OpenFace gives.
"""

import io
from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from mer_search.config import Prep
from mer_search.data.clips import Clip
from mer_search.errors import DataError
from mer_search.files import content_of

Points = NDArray[Any]  # (N, 2) floats
JAW, EYES = slice(0, 17), (slice(36, 42), slice(42, 48))
BY_LANDMARKS = ("landmarks", "notebook")  # values of Prep.mask that need a CSV of landmarks
OPENFACE_READS = (".jpg", ".jpeg", ".png", ".bmp")  # OpenFace's SequenceCapture::OpenImageSequence; case matters to it

# The template, set by eye on drawn faces: under the brows, over the lashes; under the chin, which ends the crop.
EYE, EYE_RADII = (0.19, 0.36), (0.125, 0.062)  # x off the midline, y; half-width, half-height
JAW_CENTRE, JAW_RADII = (0.5, 0.55), (0.49, 0.43)  # the lower half of an ellipse
NOTEBOOK_RIM = 5 / 224  # of the image's height: so far above the jaw line the notebook's mask begins
LONGER, HIGHER = 1.35, 0.4  # margins around landmarks, in half-widths of the eye, so that lids and lashes are hidden
RIM = 64  # points of a drawn ellipse
SHIFT = 4  # OpenCV draws to a sixteenth of a pixel


def template(size: int) -> NDArray[np.uint8]:
    """The mask (size, size) of every aligned face: eyes a third down, the chin at the bottom."""
    jaw = _ellipse(JAW_CENTRE, JAW_RADII)[: RIM // 2 + 1]  # from the right of the image, down and to its left
    return _draw(size, jaw, [_ellipse((0.5 + side * EYE[0], EYE[1]), EYE_RADII) for side in (-1, 1)])


def landmarks(points: Points, height: int, width: int, size: int) -> NDArray[np.uint8]:
    """The mask (size, size) of a face whose 68 points (68, 2) are known, in pixels of a frame (height, width)."""
    jaw, *eyes = ((line + 0.5) / (width, height) for line in (points[JAW], *(_around(points[eye]) for eye in EYES)))
    return _draw(size, jaw, eyes)


def notebook(points: Points, height: int, width: int, size: int) -> NDArray[np.uint8]:
    """The mask (size, size) as TM-MMNET's notebook draws it, from the points (F, 68, 2) of all frames (height, width)
    of a clip in the order of their files' names.

    Each eye is the upright ellipse of the frame in which it is largest; below the jaw is what the last frame has there.
    Source: cells 3 to 5 of data_aug_nodenoise.ipynb, on images of 224 pixels.
    """
    points = np.trunc(points * (size / width, size / height))  # dlib gives whole pixels
    mask = np.ones((size, size), np.uint8)
    for eye in EYES:
        x, y = points[:, eye, 0], points[:, eye, 1]
        left, right = x[:, 0], x[:, 3]
        top, bottom = y[:, 1:3].min(1), y[:, 4:6].max(1)
        radii = np.stack([abs(right - left) / 1.2, abs(bottom - top) / 0.8], 1).astype(int)
        largest = int(radii.prod(1).argmax())
        centre = int((left + right)[largest] / 2), int((top + bottom)[largest] / 2)
        cv2.ellipse(mask, centre, radii[largest].tolist(), 0, 0, 360, (0,), -1)
    jaw = np.stack([points[-1, JAW, 0].clip(0), points[-1, JAW, 1].clip(0, size) - round(NOTEBOOK_RIM * size)], 1)
    below = np.concatenate([[(0, size)], jaw, [(size, size)]])
    cv2.fillPoly(mask, [below.astype(np.int32)], (0,))
    return mask


def _around(eye: Points) -> Points:
    """The rim (RIM, 2) of an ellipse that hides an eye (6, 2), given as corner, upper lid, corner, lower lid."""
    along = (eye[3] - eye[0]) / 2
    half = float(np.hypot(*along))
    across = np.array([-along[1], along[0]]) / half
    lids = (eye - eye[0]) @ across  # (6,) how far they lie off the line between the corners
    centre = eye[0] + along + across * (lids.max() + lids.min()) / 2
    high = (lids.max() - lids.min()) / 2 + HIGHER * half
    return _ellipse(centre, (LONGER * half, high), float(np.arctan2(along[1], along[0])))


def _ellipse(centre: Sequence[float] | Points, radii: Sequence[float], turn: float = 0.0) -> Points:
    """The rim (RIM, 2) of an ellipse, clockwise as an image shows it, from its right."""
    angle = np.linspace(0, 2 * np.pi, RIM, endpoint=False)
    x, y = radii[0] * np.cos(angle), radii[1] * np.sin(angle)
    turned = np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], 1)
    return np.asarray(turned + np.asarray(centre))


def _draw(size: int, jaw: Points, eyes: Iterable[Points]) -> NDArray[np.uint8]:
    """What lies above the jaw line, up to the image's upper edge, but for the eyes; all are fractions of the image."""
    mask = np.zeros((size, size), np.uint8)
    above = np.concatenate([jaw, [(jaw[-1, 0], -1.0), (jaw[0, 0], -1.0)]])
    for lines, value in (([above], 1), (eyes, 0)):  # far points stay in range
        pixels = [np.round((line.clip(-9, 9) * size - 0.5) * 2**SHIFT).astype(np.int32) for line in lines]
        cv2.fillPoly(mask, pixels, (value,), shift=SHIFT)
    return mask


def by_landmarks(clip: Clip, onset: MatLike, prep: Prep) -> NDArray[np.uint8]:
    """The mask (size, size) that the clip's landmarks make, which are in pixels of its onset frame's size.

    Raises:
        DataError: unless their file is such as OpenFace writes, and the face was found in the onset frame, with its
            eyes inside it, or for the notebook's mask in one of the clip's frames.
    """
    row, rows, (height, width) = onset_row(clip), _rows(clip), onset.shape[:2]
    if prep.mask == "notebook":
        own = {frame.name for frame in clip.frames}
        rows = rows[[name in own for name in _images(clip)]]
        rows = rows[(rows[:, 0] == 1) & np.isfinite(rows).all(1)]
        if not len(rows):
            raise _refusal(clip, "have success 1 and finite points for one of the clip's frames, but has none")
        return notebook(rows[:, 1:].reshape(-1, 68, 2), height, width, prep.size)
    success, points = rows[row, 0], rows[row, 1:].reshape(68, 2)
    outside = np.any((points < 0) | (points > (width - 1, height - 1)), axis=1).tolist()
    bad = set(np.flatnonzero(~np.isfinite(points).all(1)).tolist())
    for eye in EYES:
        shut = np.array_equal(points[eye][0], points[eye][3])
        bad |= {k for k in range(68)[eye] if outside[k] or shut}
    if success != 1 or bad:
        shown = [f" and point {k} at {points[k, 0]:g}, {points[k, 1]:g}" for k in sorted(bad)[:1]]
        raise _refusal(
            clip,
            f"have success 1, finite points, and eyes of some width inside the frame, {width} x {height} pixels, in "
            f"row {row + 1} (the onset frame, {clip.frames[0].name}), but has success {success:g}{''.join(shown)}",
        )
    return landmarks(points, height, width, prep.size)


def landmark_file(clip: Clip) -> bytes:
    """What stands in the clip's OpenFace CSV."""
    if clip.landmarks is None:
        raise DataError(
            'prep.mask = "landmarks" and "notebook" need a CSV of landmarks for the clip, but there is none; write it '
            f'with OpenFace\'s FeatureExtraction -fdir {clip.frames[0].parent}, or set prep.mask = "template"'
        )
    return content_of(clip.landmarks)


def onset_row(clip: Clip) -> int:
    """The row of the onset frame in an OpenFace CSV, from 0."""
    name, images = clip.frames[0].name, _images(clip)
    if name not in images:
        kinds = " ".join(OPENFACE_READS)
        raise _refusal(clip, f"have a row for the onset frame, but of {name} OpenFace writes none: it reads {kinds}")
    return images.index(name)


def _images(clip: Clip) -> list[str]:
    """What the rows of an OpenFace CSV belong to: the folder's images by name, in which img10 is before img9."""
    return sorted(path.name for path in clip.frames[0].parent.iterdir() if path.suffix in OPENFACE_READS)


def _rows(clip: Clip) -> NDArray[np.float64]:
    """success, x_0, y_0 to y_67 (R, 137) of each image of the clip's folder, in the order of their names; NaN for what
    is no number."""
    import pandas as pd  # slow to load: not in every process

    try:
        table = pd.read_csv(io.BytesIO(landmark_file(clip)), skipinitialspace=True)
    except ValueError as error:  # an empty file, no text, ragged rows
        raise _refusal(clip, f"be a CSV file, but is not ({error})") from error
    table.columns = table.columns.astype(str).str.strip()
    names = ["success", *(f"{axis}_{point}" for point in range(68) for axis in "xy")]
    files, missing = len(_images(clip)), [name for name in names if name not in table.columns]
    if missing or len(table) != files:
        what = "have the columns success, x_0 to x_67 and y_0 to y_67, and a row for each image of the clip's folder"
        found = f"has {len(table)} rows and {f'lacks {missing[0]}' if missing else 'all columns'}"
        raise _refusal(clip, f"{what}, {files} in all, but {found}")
    return np.asarray(table[names].apply(pd.to_numeric, errors="coerce"), np.float64)


def _refusal(clip: Clip, what: str) -> DataError:
    return DataError(
        f'{clip.landmarks} must {what}; run OpenFace on {clip.frames[0].parent}, or set prep.mask = "template"'
    )
