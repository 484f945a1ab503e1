"""The synthetic folder: the same for the same seed, CASME II's counts, motion that follows the action units."""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import openpyxl
import pytest

from mer_search.data import open_folder
from mer_search.data.synthetic import dataset as synthetic
from mer_search.data.synthetic.dataset import clip_motion, displacement, plan_clips, profile, render_clip, write_dataset
from mer_search.errors import UsageError
from mer_search.search import workspace

SHEET = "CASME2-coding-20140508.xlsx"
SMALL = {"height": 64, "width": 64, "threads": 1}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("synthetic") / "set"
    assert write_dataset(out, subjects=(21, 22), **SMALL) == 4
    return out


def test_same_seed_gives_the_same_bytes_whatever_the_number_of_threads(written, tmp_path):
    write_dataset(tmp_path / "again", subjects=(21, 22), height=64, width=64, threads=3)
    assert contents(tmp_path / "again") == contents(written)


def test_another_seed_gives_other_frames_and_another_sheet(written, tmp_path):
    write_dataset(tmp_path / "other", subjects=(21, 22), seed=1, **SMALL)
    first, other = contents(written), contents(tmp_path / "other")
    assert first[SHEET] != other[SHEET]
    assert not {v for k, v in first.items() if k.endswith(".jpg")} & set(other.values())


def test_a_subject_is_the_same_whoever_else_is_written(written, tmp_path):
    write_dataset(tmp_path / "alone", subjects=(22,), **SMALL)
    alone, both = (
        {k: v for k, v in contents(f).items() if "sub22" in k} for f in (tmp_path / "alone", written)
    )  # fmt: skip
    assert alone and alone == both


def test_plan_has_casme2_counts():
    clips = plan_clips(seed=3)
    counts = Counter((clip.subject, clip.emotion) for clip in clips)
    for subject, row in synthetic.COUNTS.items():
        assert tuple(counts[subject, emotion] for emotion in synthetic.CLASSES) == row
    totals = Counter(clip.emotion for clip in clips)
    assert totals == {"others": 99, "disgust": 63, "happiness": 32, "repression": 27, "surprise": 25}
    assert len(clips) == 246 and len({(clip.subject, clip.name) for clip in clips}) == 246


def test_plan_has_casme2_lengths_and_oddities():
    clips = {(clip.subject, clip.name): clip for clip in plan_clips()}
    lengths = np.array([clip.offset - clip.onset + 1 for clip in clips.values()])
    assert lengths.min() >= 24 and lengths.max() <= 141 and 60 < np.median(lengths) < 70
    assert [key for key, clip in clips.items() if clip.sheet_apex == "/"] == [(4, "EP12_01f")]
    assert clips.keys() >= synthetic.ODD.keys()
    assert clips[5, "EP09_05f"].sheet_apex == clips[5, "EP09_05f"].onset
    assert all(clip.onset < clip.apex < clip.offset for clip in clips.values())
    assert {type(clip.action_units) for clip in clips.values()} == {int, str}
    assert {clip.emotion for clip in clips.values() if clip.action_units == "?"} <= {"others"}


def test_sheet_and_folder_agree(written):
    header, *rows = openpyxl.load_workbook(written / SHEET)["Sheet1"].values
    assert header == ("Subject", "Filename", None, "OnsetFrame", "ApexFrame", "OffsetFrame", None,
                      "Action Units", "Estimated Emotion")  # fmt: skip
    assert {path.name for path in (written / "Cropped").iterdir()} == {f"sub{row[0]:02d}" for row in rows}
    for subject, name, _, onset, apex, offset, *_ in rows:
        frames = {path.name for path in (written / "Cropped" / f"sub{subject:02d}" / name).iterdir()}
        assert frames == {f"reg_img{number}.jpg" for number in range(onset, offset + 1)}
        assert onset < apex < offset
    marker = json.loads((written / synthetic.MARKER).read_text(encoding="utf-8"))
    assert marker == {"seed": 0, "height": 64, "width": 64, "version": 1}


def test_clips_to_which_links_lead_are_still_synthetic(written, tmp_path):
    assert open_folder(written).synthetic
    shutil.copy(written / SHEET, tmp_path)
    (tmp_path / "Cropped").symlink_to(written / "Cropped")
    assert open_folder(tmp_path).synthetic


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_call_that_fails_leaves_nothing(tmp_path, error):
    def stop(done, total):
        if done:
            raise error

    with pytest.raises(error):
        write_dataset(tmp_path / "set", subjects=(22,), on_clip=stop, **SMALL)
    assert not list(tmp_path.iterdir())


def test_clips_that_were_drawn_once_are_drawn_again_where_they_were_deleted(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    drawn = []
    monkeypatch.setattr(workspace, "write_dataset", lambda path, on_clip: drawn.append(path) or path.mkdir())
    path = workspace.find_data(None, workspace.silent)
    assert workspace.find_data(path, workspace.silent) == path and drawn == [path]
    path.rmdir()
    assert workspace.find_data(path, workspace.silent) == path and drawn == [path, path]  # as a study knows them
    assert workspace.find_data(tmp_path / "other", workspace.silent) == tmp_path / "other"


def test_a_folder_with_something_in_it_is_refused_and_kept_and_an_empty_one_filled(tmp_path):
    (tmp_path / "mine.txt").write_text("x", encoding="utf-8")
    with pytest.raises(UsageError, match="new or empty"):
        write_dataset(tmp_path, subjects=(22,), **SMALL)
    assert contents(tmp_path) == {"mine.txt": b"x"}
    (tmp_path / "mine.txt").unlink()
    seen = []
    write_dataset(tmp_path, subjects=(22,), on_clip=lambda *progress: seen.append(progress), **SMALL)
    assert (tmp_path / SHEET).is_file() and seen[-1] == (2, 2)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [({"height": 63}, "63"), ({"width": 513}, "513"), ({"subjects": (27,)}, "27"), ({"seed": -1}, "-1")],
)
def test_what_cannot_be_drawn_is_refused(tmp_path, wrong, told):
    with pytest.raises(UsageError, match=told):
        write_dataset(tmp_path / "set", **wrong)
    assert not list(tmp_path.iterdir())


# x and y of a place in the face (the person's left is on the right), and the signs of the motion there (None: any)
@pytest.mark.parametrize(
    ("code", "x", "y", "right", "down"),
    [
        ("12", 0.65, 0.76, 1, -1), ("12", 0.35, 0.76, -1, -1), ("L12", 0.65, 0.76, 1, -1), ("4", 0.61, 0.26, -1, 1),
        ("1", 0.60, 0.24, None, -1), ("R2", 0.25, 0.25, None, -1), ("15", 0.64, 0.80, None, 1),
        ("17", 0.50, 0.90, None, -1), ("9", 0.56, 0.50, None, -1), ("10", 0.57, 0.71, None, -1),
        ("14", 0.66, 0.77, -1, None), ("6", 0.74, 0.47, None, -1), (7, 0.69, 0.40, None, -1),
    ],
)  # fmt: skip
def test_action_unit_moves_the_face_its_way(code, x, y, right, down):
    field = displacement(code, 224, 224)
    dx, dy = field[round(y * 224), round(x * 224)]
    assert right is None or dx * right > 0.5
    assert down is None or dy * down > 0.5
    assert 1 <= np.hypot(*field.reshape(-1, 2).T).max() <= 3


def test_one_sided_action_unit_leaves_the_other_side_alone():
    left = displacement("L12", 224, 224)
    assert np.abs(left[:, :60]).max() < 0.05
    np.testing.assert_allclose(displacement("R12", 224, 224)[:, ::-1] * (-1, 1), left, atol=1e-5)
    assert not displacement("?", 64, 64).any()


def test_displacement_grows_with_the_image():
    small, large = displacement("12", 64, 80), displacement("12", 128, 320)
    np.testing.assert_allclose(np.abs(large).max((0, 1)) / np.abs(small).max((0, 1)), (4, 2), rtol=0.02)


def test_motion_starts_at_zero_and_peaks_at_the_apex():
    course = profile(50, 20, 0.2)
    assert course[0] == 0 and course.argmax() == 20 and course[20] == 1 and course[-1] < 0.2
    for clip in plan_clips(subjects=(9, 17)):
        courses, fields = clip_motion(clip, synthetic.person_of(0, clip.subject, 64, 64))
        assert not courses[0].any() and fields.shape == (courses.shape[1], 64, 64, 2)
        assert courses[:, 0].argmax() == clip.apex - clip.onset


def test_frames_follow_the_size_of_casme2():
    clip = min(plan_clips(), key=lambda clip: clip.offset - clip.onset)
    frames = render_clip(clip, synthetic.person_of(0, clip.subject, 340, 280))
    assert frames.shape == (clip.offset - clip.onset + 1, 340, 280, 3) and frames.dtype == np.uint8
    assert 30 < frames.mean() < 220
