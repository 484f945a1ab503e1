import cv2
import pytest
from small import COLUMNS, casme2_row, write_book, write_casme2, write_frames, write_sheet, write_still_casme2

from mer_search.data import open_folder
from mer_search.data.check import check_folder
from mer_search.data.readers.layouts import CASME2
from mer_search.errors import DataError


@pytest.mark.parametrize(
    ("layout", "prefix"),
    [
        ("Cropped/sub{:02d}", "reg_img"),
        ("CASME2_RAW_selected/sub{:02d}", "img"),
        ("Cropped-updated/Cropped/{:d}", "reg_img"),
        ("denoised_masked/sub{:02d}", "md_reg_img"),
    ],
)
def test_every_layout_is_read(tmp_path, layout, prefix):
    write_casme2(tmp_path, 2, layout=layout, prefix=prefix)
    folder = open_folder(tmp_path)
    assert (folder.name, len(folder.clips), folder.problems) == ("casme2", 8, ())
    clip = folder.clips[1]
    assert (clip.id, clip.label, clip.onset, clip.apex, clip.offset) == ("sub01/EP02_01f", "disgust", 11, 19, 27)
    assert clip.action_units == ("4", "R10")
    assert clip.frames[0].name == f"{prefix}11.jpg"
    assert len(clip.frames) == 17


def test_of_two_images_of_a_frame_the_first_by_name_is_taken_and_that_is_said(tmp_path):
    write_casme2(tmp_path, 1)
    plain = open_folder(tmp_path).clips[0].frames
    folder = tmp_path / "Cropped" / "sub01" / "EP01_01f"
    write_frames(folder, ["reg_img12.png", "reg_img13.bmp", "reg_img400.png"])  # the last is of no frame of the clip
    found = open_folder(tmp_path)
    assert [path.name for path in found.clips[0].frames[:3]] == ["reg_img11.jpg", "reg_img12.jpg", "reg_img13.bmp"]
    assert found.clips[0].frames[3:] == plain[3:]
    (problem,) = found.problems
    assert problem.usable and "more than one image of a frame (such as reg_img12.png)" in problem.what


def test_quirks_of_the_spreadsheet(tmp_path):
    rows = write_casme2(tmp_path, 3)
    rows[0][4] = "/"  # sub04 EP12_01f in the real one
    rows[1][4] = rows[1][3]  # apex = onset is kept: sub05 EP09_05f
    rows[2][8] = "Fear"  # annotated, no class of the task
    rows[3][8], rows[3][4] = "joy", "/"  # one problem is told of it
    rows[4][4] = 999
    rows[5][1] = "EP99_99"
    rows[6][8] = " Others "  # stray spaces and capitals
    rows[7][7] = "?"
    rows[8][3] = rows[8][5]
    write_sheet(tmp_path / "CASME2-coding-20140508.xlsx", rows)
    folder = open_folder(tmp_path)
    clips = {clip.id: clip for clip in folder.clips}
    assert [clips[name].apex for name in ("sub01/EP01_01f", "sub01/EP02_01f", "sub02/EP01_02f")] == [None, 11, None]
    assert (clips["sub02/EP03_02f"].label, clips["sub02/EP04_02f"].action_units) == ("others", ("?",))
    assert "sub01/EP03_01f" not in clips
    assert folder.outside == {"fear": 1, "joy": 1}
    for problem, (clip, what, usable) in zip(
        folder.problems,
        [
            ("sub01/EP01_01f", "apex must lie between onset 11 and offset 27, but is '/'", True),
            ("sub02/EP01_02f", "but is '999'; taken as unknown", True),
            ("sub02/EP99_99", "folder is missing", False),
            ("sub03/EP01_03f", "onset must come before offset", False),
            ("sub01/EP04_01f", "label must be one of disgust, fear, happiness, others, repression", False),
        ],
        strict=True,
    ):
        assert (problem.clip, problem.usable) == (clip, usable) and what in problem.what


def test_missing_last_frames_shorten_a_clip_and_many_or_the_first_leave_it_out(tmp_path):
    rows = write_casme2(tmp_path, 2)
    for row, gone in ((rows[0], (25, 26, 27)), (rows[4], range(14, 29)), (rows[5], [12])):
        for number in gone:
            (tmp_path / "Cropped" / f"sub{row[0]:02d}" / row[1] / f"reg_img{number}.jpg").unlink()
    write_frames(tmp_path / "Cropped" / "sub02" / rows[5][1], ["reg_img29.jpg"])  # as many as before, but others
    folder = open_folder(tmp_path)
    assert (folder.clips[0].offset, len(folder.clips)) == (24, 6)
    assert [(problem.clip, problem.usable, problem.what) for problem in folder.problems] == [
        ("sub01/EP01_01f", True, "3 of its frames 11-27 are missing (the first: 25); offset taken as 24"),
        ("sub02/EP01_02f", False, "15 of its frames 12-28 are missing (the first: 14)"),
        ("sub02/EP02_02f", False, "1 of its frames 12-28 are missing (the first: 12)"),
    ]


def test_an_unreadable_image_and_one_of_another_size_are_found_by_the_check(tmp_path):
    write_casme2(tmp_path, 2)
    path, frame = (tmp_path / f"Cropped/sub01/EP0{clip}_01f/reg_img15.jpg" for clip in (1, 2))
    path.write_bytes(path.read_bytes()[:300])
    cv2.imwrite(str(frame), cv2.resize(cv2.imread(str(frame)), (40, 40)))
    (tmp_path / "Cropped/sub02/EP01_02f/reg_img20.jpg").write_bytes(b"")
    report = check_folder(open_folder(tmp_path), lambda done, total: None)
    assert [problem.clip for problem in report.problems] == ["sub01/EP01_01f", "sub01/EP02_01f", "sub02/EP01_02f"]
    assert "reg_img15.jpg cannot be decoded" in report.problems[0].what
    assert "must have one size, but are 40 x 40 and 48 x 48 pixels" in report.problems[1].what
    assert len(report.clips) == 5


def test_a_spreadsheet_without_its_columns_or_frames(tmp_path):
    rows = write_casme2(tmp_path / "a", 1)
    sheet = tmp_path / "b" / "CASME2-coding-20140508.csv"
    sheet.parent.mkdir()
    write_sheet(sheet, rows)
    with pytest.raises(DataError, match="needs frames"):
        CASME2.read(sheet.parent, "5")
    sheet.write_text("Subject,Filename,Subject\n1,EP01,9\n")
    with pytest.raises(DataError, match=r"columns Subject, .* once, but has Subject 2 times, OnsetFrame 0 times"):
        CASME2.read(sheet.parent, "5")
    sheet.rename(sheet.with_suffix(".xlsx"))
    with pytest.raises(DataError, match="must be a readable table"):
        CASME2.read(sheet.parent, "5")


def test_of_several_spreadsheets_the_newest_is_read_and_named(mer_search, tmp_path):
    rows = write_casme2(tmp_path, 2)
    write_sheet(tmp_path / "CASME2-coding-20140508.xlsx", rows[:4])
    write_sheet(tmp_path / "CASME2-coding-20190701.xlsx", rows)
    said = "CASME2-coding-20190701.xlsx (not CASME2-coding-20140508.xlsx)"
    assert (open_folder(tmp_path).source, len(open_folder(tmp_path).clips)) == (said, 8)
    head = mer_search("data", "check", tmp_path).stdout.partition("subject ")[0]
    assert f"annotation: {said}" in " ".join(head.split())
    (tmp_path / "CASME2-coding-20190701.xlsx").unlink()
    assert open_folder(tmp_path).source == "CASME2-coding-20140508.xlsx"


@pytest.mark.parametrize(("sheet", "emotion"), [("20140508", "sadness"), ("20190701", "surprise")])
def test_the_task_of_megc_has_its_clips_by_either_spreadsheet(tmp_path, sheet, emotion):
    names = ["EP07_01", "EP07_04f", "EP10_03", "EP02_07"]  # three that became surprise in 2019, and one that always was
    titles = [*COLUMNS, "Objective Classes"] if sheet == "20190701" else COLUMNS
    labels = [emotion] * 3 + ["surprise"]
    rows = [[*casme2_row(24, *each), "II"][: len(titles)] for each in zip(names, labels, strict=True)]
    write_still_casme2(tmp_path, rows, titles, f"CASME2-coding-{sheet}.xlsx")
    three, seven = open_folder(tmp_path, "3"), open_folder(tmp_path, "7")
    assert ([clip.name for clip in three.clips], three.problems, three.outside) == (["EP02_07"], (), {emotion: 3})
    assert ([clip.label for clip in seven.clips], seven.outside) == (labels, {})


def test_the_objective_classes_are_a_task_where_the_spreadsheet_has_them(tmp_path):
    rows = write_casme2(tmp_path, 2)
    with pytest.raises(DataError, match=r"20140508.xlsx must have the column Objective Classes .* another copy"):
        open_folder(tmp_path, "objective-7")
    classes = ["I", "II", "iii", "VII", "IV", "VI", "", "VIII"]
    book = [[*row, name] for row, name in zip(rows, classes, strict=True)]
    write_book(tmp_path / "CASME2-coding-20190701.xlsx", [[*COLUMNS, "Objective Classes"], *book])
    seven, five = open_folder(tmp_path, "objective-7"), open_folder(tmp_path, "objective-5")
    assert [clip.label for clip in seven.clips] == ["I", "II", "III", "VII", "IV", "VI"]
    assert (seven.title, seven.outside) == ("CASME II, 7 objective classes", {"": 1, "viii": 1})
    assert [problem.what.partition("but is ")[2] for problem in seven.problems] == [
        "''; correct the annotation", "'viii'; correct the annotation"
    ]  # fmt: skip
    assert [clip.label for clip in five.clips] == ["I", "II", "III", "IV"]
    assert len(open_folder(tmp_path).clips) == 8
