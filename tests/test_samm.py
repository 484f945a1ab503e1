import pytest
from small import samm_row, write_frames, write_samm

from mer_search.data import open_folder
from mer_search.errors import UsageError

EMOTIONS = ("Anger", "Happiness", " Others", "Surprise", "Contempt", "Disgust", "Fear", "Sadness")


def test_facts_of_a_clip(tmp_path):
    write_samm(tmp_path, [samm_row("006", "006_1_2", "Anger")])
    folder = open_folder(tmp_path)
    assert (folder.name, folder.title, folder.problems) == ("samm", "SAMM, 5 classes", ())
    (clip,) = folder.clips
    assert (clip.dataset, clip.id, clip.label, clip.fps) == ("samm", "006/006_1_2", "anger", 200)
    assert (clip.onset, clip.apex, clip.offset, clip.action_units) == (5562, 5567, 5572, ("4", "7"))
    assert (clip.frames[0].name, len(clip.frames)) == ("006_05562.jpg", 11)


def test_the_tasks(tmp_path):
    rows = [samm_row("006", f"006_1_{k}", emotion, 100 * k) for k, emotion in enumerate(EMOTIONS, 1)]
    write_samm(tmp_path, rows)
    five, three = open_folder(tmp_path), open_folder(tmp_path, "3")
    assert [clip.label for clip in five.clips] == ["anger", "happiness", "other", "surprise", "contempt"]
    assert five.classes == ("anger", "happiness", "other", "surprise", "contempt")
    assert [clip.label for clip in three.clips] == ["negative", "positive", "surprise", *["negative"] * 4]
    assert (five.problems, three.problems, three.title) == ((), (), "SAMM, 3 classes")
    with pytest.raises(UsageError, match=r"a task of SAMM must be one of 5, 3, objective-5.*'7'"):
        open_folder(tmp_path, "7")


@pytest.mark.parametrize("subject", [6, "6", "006", 6.0])
def test_subjects_that_lost_their_zeros(tmp_path, subject):
    write_samm(tmp_path, [samm_row(subject, "006_1_2", "anger"), samm_row(26, "026_1_1", "anger")])
    assert [clip.subject for clip in open_folder(tmp_path).clips] == ["006", "026"]


def test_the_sheet_of_long_videos_is_not_samm(tmp_path):
    write_samm(tmp_path / "SAMM", [samm_row(6, "006_1_2", "Anger")])
    (tmp_path / "SAMM" / "SAMM_LongVideos_V2_Release.xlsx").write_bytes(b"no annotation of clips")
    write_frames(tmp_path / "SAMM" / "SAMM_longvideos" / "006_1", ["006_1_0001.jpg"])
    assert [clip.id for clip in open_folder(tmp_path).clips] == ["006/006_1_2"]
