"""Pictures of clips: the preview, and the small ones of contact sheets."""

import dataclasses

import cv2
import numpy as np
import pytest
from small import face_points, write_casme2, write_flow_images, write_openface

from mer_search.config import Run, with_values
from mer_search.data import open_folder, prepare
from mer_search.report import clips as pictures
from mer_search.report.clips import preview


@pytest.fixture
def flow_image(tmp_path):
    write_flow_images(tmp_path, subjects=1, per_class=1)
    return open_folder(tmp_path).clips[0]


@pytest.fixture
def clip(tmp_path):
    """A clip of 17 frames that moves to the right and back, with landmarks."""
    write_casme2(tmp_path, 1, per_subject=1)
    (clip,) = open_folder(tmp_path).clips
    return dataclasses.replace(clip, landmarks=write_openface(tmp_path / "a.csv", [face_points(48, 48)] * 17))


def black(png: bytes) -> float:
    """The share of black pixels."""
    return float((cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR).max(2) == 0).mean())


def test_the_prepared_frames_are_shown_with_their_mask(clip, tiny):
    bare, template, landmarks = (
        preview(clip, with_values(tiny, {"prep.mask": mask}), "V3NR") for mask in ("none", "template", "landmarks")
    )
    assert black(template) > black(bare) + 0.01
    assert black(landmarks) > black(bare) + 0.01
    assert template != landmarks


def test_a_frame_is_denoised_once_for_the_picture_and_the_motion(clip, tiny, monkeypatch):
    cleaned, denoised = [], prepare.denoised
    monkeypatch.setattr(prepare, "denoised", lambda *arguments: cleaned.append(1) or denoised(*arguments))
    assert preview(clip, with_values(tiny, {"prep.denoise": 5}), "V3NR") != preview(clip, tiny, "V3NR")
    assert len(cleaned) == 3


@pytest.mark.parametrize(("method", "pairs"), [("farneback", "onset"), ("dis", "consecutive"), ("tvl1", "consecutive")])
def test_every_method_and_both_kinds_of_pairs_have_a_preview(clip, tiny, method, pairs):
    run = with_values(tiny, {"flow.method": method, "frames.pairs": pairs, "prep.size": 48, "input.components": "uvo"})
    assert preview(clip, run, "V3NR").startswith(b"\x89PNG")


def test_a_flow_image_is_shown_whatever_is_to_be_done_to_frames(flow_image):
    plain = with_values(Run(), {"flow.size": 28})
    masked = with_values(plain, {"prep.mask": "landmarks", "prep.denoise": 3})
    assert preview(flow_image, masked, "V3NR") == preview(flow_image, plain, "V3NR")


def test_faces_are_shown_where_there_are_frames(clip):
    (onset, before), (apex, after) = pictures.faces(clip)
    assert (onset, apex) == ("onset", "apex")
    assert before.shape == (pictures.SIDE, pictures.SIDE, 3)
    assert np.abs(before - after).max() > 0.02
    frame = cv2.imread(str(clip.frames[0]), cv2.IMREAD_GRAYSCALE) / 255
    assert pictures.ground(clip).mean() == pytest.approx(frame.mean(), abs=0.02)
    red, green, blue = pictures.motion_picture(clip).mean((0, 1))  # to the right
    assert red > 2 * max(green, blue)


def test_what_is_still_in_a_flow_image_is_black(flow_image):
    assert pictures.faces(flow_image) == []
    strength = pictures.ground(flow_image)
    blob = strength[: pictures.SIDE // 4, pictures.SIDE * 11 // 28 : pictures.SIDE * 17 // 28].mean()
    assert blob > 2 * strength[pictures.SIDE // 2 :].mean()


def test_a_map_reddens_the_ground_where_it_is_high():
    ground = np.full((pictures.SIDE, pictures.SIDE), 0.5)
    picture = pictures.over(ground, np.array([[0.0, 0.0], [0.0, 1.0]]))
    assert picture[0, 0] == pytest.approx([0.5, 0.5, 0.5])
    assert picture[-1, -1, 0] > 0.7 > 0.3 > picture[-1, -1, 1]


def test_flat_and_empty_maps_stay_clear():
    assert not pictures.stretched(np.full((2, 2), 0.7)).any()
    assert not pictures.mean_share([np.zeros((2, 2))] * 2).any()
    assert pictures.mean_share([np.eye(2), 100 * np.eye(2)[::-1]]) == pytest.approx(np.full((2, 2), 0.5))
