import pytest
from small import samm_row, write_book, write_frames, write_samm

from mer_search.data import open_folder
from mer_search.data.clips import checksum
from mer_search.errors import UsageError

EMOTIONS = ("Anger", "Happiness", "Other", "Surprise", "Contempt", "Disgust", "Fear", "Sadness")


def _one_of_each(root):
    write_samm(root, [samm_row("006", f"006_1_{k}", emotion, 100 * k) for k, emotion in enumerate(EMOTIONS, 1)])


def test_facts_of_a_clip(tmp_path):
    write_samm(tmp_path, [samm_row("006", "006_1_2", "Anger")])
    folder = open_folder(tmp_path)
    assert (folder.name, folder.title, folder.problems) == ("samm", "SAMM, 5 classes", ())
    (clip,) = folder.clips
    assert (clip.dataset, clip.id, clip.label, clip.fps) == ("samm", "006/006_1_2", "anger", 200)
    assert (clip.onset, clip.apex, clip.offset, clip.action_units) == (5562, 5567, 5572, ("4", "7"))
    assert (clip.frames[0].name, len(clip.frames)) == ("006_05562.jpg", 11)


def test_the_tasks(tmp_path):
    _one_of_each(tmp_path)
    five, three = open_folder(tmp_path), open_folder(tmp_path, "3")
    assert [clip.label for clip in five.clips] == ["anger", "happiness", "other", "surprise", "contempt"]
    assert five.classes == ("anger", "happiness", "other", "surprise", "contempt")
    assert [clip.label for clip in three.clips] == [
        "negative", "positive", "surprise", "negative", "negative", "negative", "negative"
    ]  # fmt: skip
    assert (five.problems, three.problems, three.title) == ((), (), "SAMM, 3 classes")
    with pytest.raises(UsageError, match=r"a task of SAMM must be one of 5, 3, objective-5.*'7'"):
        open_folder(tmp_path, "7")


@pytest.mark.parametrize("subject", [6, "6", "006", 6.0])
def test_subjects_that_lost_their_zeros(tmp_path, subject):
    write_samm(tmp_path, [samm_row(subject, "006_1_2", "anger"), samm_row(26, "026_1_1", "anger")])
    assert [clip.subject for clip in open_folder(tmp_path).clips] == ["006", "026"]


def test_quirks_of_the_spreadsheet(tmp_path):
    rows = [samm_row(6, f"006_1_{k}", "Other") for k in range(6)]
    rows[0][9] = " Others"
    rows[1][4] = 9999  # 028_4_1 and two more, in some copies
    rows[2][8] = "AU12A or AU14B"
    rows[3][8] = 4
    rows[4][4] = None
    rows[5][9] = "Boredom"
    write_samm(tmp_path, rows)
    folder = open_folder(tmp_path)
    assert [clip.label for clip in folder.clips] == ["other"] * 5
    assert [clip.apex for clip in folder.clips] == [5567, None, 5567, 5567, None]
    assert [clip.action_units for clip in folder.clips[2:4]] == [("?",), ("4",)]
    assert [(problem.clip[-1], problem.usable) for problem in folder.problems] == [
        ("1", True),
        ("4", True),
        ("5", False),
    ]
    assert "apex must lie between onset 5562 and offset 5572, but is '9999'" in folder.problems[0].what
    assert "'boredom'" in folder.problems[2].what


def test_the_titles_may_be_on_any_row_of_a_csv_export(tmp_path):
    write_samm(tmp_path, [samm_row(6, "006_1_2", "Anger")])
    first = checksum(open_folder(tmp_path).clips)
    (tmp_path / "SAMM_Micro_FACS_Codes_v2.xlsx").unlink()
    titles = ["Subject", "Filename", "Onset Frame", "Apex Frame", "Offset Frame", "Action Units", "Estimated Emotion"]
    sheet = [["notes"], [], titles, [6, "006_1_2", 5562, 5567, 5572, "AU4+AU7", "anger"]]
    write_book(tmp_path / "SAMM_20181215_Micro_FACS_Codes_v2.csv", sheet)
    assert checksum(open_folder(tmp_path).clips) == first


def test_an_emotion_outside_the_task_is_left_out_with_its_problems(tmp_path):
    _one_of_each(tmp_path)
    for path in (tmp_path / "006" / "006_1_7").iterdir():  # fear
        path.unlink()
    assert open_folder(tmp_path).problems == ()
    assert [problem.clip for problem in open_folder(tmp_path, "3").problems] == ["006/006_1_7"]


def test_the_sheet_of_long_videos_is_not_samm(tmp_path):
    write_samm(tmp_path / "SAMM", [samm_row(6, "006_1_2", "Anger")])
    (tmp_path / "SAMM" / "SAMM_LongVideos_V2_Release.xlsx").write_bytes(b"no annotation of clips")
    write_frames(tmp_path / "SAMM" / "SAMM_longvideos" / "006_1", ["006_1_0001.jpg"])
    assert [clip.id for clip in open_folder(tmp_path).clips] == ["006/006_1_2"]
