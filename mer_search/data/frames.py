"""Which frames of a clip are looked at."""

from collections.abc import Sequence
from itertools import pairwise

from mer_search.config import Frames
from mer_search.data.clips import Clip
from mer_search.errors import DataError

# For each number of maps, which of (onset, between, middle, between, offset) are their ends.
ENDS = {1: (0, 2), 2: (0, 2, 4), 3: (0, 1, 2, 4), 4: (0, 1, 2, 3, 4)}


def frame_sets(clip: Clip, config: Frames) -> list[tuple[int, ...]]:
    """Every set of T + 1 frame numbers that training may draw for a clip, the one without jitter first.

    The onset moves forward by up to int(jitter * (middle - onset) / 4) frames and the offset back by the same rule;
    the frames between follow, and with `jitter_apex` an apex moves back by the onset's rule. So a clip has few sets (1
    to 9 with the default jitter around the midpoint), and all of them can be measured beforehand. A clip of flow images
    has one set, that of its maps. Where only onset, apex and offset are there, the apex is the frame between, and
    nothing moves.

    Raises:
        DataError: for more maps than the frames of such a clip give.
    """
    if clip.is_flow:
        return [tuple(range(min(config.maps, len(clip.frames))))]
    if clip.numbers and config.maps > 2:
        raise DataError(
            f"of its frames only onset, apex and offset are there, so that frames.maps must be 1 or 2, but is "
            f"{config.maps}; set it, or add the frames between"
        )
    middle = _middle(clip, clip.onset, clip.offset, config)
    forward = int(config.jitter * (middle - clip.onset) / 4)
    back = int(config.jitter * (clip.offset - middle) / 4)
    early = forward if config.jitter_apex and config.middle == "apex" and middle == clip.apex else 0
    sets = [
        _points(clip, clip.onset + on, clip.offset - off, config, earlier)
        for on in range(forward + 1)
        for off in range(back + 1)
        for earlier in range(early + 1)
    ]
    return list(dict.fromkeys(sets))


def pairs(frames: Sequence[int], config: Frames) -> list[tuple[int, int]]:
    """The T pairs of frames between which flow is measured."""
    if config.pairs == "onset":
        return [(frames[0], frame) for frame in frames[1:]]
    return list(pairwise(frames))


def _middle(clip: Clip, onset: int, offset: int, config: Frames) -> int:
    """The annotated apex, where it is asked for and lies strictly inside the clip; else the midpoint."""
    if config.middle == "apex" and clip.apex is not None and clip.onset < clip.apex < clip.offset:
        return clip.apex
    return (onset + offset) // 2


def _points(clip: Clip, onset: int, offset: int, config: Frames, earlier: int) -> tuple[int, ...]:
    middle = _middle(clip, onset, offset, config) - earlier
    five = (onset, (onset + middle) // 2, middle, (middle + offset) // 2, offset)
    return tuple(five[end] for end in ENDS[config.maps])
