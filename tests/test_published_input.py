"""The recipe "published", what goes into a network: frames, motion, augmentation, worked out here by other means.

Sources: script.py of TM-MMNET's V2 and V3, data_aug_nodenoise.ipynb (cells 3 to 5), CASME2_5.py of MMNet.
"""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from one_fold import train
from PIL import Image, ImageDraw
from small import face_points, texture, write_clip, write_openface

from mer_search.config import Flow, Frames, Prep, Run, Train, digest, with_values
from mer_search.data import masks
from mer_search.data.clips import Clip
from mer_search.data.flow import cropped, farneback, frame_sets, measure, motion, with_copies
from mer_search.data.prepare import prepared
from mer_search.errors import DataError, UsageError
from mer_search.model.channels import IMAGENET_MEAN, channels
from mer_search.presets import preset
from mer_search.training import learner
from mer_search.training.augment import Moves, augment, augment_onset, draw
from mer_search.training.predict_proba import network_input


class Scripted:
    """Random integers that are known beforehand, each below what was asked for."""

    def __init__(self, *values):
        self.values, self.below = list(values), []

    def integers(self, below):
        self.below.append(below)
        return self.values.pop(0)


def colourful(seed, size=224):
    return np.stack([texture(3 * seed + k, size) for k in range(3)], 2).astype(np.uint8)


@pytest.fixture
def moving(tmp_path):
    """A clip of frames 8 to 12, whose names in the order of text begin with img10."""
    write_clip(tmp_path / "clip", 8, 12, (0.4, 0.2), 5, "img")
    for path in (tmp_path / "clip").iterdir():
        grey = cv2.imread(str(path))[:, :, 0].astype(int)
        colour = np.stack([grey, 255 - grey, grey // 2 + 40], 2).clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(path), cv2.resize(colour, (60, 70)))
    frames = tuple(tmp_path / "clip" / f"img{k}.jpg" for k in range(8, 13))
    return Clip("casme2", "sub01", "EP01", "others", frames, 8, 10, 12, 200)


def test_grey_has_the_weights_of_red_and_blue_exchanged():
    before, after = colourful(0, 64), colourful(1, 64)
    clip_of = {1: before, 2: after}

    def flow(**config):
        run = Run(frames=Frames(maps=1), prep=Prep(size=64), flow=Flow(size=64, **config))
        return motion(clip_of, [(1, 2)], run).flow[0, 0]

    weights = np.array([0.299, 0.587, 0.114])  # of what the public code takes for blue, green and red, and is R, G, B
    grey = [np.round(image[:, :, ::-1].astype(float) @ weights[::-1]).astype(np.uint8) for image in (before, after)]
    np.testing.assert_allclose(flow(grey="swapped"), farneback(*grey, Flow()).astype(np.float16), atol=0.02)
    assert np.abs(flow(grey="swapped").astype(float) - flow().astype(float)).mean() > 0.05


@pytest.mark.parametrize("flip", [0, 1])
def test_a_copys_frames_lose_the_same_rows_and_sides_of_their_own_and_end_in_black(flip):
    frames, sides = [colourful(k) for k in range(3)], [0, 7, 4]
    random = Scripted(flip, 11, *sides)
    found = cropped(frames, Train(), random)
    assert random.below == [2, 16, 8, 8, 8]  # flip 0 or 1, top 0 to 15, sides 0 to 7
    for frame, image, side in zip(frames, found, sides, strict=True):
        picture = Image.fromarray(frame[:, ::-1] if flip else frame).crop((0, 11, 224, 11 + 209))
        picture = picture.crop((side, 0, 224 - side, 224)).resize((224, 224), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(image, np.asarray(picture))
        assert not image[209:].any()


def test_flow_of_copies_is_measured_after_they_are_cropped(moving):
    run = with_values(
        Run(), {"prep.size": 64, "flow.size": 64, "frames.crops": 6, "frames.jitter": 0.0, "train.crop": 0.1}
    )
    sets = frame_sets(moving, run.frames)
    plain, copies = measure(moving, sets, run), with_copies(moving, sets, run)
    assert copies.flow.shape == (7, 4, 2, 64, 64)
    np.testing.assert_array_equal(copies.flow[0], plain.flow[0])
    np.testing.assert_array_equal(copies.onset[0], plain.onset[0])
    assert (copies.onset[1:, :, -6:] == 0).all()  # the band
    spread = np.abs(copies.flow[..., 0, :50, 8:-8].astype(float)).mean((2, 3))
    assert spread[1:].mean() > 2 * spread[0].mean()  # most of it is the difference of two crops
    again = with_copies(moving, sets, run)
    np.testing.assert_array_equal(copies.flow, again.flow)


def test_training_sees_the_copies_alone_and_the_test_the_clip_itself(tiny_clips, monkeypatch):
    loaded = tiny_clips({"frames.crops": 2, "train.epochs": 1})
    clips = loaded.tensors
    assert set(clips.sets.tolist()) == {3}
    clips.flow[clips.first] = math.nan  # what training must not see
    monkeypatch.setattr(learner.Learner, "predict", lambda self, indices: np.full((len(indices), 5), 0.2, np.float16))
    trained = train(loaded)
    assert math.isfinite(trained.history[0].train_loss)


def test_crops_go_with_flow_alone():
    with pytest.raises(UsageError, match=r"frames.crops goes with optical flow, train.rotate = 0"):
        with_values(preset("MMNet"), {"frames.crops": 2})


def test_other_crops_are_other_motion_and_without_them_they_do_not_matter():
    run = with_values(Run(), {"frames.crops": 3})
    assert digest(*run.motion) != digest(*with_values(run, {"train.crop": 0.1}).motion)
    assert (
        digest(*Run().motion)
        == digest(*with_values(Run(), {"train.crop": 0.1}).motion)
        == digest(Run().frames, Run().prep, Run().flow)
    )


def test_the_onset_image_is_made_small_by_four_of_its_pixels():
    onset = torch.from_numpy(colourful(0).transpose(2, 0, 1)[None].copy()).float()
    run = with_values(preset("V3NR", "published"), {})
    _, small = network_input(run, torch.zeros(1, 4, 2, 16, 16), onset, 14)
    at = 16 * np.arange(14) + 7  # (k + .5) * 16 - .5 lies between two pixels
    mean = sum(onset[..., at + i, :][..., at + j] for i in (0, 1) for j in (0, 1)) / 4 / 255
    torch.testing.assert_close(small, mean)
    _, smooth = network_input(preset("V3NR"), torch.zeros(1, 4, 2, 16, 16), onset, 14)
    assert (small - smooth).abs().mean() > 0.005


def test_frames_are_denoised_as_the_notebook_does_it(moving, tmp_path):
    names = sorted(path.name for path in moving.frames)
    small = [cv2.resize(cv2.imread(str(moving.frames[0].parent / name)), (48, 48)) for name in names]
    padded = [small[1], *small, small[-1]]
    expected = {}
    for k, name in enumerate(names):
        image = cv2.fastNlMeansDenoisingColoredMulti(padded, k + 1, 3, h=4, hColor=7, templateWindowSize=21)
        cv2.imwrite(str(tmp_path / "denoised.jpg"), image)
        expected[name] = cv2.imread(str(tmp_path / "denoised.jpg"))
    prep = Prep(size=48, resize="linear", denoise=4, denoiser="notebook")
    found = prepared(moving, range(8, 13), prep)
    assert names == ["img10.jpg", "img11.jpg", "img12.jpg", "img8.jpg", "img9.jpg"]
    for number in range(8, 13):
        np.testing.assert_array_equal(found[number], expected[f"img{number}.jpg"])


def test_the_mask_is_the_largest_eyes_and_what_the_last_frame_has_below_its_jaw(moving):
    size = 224
    faces = np.stack([face_points(70, 60) for _ in moving.frames])
    eye = masks.EYES[0]
    faces[2, eye] = (faces[2, eye] - faces[2, eye].mean(0)) * 1.5 + faces[2, eye].mean(0) + 2  # in img12, the third
    faces[:-1, masks.JAW, 1] -= 20  # not the last one's
    points = np.trunc(faces * (size / 60, size / 70))
    found = masks.notebook(faces, 70, 60, size)
    y, x = np.mgrid[:size, :size]
    drawn = Image.new("L", (size, size))
    jaw = [(0, size), *map(tuple, points[-1, masks.JAW] - (0, 5)), (size, size)]
    ImageDraw.Draw(drawn).polygon(jaw, fill=1)
    below, about = np.asarray(drawn), np.ones((5, 5), np.uint8)
    assert not found[cv2.erode(below, about).astype(bool)].any()
    shown = (found | cv2.dilate(below, about)).astype(bool)
    for which, frame in ((masks.EYES[0], 2), (masks.EYES[1], 0)):
        corners = points[frame, which]
        centre = (corners[0] + corners[3])[0] / 2, (corners[1:3, 1].min() + corners[4:6, 1].max()) / 2
        radii = (corners[3, 0] - corners[0, 0]) / 1.2, (corners[4:6, 1].max() - corners[1:3, 1].min()) / 0.8
        away = np.hypot((x - centre[0]) / radii[0], (y - centre[1]) / radii[1])
        assert not found[away < 0.9].any()
        shown |= away < 1.1
    assert shown.all()


def test_the_mask_is_made_of_all_frames_in_which_a_face_was_found_and_kept_as_jpeg(moving, tmp_path):
    faces = [face_points(70, 60)] * 5
    clip = moving.__class__(**vars(moving) | {"landmarks": write_openface(tmp_path / "faces.csv", faces)})
    found = prepared(clip, [8], Prep(size=64, mask="notebook"))[8]
    plain = prepared(clip, [8], Prep(size=64))[8] * masks.notebook(np.stack(faces), 70, 60, 64)[:, :, None]
    cv2.imwrite(str(tmp_path / "masked.jpg"), plain)
    np.testing.assert_array_equal(found, cv2.imread(str(tmp_path / "masked.jpg")))
    write_openface(tmp_path / "faces.csv", faces, success=0)
    with pytest.raises(DataError, match="must have success 1 and finite points for one of the clip's frames"):
        prepared(clip, [8], Prep(size=64, mask="notebook"))


def test_the_apex_moves_back_by_the_onsets_rule():
    clip = Clip("casme2", "sub01", "EP01", "others", tuple(Path(f"img{k}.jpg") for k in range(110)), 0, 80, 109, 200)
    pairs = frame_sets(clip, preset("MMNet", "published").frames)
    assert set(pairs) == {(on, 80 - early) for on in range(4) for early in range(4)}  # int(.15 * 80 / 4) = 3: 16 pairs
    assert pairs[0] == (0, 80)
    assert len(frame_sets(clip, preset("MMNet").frames)) == 4


def test_mmnets_frames_are_resized_as_pillow_does_it(moving):
    found = prepared(moving, [8], Prep(size=28, resize="pillow"))[8]
    picture = Image.open(moving.frames[0]).resize((28, 28), Image.Resampling.BILINEAR)
    assert np.abs(found[:, :, ::-1].astype(int) - np.asarray(picture)).max() <= 1  # the JPEG was decoded twice
    assert np.abs(found.astype(int) - prepared(moving, [8], Prep(size=28))[8]).mean() > 0.3


def test_mmnets_shifts_are_whole_pixels_and_all_alike():
    moves = draw(60_000, preset("MMNet", "published").train, torch.Generator().manual_seed(0), 224)
    for shift in (moves.right, moves.down):
        pixels = shift * 224
        torch.testing.assert_close(pixels, pixels.round(), atol=1e-4, rtol=0)
        counts = torch.bincount(pixels.round().long() + 15)
        assert len(counts) == 31 and counts.min() > 0.9 * counts.float().mean()


def by_hand(image, flip, degrees, right, down, fill):
    """An image (H, W, C) flipped, turned about its middle to the nearest pixel, padded and cropped at a place."""
    size = len(image)
    image = image[:, ::-1] if flip else image
    turned, cos, sin = np.full_like(image, fill), math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    middle = (size - 1) / 2
    for y in range(size):
        for x in range(size):
            from_x = middle + cos * (x - middle) + sin * (y - middle)
            from_y = middle - sin * (x - middle) + cos * (y - middle)
            column, row = round(from_x), round(from_y)
            if 0 <= column < size and 0 <= row < size:
                turned[y, x] = image[row, column]
    padded = np.empty((size + 30, size + 30, image.shape[2]), image.dtype)
    padded[:] = fill
    padded[15:-15, 15:-15] = turned
    return sliding_window_view(padded, (size, size), (0, 1))[15 - down, 15 - right].transpose(1, 2, 0)


@pytest.mark.parametrize(
    ("flip", "degrees", "right", "down"), [(False, 2.5, 15, -4), (True, -3.0, 0, 9), (True, 0.0, -7, 0)]
)
def test_mmnets_augmentation_is_one_step_after_the_other(flip, degrees, right, down):
    size = 64
    before, after = (np.random.default_rng(k).uniform(0, 255, (size, size, 3)).astype(np.float32) for k in range(2))
    one = torch.ones(1)
    moves = Moves(
        torch.tensor([flip]), 0 * one, one, 0 * one, one * right / size, one * down / size, torch.deg2rad(one * degrees)
    )
    config = preset("MMNet", "published").train
    difference = torch.from_numpy((after - before).transpose(2, 0, 1).copy())[None, None]
    found = augment(difference, moves, False, config.resampling)[0, 0].permute(1, 2, 0).numpy()
    onset = (
        augment_onset(torch.from_numpy(before.transpose(2, 0, 1).copy())[None], moves, config)[0]
        .permute(1, 2, 0)
        .numpy()
    )
    mean = 255 * np.float32(IMAGENET_MEAN)
    for image, expected in (
        (found, by_hand(after - before, flip, degrees, right, down, np.float32(0))),
        (onset, by_hand(before, flip, degrees, right, down, mean)),
    ):
        differs = np.abs(image - expected).max(2) > 0.01
        assert differs.mean() < 0.002  # where a place lies in the middle between two pixels


def test_v2s_picture_is_opencvs_of_8_bits():
    u, v = np.random.default_rng(0).normal(0, 2, (2, 40, 40)).astype(np.float32)
    magnitude, angle = cv2.cartToPolar(u, v)
    picture = np.full((40, 40, 3), 255, np.uint8)
    picture[..., 0] = angle * 180 / np.pi / 2
    picture[..., 2] = cv2.normalize(magnitude, None, 0, 255, cv2.NORM_MINMAX)
    expected = cv2.cvtColor(picture, cv2.COLOR_HSV2RGB)
    flow = torch.from_numpy(np.stack([u, v]))[None, None]
    found = channels(flow, preset("V2", "published").input)[0, 0].permute(1, 2, 0).numpy() * 255
    differs = np.abs(found - expected).max(2)  # where an angle or a value lies at the edge of a step
    assert (differs > 1).mean() < 0.02
    exact = channels(flow, preset("V2").input)[0, 0].permute(1, 2, 0).numpy() * 255
    assert np.abs(exact - expected).mean() > 3 * np.abs(found - expected).mean()
