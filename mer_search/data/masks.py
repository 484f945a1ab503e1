"""Masks: the eyes, and what lies beyond the jaw, are made black, so that blinks, gaze and collars count as no motion.

A mask is (H, W) uint8, 1 where the face is seen and 0 where it is black. What the template is made of is given as
fractions of the image: x from the left, y from the top. The points of a face are the 68 that OpenFace gives.
"""

import io
from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

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
    """The mask (size, size) for aligned faces: eyes a third down, the chin at the bottom. The same for every clip."""
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
    """What lies above the jaw line, up to the image's upper edge, but for the eyes."""
    mask = np.zeros((size, size), np.uint8)
    above = [(jaw[-1, 0], -1.0), (jaw[0, 0], -1.0)]
    cv2.fillPoly(mask, [_pixels(np.concatenate([jaw, above]), size)], (1,), shift=SHIFT)
    cv2.fillPoly(mask, [_pixels(eye, size) for eye in eyes], (0,), shift=SHIFT)
    return mask


def _pixels(points: Points, size: int) -> NDArray[np.int32]:
    """Fractions -> pixels as OpenCV draws them; the middle of the first pixel is 0. Far points stay in range."""
    return np.asarray(np.round((points.clip(-9, 9) * size - 0.5) * 2**SHIFT), np.int32)


def landmark_file(clip: Clip) -> bytes:
    """What stands in the clip's OpenFace CSV.

    Raises:
        DataError: if the clip has none, or it cannot be read.
    """
    if clip.landmarks is None:
        raise DataError(
            'prep.mask = "landmarks" and "notebook" need a CSV of landmarks for the clip, but there is none; write it '
            f'with OpenFace\'s FeatureExtraction -fdir {clip.frames[0].parent}, or set prep.mask = "template"'
        )
    try:
        return content_of(clip.landmarks)
    except OSError as error:
        raise _refusal(clip, f"be readable, but is not ({error.strerror})") from error


def onset_row(clip: Clip) -> int:
    """The row of the onset frame in an OpenFace CSV, from 0.

    OpenFace numbers its rows, not the frames: row k belongs to the k-th image of the folder in order of name, in which
    img10 comes before img9.

    Raises:
        DataError: if the onset frame is not among the images of its folder.
    """
    name, images = clip.frames[0].name, _images(clip)
    if name not in images:
        kinds = " ".join(OPENFACE_READS)
        raise _refusal(clip, f"have a row for the onset frame, but of {name} OpenFace writes none: it reads {kinds}")
    return images.index(name)


def _images(clip: Clip) -> list[str]:
    folder = clip.frames[0].parent
    try:
        return sorted(path.name for path in folder.iterdir() if path.suffix in OPENFACE_READS)
    except OSError as error:
        raise DataError(f"the clip's frames must lie in a readable folder, but {folder} is not ({error})") from error


def onset_points(clip: Clip, height: int, width: int) -> Points:
    """The 68 points (68, 2) of the face in the onset frame (height, width), in its pixels; 0 is the first's middle.

    The file is OpenFace's: the columns `success`, `x_0` to `x_67` and `y_0` to `y_67`, in pixels of the frame, and one
    row for each image of the clip's folder.

    Raises:
        DataError: unless the file is such, and the face was found in the onset frame, with its eyes inside it.
    """
    row = onset_row(clip)
    found = _rows(clip)[row]
    where = f"row {row + 1} (the onset frame, {clip.frames[0].name})"
    if found[0] != 1:
        raise _refusal(clip, f"have success 1 in {where}, but has {found[0]:g}: OpenFace found no face")
    points = found[1:].reshape(68, 2)
    if not np.isfinite(points).all():
        raise _refusal(clip, f"have finite points in {where}, but point {_first_bad(~np.isfinite(points))} is not")
    outside = (points < 0) | (points > (width - 1, height - 1))
    if outside[36:48].any():
        x, y = points[36 + _first_bad(outside[36:48])]
        raise _refusal(
            clip, f"have the eyes inside the frame, {width} x {height} pixels, in {where}, but one is at {x:g}, {y:g}"
        )
    if any(np.array_equal(points[eye][0], points[eye][3]) for eye in EYES):
        raise _refusal(clip, f"have eyes of some width in {where}, but the two corners of one are the same")
    return np.asarray(points)


def clip_points(clip: Clip) -> Points:
    """The 68 points (F, 68, 2) of the face in each of the clip's frames in which it was found, in the order of their
    files' names; the file is as for `onset_points`, whoever wrote it: dlib's points can stand in it, too.

    Raises:
        DataError: unless the file is such, and the face was found in a frame.
    """
    own = {frame.name for frame in clip.frames}
    rows = _rows(clip)[[name in own for name in _images(clip)]]
    points = rows[(rows[:, 0] == 1) & np.isfinite(rows).all(1), 1:].reshape(-1, 68, 2)
    if not len(points):
        raise _refusal(clip, "have success 1 and finite points for one of the clip's frames, but has none")
    return points


def _rows(clip: Clip) -> NDArray[np.float64]:
    """success, x_0, y_0 to y_67 (R, 137) of each image of the clip's folder, in the order of their names; NaN for what
    is no number."""
    import pandas as pd  # slow to load: not in every process

    try:
        table = pd.read_csv(io.BytesIO(landmark_file(clip)), skipinitialspace=True)
    except ValueError as error:  # an empty file, no text, ragged rows
        raise _refusal(clip, f"be a CSV file, but is not ({error})") from error
    table.columns = table.columns.astype(str).str.strip()
    names = [f"{axis}_{point}" for point in range(68) for axis in "xy"]
    if missing := [name for name in ("success", *names) if name not in table.columns]:
        raise _refusal(clip, f"have the columns success, x_0 to x_67 and y_0 to y_67, but {missing[0]} is missing")
    files = len(_images(clip))
    if len(table) != files:
        raise _refusal(clip, f"have a row for each image of the clip's folder, {files} in all, but has {len(table)}")
    return np.asarray(table[["success", *names]].apply(pd.to_numeric, errors="coerce"), np.float64)


def _first_bad(bad: NDArray[np.bool_]) -> int:
    return int(np.flatnonzero(bad.any(1))[0])


def _refusal(clip: Clip, what: str) -> DataError:
    return DataError(
        f'{clip.landmarks} must {what}; run OpenFace on {clip.frames[0].parent}, or set prep.mask = "template"'
    )
