"""Datasets that are a spreadsheet's declared columns: MMEW, DFME and CAS(ME)^3."""

import pytest
from small import smic_row, write_book, write_frames, write_smic

from mer_search.data import DATASETS, open_folder
from mer_search.data.readers.layouts import LAYOUTS

MMEW = ["Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Action Units", "Estimated Emotion", "remarks"]
DFME = ["Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Emotion", "EmotionId", "Fps", "AU"]
CASME3 = ["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion"]
EMOTIONS = ["happiness", "surprise", "disgust", "fear", "sadness", "anger"]


def _labels(folder):
    return [clip.label for clip in folder.clips]


def _mmew(root, emotions=(*EMOTIONS, "others")):
    units = ["6+12", *["12L"] * len(emotions)]
    rows = [[k, f"S{k:02d}-01-001", 1, 5, 9, units[k - 1], label, None] for k, label in enumerate(emotions, 1)]
    write_book(root / "MMEW_Micro_Exp.xlsx", [MMEW, *rows])
    for row in rows:
        for place in ("Micro_Expression", "Macro_Expression"):
            write_frames(root / place / row[6] / row[1], (f"{k}.jpg" for k in range(1, 12)))


def test_mmew(tmp_path):
    _mmew(tmp_path)
    folder = open_folder(tmp_path)
    assert (folder.name, folder.title, folder.problems) == ("mmew", "MMEW, 6 classes", ())
    clip = folder.clips[0]
    assert (clip.id, clip.label, clip.fps, clip.action_units) == ("mmew01/S01-01-001", "happiness", 90, ("6", "12"))
    assert (clip.onset, clip.apex, clip.offset, len(clip.frames)) == (1, 5, 9, 9)
    assert clip.frames[0] == tmp_path / "Micro_Expression" / "happiness" / "S01-01-001" / "1.jpg"
    assert folder.clips[1].action_units == ("L12",)
    assert _labels(folder) == EMOTIONS
    assert _labels(open_folder(tmp_path, "7")) == [*EMOTIONS, "others"]
    assert _labels(open_folder(tmp_path, "4")) == ["happiness", "surprise", "disgust", "others"]
    assert _labels(open_folder(tmp_path, "3")) == ["positive", "surprise", *["negative"] * 4]


@pytest.mark.parametrize("between", ["", "sub0003"])
def test_dfme_whose_clips_have_frames_a_second_of_their_own(tmp_path, between):
    rows = [
        ["sub0003", "sub0003_01", 109, 120, 128, "anger", 0, 500, 23],
        ["sub0003", "sub0003_02", 109, 120, 128, "Contempt", 1, 200, "4+7"],
        ["sub0003", "sub0003_03", 109, 120, 128, "happiness", 4, None, "12"],
    ]
    write_book(tmp_path / "training_full_with_AU.xlsx", [DFME, *rows])
    for row in rows:
        write_frames(tmp_path / "train" / between / row[1], (f"{k:05d}.png" for k in range(100, 130)))
    folder = open_folder(tmp_path)
    assert (folder.name, folder.title, folder.problems) == ("dfme", "DFME, 7 classes", ())
    assert [(clip.id, clip.label, clip.fps, clip.action_units) for clip in folder.clips] == [
        ("sub0003/sub0003_01", "anger", 500, ("23",)), ("sub0003/sub0003_02", "contempt", 200, ("4", "7")),
        ("sub0003/sub0003_03", "happiness", 500, ("12",)),
    ]  # fmt: skip
    assert (folder.clips[0].frames[0].name, len(folder.clips[0].frames)) == ("00109.png", 20)
    assert _labels(open_folder(tmp_path, "3")) == ["negative", "negative", "positive"]


FILMS = [
    ["spNO.1", "b", "166", "175", "179", "4", "III", "disgust"],
    ["spNO.1", "b", "30", "30", "40", "R12", "I", "Happy"],  # the apex is the onset
    ["spNO.1", "e", "62", "68", "96", "R12", "I", "others"],
    ["spNO.149", "d", "112", "83", "120", "1+2", "II", "surprise"],  # the apex is before the onset
    ["spNO.149", "f", "10", "11", "12", "4", "IV", "sad"],  # three frames
]


def _casme3(root, films):
    write_book(root / "annotation" / "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx", [CASME3, *FILMS])
    for subject, film, onset, _, offset, *_ in FILMS:
        if films:
            for kind in ("color", "depth"):
                folder = root / "part_A" / subject / film / kind
                write_frames(folder, (f"{k}.jpg" for k in range(int(onset) - 5, int(offset) + 5)))
        else:
            for kind in ("frame", "depth"):
                folder = root / "Part_A_ME_clip" / kind / f"{subject}_{film}_{onset}"
                write_frames(folder, (f"{k}.jpg" for k in range(int(onset), int(offset) + 1)))


@pytest.mark.parametrize("films", [True, False])
def test_casme3_where_a_film_has_several_expressions(tmp_path, films):
    _casme3(tmp_path, films)
    folder = open_folder(tmp_path)
    assert (folder.name, folder.title) == ("casme3", "CAS(ME)^3 part A, 7 classes")
    assert [(clip.id, clip.label, clip.onset, clip.apex, clip.offset, len(clip.frames)) for clip in folder.clips] == [
        ("spNO.1/b_166", "disgust", 166, 175, 179, 14), ("spNO.1/b_30", "happiness", 30, 30, 40, 11),
        ("spNO.1/e", "others", 62, 68, 96, 35), ("spNO.149/d", "surprise", 112, None, 120, 9),
        ("spNO.149/f", "sadness", 10, 11, 12, 3),
    ]  # fmt: skip
    place = "part_A/spNO.1/b/color" if films else "Part_A_ME_clip/frame/spNO.1_b_166"
    assert folder.clips[0].frames[0] == tmp_path / place / "166.jpg"
    assert {clip.fps for clip in folder.clips} == {30}
    assert _labels(open_folder(tmp_path, "4")) == ["negative", "positive", "others", "surprise", "negative"]
    assert _labels(open_folder(tmp_path, "3")) == ["negative", "positive", "surprise", "negative"]
    (problem,) = folder.problems
    assert (problem.clip, problem.usable) == ("spNO.149/d", True)
    assert "apex must lie between onset 112 and offset 120, but is '83'" in problem.what


def test_exported_frames_of_an_expression_go_before_the_films(tmp_path):
    _casme3(tmp_path, True)
    write_frames(tmp_path / "denoised_masked" / "spNO.1" / "b_166", (f"md_img{k}.png" for k in range(166, 180)))
    first, second, *_ = open_folder(tmp_path).clips
    assert (first.frames[0].name, first.processed) == ("md_img166.png", True)
    assert (second.frames[0].name, second.processed) == ("30.jpg", False)


def test_a_row_that_is_there_twice_makes_no_second_expression(tmp_path):
    _casme3(tmp_path, True)
    path = tmp_path / "annotation" / "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx"
    write_book(path, [CASME3, FILMS[2], FILMS[2]])
    folder = open_folder(tmp_path)
    assert [clip.id for clip in folder.clips] == ["spNO.1/e"]
    assert "two rows" in folder.problems[0].what


def test_the_sheet_of_macro_expressions_is_not_casme3(tmp_path):
    _casme3(tmp_path, True)
    (tmp_path / "annotation" / "cas(me)3_part_A_MaE_label_JpgIndex_v2_emotion.xlsx").write_bytes(b"other columns")
    assert open_folder(tmp_path).source == "annotation/cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx"


def test_datasets_side_by_side_are_a_composite_of_their_three_classes(tmp_path):
    _mmew(tmp_path / "MMEW")
    _casme3(tmp_path / "CASME3", True)
    write_smic(tmp_path / "SMIC", [smic_row(1, "s1_ne_01", "negative")])
    folder = open_folder(tmp_path)
    assert (folder.name, folder.title) == ("mixed", "composite of several datasets, 3 classes")
    found = [(clip.dataset, clip.label) for clip in folder.clips]
    assert found == [
        ("smic", "negative"), ("mmew", "positive"), ("mmew", "surprise"), *[("mmew", "negative")] * 4,
        ("casme3", "negative"), ("casme3", "positive"), ("casme3", "surprise"), ("casme3", "negative"),
    ]  # fmt: skip
    assert len({clip.id for clip in folder.clips}) == len(found)
    (tmp_path / "combined_3class_gt.csv").write_text("smic,s01,s01_ne_01,0\n")  # MEGC 2019's list
    assert (open_folder(tmp_path).name, _labels(open_folder(tmp_path))) == ("composite", ["negative"])


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_published_name_of_a_spreadsheet_is_its_own_datasets_alone(tmp_path, name):
    file = tmp_path / LAYOUTS[name].file
    file.write_bytes(b"")
    assert [each for each, dataset in DATASETS.items() if dataset.recognise(tmp_path, [file])] == [name]
