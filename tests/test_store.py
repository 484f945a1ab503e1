import dataclasses
import io
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from small import face_points, texture, write_casme2, write_flow_images, write_openface

from mer_search.config import Run, with_values
from mer_search.data import open_folder, store
from mer_search.data.flow import frame_sets, measure
from mer_search.errors import DataError


@pytest.fixture
def clips(tmp_path):
    write_casme2(tmp_path / "data", subjects=2, per_subject=2)
    return open_folder(tmp_path / "data").clips


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "store"


def load(clips, run, root) -> store.Motion:
    """The motion of clips that are all used."""
    kept, motion, problems = store.load(clips, run, root)
    assert (kept, problems) == (list(clips), [])
    return motion


def assert_right(motion: store.Motion, clips, run) -> None:
    """The motion is what `measure` gives for these clips now, clip after clip."""
    items = [measure(clip, frame_sets(clip, run.frames), run) for clip in clips]
    np.testing.assert_array_equal(motion.flow, np.concatenate([item.flow for item in items]))
    np.testing.assert_array_equal(motion.onset, np.concatenate([item.onset for item in items]))
    assert motion.count.tolist() == [len(item.flow) for item in items]
    assert motion.first.tolist() == [sum(motion.count[:k]) for k in range(len(items))]


def no_measuring(monkeypatch) -> None:
    monkeypatch.setattr(store, "measure", lambda *_: pytest.fail("a clip was measured"))


def stored(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def test_the_motion_is_what_the_clips_show(clips, tiny, root):
    motion = load(clips, tiny, root)
    assert_right(motion, clips, tiny)
    to_middle = {
        clip.label: motion.flow[first, 0].mean((1, 2)) for clip, first in zip(clips, motion.first, strict=True)
    }
    assert to_middle["happiness"][0] > 0.3 > abs(to_middle["happiness"][1])
    assert to_middle["disgust"][1] > 0.3 > abs(to_middle["disgust"][0])


def test_flow_images_are_stored_without_an_onset_image_and_need_no_landmarks(tmp_path, root, monkeypatch):
    write_flow_images(tmp_path, subjects=1)
    run, images = with_values(Run(), {"flow.size": 28}), open_folder(tmp_path).clips
    first = load(images, run, root)
    no_measuring(monkeypatch)
    second = load(images, run, root)
    assert first.flow.shape == (6, 1, 3, 28, 28) and first.onset is None and second.onset is None
    np.testing.assert_array_equal(first.flow, second.flow)
    monkeypatch.undo()
    masked = with_values(run, {"prep.mask": "landmarks", "prep.denoise": 3})
    np.testing.assert_array_equal(load(images, masked, root).flow, first.flow)


@pytest.mark.parametrize(
    ("key", "value"),
    [("flow.winsize", 5), ("flow.size", 32), ("prep.size", 40), ("prep.mask", "template"), ("frames.pairs", "onset")],
)
def test_a_changed_setting_never_reads_stale_flow(clips, tiny, root, key, value):
    load(clips, tiny, root)
    changed = with_values(tiny, {key: value})
    assert_right(load(clips, changed, root), clips, changed)
    assert_right(load(clips, tiny, root), clips, tiny)


def test_a_changed_frame_never_reads_stale_flow(clips, tiny, root):
    before = load(clips, tiny, root)
    cv2.imwrite(str(clips[1].frames[8]), texture(99))
    after = load(clips, tiny, root)
    assert_right(after, clips, tiny)
    assert changed(before, after) == [False, True, False, False]


def test_a_changed_neighbour_counts_where_frames_are_denoised(clips, tiny, root):
    cleaned = with_values(tiny, {"prep.denoise": 5})
    before, plain = load(clips, cleaned, root), load(clips, tiny, root)
    used = {number for frame_set in frame_sets(clips[1], tiny.frames) for number in frame_set}
    middle = frame_sets(clips[1], tiny.frames)[0][1] - clips[1].onset
    assert clips[1].onset + middle + 1 not in used
    shutil.copy(clips[1].frames[middle], clips[1].frames[middle + 1])
    np.testing.assert_array_equal(load(clips, tiny, root).flow, plain.flow)
    after = load(clips, cleaned, root)
    assert_right(after, clips, cleaned)
    assert changed(before, after) == [False, True, False, False]


@pytest.fixture
def landmarked(clips, tmp_path):
    """The clips with a CSV of landmarks each."""
    return [
        dataclasses.replace(clip, landmarks=write_openface(tmp_path / f"{k}.csv", [face_points(48, 48)] * 17))
        for k, clip in enumerate(clips)
    ]


@pytest.fixture
def masked(tiny):
    return with_values(tiny, {"prep.mask": "landmarks"})


def changed(before: store.Motion, after: store.Motion) -> list[bool]:
    """For each clip, whether its motion is another."""
    return [not np.array_equal(before.flow[k], after.flow[k]) for k in before.first]


def test_changed_landmarks_count_where_they_make_the_mask(landmarked, tiny, masked, root, monkeypatch):
    before, plain = load(landmarked, masked, root), load(landmarked, tiny, root)
    write_openface(landmarked[1].landmarks, [face_points(48, 48) * 0.8] * 17)
    after = load(landmarked, masked, root)
    assert_right(after, landmarked, masked)
    assert changed(before, after) == [False, True, False, False]
    no_measuring(monkeypatch)
    np.testing.assert_array_equal(load(landmarked, tiny, root).flow, plain.flow)


def test_another_row_of_the_same_landmarks_counts(landmarked, masked, root):
    clip, folder = landmarked[0], landmarked[0].frames[0].parent
    cv2.imwrite(str(folder / "a.jpg"), texture(0))  # sorted before the clip's frames
    write_openface(clip.landmarks, [face_points(48, 48), *[face_points(48, 48) * 0.8] * 17])
    before = load(landmarked, masked, root)
    for path in folder.glob("a.jpg"):
        path.rename(folder / "z.jpg")
    after = load(landmarked, masked, root)
    assert_right(after, landmarked, masked)
    assert changed(before, after) == [True, False, False, False]


def test_frames_that_are_processed_already_have_a_motion_of_their_own(clips, tiny, root):
    run = with_values(tiny, {"prep.mask": "template"})
    before = load(clips, run, root)
    done = [dataclasses.replace(clip, processed=True) for clip in clips]
    after = load(done, run, root)
    assert_right(after, done, run)
    assert changed(before, after) == [True] * 4


def test_a_clip_whose_landmarks_are_missing_is_a_problem_and_the_others_are_used(landmarked, masked, root):
    landmarked[1].landmarks.unlink()
    landmarked[2] = dataclasses.replace(landmarked[2], landmarks=None)
    kept, motion, problems = store.load(landmarked, masked, root)
    assert kept == [landmarked[0], landmarked[3]]
    assert_right(motion, kept, masked)
    assert [(problem.clip, problem.usable) for problem in problems] == [(clip.id, False) for clip in landmarked[1:3]]
    assert "1.csv (No such file" in problems[0].what and "there is none" in problems[1].what


np.save(ARRAY := io.BytesIO(), np.zeros(3))
DAMAGE = {
    "cut by a byte": lambda content: content[:-1],
    "cut by half": lambda content: content[: len(content) // 2],
    "text": lambda content: b"not a zip file",
    "values": lambda content: content[:2000] + bytes(8) + content[2008:],
    "plain array": lambda content: ARRAY.getvalue(),
    "header": lambda content: content.replace(b"(4, 2, 2,", b")4, 2, 2,"),
    "shape": lambda content: content.replace(b"(4, 2, 2,", b"(2, 2, 2,"),
    "lost onset": lambda content: content.replace(b"onset.npy", b"unset.npy"),
}


@pytest.mark.parametrize("name", [*DAMAGE, "another clip's"])
def test_a_damaged_or_foreign_file_is_found_out_and_rebuilt(clips, tiny, root, name):
    load(clips, tiny, root)
    path, other, *_ = stored(root)
    whole = path.read_bytes()
    change = DAMAGE.get(name, lambda content: other.read_bytes())
    path.write_bytes(change(whole))
    assert path.read_bytes() != whole
    assert_right(load(clips, tiny, root), clips, tiny)
    assert path.read_bytes() == whole


BUILD = """
import sys
from pathlib import Path
import numpy as np
from mer_search.config import Run
from mer_search.data import open_folder, store

data, root, out, run = *map(Path, sys.argv[1:4]), Run.model_validate_json(sys.argv[4])
clips, measure = open_folder(data).clips, store.measure

def measure_and_wait(clip, sets, run, read):
    measured = measure(clip, sets, run, read)
    if clip == clips[0]:
        print("measured", flush=True)
        sys.stdin.readline()
    return measured

store.measure = measure_and_wait
kept, motion, problems = store.load(clips, run, root)
np.savez(out, flow=motion.flow, onset=motion.onset, first=motion.first, count=motion.count)
"""


def test_two_processes_that_build_at_once_end_with_the_same_right_motion(clips, tiny, tmp_path, root, monkeypatch):
    outs = [tmp_path / "a.npz", tmp_path / "b.npz"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    arguments = [[tmp_path / "data", root, out, tiny.model_dump_json()] for out in outs]
    processes = [subprocess.Popen([sys.executable, "-c", BUILD, *row], **pipes) for row in arguments]
    assert [process.stdout.readline() for process in processes] == ["measured\n"] * 2  # neither has written the first
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.communicate(timeout=60) and process.returncode for process in processes] == [0, 0]
    for out in outs:
        with np.load(out) as built:
            assert_right(store.Motion(**built), clips, tiny)
    assert [path.suffix for path in stored(root)] == [".motion"] * 4
    no_measuring(monkeypatch)
    assert_right(load(clips, tiny, root), clips, tiny)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [(lambda path: path.write_bytes(path.read_bytes()[:300]), "cannot be decoded"), (Path.unlink, "cannot read")],
    ids=["truncated", "missing"],
)
def test_a_clip_with_an_unreadable_frame_is_a_problem_and_the_others_are_used(clips, tiny, root, spoil, words):
    spoil(clips[1].frames[8])
    kept, motion, (problem,) = store.load(clips, tiny, root)
    assert (problem.clip, problem.usable) == (clips[1].id, False)
    assert words in problem.what and clips[1].frames[8].name in problem.what
    assert kept == [clip for clip in clips if clip != clips[1]]
    assert_right(motion, kept, tiny)


def test_no_usable_clip_is_an_error_that_names_the_first(clips, tiny, root):
    for clip in clips:
        clip.frames[0].write_bytes(b"")
    with pytest.raises(DataError, match=r"none of 4 can be used; the first: sub01/EP01_01f: .*reg_img11\.jpg"):
        store.load(clips, tiny, root)


@pytest.mark.parametrize("below", ["", "store"])
def test_a_store_that_cannot_be_made_is_one_clear_message(clips, tiny, tmp_path, below):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"^the flow store \S*file\S* must be writable, but .* set XDG_CACHE_HOME to"):
        store.load(clips, tiny, tmp_path / "file" / below)
