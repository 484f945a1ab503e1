"""Clips judged by a confirmed run: who judges, what is taken, what is refused."""

import json
import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest
from small import TINY, copied_study, folds_of, made_by, one_line, silent, write_casme2, write_clip

from mer_search.config import Run
from mer_search.confirmation.scoring import confirmed_folds
from mer_search.confirmation.target import FIRST_SEED
from mer_search.data import loose, open_folder
from mer_search.data.loose import Moments, find, strongest
from mer_search.data.prepare import read_image
from mer_search.engine.local import LocalExecutor
from mer_search.errors import DataError, UsageError
from mer_search.evaluation.predictions import load, save
from mer_search.inference.predict import confirmed_in, find_confirmed, predict
from mer_search.search.storage import find_study, open_storage

SETTINGS = {**TINY, "train.epochs": 2}
CLIPS = f"""
base = "V3NR"
subjects = "all"
finalists = 0
sampler = "random"
pruner = "none"
[set]
"prep.denoise" = 0.0
"prep.mask" = "none"
"train.mirror" = true
{"".join(f'"{key}" = {value}' + chr(10) for key, value in SETTINGS.items())}
[space]
"train.lr" = {{ float = [1e-3, 1e-2], log = true }}
"""


def confirmed(text: str, folder: Path, executor: LocalExecutor):
    """A study of one trial on the clips in a folder's `data`, and its confirmation, beside them."""
    commands = "run --study small.toml --data data --trials 1", "confirm --seeds 2 --against none"
    made_by(commands, folder, executor, text)
    return find_confirmed(find_study(open_storage(f"sqlite:///{folder}/mer-search.db"), None), None)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("predict")


@pytest.fixture(scope="module")
def of_clips(place, executor):
    """A confirmed study of clips with frames; its networks have a position branch and mirror."""
    write_casme2(place / "data", 4)
    return confirmed(CLIPS, place, executor)


@pytest.fixture(scope="module")
def stranger(place):
    """A folder of frames that lies outside the data, of 17 frames, the apex in the middle."""
    write_clip(place / "stranger", 30, 46, (2.0, 0.0), 99, "frame_")
    return place / "stranger"


@pytest.fixture
def ask(of_clips, place, mer_search):
    """A function that runs `mer-search predict`."""
    return lambda *arguments: mer_search("predict", *arguments, "--storage", f"sqlite:///{place}/mer-search.db")


def _ask(confirmed, *clips, subject=None, given=Moments()):  # noqa: B008 (a constant)
    return predict(confirmed, [str(clip) for clip in clips], subject, given, "cpu", silent)


def _stored(confirmed):
    """id -> probabilities after the last epoch, as training stored them: the mean over the seeds' networks."""
    found = {}
    for fold in folds_of(confirmed.folder):
        for k, name in enumerate(fold.clips):
            found.setdefault(name, []).append(fold.probabilities[-1, k].astype(float))
    assert {len(each) for each in found.values()} == {len(confirmed.summary.seeds)}
    return {name: np.mean(each, axis=0) for name, each in found.items()}


def test_a_clip_of_the_data_has_the_probabilities_that_training_stored(of_clips):
    stored = _stored(of_clips)
    for each in _ask(of_clips, *stored):
        assert each.networks == (each.found.clip.subject,)
        np.testing.assert_allclose(each.probabilities, stored[each.found.name], atol=1e-3)
        other = next(name for name in of_clips.subjects if name != each.found.subject)
        assert not np.allclose(each.probabilities, _with(of_clips, each.found, other), atol=1e-3)


def _unlike(copy):
    """The same pixels in other files, so that the folder is not known as a copy."""
    for frame in copy.iterdir():
        with frame.open("ab") as file:
            file.write(b"more")
    return copy


def _with(confirmed, found, subject):
    """What another's network says: of a copy outside the data, told to be another's clip."""
    copy = confirmed.data.parent / "copies" / found.name
    if not copy.exists():
        _unlike(shutil.copytree(found.clip.frames[0].parent, copy))
    clip = found.clip
    (one,) = _ask(confirmed, copy, subject=subject, given=Moments(clip.onset, clip.apex, clip.offset))
    return one.probabilities


def test_a_copy_of_which_a_frame_differs_is_judged_by_its_own_frames_and_as_the_same_person(of_clips, place, stranger):
    """Also where the first frame is the clip's: what is said of the dataset's clip is not said of it."""
    changed = shutil.copytree(place / "data/Cropped/sub02/EP01_02f", place / "changed")
    others = sorted(changed.iterdir())[1:]
    for mine, theirs in zip(others, sorted(stranger.iterdir())[1:], strict=False):
        shutil.copy(theirs, mine)
    by_id, by_copy = _ask(of_clips, "sub02/EP01_02f", changed)
    assert by_copy.networks == ("sub02",) and by_copy.found.origin != "as annotated"
    assert by_copy.found.clip.frames[0].parent == changed
    assert not np.allclose(by_id.probabilities, by_copy.probabilities, atol=1e-6)


def test_a_stranger_is_judged_by_the_mean_of_all_networks(of_clips, stranger):
    (mean,) = _ask(of_clips, stranger)
    each = [_ask(of_clips, stranger, subject=name)[0] for name in of_clips.subjects]
    assert mean.networks == of_clips.subjects
    assert (mean.facts["in_training"], each[0].facts["in_training"]) == (None, "sub01")
    assert [one.networks for one in each] == [(name,) for name in of_clips.subjects]
    np.testing.assert_allclose(mean.probabilities, np.mean([one.probabilities for one in each], axis=0), atol=1e-6)
    assert mean.probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_a_folder_in_the_data_is_known_by_where_it_lies_and_a_copy_wherever_it_lies(of_clips, place):
    clip = place / "data/Cropped/sub02/EP01_02f"
    by_id, *by_folder = _ask(of_clips, "sub02/EP01_02f", clip, shutil.copytree(clip, place / "elsewhere"))
    for each in by_folder:
        assert each.networks == ("sub02",) and each.found.origin == "as annotated"
        np.testing.assert_array_equal(by_id.probabilities, each.probabilities)
    unlisted = shutil.copytree(clip, clip.with_name("EP99_02f"))  # another clip of that person, in no spreadsheet
    nobodys = _unlike(shutil.copytree(clip, place / "data/Cropped/EP98_02f"))
    found, refused = _ask(of_clips, unlisted, nobodys)
    assert found.networks == ("sub02",)
    assert "it cannot be told whose it is" in refused.what
    shutil.rmtree(unlisted)
    shutil.rmtree(nobodys)


def test_whose_clip_it_is_cannot_be_overruled(of_clips):
    (problem,) = _ask(of_clips, "sub02/EP01_02f", subject="sub01")
    assert "must be who is in the clip, sub02" in problem.what
    with pytest.raises(UsageError, match="must be one of the people in training, sub01"):
        _ask(of_clips, "sub02/EP01_02f", subject="sub77")


def _video(folder: Path, path: Path, codec: str) -> Path:
    """The frames 30 to 46 in a folder as a video."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 30, (48, 48))
    for number in range(30, 47):
        writer.write(read_image(folder / f"frame_{number}.jpg"))
    writer.release()
    return path


def test_a_video_is_judged_as_its_frames_are(of_clips, stranger, place):
    (folder,) = _ask(of_clips, stranger, given=Moments(30, None, 46))
    (video,) = _ask(of_clips, _video(stranger, place / "lossless.avi", "FFV1"), given=Moments(0, None, 16))
    assert (folder.frames, video.frames) == ((30, 38, 46), (0, 8, 16))
    np.testing.assert_allclose(video.probabilities, folder.probabilities, atol=0.02)  # FFV1 stores YUV


def test_too_much_video_and_damaged_video_are_refused(place, stranger, monkeypatch, tiny):
    path = _video(stranger, place / "some.avi", "MJPG")
    half = path.with_name("half.avi")
    half.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=r"can be decoded, where it says 17"):
        _find(half, tiny)
    monkeypatch.setattr(loose, "MAX_VIDEO_BYTES", 10 * 48 * 48 * 3)
    with pytest.raises(DataError, match=r"17 frames of 48 x 48 pixels .* take more"):
        _find(path, tiny)


def _find(path: Path, config: Run, given=Moments(), flow_images=False):  # noqa: B008
    return find(str(path), Path("/nowhere"), lambda: pytest.fail("no data is needed"), config, given, flow_images)


def _moments(found):
    """Onset, apex and offset as the files are numbered."""
    clip = found.clip
    return tuple(None if each is None else found.shown(each) for each in (clip.onset, clip.apex, clip.offset))


def test_the_strongest_motion_is_found_between_still_frames(tmp_path, tiny):
    write_clip(tmp_path / "moving", 20, 40, (3.0, 1.0), 5, "img")
    still = read_image(tmp_path / "moving/img20.jpg")
    ramp = np.zeros((48, 48), np.float32)  # only a part of the face moves
    ramp[8:24, 8:24] = 1
    for number in range(10, 60):
        rise = max(0.0, float(np.sin(np.pi * (number - 20) / 20))) if 20 <= number <= 40 else 0.0
        y, x = np.mgrid[0:48, 0:48].astype(np.float32)
        moved = cv2.remap(still, x - 3 * rise * ramp, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        cv2.imwrite(str(tmp_path / "moving" / f"img{number}.png"), moved)
    for path in (tmp_path / "moving").glob("*.jpg"):
        path.unlink()
    found = _find(tmp_path / "moving", tiny)
    onset, apex, offset = _moments(found)
    assert 20 <= onset <= 23 and abs(apex - 30) <= 1 and 37 <= offset <= 40
    assert found.origin == "the strongest motion found"
    assert strongest(found.clip, found.clip.onset, None, found.clip.offset, tiny.prep, read_image)[1] == found.clip.apex


@pytest.mark.parametrize("level", [None, 0, 128])
def test_frames_in_which_nothing_moves_are_said_to_be_that(tmp_path, tiny, level):
    write_clip(tmp_path / "still", 1, 30, (0.0, 0.0), 5, "img")
    for path in (tmp_path / "still").iterdir():
        if level is not None:
            cv2.imwrite(str(path), np.full((48, 48), level, np.uint8))
    with pytest.raises(DataError, match="its strongest motion cannot be found, for nothing moves"):
        _find(tmp_path / "still", tiny)


@pytest.mark.parametrize("given", [Moments(31, 40, 45), Moments(32, None, 44)])
def test_frames_that_are_told_are_taken(stranger, tiny, given):
    found = _find(stranger, tiny, given)
    assert _moments(found) == given
    assert found.clip.frames[0].name == f"frame_{given.onset}.jpg"
    assert found.origin == "as told"


def test_what_is_not_told_is_as_annotated(place, of_clips):
    folder = open_folder(place / "data")
    found = find("sub01/EP01_01f", place / "data", lambda: folder, of_clips.run, Moments(onset=13), False)
    assert (_moments(found), found.origin) == ((13, 19, 27), "as told, as annotated")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (Moments(onset=3), r"--onset must be a frame of .* \(30 to 46\)"),
        (Moments(30, None, 32), r"a clip must have 5 frames from onset to offset, .* are 30, none, 32 \(as told\)"),
        (Moments(30, 31, 32), "a clip must have 5 frames from onset to offset"),
        (Moments(35, 31, 46), "its apex between"),
        (Moments(40, 33), "at the given apex nothing has moved since the onset; give --onset"),
    ],
)
def test_frames_that_cannot_be_are_refused(stranger, tiny, given, words):
    with pytest.raises(DataError, match=words):
        _find(stranger, tiny, given)


def test_folders_that_are_no_clip_are_refused(tmp_path, stranger, tiny):
    shutil.copytree(stranger, tmp_path / "twice")
    shutil.copy(stranger / "frame_30.jpg", tmp_path / "twice" / "again_030.jpg")
    with pytest.raises(DataError, match="frames must differ in number"):
        _find(tmp_path / "twice", tiny)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"must hold 5 frames or more, with numbers as in img46.jpg, but .* has 0"):
        _find(tmp_path / "empty", tiny)
    with pytest.raises(DataError, match="a folder of frames or a video"):
        _find(stranger / "frame_30.jpg", tiny)
    with pytest.raises(DataError, match="must be a flow image"):
        _find(stranger, tiny, flow_images=True)


def test_a_clip_that_cannot_be_read_does_not_keep_others_from_being_judged(ask, stranger, tmp_path):
    broken = shutil.copytree(stranger, tmp_path / "broken")
    (broken / "frame_38.jpg").write_bytes(b"no picture")
    result = ask(broken, stranger, "sub09/nothing", "--json")
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    found = json.loads(result.stdout)
    assert "frame_38.jpg cannot be decoded" in found["clips"][0]["error"]
    assert "prediction" in found["clips"][1]
    assert "sub09/nothing is neither" in found["clips"][2]["error"]


def test_what_was_taken_is_said(ask, stranger, of_clips):
    result = ask("sub03/EP02_03f", stranger)
    assert result.exit_code == 0, result.output
    text = " ".join(result.stdout.split())
    assert "sub03/EP02_03f: onset 13, apex 21, offset 29, as annotated; annotated as disgust" in text
    assert "By the mean of the networks that never saw sub03" in text
    assert "all networks, as of somebody who was not in training; else say who it is with --subject" in text
    assert max(map(len, result.stdout.splitlines())) <= 80
    (row,) = json.loads(ask("sub03/EP02_03f", "--json").stdout)["clips"]
    assert row["networks"] == ["sub03"]
    assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert row["prediction"] == max(row["probabilities"], key=row["probabilities"].get)


def test_the_networks_of_a_folder_are_used_and_the_other_confirmed_trials_named(ask, of_clips, place):
    by_trial, by_folder = (
        ask("sub03/EP02_03f", *options) for options in ((), ("--folder", of_clips.folder, "--data", place / "data"))
    )
    assert by_folder.exit_code == 0, by_folder.output
    assert by_folder.stdout == by_trial.stdout
    assert f"trial 0 of small, confirmed with UF1 {of_clips.summary.tail.uf1:.3f}" in " ".join(by_trial.stdout.split())
    worse = of_clips.folder.with_name("trial-7")
    summary = of_clips.summary.to_json().replace(str(of_clips.summary.tail.uf1), "0.0")
    worse.mkdir()
    (worse / "summary.json").write_text(summary)
    assert "Also confirmed: trial 7 (UF1 0.000); --trial takes another." in ask("sub03/EP02_03f").stdout
    shutil.rmtree(worse)


def test_the_data_of_a_folders_networks_are_asked_for(ask, of_clips, place, monkeypatch):
    monkeypatch.delenv("MER_SEARCH_DATA", raising=False)
    one_line(ask("sub03/EP02_03f", "--folder", of_clips.folder), 2, "--folder goes with --data, or MER_SEARCH_DATA")
    monkeypatch.setenv("MER_SEARCH_DATA", str(place / "data"))
    assert ask("sub03/EP02_03f", "--folder", of_clips.folder).stdout == ask("sub03/EP02_03f").stdout


def test_folds_of_other_confirmations_do_not_say_who_was_in_training(of_clips, place, tmp_path):
    """A configuration's folds lie in one place: those of an earlier seed, or of some subjects, do not count."""
    fold = of_clips.folder / "folds" / f"{FIRST_SEED}-sub01.npz"
    other = fold.with_name("7-sub01.npz")
    save(other, replace(load(fold), seed=7))
    again = confirmed_in(of_clips.folder, place / "data")
    assert again == replace(of_clips, others=again.others)
    keys = set(product(again.summary.seeds, again.subjects))
    assert set(confirmed_folds(of_clips.folder)) == keys
    other.unlink()
    moved = fold.rename(tmp_path / fold.name)
    with pytest.raises(DataError, match=rf"lacks 1 fold, .* {fold.name}; .* --trial 0 --seeds 2 --seed 1000` makes"):
        confirmed_in(of_clips.folder, place / "data")
    moved.rename(fold)


def test_action_units_of_a_tested_clip_are_those_that_its_fold_stored(mer_search, tmp_path, executor):
    write_casme2(tmp_path / "data", 2)
    study = CLIPS.replace('base = "V3NR"', 'base = "V6"').replace("[space]", '"units.epochs" = 1\n[space]')
    networks = confirmed(study, tmp_path, executor)
    folds = [fold for fold in folds_of(networks.folder) if fold.subject == networks.subjects[0]]
    clip, names = folds[0].clips[0], folds[0].unit_names
    one, two = _ask(networks, clip), _ask(networks, clip, given=Moments(apex=20))
    stored = np.mean([fold.unit_probabilities[0] for fold in folds], axis=0, dtype=float)
    assert len(folds) == 2 and list(one[0].action_units) == list(names)
    np.testing.assert_allclose(list(one[0].action_units.values()), stored)
    assert two[0].action_units == {}  # other frames than the fold tested
    said = mer_search("predict", clip).stdout
    first = names[int(stored.argmax())]
    assert f"Action units after the first stage: {first} {stored.max():.2f}" in " ".join(said.split())
    assert f"annotated as {' '.join(one[0].found.clip.action_units)}" in " ".join(said.split())


def test_wrong_calls(ask, stranger, place):
    for arguments, words in (
        ((stranger, "--folder", place, "--trial", 0), "--folder takes the place of --trial"),
        ((stranger, "--data", place), "--data goes with --folder"),
        ((stranger, stranger, "--onset", 3), "are of one clip, but got 2"),
        ((stranger, "--trial", 7), "--trial must be confirmed"),
    ):
        one_line(ask(*arguments), 2, words)


def test_flow_images_are_judged_as_they_were_in_training(confirmed_folder, tmp_path):
    flow = tmp_path / "flow"
    found = find_confirmed(copied_study(confirmed_folder, tmp_path, data=flow), None)
    stored = _stored(found)
    image = flow / "sub02/u_test/1/sub02_EP10 .png"
    others = flow / "sub03/u_train/1/sub02_EP10 .png"  # a subject's u_train has other people's clips
    others.parent.mkdir(parents=True)
    shutil.copy(image, others)
    shutil.copy(image, tmp_path / "copied.png")  # known by its content, and a foreign one not by its name
    foreign = tmp_path / image.name
    cv2.imwrite(str(foreign), cv2.imread(str(image))[::-1])
    by_id, by_path, in_training, copied, new, wrong = _ask(
        found, "sub02/sub02_EP10", image, others, tmp_path / "copied.png", foreign, flow / "sub02"
    )
    for each in (by_id, by_path, in_training, copied):
        assert each.networks == ("sub02",)
        np.testing.assert_allclose(each.probabilities, stored["sub02/sub02_EP10"], atol=1e-3)
    assert new.networks == found.subjects
    assert "it cannot be told whose it is" in wrong.what
