import dataclasses

import cv2
import numpy as np
import pandas as pd
import pytest
from small import face_points, texture, write_openface

from mer_search.config import Prep
from mer_search.data.clips import Clip
from mer_search.data.masks import by_landmarks, landmarks, onset_row, template
from mer_search.data.synthetic import faces
from mer_search.errors import DataError

HEIGHT, WIDTH = 60, 48
FACE = face_points(HEIGHT, WIDTH)


@pytest.fixture
def clip(tmp_path) -> Clip:
    """Frames 9 to 13, with 8 and 14 before and after them in the folder, and a CSV of all seven."""
    for number in range(8, 15):
        cv2.imwrite(str(tmp_path / f"img{number}.jpg"), texture(number, HEIGHT)[:, :WIDTH])
    frames = tuple(tmp_path / f"img{number}.jpg" for number in range(9, 14))
    path = write_openface(tmp_path / "landmarks.csv", [FACE + k for k in range(7)])
    return Clip("casme2", "sub01", "EP01", "others", frames, 9, 11, 13, 200, landmarks=path)


def at(mask: np.ndarray, x: float, y: float) -> int:
    """What the mask says at a point, in fractions of the image."""
    return int(mask[int(y * len(mask)), int(x * len(mask))])


@pytest.mark.parametrize("subject", range(1, 27))
def test_the_template_hides_eyes_and_lashes_and_shows_brows_and_chin_of_every_drawn_face(subject, monkeypatch):
    monkeypatch.setattr(faces, "CANVAS", 8)  # pixels a side of what is painted; where the parts are is drawn before
    mask, place = template(224), faces.person_of(0, subject, 8, 8).place
    (eye, wide, eye_size), (brow, brow_wide, brow_size), (jaw, _, _) = (place[part] for part in ("eye", "brow", "jaw"))
    for side in (-1, 1):
        for off in (-0.06, 0, 0.06):
            for y in (0.337, 0.36, 0.385):  # lashes, iris, lower lid
                assert at(mask, 0.5 + side * (0.19 * wide + off * eye_size), y + eye) == 0
        for off in (-0.09, 0, 0.09):
            assert at(mask, 0.5 + side * (0.2 * brow_wide + off * brow_size), 0.26 + brow) == 1
    for x in (0.4, 0.5, 0.6):
        assert at(mask, x, 0.9 + jaw) == 1


@pytest.mark.parametrize("size", [16, 28, 224])
def test_the_template_is_symmetric_and_of_the_size_asked_for(size):
    mask = template(size)
    assert (mask.shape, mask.dtype, sorted(np.unique(mask))) == ((size, size), np.uint8, [0, 1])
    assert (mask != mask[:, ::-1]).mean() < 0.04
    assert [at(mask, x, 0.98) for x in (0.02, 0.97)] == [0, 0]
    assert [at(mask, x, 0.02) for x in (0.1, 0.5, 0.9)] == [1, 1, 1]


@pytest.mark.parametrize("size", [48, 224])
def test_landmarks_hide_what_lies_inside_the_eyes_and_outside_the_jaw(size):
    mask = landmarks(FACE, HEIGHT, WIDTH, size)
    lids = (FACE[36:48] + 0.5) / (WIDTH, HEIGHT)
    assert [at(mask, x, y) for x, y in lids] == [0] * 12
    assert [at(mask, x, y) for x, y in ((0.3, 0.36), (0.7, 0.36))] == [0, 0]
    assert [at(mask, x, 0.26) for x in (0.25, 0.3, 0.7, 0.75)] == [1] * 4  # where brows are
    assert at(mask, 0.5, 0.87) == 1 and at(mask, 0.5, 0.93) == 0  # the chin ends at .9
    assert [at(mask, x, y) for x in (0.13, 0.87) for y in (0.02, 0.5)] == [1] * 4  # open above
    assert [at(mask, x, y) for x in (0.06, 0.94) for y in (0.02, 0.5, 0.8)] == [0] * 6


def test_a_shut_eye_is_hidden_too():
    shut = FACE.copy()
    shut[36:42, 1] = shut[36, 1]
    mask = landmarks(shut, HEIGHT, WIDTH, 224)
    x, y = (shut[36:42].mean(0) + 0.5) / (WIDTH, HEIGHT)
    assert [at(mask, x, y + off) for off in (-0.02, 0, 0.02)] == [0, 0, 0]


def test_the_ellipse_turns_with_the_eye():
    turned, angle = FACE.copy(), 0.5
    centre = turned[36:42].mean(0)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    turned[36:42] = (turned[36:42] - centre) @ rotation + centre
    mask = landmarks(turned, HEIGHT, WIDTH, 240)
    reach = np.array([np.cos(angle), np.sin(angle)]) * 1.2 * 0.08 * WIDTH  # beyond the corner, within the margin
    down, up = ((centre + side * reach * (1, flip) + 0.5) / (WIDTH, HEIGHT) for side, flip in ((1, 1), (1, -1)))
    assert (at(mask, *down), at(mask, *up)) == (0, 1)


def masked(clip: Clip, size: int = 64) -> np.ndarray:
    """The mask by the clip's landmarks, for frames that are larger by 9 pixels."""
    return by_landmarks(clip, np.zeros((HEIGHT + 9, WIDTH + 9, 3)), Prep(size=size, mask="landmarks"))


def test_the_onset_row_is_the_place_of_the_frame_in_order_of_name(clip):
    for name in ("a.txt", "a.JPG", "a.csv"):  # which OpenFace does not read
        (clip.frames[0].parent / name).write_text("")
    assert onset_row(clip) == 6  # img10 img11 img12 img13 img14 img8 img9
    np.testing.assert_array_equal(masked(clip), landmarks(FACE + 6, HEIGHT + 9, WIDTH + 9, 64))


def rewritten(clip: Clip, change) -> Clip:
    change(table := pd.read_csv(clip.landmarks)).to_csv(clip.landmarks, index=False)
    assert list(table.columns)[2] == " success"
    return clip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop(columns=" x_40"), "must have the columns success, .* but has 7 rows and lacks x_40"),
        (lambda t: t.drop(columns=" success"), "lacks success"),
        (lambda t: t[:6], "a row for each image of the clip's folder, 7 in all, but has 6 rows and all columns"),
        (lambda t: pd.concat([t, t]), "7 in all, but has 14"),
        (lambda t: t.assign(**{" success": 0}), r"must have success 1, .* in row 7 \(.*img9\.jpg\), but has success 0"),
        (lambda t: t.assign(**{" x_5": np.nan}), "finite points, .* but has success 1 and point 5 at nan, "),
        (lambda t: t.assign(**{" y_5": np.inf}), "point 5 at .*, inf"),
        (lambda t: t.assign(**{" y_67": "n/a?"}), "point 67 at .*, nan"),
        (lambda t: t.assign(**{" x_45": 300}), "eyes of some width inside the frame, 57 x 69 pixels, .* 45 at 300, "),
        (lambda t: t.assign(**{f" {a}_{p}": 20 for a in "xy" for p in (36, 39)}), "eyes of some width .* point 36"),
    ],
)
def test_a_csv_that_does_not_fit_says_what_must_hold_and_what_to_do(clip, change, words):
    with pytest.raises(DataError, match=f"{words}.*; run OpenFace on .*, or set prep.mask = "):
        masked(rewritten(clip, change))


@pytest.mark.parametrize("far", [300, 1e12])
def test_a_jaw_may_lie_outside_the_frame(clip, far):
    rewritten(clip, lambda t: t.assign(**{f" y_{point}": far for point in range(17)}))
    assert [at(masked(clip), 0.55, y) for y in (0.1, 0.6, 0.97)] == [1, 1, 1]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x81", b'a,b\n1,2\n1,2,3,4\n"'])
def test_a_file_that_is_no_csv_is_refused(clip, content):
    clip.landmarks.write_bytes(content)
    with pytest.raises(DataError, match=r"landmarks\.csv must be a CSV file, but is not"):
        masked(clip)


def test_a_csv_that_was_never_given_and_an_onset_frame_that_openface_does_not_read_are_refused(clip):
    with pytest.raises(DataError, match=r'"landmarks" and "notebook" need a CSV .* but there is none; write it with'):
        masked(dataclasses.replace(clip, landmarks=None))
    odd = clip.frames[0].rename(clip.frames[0].with_suffix(".JPG"))
    with pytest.raises(DataError, match=r"of img9\.JPG OpenFace writes none: it reads \.jpg"):
        masked(dataclasses.replace(clip, frames=(odd, *clip.frames[1:])))
