from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mer_search.config import Frames
from mer_search.data.clips import Clip
from mer_search.data.flow import frame_sets, pairs

repeatable = settings(derandomize=True, deadline=None, database=None, max_examples=100)
LENGTHS = st.integers(24, 141)  # frames of the shortest and the longest clip of CASME II
ONSETS = st.integers(0, 300)
JITTERS = st.sampled_from([0.0, 0.15, 0.3, 1.0])


def clip(length: int, onset: int = 0, apex: int | None = None) -> Clip:
    paths = tuple(Path(f"{onset + k}.jpg") for k in range(length))
    return Clip("casme2", "sub01", "EP01", "others", paths, onset, apex, onset + length - 1, 200)


def still(length: int, apex: int | None = None, **config) -> tuple[int, ...]:
    """The only set of a clip that begins at frame 10, without jitter."""
    (frames,) = frame_sets(clip(length, 10, apex), Frames(jitter=0, **config))
    return frames


@given(LENGTHS, ONSETS, JITTERS)
@example(24, 0, 0.15)
@example(141, 0, 1.0)
@repeatable
def test_both_ends_move_inwards_by_up_to_a_quarter_of_the_jitter(length, onset, jitter):
    offset = onset + length - 1
    middle = (onset + offset) // 2
    forward, back = int(jitter * (middle - onset) / 4), int(jitter * (offset - middle) / 4)
    sets = frame_sets(clip(length, onset), Frames(jitter=jitter))
    ends = [(frames[0], frames[-1]) for frames in sets]
    expected = {(onset + on, offset - off) for on in range(forward + 1) for off in range(back + 1)}
    assert len(ends) == len(expected)
    assert set(ends) == expected
    assert [frames[2] for frames in sets] == [(first + last) // 2 for first, last in ends]


@given(LENGTHS, ONSETS, JITTERS, st.sampled_from([1, 2, 3, 4]), st.integers(0, 140))
@repeatable
def test_the_set_without_jitter_is_the_first_and_no_set_comes_twice(length, onset, jitter, maps, peak):
    peaked = clip(length, onset, onset + min(peak, length - 1))
    sets = frame_sets(peaked, Frames(middle="apex", maps=maps, jitter=jitter))
    assert [sets[0]] == frame_sets(peaked, Frames(middle="apex", maps=maps, jitter=0))
    assert len(set(sets)) == len(sets)
    assert all(len(frames) == maps + 1 and list(frames) == sorted(frames) for frames in sets)


@pytest.mark.parametrize(("length", "count"), [(24, 1), (53, 1), (54, 2), (55, 4), (108, 6), (109, 9), (141, 9)])
def test_the_number_of_sets_grows_with_the_clip(length, count):
    assert len(frame_sets(clip(length), Frames())) == count


def test_offset_jitter_that_no_frame_shows_gives_no_further_set():
    config = Frames(middle="apex", maps=1, jitter=1)
    assert frame_sets(clip(17, 10, apex=18), config) == [(10, 18), (11, 18), (12, 18)]


def test_the_apex_stays_while_onset_and_offset_move():
    sets = frame_sets(clip(41, 10, apex=20), Frames(middle="apex", jitter=1))
    assert len(sets) == 3 * 8
    assert {frames[2] for frames in sets} == {20}
    assert (12, 16, 20, 31, 43) in sets


@pytest.mark.parametrize(
    ("apex", "middle"), [(20, 20), (11, 11), (49, 49), (None, 30), (10, 30), (50, 30), (9, 30), (51, 30)]
)
def test_the_middle_is_the_apex_inside_the_clip_else_the_midpoint(apex, middle):
    assert still(41, apex, middle="apex") == (10, (10 + middle) // 2, middle, (middle + 50) // 2, 50)
    assert still(41, apex, middle="midpoint") == (10, 20, 30, 40, 50)


@pytest.mark.parametrize(
    ("length", "maps", "frames"),
    [(41, 1, (10, 30)), (41, 2, (10, 30, 50)), (41, 3, (10, 20, 30, 50)), (41, 4, (10, 20, 30, 40, 50)),
     (24, 4, (10, 15, 21, 27, 33))],
)  # fmt: skip
def test_maps_choose_the_frames_and_an_odd_span_rounds_down(length, maps, frames):
    assert still(length, maps=maps) == frames


@pytest.mark.parametrize(
    ("kind", "expected"), [("consecutive", [(1, 4), (4, 7), (7, 9)]), ("onset", [(1, 4), (1, 7), (1, 9)])]
)
def test_pairs_begin_where_the_last_one_ended_or_at_the_onset(kind, expected):
    assert pairs((1, 4, 7, 9), Frames(pairs=kind)) == expected


@pytest.mark.parametrize("maps", [1, 4])
def test_a_clip_of_one_file_has_the_one_set_of_its_file(maps):
    image = Clip("megc2019", "sub01", "EP01", "negative", (Path("a.png"),), 0, 0, 0, 0)
    assert frame_sets(image, Frames(maps=maps, jitter=1, middle="apex")) == [(0,)]
