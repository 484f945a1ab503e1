import sys
from concurrent.futures import ThreadPoolExecutor
from typing import get_args

import cv2
import numpy as np
import pytest
from small import texture, write_casme2

from mer_search.config import Flow, Run, with_values
from mer_search.data import open_folder
from mer_search.data.flow import METHODS, frame_sets, measure, motion, read_flow_image, resize_flow
from mer_search.data.synthetic.faces import person_of
from mer_search.errors import UsageError


def moved(picture: np.ndarray, shift: tuple[float, float]) -> np.ndarray:
    matrix = np.float32([[1, 0, shift[0]], [0, 1, shift[1]]])
    return cv2.warpAffine(picture, matrix, picture.shape[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def measured(shift: tuple[float, float], method: str = "farneback", picture: np.ndarray | None = None, **settings):
    """Flow (2, H, W) between a picture (a texture of 96 pixels a side) and the same moved."""
    before = texture(1, 96) if picture is None else picture
    images = (image.clip(0, 255).round().astype(np.uint8) for image in (before, moved(before, shift)))
    return METHODS[method](*images, Flow(**settings))


def face() -> np.ndarray:
    """A drawn face (128, 128), grey."""
    return cv2.cvtColor(person_of(0, 2, 128, 128).face, cv2.COLOR_BGR2GRAY)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("picture", [lambda: texture(1, 96), face], ids=["texture", "face"])
@pytest.mark.parametrize("shift", [(0.6, -0.35), (-0.4, 0.8), (1.3, 0.0), (0.0, -0.25), (-3.0, 1.5)])
def test_every_method_recovers_a_shift_to_a_tenth_of_a_pixel_and_farneback_to_a_twentieth(method, picture, shift):
    flow = measured(shift, method, picture())
    assert (flow.shape[0], flow.dtype) == (2, np.float32)
    error = np.abs(flow[:, 12:-12, 12:-12] - np.array(shift)[:, None, None])
    assert error.mean((1, 2)).max() < (0.05 if method == "farneback" else 0.1)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_no_motion_inside_a_still_picture(method):
    assert np.abs(measured((0.0, 0.0), method)[:, 12:-12, 12:-12]).max() < 1e-3


@pytest.mark.parametrize(
    ("method", "setting", "value"),
    [
        ("farneback", "pyr_scale", 0.8), ("farneback", "levels", 3), ("farneback", "winsize", 20),
        ("farneback", "iterations", 1), ("farneback", "poly_n", 7), ("farneback", "poly_sigma", 2.0),
        ("dis", "dis_finest_scale", 0), ("dis", "dis_patch", 12), ("dis", "dis_stride", 5), ("dis", "dis_descent", 1),
        ("dis", "dis_refinement", 0), ("tvl1", "tvl1_attachment", 3.0), ("tvl1", "tvl1_tightness", 1.0),
        ("tvl1", "tvl1_warps", 1), ("tvl1", "tvl1_iterations", 2), ("tvl1", "tvl1_tolerance", 0.5),
    ],
)  # fmt: skip
def test_every_setting_reaches_its_method(method, setting, value):
    usual = {"pyr_scale": 0.8} if setting == "levels" else {}  # 0.4 leaves a small picture no further levels
    before, after = (measured((1.3, -0.6), method, **usual, **more) for more in ({}, {setting: value}))
    assert not np.array_equal(before, after)  # the same settings give the same flow to the last bit


def test_every_method_of_the_configuration_has_its_function():
    assert {*METHODS, "difference"} == set(get_args(Flow.model_fields["method"].annotation))


def test_flow_can_be_measured_in_threads_at_once():
    shifts = [(0.2 * k, -0.1 * k) for k in range(8)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda shift: measured(shift, "dis"), shifts))
    for shift, flow in zip(shifts, together, strict=True):
        np.testing.assert_array_equal(flow, measured(shift, "dis"))


def test_a_method_whose_library_is_missing_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.registration", None)
    with pytest.raises(UsageError, match=r"scikit-image, which is not installed; pip install 'mer-search\[tvl1\]'"):
        measured((0.0, 0.0), "tvl1")


@pytest.mark.parametrize("size", [16, 32, 48])
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


def write_flow_image(path, image: np.ndarray) -> None:
    cv2.imwrite(str(path), image[:, :, ::-1])


def test_red_green_blue_become_u_v_strain(tmp_path):
    image = np.random.default_rng(3).integers(0, 256, (28, 28, 3), np.uint8)
    image[14, 14] = 255, 0, 51
    write_flow_image(tmp_path / "a.png", image)
    flow = read_flow_image(tmp_path / "a.png", 28)
    assert (flow.shape, flow.dtype) == ((1, 1, 3, 28, 28), np.float16)
    np.testing.assert_allclose(flow[0, 0].astype(float), image.transpose(2, 0, 1) / 127.5 - 1, atol=1e-3)
    np.testing.assert_allclose(flow[0, 0, :, 14, 14].astype(float), [1.0, -1.0, -0.6], atol=1e-3)


@pytest.mark.parametrize("sides", [(28, 28), (56, 56), (20, 20), (28, 30)])
def test_a_flow_image_of_any_size_lies_within_minus_one_and_one(tmp_path, sides):
    write_flow_image(tmp_path / "a.png", np.random.default_rng(2).choice([0, 127, 255], (*sides, 3)))
    flow = read_flow_image(tmp_path / "a.png", 28)
    assert flow.shape == (1, 1, 3, 28, 28)
    assert -1 <= flow.min() < -0.5 and 0.5 < flow.max() <= 1


def test_a_difference_is_the_grey_levels_that_were_gained_in_rgb():
    images = {k: np.full((16, 16, 3), colour, np.uint8) for k, colour in enumerate(((10, 20, 30), (15, 10, 30)))}  # BGR
    run = with_values(Run(), {"flow.method": "difference", "flow.size": 16, "input.channels": "rgb", "frames.maps": 1})
    gained = motion(images, [(0, 1)], run).flow
    assert gained.shape == (1, 1, 3, 16, 16)
    assert gained[0, 0, :, 0, 0].tolist() == [0, -10, 5]


def test_a_clip_of_differences_is_measured_at_the_size_of_the_network(tmp_path, tiny):
    write_casme2(tmp_path, 1, per_subject=1)
    (clip,) = open_folder(tmp_path).clips
    run = with_values(tiny, {"flow.method": "difference", "input.channels": "rgb", "frames.maps": 1})
    measured = measure(clip, frame_sets(clip, run.frames)[:1], run)
    assert measured.flow.shape == (1, 1, 3, 16, 16)
    assert 1 < np.abs(measured.flow).mean() < 255
