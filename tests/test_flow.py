import cv2
import numpy as np
import pytest
from conftest import texture, write_casme2

from mer_search.config import Flow, with_values
from mer_search.data import open_folder
from mer_search.data.flow import difference, farneback, measure, read_flow_image, resize_flow
from mer_search.data.frames import frame_sets


def moved(picture: np.ndarray, shift: tuple[float, float]) -> np.ndarray:
    matrix = np.float32([[1, 0, shift[0]], [0, 1, shift[1]]])
    return cv2.warpAffine(picture, matrix, picture.shape[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def measured(shift: tuple[float, float], size: int = 96, seed: int = 1) -> np.ndarray:
    before = texture(seed, size)
    return farneback(before.astype(np.uint8), moved(before, shift).clip(0, 255).astype(np.uint8), Flow())


@pytest.mark.parametrize("shift", [(0.6, -0.35), (-0.4, 0.8), (1.3, 0.0), (0.0, -0.25)])
def test_farneback_recovers_a_sub_pixel_shift_to_a_twentieth_of_a_pixel(shift):
    flow = measured(shift)
    assert flow.shape == (2, 96, 96)
    error = np.abs(flow[:, 12:-12, 12:-12] - np.array(shift)[:, None, None])
    assert error.mean((1, 2)).max() < 0.05


def test_farneback_of_a_still_picture_is_zero_inside():
    assert np.abs(measured((0.0, 0.0))[:, 12:-12, 12:-12]).max() < 1e-3


@pytest.mark.parametrize("size", [16, 48])
def test_resize_flow_scales_the_vectors_with_the_image(size):
    flow = np.broadcast_to(np.float32([[[2.0]], [[-1.0]]]), (2, 32, 32))
    expected = np.broadcast_to(np.array([[[2.0]], [[-1.0]]]) * size / 32, (2, size, size))
    np.testing.assert_allclose(resize_flow(flow, size), expected, rtol=1e-6)


def test_resize_flow_keeps_what_lies_where():
    flow = np.zeros((2, 32, 32), np.float32)
    flow[0, 4:8, 20:24], flow[1, 24:28, 8:12] = 1, 2
    expected = np.zeros((2, 16, 16))
    expected[0, 2:4, 10:12], expected[1, 12:14, 4:6] = 0.5, 1
    np.testing.assert_allclose(resize_flow(flow, 16), expected, atol=1e-6)


def test_flow_of_the_size_asked_for_stays_as_it_is():
    flow = measured((0.5, 0.5), 32)
    np.testing.assert_array_equal(resize_flow(flow, 32), flow)


def write_flow_image(path, image: np.ndarray) -> None:
    cv2.imwrite(str(path), image[:, :, ::-1])


def test_red_green_blue_become_u_v_strain(tmp_path):
    write_flow_image(tmp_path / "a.png", np.full((28, 28, 3), (255, 0, 51), np.uint8))
    flow = read_flow_image(tmp_path / "a.png", 28)
    assert (flow.shape, flow.dtype) == ((1, 1, 3, 28, 28), np.float16)
    np.testing.assert_allclose(flow[0, 0, :, 14, 14].astype(float), [1.0, -1.0, -0.6], atol=1e-3)


@pytest.mark.parametrize("side", [28, 56, 20])
def test_a_flow_image_of_any_size_lies_within_minus_one_and_one(tmp_path, side):
    write_flow_image(tmp_path / "a.png", np.random.default_rng(2).choice([0, 127, 255], (side, side, 3)))
    flow = read_flow_image(tmp_path / "a.png", 28)
    assert flow.shape == (1, 1, 3, 28, 28)
    assert -1 <= flow.min() < -0.5 and 0.5 < flow.max() <= 1


def test_the_inverse_of_a_byte_is_its_negative(tmp_path):
    image = np.random.default_rng(3).integers(0, 256, (28, 28, 3), np.uint8)
    write_flow_image(tmp_path / "a.png", image)
    write_flow_image(tmp_path / "b.png", 255 - image)
    first, second = (read_flow_image(tmp_path / name, 28).astype(float) for name in ("a.png", "b.png"))
    np.testing.assert_allclose(first, -second, atol=1e-3)


def test_a_flow_image_that_is_not_square_is_made_square(tmp_path):
    write_flow_image(tmp_path / "a.png", np.full((28, 30, 3), 127, np.uint8))
    assert read_flow_image(tmp_path / "a.png", 28).shape == (1, 1, 3, 28, 28)


def test_a_difference_is_the_grey_levels_that_were_gained_in_rgb():
    before, after = (np.full((4, 4, 3), colour, np.uint8) for colour in ((10, 20, 30), (15, 10, 30)))  # BGR
    gained = difference(before, after)
    assert gained.shape == (3, 4, 4)
    assert gained[:, 0, 0].tolist() == [0, -10, 5]


def test_a_clip_of_differences_is_measured_at_the_size_of_the_network(tmp_path, tiny):
    write_casme2(tmp_path, 1, per_subject=1)
    (clip,) = open_folder(tmp_path).clips
    run = with_values(tiny, {"flow.method": "difference", "input.channels": "rgb", "frames.maps": 1})
    measured = measure(clip, frame_sets(clip, run.frames)[:1], run)
    assert measured.flow.shape == (1, 1, 3, 16, 16)
    assert 1 < np.abs(measured.flow).mean() < 255
