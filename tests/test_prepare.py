import dataclasses
from collections import Counter

import cv2
import numpy as np
import pytest
from small import face_points, texture, write_openface

from mer_search.config import Prep
from mer_search.data import masks, prepare
from mer_search.data.clips import Clip
from mer_search.data.prepare import denoised, neighbours, prepared, read_image, resized
from mer_search.errors import DataError

DENOISE = Prep(size=40, denoise=5)


def picture() -> np.ndarray:
    """A colour picture (40, 60, 3) BGR whose channels are far apart."""
    grey = texture(5, 60)[:40] / 4
    return np.stack([grey, grey + 80, grey + 160], axis=2).astype(np.uint8)


@pytest.fixture
def clip(tmp_path) -> Clip:
    """Ten noisy frames, 7 to 16, 60 x 40 pixels, of a still picture."""
    rng = np.random.default_rng(0)
    paths = tuple(tmp_path / f"img{number}.png" for number in range(7, 17))
    for path in paths:
        cv2.imwrite(str(path), (picture() + rng.normal(0, 4, (40, 60, 3))).clip(0, 255).astype(np.uint8))
    return Clip("casme2", "sub01", "EP01", "others", paths, 7, 11, 16, 200)


def same(left: dict, right: dict) -> bool:
    return left.keys() == right.keys() and all(np.array_equal(left[key], right[key]) for key in left)


def test_a_grey_image_is_read_with_three_equal_channels(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), picture()[:, :, 0])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), picture()[:, :, [0, 0, 0]])


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 0.95])
def test_a_truncated_png_is_refused(tmp_path, share):  # a JPEG, too: test_input.py
    content = cv2.imencode(".png", picture())[1].tobytes()
    (tmp_path / "a.png").write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=r"a frame must be a whole image, but .*a\.png cannot be decoded"):
        read_image(tmp_path / "a.png")


def test_a_truncated_jpeg_is_refused_by_a_decoder_that_would_fill_the_rest_too(tmp_path, monkeypatch):
    content = cv2.imencode(".jpg", picture())[1].tobytes()
    monkeypatch.setattr(cv2, "imdecode", lambda *_: picture())
    (tmp_path / "a.jpg").write_bytes(content)
    assert read_image(tmp_path / "a.jpg").shape == (40, 60, 3)
    (tmp_path / "a.jpg").write_bytes(content[:-2])
    with pytest.raises(DataError, match="cannot be decoded"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("size", [16, 50, 64])
def test_resized_makes_a_square_of_the_size_asked_for(size):
    square = resized(picture(), size)
    assert (square.shape, square.dtype) == ((size, size, 3), np.uint8)
    np.testing.assert_allclose(square.mean((0, 1)), picture().mean((0, 1)), atol=2)


def test_without_denoising_and_mask_a_frame_is_only_resized(clip):
    images = prepared(clip, [9, 16], Prep(size=40))
    expected = {number: resized(read_image(clip.frames[number - 7]), 40) for number in (9, 16)}
    assert same(images, expected)


def test_denoising_takes_noise_away_and_keeps_an_edge():
    clean, rng = np.full((40, 60, 3), (60.0, 120.0, 180.0)), np.random.default_rng(0)
    clean[:, 30:] += 50
    three = [(clean + rng.normal(0, 4, clean.shape)).astype(np.uint8) for _ in range(3)]
    noisy, quiet = three[1] - clean, denoised(three, DENOISE) - clean
    assert quiet.std() < 0.5 * noisy.std()
    assert np.abs(quiet[:, 29:31]).mean() < 5  # of a step of 50


def test_a_frame_is_denoised_at_its_own_size_together_with_its_neighbours(clip):
    three = [read_image(path) for path in clip.frames[3:6]]
    direct = cv2.fastNlMeansDenoisingColoredMulti(three, 1, 3, None, 5, 5, 7, 21)
    np.testing.assert_array_equal(prepared(clip, [11], DENOISE)[11], resized(direct, 40))


def test_at_the_ends_of_a_clip_the_frame_stands_in_for_the_missing_neighbour(clip):
    first, second, *_, ninth, tenth = (read_image(path) for path in clip.frames)
    images = prepared(clip, [7, 16], DENOISE)
    np.testing.assert_array_equal(images[7], resized(denoised([first, first, second], DENOISE), 40))
    np.testing.assert_array_equal(images[16], resized(denoised([ninth, tenth, tenth], DENOISE), 40))
    assert [neighbours(clip, number, DENOISE) for number in (7, 8, 16)] == [[0, 0, 1], [0, 1, 2], [8, 9, 9]]


def test_neighbours_of_another_size_are_refused(clip):
    cv2.imwrite(str(clip.frames[5]), picture()[:, :50])
    with pytest.raises(DataError, match=r"must have one size, but are 50 x 40 and 60 x 40 pixels"):
        prepared(clip, [11], DENOISE)
    assert prepared(clip, [11], Prep(size=40)).keys() == {11}


@pytest.mark.parametrize("mask", ["none", "template", "landmarks"])
def test_no_frame_is_decoded_or_denoised_twice(clip, tmp_path, monkeypatch, mask):
    path = write_openface(tmp_path / "a.csv", [face_points(40, 60)] * 10)
    decoded, cleaned = Counter(), []

    def read(path):
        decoded.update([path])
        return read_image(path)

    monkeypatch.setattr(prepare, "denoised", lambda three, _: cleaned.append(1) or three[1])
    clip = dataclasses.replace(clip, landmarks=path)
    images = prepared(clip, [7, 8, 9, 12, 9, 15, 7, 16], Prep(size=40, denoise=5, mask=mask), read)
    assert list(images) == [7, 8, 9, 12, 15, 16]
    assert set(decoded) == set(clip.frames) and set(decoded.values()) == {1}
    assert len(cleaned) == 6


@pytest.mark.parametrize("mask", ["template", "landmarks"])
def test_a_mask_is_black_where_it_covers_and_touches_nothing_else(clip, tmp_path, mask):
    clip = dataclasses.replace(clip, landmarks=write_openface(tmp_path / "a.csv", [face_points(40, 60)] * 10))
    bare, masked = (prepared(clip, [7, 12], Prep(size=64, mask=name)) for name in ("none", mask))
    seen = masks.template(64) if mask == "template" else masks.landmarks(face_points(40, 60), 40, 60, 64)
    assert 0.4 < seen.mean() < 0.9
    for number in (7, 12):
        assert not masked[number][seen == 0].any()
        np.testing.assert_array_equal(masked[number][seen == 1], bare[number][seen == 1])


def test_one_mask_from_the_onset_frame_serves_the_whole_clip(clip, tmp_path):
    onset, *others = (face_points(40, 60) + np.array((k, 0)) for k in range(10))
    prep = Prep(size=64, mask="landmarks")

    def masked(faces: list[np.ndarray]) -> dict:
        clip_with = dataclasses.replace(clip, landmarks=write_openface(tmp_path / "a.csv", faces))
        return prepared(clip_with, [7, 12], prep)

    still = masked([onset] * 10)
    assert same(masked([*others[:7], onset, *others[7:]]), still)  # by name, img10 to img16 come before img7
    assert not same(masked([onset, *others]), still)


def test_frames_that_are_processed_already_are_only_resized(clip, monkeypatch):
    monkeypatch.setattr(prepare, "denoised", lambda *_: pytest.fail("denoised"))
    done = dataclasses.replace(clip, processed=True)
    images = prepared(done, [9], Prep(size=40, denoise=5, mask="landmarks"))
    assert same(images, prepared(clip, [9], Prep(size=40)))
