"""Damaged input: some of what benchmarks/mutants.py tries, in every run, and each defect that it has found."""

import os
import random
from pathlib import Path

import cv2
import mutants
import numpy as np
import pytest
from damage import FAR, FILES, SHEETS, repacked, write_bases
from damage_files import REFUSED, decodes, jpeg_of, png, png_bomb
from hypothesis import given, settings
from hypothesis import strategies as st
from small import COLUMNS, texture, write_book, write_casme2, write_flow_images, write_frames

from mer_search.data import open_folder, prepare
from mer_search.data.prepare import read_image
from mer_search.data.readers import annotation
from mer_search.data.readers.annotation import number, without_zeros
from mer_search.data.readers.tables import COLUMNS as WIDEST
from mer_search.data.readers.tables import read_table
from mer_search.errors import DataError, UsageError
from mer_search.files import check_archive, content_of, tree_of
from mer_search.search import space
from mer_search.search.storage import check_name

repeatable = settings(derandomize=True, deadline=None, database=None, max_examples=100)
MUTANTS = 20
SLOW = {"png of 12000 x 12000 black pixels", "that swells (archive)"}  # to write, for the mutants by hand


def test_mutants_are_refused_in_one_line_or_used_as_their_undamaged_cells_say():
    with mutants.scratch() as folder:
        cases = mutants.cases(MUTANTS, 3, Path(folder))
        outcomes = [(case, mutants.attempt(case, own)) for case, own in cases]
    assert [(case.what, each.defect) for case, found in outcomes for each in found if each.defect] == []
    codes = {each.code for _, found in outcomes for each in found}
    assert codes == {0, 1, 2}  # some of them were used, and some refused


def _jpeg() -> bytes:
    return bytes(cv2.imencode(".jpg", texture(0))[1].tobytes())


@pytest.mark.parametrize("what", sorted(set(REFUSED) - SLOW))
def test_an_image_that_is_damaged_is_unreadable(tmp_path, what):
    path = tmp_path / "a.jpg"
    path.write_bytes(REFUSED[what](random.Random(0), _jpeg()))
    with pytest.raises(DataError, match="a frame must be a whole image, but"):
        read_image(path)


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=40))
@repeatable
def test_a_jpeg_of_which_its_decoder_complains_is_unreadable(tmp_path_factory, place, rubbish):
    whole, path = _jpeg(), tmp_path_factory.mktemp("jpeg") / "a.jpg"
    place %= len(whole)
    damaged = whole[:place] + rubbish + whole[place + len(rubbish) :]
    image, complained = decodes(damaged)
    path.write_bytes(damaged)
    try:
        read = read_image(path)
    except DataError:
        return
    assert not complained
    np.testing.assert_array_equal(read, image)


@pytest.mark.parametrize(
    ("kind", "depth"),
    [(".png", np.uint8), (".png", np.uint16), (".tiff", np.uint8), (".tiff", np.uint16), (".bmp", np.uint8),
     (".jpg", np.uint8)],
)  # fmt: skip
def test_what_is_read_of_a_whole_image_is_what_opencv_decodes(tmp_path, kind, depth):
    picture = np.dstack([texture(k) for k in range(3)]).astype(depth) * (257 if depth == np.uint16 else 1)
    cv2.imwrite(str(tmp_path / f"a{kind}"), picture)
    np.testing.assert_array_equal(read_image(tmp_path / f"a{kind}"), cv2.imread(str(tmp_path / f"a{kind}")))


def test_an_image_is_refused_by_the_size_in_its_header_before_it_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    monkeypatch.setattr(prepare, "MAX_PIXELS", 10_000)
    (tmp_path / "a.png").write_bytes(png_bomb(101))
    (tmp_path / "b.jpg").write_bytes(jpeg_of(_jpeg(), 60000, 60000))
    (tmp_path / "c.png").write_bytes(png(2**31 - 1, 2**31 - 1, b""))
    for name, size in (("a.png", "101 x 101"), ("b.jpg", "60000 x 60000"), ("c.png", "2147483647 x 2147483647")):
        with pytest.raises(DataError, match=f"{name} has {size} pixels, and 10,000 in all are the most"):
            read_image(tmp_path / name)


@pytest.mark.parametrize("kind", sorted(set(FILES) - SLOW))
def test_a_spreadsheet_that_is_damaged_is_refused_or_read_as_it_was(tmp_path, kind):
    base = write_bases(tmp_path)["casme2"]
    path = base.folder / base.sheet
    whole = [row[:9] for row in read_table(path)]
    path.write_bytes(FILES[kind](random.Random(1), path.read_bytes()))
    if kind in ("with a cell far away", "without styles"):
        assert [row[:9] for row in read_table(path)[: len(whole)]] == whole
    else:
        with pytest.raises(DataError, match=r"^.*CASME2-coding-20140508\.xlsx must .*$"):
            read_table(path)


def test_a_cell_far_away_costs_nothing(tmp_path):
    base = write_bases(tmp_path)["casme2"]
    path, before = base.folder / base.sheet, open_folder(base.folder).clips
    path.write_bytes(repacked(path.read_bytes(), SHEETS, lambda old: old.replace(b"</sheetData>", FAR)))
    assert open_folder(base.folder).clips == before
    assert max(map(len, read_table(path))) <= WIDEST


def test_an_archive_is_refused_by_what_it_would_unpack_to(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", zeros=np.zeros(1_000_000))
    assert (tmp_path / "a.npz").stat().st_size < 50_000
    check_archive(tmp_path / "a.npz", 8_100_000)
    with pytest.raises(DataError, match="must have 8,000,000 bytes at most when unpacked, but would have 8,000,128"):
        check_archive(tmp_path / "a.npz", 8_000_000)


def test_a_pipe_or_a_device_where_a_file_must_be_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero.toml").symlink_to("/dev/zero")
    for name in ("pipe", "zero.toml"):
        with pytest.raises(DataError, match="must be a file, but is something else"):
            content_of(tmp_path / name)
    with pytest.raises(UsageError, match="must be a readable file"):
        space.load(str(tmp_path / "zero.toml"))


@pytest.mark.parametrize(
    "cell", ["", "/", "nan", "inf", "46.7", "1e2", "-5", "1_0", "0x10", "9" * 5000, "\uff14\uff16", "4 6", "+4"]
)
def test_a_cell_that_is_nearly_a_number_is_none(cell):
    assert number(cell) is None


@given(st.text())
@repeatable
def test_no_cell_is_too_strange_to_be_compared(cell):
    without_zeros(cell)
    annotation.action_units(cell)
    assert number(cell) is None or float(cell) == number(cell)


def test_a_name_of_thousands_of_digits_and_an_offset_of_billions_take_no_time(tmp_path):
    rows = write_casme2(tmp_path, 2, 2)
    far = [1, "EP09_01f", None, 11, 19, 999_999_999, None, "4", "others"]
    write_frames(tmp_path / "Cropped" / "sub01" / "EP09_01f", ["reg_img11.jpg"])
    write_book(tmp_path / "CASME2-coding-20140508.xlsx", [COLUMNS, *rows, far, [1, "0" * 5000 + "1", *far[2:]]])
    folder = open_folder(tmp_path)
    assert (len(folder.clips), len(folder.problems)) == (4, 2)
    assert "999999988 of its frames 11-999999999 are missing (the first: 12)" in folder.problems[0].what


def test_a_quotation_mark_that_is_never_closed_swallows_no_rows(tmp_path):
    (tmp_path / "a.csv").write_text('Subject,Filename\n1,"EP01\n2,EP02\n')
    with pytest.raises(DataError, match="must be a readable table"):
        read_table(tmp_path / "a.csv")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
def test_tables_of_any_encoding_are_read(tmp_path, encoding):
    (tmp_path / "a.csv").write_bytes("Subject;Zoë\r\n1;2\r\n".encode(encoding))
    assert read_table(tmp_path / "a.csv") == [["Subject", "Zoë"], ["1", "2"]]


def test_folders_that_link_to_each_other_are_looked_through_once(tmp_path):
    write_casme2(tmp_path, 2, 2)
    inside = [tmp_path, *(path for path in tmp_path.rglob("*") if path.is_dir())]
    for place in inside:
        for k, target in enumerate(inside):
            (place / f"again{k}").symlink_to(target)
    assert len(open_folder(tmp_path).clips) == 4


def test_a_flow_image_is_of_one_subject_and_one_label(tmp_path):
    write_flow_images(tmp_path, 3, 1)
    (tmp_path / "again").symlink_to("sub01")
    one = tmp_path / "sub02" / "u_test"
    (one / "1" / "sub02_EP00.png").write_bytes((one / "0" / "sub02_EP00 .png").read_bytes())
    (tmp_path / "sub03" / "u_test" / "2").rename(tmp_path / "sub03" / "u_test" / "\u00b2")
    folder = open_folder(tmp_path)
    assert {clip.subject for clip in folder.clips} == {"sub01", "sub02", "sub03"}
    assert {problem.clip for problem in folder.problems} == {"sub02/sub02_EP00", "sub03/sub03_EP20"}
    assert not {problem.clip for problem in folder.problems} & {clip.id for clip in folder.clips}


@pytest.mark.parametrize("name", ["sub\n01", "sub\x1b[31m", b"sub\xff".decode("utf-8", "surrogateescape")])
def test_a_name_that_cannot_be_printed_is_left_out_and_named(tmp_path, name):
    write_flow_images(tmp_path, 3, 1)
    (tmp_path / "sub03").rename(tmp_path / name)
    folder = open_folder(tmp_path)
    assert {clip.subject for clip in folder.clips} == {"sub01", "sub02"}
    assert len(folder.problems) == 3
    assert all(problem.clip.isprintable() for problem in folder.problems)


@pytest.mark.parametrize("text", ["x = " + "[" * 5000, "x = " + "9" * 5000, "x = 0x" + "f" * 5000, "x = '''", "\0"])
def test_a_text_that_is_no_sensible_toml_is_refused(text):
    with pytest.raises(UsageError, match=r"not valid TOML|must lie within"):
        tree_of(text)


@pytest.mark.parametrize(
    "name", ["..", "../../x", "/root/x", "a/../../../x", "a/b", "", ".x", "-x", "x" * 61, "a\nb", "\udcff", "."]
)
def test_a_studys_name_leads_nowhere(name):
    with pytest.raises(UsageError, match="a study's name must be"):
        check_name(name)
    assert check_name("V6 on CASME II (ü)")
