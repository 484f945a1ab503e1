"""Where in a clip the strongest motion is, for clips without annotation.

The first frame is the reference, as a neutral face (Liong et al., "Less is more", 2018): the apex is the frame that
moved most from it, by optical flow. As micro-expressions are local, a frame counts by its face's parts that move most:
the mean of the 12 greatest of 6 x 6 blocks (as Moilanen, Zhao, Pietikäinen, "Spotting rapid facial movements from
videos", ICPR 2014, do with differences of appearance). What the whole face moves, the median flow, is taken off first.
Onset and offset are the nearest frames on either side in which little of that motion is left: our own choice.
"""

import cv2
import numpy as np
from cv2.typing import MatLike

from mer_search.config import Flow, Run
from mer_search.data.clips import Clip
from mer_search.data.flow import farneback
from mer_search.data.images import Read
from mer_search.data.prepare import prepared
from mer_search.errors import DataError

SIZE = 128  # pixels a side at which motion is looked for
BLOCKS, GREATEST = 6, 12
MAX_REST = 0.2  # share of the apex's motion that an onset or offset has at most
STILL = 1.01  # times what the flow of the first frame from itself has, which rounding makes
MAX_FRAMES = 2000  # frames that are looked through


def strongest(
    clip: Clip, onset: int | None, apex: int | None, offset: int | None, run: Run, read: Read
) -> tuple[int, int, int]:
    """Onset, apex and offset of the strongest motion, as the clip's frame numbers.

    Frames are masked as the run has it, so that blinks do not count.

    Args:
        clip: looked through from its onset to its offset.
        onset, apex, offset: those that are known already, and bound the search.
        run: its Prep.mask is used.

    Raises:
        DataError: if there are too many frames, one cannot be read, or nothing moves.
    """
    first = clip.onset if onset is None else onset
    last = clip.offset if offset is None else offset
    numbers = range(first, last + 1)
    if not 1 < len(numbers) <= MAX_FRAMES:
        raise DataError(
            f"the strongest motion is looked for in 2 to {MAX_FRAMES} frames, but there are {len(numbers)}; give "
            "--onset and --offset"
        )
    prep = run.prep.model_copy(update={"size": SIZE, "denoise": 0.0})
    images = {k: cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) for k, image in prepared(clip, numbers, prep, read).items()}
    moved = {number: _motion(images[first], images[number]) for number in numbers}
    peak = max(moved, key=lambda number: moved[number]) if apex is None else apex
    if not moved.get(peak, 0) > STILL * moved[first]:
        raise DataError("its strongest motion cannot be found, for nothing moves; give --onset, --apex and --offset")
    still = [number for number in numbers if moved[number] <= MAX_REST * moved[peak]]
    before, after = [k for k in still if k < peak], [k for k in still if k > peak]
    return (
        onset if onset is not None else before[-1] if before else first,
        peak,
        offset if offset is not None else after[0] if after else last,
    )


def _motion(reference: MatLike, image: MatLike) -> float:
    """Pixels that the parts of the face that move most have moved, beyond what the whole face has."""
    seen = reference > 0  # not masked
    if not seen.any():
        return 0.0
    flow = farneback(reference, image, Flow())
    moved = np.hypot(*(component - np.median(component[seen]) for component in flow)) * seen
    blocks = cv2.resize(moved, (BLOCKS, BLOCKS), interpolation=cv2.INTER_AREA)
    return float(np.sort(blocks, axis=None)[-GREATEST:].mean())
