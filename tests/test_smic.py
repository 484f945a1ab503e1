import pytest
from small import SMIC_TITLES, smic_row, write_book, write_frames, write_smic

from mer_search.data import open_folder

ROWS = [
    smic_row(1, "s1_ne_01", "negative"),
    smic_row(1, "s1_po_02", "positive", 5),
    smic_row(11, "s11_sur_01", "surprise"),
]


def test_facts_of_a_clip(tmp_path):
    write_smic(tmp_path, ROWS)
    folder = open_folder(tmp_path)
    assert (folder.name, folder.title, folder.task, folder.problems) == ("smic", "SMIC-HS, 3 classes", "3", ())
    assert [clip.id for clip in folder.clips] == ["s01/s1_ne_01", "s01/s1_po_02", "s11/s11_sur_01"]
    assert [clip.label for clip in folder.clips] == ["negative", "positive", "surprise"]
    clip = folder.clips[0]
    assert (clip.dataset, clip.fps, clip.onset, clip.apex, clip.offset) == ("smic", 100, 90823, None, 90831)
    assert (clip.frames[0].name, len(clip.frames), clip.action_units) == ("reg_image90823.bmp", 9, ())


@pytest.mark.parametrize("frame", ["image{:06d}.jpg", "reg_image{}.bmp", "s1_{:05d}.png", "HS2_img{:d}_face.JPG"])
def test_the_last_number_in_a_frames_name_is_its_own(tmp_path, frame):
    write_smic(tmp_path, ROWS[:1], frame)
    (clip,) = open_folder(tmp_path).clips
    assert [path.name for path in clip.frames] == [frame.format(number) for number in range(90823, 90832)]


def test_frames_numbered_anew_are_taken_in_order_if_there_are_as_many(tmp_path):
    write_smic(tmp_path, ROWS[:2])
    micro = tmp_path / "SMIC_all_cropped" / "HS" / "s01" / "micro"
    for folder, count in ((micro / "negative" / "s1_ne_01", 9), (micro / "positive" / "s1_po_02", 10)):
        for path in folder.iterdir():
            path.unlink()
        write_frames(folder, (f"image{k}.jpg" for k in range(1, count + 1)))
    folder = open_folder(tmp_path)
    assert [path.name for path in folder.clips[0].frames] == [f"image{k}.jpg" for k in range(1, 10)]
    assert (folder.clips[0].onset, folder.clips[0].offset) == (90823, 90831)
    assert [problem.clip for problem in folder.problems] == ["s01/s1_po_02"]  # 5 to 13 are wanted, 1 to 10 are there


@pytest.mark.parametrize("sheet", ["s1_ne_01", "s01_ne_01", "S1_NE_1"])
@pytest.mark.parametrize("folder", ["s01/micro/negative/s1_ne_01", "s1/micro/Negative/s01_ne_01", "S01/s1_ne_1"])
def test_zeros_and_case_in_names_make_no_difference(tmp_path, sheet, folder):
    write_book(tmp_path / "smic-hs-e_ANNOTATION_2019.xlsx", [SMIC_TITLES, smic_row(1, sheet, "negative")], "hs")
    path = tmp_path / "SMIC_all_cropped" / "HS" / folder
    write_frames(path, (f"image{k}.jpg" for k in range(90823, 90832)))
    assert [clip.frames[0].parent for clip in open_folder(tmp_path).clips] == [path]


def test_the_label_is_the_spreadsheets_not_the_folders(tmp_path):
    write_smic(tmp_path, [smic_row(1, "s1_ne_01", " Surprise ")])
    (clip,) = open_folder(tmp_path).clips
    assert (clip.frames[0].parent.parent.name, clip.label) == ("negative", "surprise")


@pytest.mark.parametrize("camera", ["VIS", "NIR", "SMIC-VIS-E", "NIR_long"])
def test_clips_of_other_cameras_are_not_looked_at(tmp_path, camera):
    write_smic(tmp_path, ROWS[:2])
    hs = tmp_path / "SMIC_all_cropped" / "HS" / "s01" / "micro"
    other = tmp_path / "SMIC_all_cropped" / camera / "s01" / "micro"
    other.mkdir(parents=True)
    (hs / "negative").rename(other / "negative")
    folder = open_folder(tmp_path)
    assert [clip.name for clip in folder.clips] == ["s1_po_02"]
    assert [str(problem) for problem in folder.problems] == [
        "s01/s1_ne_01: its frame folder is missing or empty (left out)"
    ]


def test_the_publishers_archive_has_its_sheet_two_levels_down(tmp_path):
    inside = tmp_path / "SMIC-E_raw image" / "HS_long"
    write_smic(inside, ROWS[:1])
    folder = open_folder(tmp_path)
    assert ([clip.id for clip in folder.clips], folder.problems) == (["s01/s1_ne_01"], ())
    assert folder.source == "SMIC-E_raw image/HS_long/SMIC-HS-E_annotation.xlsx"


@pytest.mark.parametrize("pairs", [2, 3])
def test_the_publishers_workbook_and_of_several_expressions_the_first(tmp_path, pairs):
    more = [f"{end}{k}F" for k in range(2, pairs + 1) for end in ("Onset", "Offset")]
    titles = ["Subject", "Filename", None, "OnsetF", "OffsetF", *more, None, "FirstF", "LastF"]
    titles += [*(f"TotalMF{k}" for k in range(1, pairs + 1)), "TotalVL", "Emotion"]

    def row(subject, name, emotion, second=()):
        pair = [*second, *[None] * (len(more) - len(second))]
        known = [subject, name, None, 17581039, 17581055, *pair, None, 17580887, 17581094, 17]
        return [*known, *[None] * (pairs - 1), 208, emotion]

    rows = [row(20, "s20_ne_01", "negative"), row(20, "s20_po_01", "positive", (17581060, 17581075))]
    write_smic(tmp_path, [smic_row(20, each[1], each[-1], 17581039) for each in rows])
    path = tmp_path / "SMIC-HS-E_annotation.xlsx"
    write_book(path, [titles, *rows], "HS", other="VIS")
    (tmp_path / "~$SMIC-HS-E_annotation.xlsx").write_bytes(b"Excel has it open")
    for folder in (tmp_path / "SMIC_all_cropped").rglob("s20_*"):
        write_frames(folder, (f"reg_image{k}.bmp" for k in range(17581039, 17581080)))
    folder = open_folder(tmp_path)
    found = [(clip.id, clip.label, clip.onset, clip.offset) for clip in folder.clips]
    assert found == [
        ("s20/s20_ne_01", "negative", 17581039, 17581055), ("s20/s20_po_01", "positive", 17581039, 17581055)
    ]  # fmt: skip
    said = "it has another expression, from frame 17581060 on; the first is taken"
    (problem,) = folder.problems
    assert (problem.clip, problem.what, problem.usable) == ("s20/s20_po_01", said, True)
