import os

import pytest
from small import COLUMNS, casme2_row, silent, write_book, write_casme2, write_frames, write_still_casme2

from mer_search.config import Frames, Prep, with_values
from mer_search.data import open_folder
from mer_search.data.clips import checksum
from mer_search.data.flow import frame_sets
from mer_search.data.prepare import neighbours
from mer_search.data.readers.annotation import action_units, number, without_zeros
from mer_search.errors import DataError
from mer_search.search.workspace import load_data


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("R1+L2", ("R1", "L2")), ("12.0", ("12",)), ("12", ("12",)), ("AU4+AU7", ("4", "7")), ("12B", ("12",)),
        ("AU12B", ("12",)), ("AU 4 + l12C", ("4", "L12")), ("4, 7", ("4", "7")), ("AUL14A+25", ("L14", "25")),
        ("?", ("?",)), ("12 or 14", ("?",)), ("AU12A Or AU14", ("?",)), ("4+7or9", ("4", "?")), ("", ()), ("  ", ()),
        # SAMM's own cells
        ("A12", ("12",)), ("A14C", ("14",)), ("A1B+A2C", ("1", "2")), ("A12+A7", ("12", "7")), ("A9+12", ("9", "12")),
        ("A9E+ref(10)", ("9", "10")), ("ref(7B)+43", ("7", "43")), ("ref(5)+20C+25+26", ("5", "20", "25", "26")),
        ("T18+39", ("18", "39")), ("T23", ("23",)), ("B18+25", ("18", "25")), ("4A/B", ("4",)), ("10A/B", ("10",)),
        ("A/L12", ("12",)), ("L12 or L14", ("?",)), ("(R6 or R12)+R15", ("?", "R15")), ("4/7", ("?",)),
        ("R14A or 17A or 24A", ("?",)), ("12+15 ", ("12", "15")),
        ("12L", ("L12",)), ("4R+7", ("R4", "7")),  # MMEW's
    ],
)  # fmt: skip
def test_action_units_of_a_cell(cell, expected):
    assert action_units(cell) == (expected, "")


def test_what_is_no_action_unit_leaves_the_others(tmp_path):
    cells = ["R14+17+soft focus", "R14+17x", "foo"]
    write_still_casme2(tmp_path, [casme2_row(1, f"EP01_0{k}", units=cell) for k, cell in enumerate(cells)])
    folder = open_folder(tmp_path)
    assert [clip.action_units for clip in folder.clips] == [("R14", "17"), ("R14", "?"), ("?",)]
    assert [(problem.what.partition("4+L12, but ")[2], problem.usable) for problem in folder.problems] == [
        ("'SOFT FOCUS' is none; the others are taken", True), ("'17X' is none; taken as unknown", True),
        ("'FOO' is none; taken as unknown", True),
    ]  # fmt: skip


@pytest.mark.parametrize("cell", ["46", "46.0", " 46 "])
def test_numbers_of_a_cell(cell):  # what is none: test_input.py
    assert number(cell) == 46


def test_names_are_compared_without_leading_zeros():
    assert without_zeros("S01_ne_01") == without_zeros("s1_ne_1") == "s1_ne_1"
    assert without_zeros("s10_ne_01") != without_zeros("s1_ne_01")


def test_junk_and_files_where_folders_are_expected_are_not_looked_at(tmp_path):
    write_still_casme2(tmp_path, [casme2_row(1, "EP01_01"), casme2_row(1, "EP01_02")])
    clip = tmp_path / "Cropped" / "sub01" / "EP01_01"
    for place in (tmp_path, tmp_path / "Cropped", clip.parent, clip):
        for name in ("Thumbs.db", "desktop.ini", "sub02.lnk", "._reg_img1.jpg", ".DS_Store", "~$CASME2-coding-2.xlsx"):
            (place / name).write_bytes(b"junk")
    (clip / "._reg_img12.jpg").write_bytes(b"junk")
    (clip / "reg_img12.jpg.txt").write_bytes(b"junk")
    (tmp_path / "Cropped" / "sub02").write_bytes(b"a file")
    (tmp_path / "CASME2-coding-folder.xlsx").mkdir()
    folder = open_folder(tmp_path)
    assert [clip.id for clip in folder.clips] == ["sub01/EP01_01", "sub01/EP01_02"]
    assert folder.problems == ()
    assert {path.name for path in folder.clips[0].frames} == {f"reg_img{k}.jpg" for k in range(11, 21)}


def test_upper_and_lower_case_make_no_difference(tmp_path):
    titles = ["SUBJECT", "filename", "", "Onset Frame", "APEXFRAME", "Offsetframe", "", "action units",
              "ESTIMATED emotion"]  # fmt: skip
    write_book(tmp_path / "casme2-CODING-x.XLSX", [titles, casme2_row("Sub01", "ep01_01F", "OTHERS", "r4")])
    write_frames(tmp_path / "CROPPED" / "SUB01" / "EP01_01f", (f"REG_IMG{k}.JPG" for k in range(11, 21)))
    (clip,) = open_folder(tmp_path).clips
    assert (clip.id, clip.label, clip.action_units, len(clip.frames)) == ("sub01/ep01_01F", "others", ("R4",), 10)


@pytest.mark.parametrize("subject", [1, 1.0, "1", "01", "1.0", "sub01", " Sub1 "])
def test_subjects_are_written_in_many_ways(tmp_path, subject):
    write_book(tmp_path / "CASME2-coding.xlsx", [COLUMNS, casme2_row(subject, "EP01_01")])
    write_frames(tmp_path / "Cropped" / "sub01" / "EP01_01", (f"reg_img{k}.jpg" for k in range(11, 21)))
    assert [clip.subject for clip in open_folder(tmp_path).clips] == ["sub01"]


def test_notes_below_the_table_are_no_clips_and_a_strange_or_missing_subject_a_problem(tmp_path):
    write_still_casme2(tmp_path, [casme2_row(1, "EP01_01")])
    note, strange = ["Coded by two people"], casme2_row("one", "EP01_03")
    rows = [casme2_row(1, "EP01_01"), casme2_row(None, "EP01_02"), note, strange, casme2_row(1, "EP01_01")]
    write_book(tmp_path / "CASME2-coding-20140508.xlsx", [COLUMNS, *rows])
    folder = open_folder(tmp_path)
    assert [clip.id for clip in folder.clips] == ["sub01/EP01_01"]
    problems = [("/EP01_02", False), ("one/EP01_03", False), ("sub01/EP01_01", True)]
    assert [(problem.clip, problem.usable) for problem in folder.problems] == problems
    assert "subject must be a number, but is ''" in folder.problems[0].what
    assert "subject must be a number, but is 'one'" in folder.problems[1].what
    assert "two rows" in folder.problems[2].what


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv_exports_with_any_separator_and_encoding(tmp_path, separator):
    write_still_casme2(tmp_path, [casme2_row(1, "EP01_01", units="R1+L2")])
    (tmp_path / "CASME2-coding-20140508.xlsx").unlink()
    lines = [["exported by Zoë"], COLUMNS, casme2_row(1, "EP01_01", "surprise", "R1+L2")]
    text = "\n".join(separator.join("" if cell is None else str(cell) for cell in line) for line in lines)
    (tmp_path / "CASME2-coding-2023apr16.CSV").write_bytes(text.encode("latin-1"))
    (clip,) = open_folder(tmp_path).clips
    assert (clip.label, clip.onset, clip.apex, clip.offset, clip.action_units) == ("surprise", 11, 15, 20, ("R1", "L2"))


def test_a_table_without_titles_is_refused(tmp_path):
    write_still_casme2(tmp_path, [casme2_row(1, "EP01_01")], titles=["a", "b"])
    with pytest.raises(DataError, match="must have a row of titles with Subject and Filename"):
        open_folder(tmp_path)


@pytest.mark.parametrize(
    ("name", "first"),
    [("{}.jpg", 11), ("img{:04d}_aligned.jpg", 11), ("frame_det_00_{:06d}.bmp", 11), ("{:03d}.jpg", 0), ("{}.png", 1)],
)
def test_frames_of_other_names_are_taken_where_their_number_is_plain(tmp_path, name, first):
    write_book(tmp_path / "CASME2-coding.xlsx", [COLUMNS, casme2_row(1, "EP01_01")])
    names = [name.format(k) for k in range(first, first + 10)]
    write_frames(tmp_path / "Cropped" / "sub01" / "EP01_01", [*names, "mask.png", "1_of_2.png"])
    folder = open_folder(tmp_path)
    assert [path.name for path in folder.clips[0].frames] == names
    assert (folder.problems, folder.clips[0].onset, folder.clips[0].offset) == ((), 11, 20)


@pytest.mark.parametrize(
    "names",
    [
        [f"1_{k}_x.jpg" for k in range(10, 30)],  # two numbers
        [f"{k}.jpg" for k in range(50, 60)],  # as many as there must be, but neither the spreadsheet's nor counted anew
        [f"{end}{k}.jpg" for k in range(50, 60) for end in ("a", "b")],  # two of each number
        [f"{k}.jpg" for k in (0, 1, 2, 3, 4, 5, 6, 7, 8, 10)],  # as many, but one is missing
    ],
)
def test_frames_of_no_known_name_are_named_with_those_that_are_needed(tmp_path, names):
    write_book(tmp_path / "CASME2-coding.xlsx", [COLUMNS, casme2_row(1, "EP01_01")])
    write_frames(tmp_path / "Cropped" / "sub01" / "EP01_01", names)
    (problem,) = open_folder(tmp_path).problems
    assert not problem.usable
    first, *_, last = sorted(names)
    found = f"but are {first} to {last}"
    assert f"must be named such as reg_img46.jpg, with the spreadsheet's number, {found}" in problem.what


def test_a_known_name_goes_before_others_in_the_same_folder(tmp_path):
    write_still_casme2(tmp_path, [casme2_row(1, "EP01_01")])
    folder = tmp_path / "Cropped" / "sub01" / "EP01_01"
    write_frames(folder, (f"{k}.jpg" for k in range(11, 21)))
    assert [path.name for path in open_folder(tmp_path).clips[0].frames] == [f"reg_img{k}.jpg" for k in range(11, 21)]


def test_onset_apex_and_offset_are_enough_for_one_map_or_two(tmp_path, mer_search, tiny):
    rows = write_casme2(tmp_path, 2)
    whole = checksum(open_folder(tmp_path).clips)
    for subject, name, _, onset, apex, offset, *_ in rows:
        for path in (tmp_path / "Cropped" / f"sub{subject:02d}" / name).iterdir():
            if path.name not in {f"reg_img{k}.jpg" for k in (onset, apex, offset)}:
                path.unlink()
    folder = open_folder(tmp_path)
    assert (len(folder.clips), folder.problems, checksum(folder.clips)) == (8, (), whole)
    clip = folder.clips[0]
    assert [path.name for path in clip.frames] == ["reg_img11.jpg", "reg_img19.jpg", "reg_img27.jpg"]
    assert ((clip.onset, clip.apex, clip.offset), clip.numbers) == ((0, 1, 2), (11, 19, 27))
    for middle in ("apex", "midpoint"):
        for maps, frames in ((1, (0, 1)), (2, (0, 1, 2))):
            assert frame_sets(clip, Frames(maps=maps, middle=middle, jitter=1.0, jitter_apex=True)) == [frames]
    for denoiser in ("clip", "notebook"):
        assert neighbours(clip, 1, Prep(denoise=2.0, denoiser=denoiser)) == [1, 1, 1]
    with pytest.raises(DataError, match=r"frames.maps must be 1 or 2, but is 3; set it, or add the frames between"):
        frame_sets(clip, Frames(maps=3))
    assert load_data(tmp_path, with_values(tiny, {"frames.maps": 1}), silent).tensors.flow.shape[:2] == (8, 1)
    with pytest.raises(DataError, match=r"none of 8 can be used; the first: sub01/EP01_01f: .* must be 1 or 2"):
        load_data(tmp_path, with_values(tiny, {"frames.maps": 4}), silent)
    said = " ".join(mer_search("data", "check", tmp_path).stdout.split())
    assert "of 8 clips only the onset, apex and offset frames are there" in said


def test_of_three_frames_none_may_be_another_and_the_apex_must_not_be_the_onset(tmp_path):
    rows = [casme2_row(1, f"EP01_{k}") for k in range(4)]
    rows[1][4], rows[2][4], rows[3][4] = 11, 20, "/"
    write_book(tmp_path / "CASME2-coding.xlsx", [COLUMNS, *rows])
    for row, numbers in zip(rows, [(11, 16, 20), (11, 20), (11, 20), (11, 15, 20)], strict=True):
        write_frames(tmp_path / "Cropped" / "sub01" / row[1], (f"reg_img{k}.jpg" for k in numbers))
    folder = open_folder(tmp_path)
    assert [(clip.name, clip.numbers) for clip in folder.clips] == [("EP01_2", (11, 20, 20))]
    assert not any(problem.usable for problem in folder.problems)


def test_of_copies_processed_frames_are_taken_before_cropped_ones_and_raw_and_a_full_copy_before_an_empty_one(tmp_path):
    root = tmp_path / "denoised_masked" / "raw"  # the path to the data does not tell
    write_still_casme2(root, [casme2_row(1, f"EP01_0{k}") for k in (1, 2, 3)])
    write_frames(root / "A_raw" / "sub01" / "EP01_01", (f"img{k}.jpg" for k in range(11, 21)))
    write_frames(root / "denoised_masked" / "sub01" / "EP01_01", [])
    write_frames(root / "Cropped" / "__MACOSX" / "sub01" / "EP01_01", ["reg_img11.jpg"])
    write_frames(root / "denoised_masked" / "sub01" / "EP01_02", (f"reg_img{k}.jpg" for k in range(11, 21)))
    for path in (root / "Cropped" / "sub01" / "EP01_03").iterdir():
        path.rename(path.with_name(f"md_{path.name}"))
    clips = open_folder(root).clips
    assert [clip.processed for clip in clips] == [False, True, True]  # by their folder's name, or their own
    assert (clips[0].frames[0].name, len(clips[0].frames)) == ("reg_img11.jpg", 10)


def test_folders_that_may_not_be_read_are_not_looked_at(tmp_path, monkeypatch):
    write_still_casme2(tmp_path, [casme2_row(1, "EP01_01")])
    (tmp_path / "lost+found").mkdir()
    listdir = os.listdir

    def refusing(path):
        if "lost+found" in str(path):
            raise PermissionError(path)
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refusing)
    assert len(open_folder(tmp_path).clips) == 1


def test_tables_of_other_names_are_to_be_renamed_to_those_that_are_known(tmp_path):
    write_book(tmp_path / "labels.xlsx", [COLUMNS, casme2_row(1, "EP01_01")])
    write_book(tmp_path / "inside" / "coding.csv", [["sub01", "EP02_01f"]])
    (tmp_path / "old.xls").touch()
    with pytest.raises(DataError) as refused:
        open_folder(tmp_path)
    assert "CASME2-coding-20140508.xlsx (CASME II), SAMM_Micro_FACS_Codes_v2.xlsx (SAMM), SMIC-" in str(refused.value)
    assert "; rename labels.xlsx, old.xls, inside/coding.csv to the one whose columns it has, saved as" in str(
        refused.value
    )
