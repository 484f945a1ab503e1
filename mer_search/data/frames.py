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
