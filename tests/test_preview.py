import dataclasses

import cv2
import numpy as np
import pytest
from small import face_points, write_casme2, write_flow_images, write_openface

from mer_search.config import Run, with_values
from mer_search.data import open_folder, prepare
from mer_search.report.clips import preview


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


def test_a_flow_image_is_shown_whatever_is_to_be_done_to_frames(tmp_path):
    write_flow_images(tmp_path, subjects=1, per_class=1)
    clip = open_folder(tmp_path).clips[0]
    plain = with_values(Run(), {"flow.size": 28})
    assert preview(clip, with_values(plain, {"prep.mask": "landmarks", "prep.denoise": 3}), "V3NR") == preview(
        clip, plain, "V3NR"
    )
