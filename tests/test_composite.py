import numpy as np
import pytest
from small import (
    COLUMNS,
    casme2_row,
    samm_row,
    smic_row,
    write_book,
    write_flow_images,
    write_samm,
    write_smic,
    write_still_casme2,
)

from mer_search.config import Run, with_values
from mer_search.confirmation.confirm import Confirmation, groups_of
from mer_search.confirmation.scoring import summarise
from mer_search.confirmation.target import Target
from mer_search.data import open_folder
from mer_search.data.check import facts_of
from mer_search.data.export import export_frames
from mer_search.data.readers import composite
from mer_search.errors import DataError, UsageError
from mer_search.evaluation.predictions import Predictions
from mer_search.report.clips import print_check
from mer_search.report.summaries import summary_rows
from mer_search.search.workspace import load_data, silent

CASME2 = [casme2_row(*row) for row in [
    (1, "EP02_01f", "happiness"), (1, "EP19_05f", "disgust"), (4, "EP12_01f", "disgust", "4", "/"),
    (4, "EP12_02f", "repression"), (5, "EP09_05f", "disgust", "4", 11), (5, "EP02_07", "surprise"),
    (9, "EP05_05", "others"), (9, "EP05_09", "sadness"),
]]  # fmt: skip
SAMM = [samm_row(6, "006_1_2", "Anger"), samm_row(7, "007_7_1", "Surprise"), samm_row(7, "007_7_2", "Other")]
SMIC = [smic_row(1, "s1_ne_01", "negative"), smic_row(2, "s2_po_01", "positive")]


@pytest.fixture
def root(tmp_path):
    """The three databases side by side."""
    write_still_casme2(tmp_path / "data" / "CASME2", CASME2)
    write_samm(tmp_path / "data" / "SAMM", SAMM)
    write_smic(tmp_path / "data" / "SMIC", SMIC)
    return tmp_path / "data"


def _labels(folder):
    return {clip.id: clip.label for clip in folder.clips}


def test_every_database_gives_its_three_classes(root):
    folder = open_folder(root)
    assert (folder.name, folder.title, folder.problems) == ("composite", "MEGC 2019 composite, 3 classes", ())
    assert _labels(folder) == {
        "sub01/EP02_01f": "positive", "sub01/EP19_05f": "negative", "sub04/EP12_02f": "negative",
        "sub05/EP02_07": "surprise", "006/006_1_2": "negative", "007/007_7_1": "surprise", "s01/s1_ne_01": "negative",
        "s02/s2_po_01": "positive",
    }  # fmt: skip
    assert folder.source == "CASME2-coding-20140508.xlsx, SAMM_Micro_FACS_Codes_v2.xlsx, SMIC-HS-E_annotation.xlsx"
    assert [clip.dataset for clip in folder.clips] == ["casme2"] * 4 + ["samm"] * 2 + ["smic"] * 2
    assert {clip.fps for clip in folder.clips if clip.dataset == "smic"} == {100}


def test_what_each_class_is_made_of_is_shown(root, capsys):
    assert facts_of(open_folder(root))["emotions_of_classes"]["casme2"] == {
        "negative": ["disgust", "repression"], "positive": ["happiness"], "surprise": ["surprise"]
    }  # fmt: skip
    print_check(open_folder(root))
    shown = " ".join(capsys.readouterr().out.split())
    assert (
        "classes of samm: negative = anger, contempt, disgust, fear, sadness; positive = happiness; surprise" in shown
    )
    assert "classes of smic: negative = negative; positive = positive" not in shown  # they have the same names
    assert facts_of(open_folder(root / "CASME2"))["emotions_of_classes"] == {}


def test_two_databases_are_a_composite_and_one_is_itself(root):
    (root / "SAMM").rename(root.parent / "SAMM")
    assert {clip.dataset for clip in open_folder(root).clips} == {"casme2", "smic"}
    (root / "SMIC").rename(root.parent / "SMIC")
    assert open_folder(root).name == "casme2"
    assert open_folder(root.parent / "SMIC").name == "smic"


def test_the_databases_may_lie_in_a_folder_inside(root):
    assert _labels(open_folder(root.parent)) == _labels(open_folder(root))
    assert (open_folder(root.parent).name, open_folder(root / "SAMM").name) == ("composite", "samm")
    (root / composite.LIST).write_text("samm,006,006_1_2,2\n")
    assert _labels(open_folder(root.parent)) == {"006/006_1_2": "surprise"}


def test_a_problem_of_a_database_is_told_if_it_concerns_the_task(root):
    for name in ("sub01/EP19_05f", "sub09/EP05_05"):
        (root / "CASME2" / "Cropped" / name).rename(root / name.replace("/", "_"))
    folder = open_folder(root)
    assert [problem.clip for problem in folder.problems] == ["sub01/EP19_05f"]
    assert "sub01/EP19_05f" not in _labels(folder)


def test_a_database_that_is_there_twice_is_refused(root):
    write_smic(root / "SMIC copy", SMIC)
    with pytest.raises(DataError, match="must hold SMIC-HS once, but it is in SMIC and in SMIC copy"):
        open_folder(root)


@pytest.mark.parametrize("name", ["Combined_3class_GT.csv", "combined_3_class_gt.csv", "combined_3class_gt-2.csv"])
@pytest.mark.parametrize("titles", ["", "Dataset,Subject,Filename,Class\n"])
def test_the_organisers_list_is_what_counts(root, titles, name):
    (root / name).write_text(
        f"{titles}CASME2, Sub01 ,ep02_01F,1.0\ncasme2,sub01,EP19_05f,2\ncasme2,4,EP12_01f,0\n"
        "smic,s01,s01_ne_01,0\nsamm,6,006_1_2,0.0\nSAMM,007,007_7_2,2\n\n"
    )
    folder = open_folder(root)
    assert [(problem.clip, problem.usable) for problem in folder.problems] == [("sub04/EP12_01f", True)]  # its apex
    assert _labels(folder) == {
        "sub01/EP02_01f": "positive", "sub01/EP19_05f": "surprise", "sub04/EP12_01f": "negative",
        "006/006_1_2": "negative", "007/007_7_2": "surprise", "s01/s1_ne_01": "negative",
    }  # fmt: skip


def test_rows_of_the_list_without_a_clip_are_problems(root):
    (root / "SMIC").rename(root.parent / "SMIC")  # its rows are nobody's then
    (root / "CASME2" / "Cropped" / "sub05" / "EP02_07").rename(root / "elsewhere")
    (root / composite.LIST).write_text(
        "casme2,1,EP99_99,1\ncasme2,sub01,EP02_01f,7\ncasme2,sub05,EP02_07,2\nsmic,s01,s01_ne_01,0\nsamm,006,006_1_2,0\n"
    )
    folder = open_folder(root)
    assert _labels(folder) == {"006/006_1_2": "negative"}
    problems = {problem.clip: problem.what for problem in folder.problems}
    assert set(problems) == {"sub01/EP99_99", "sub01/EP02_01f", "sub05/EP02_07"}
    assert "has it, but the CASME II clips do not" in problems["sub01/EP99_99"]
    assert "must be 0, 1 or 2, but is '7'" in problems["sub01/EP02_01f"]
    assert "frame folder is missing" in problems["sub05/EP02_07"]
    assert facts_of(folder)["subjects_without_clips"] == ["sub01", "sub05"]
    with pytest.raises(UsageError, match=r"'sub05' is none.*; all clips of sub05 are left out, see"):
        load_data(root, Run(), silent, "006, sub05")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("casme2,sub01,EP02_01f,1\nck+,S05,x,0\n", r"line 2 of .* must be dataset, subject, clip, label"),
        ("casme2,sub01,EP02_01f,1\nsmic,s01\n", "line 2 of"),
        ("dataset,subject,clip,label\n", "must have a line a clip"),
    ],
)
def test_a_list_that_is_none_is_refused(root, text, message):
    (root / composite.LIST).write_text(text)
    with pytest.raises(DataError, match=message):
        open_folder(root)


def test_frames_of_several_datasets_are_not_exported_together(root, tmp_path):
    with pytest.raises(UsageError, match=r"frames are exported of one dataset, but .* holds several"):
        export_frames(open_folder(root), Run().prep, tmp_path / "out", lambda done, total: None)


def test_landmarks_lie_beside_the_composite_or_beside_a_database(root):
    for path in (root / "landmarks" / "s01" / "s1_ne_01.csv", root / "SAMM" / "landmarks" / "006" / "006_1_2.csv"):
        path.parent.mkdir(parents=True)
        path.write_text("")
    found = {clip.id: clip.landmarks for clip in open_folder(root).clips if clip.landmarks}
    assert found == {
        "s01/s1_ne_01": root / "landmarks" / "s01" / "s1_ne_01.csv",
        "006/006_1_2": root / "SAMM" / "landmarks" / "006" / "006_1_2.csv",
    }


@pytest.mark.parametrize(
    ("searched", "scored", "folder", "tuning"),
    [
        ("casme2", ("sub01", "sub09"), ".", ("sub01",)),  # a part, and then the whole
        ("composite", ("sub01", "s01"), "CASME2", ("sub01",)),
        ("composite", ("casme2",), "CASME2", ("sub01", "sub04", "sub05")),  # databases were left out
        ("megc2019", ("sub1", "s1"), ".", ("s01", "sub01")),  # its flow images, whose folders may be called so
        ("samm", ("006",), "CASME2", ()),
        ("samm", ("sub01",), ".", ()),  # of that name, but of another database
    ],
)
def test_people_that_a_search_on_another_dataset_scored_are_not_free_of_it(
    root, tmp_path, searched, scored, folder, tuning
):
    run = with_values(Run(), {"prep.size": 32, "flow.size": 16, "data.task": "3"})
    loaded = load_data(root / folder, run, silent)
    target = Target(with_values(run, {"data.dataset": searched}), "trial 7", tmp_path, checksum="x", tuning=scored)
    job = Confirmation(target, loaded, loaded.select("all"), (0,))
    assert (job.is_transfer, set(job.tuning)) == (True, set(tuning))


def test_people_of_flow_images_whose_names_tell_no_database_are_known_by_their_numbers(tmp_path):
    write_flow_images(tmp_path / "flow")
    for name, other in (("sub01", "Sub01"), ("sub02", "casme2_sub02"), ("sub03", "3")):
        (tmp_path / "flow" / name).rename(tmp_path / "flow" / other)
    run = with_values(Run(), {"flow.size": 16, "frames.maps": 1, "model.position": False, "input.channels": "r"})
    loaded = load_data(tmp_path / "flow", run, silent)
    searched = with_values(run, {"data.dataset": "casme2"})
    target = Target(searched, "trial 7", tmp_path, checksum="x", tuning=("sub01", "sub02", "sub03"))
    assert set(Confirmation(target, loaded, loaded.select("all"), (0,)).tuning) == {"Sub01", "casme2_sub02", "3"}


def test_objective_classes_are_those_of_the_databases_that_have_them(root):
    rows = [[*CASME2[0], "III"], [*CASME2[3], "VI"]]
    write_book(root / "CASME2" / "CASME2-coding-20190701.xlsx", [[*COLUMNS, "Objective Classes"], *rows])
    folder = open_folder(root, "objective-5")  # SAMM spells its classes as numbers, SMIC has none
    assert _labels(folder) == {
        "sub01/EP02_01f": "III",
        **dict.fromkeys(["006/006_1_2", "007/007_7_1", "007/007_7_2"], "I"),
    }
    assert (folder.outside, folder.problems) == ({"vi": 1}, ())
    assert _labels(open_folder(root, "objective-7"))["sub04/EP12_02f"] == "VI"
    assert set(_labels(open_folder(root / "SAMM", "objective-7")).values()) == {"I"}


def test_a_databases_name_selects_its_subjects_and_each_has_its_own_rows_in_a_confirmation(root, tmp_path):
    run = with_values(Run(), {"prep.size": 32, "flow.size": 16})
    loaded = load_data(root, run, silent)
    assert loaded.run.data.dataset == "composite"
    assert loaded.select("casme2") == ("sub01", "sub04", "sub05")
    assert loaded.select("smic, 007") == ("s01", "s02", "007")
    subjects = loaded.select("all")
    job = Confirmation(Target(run, "V3NR", tmp_path / "V3NR", tuning=("sub01",)), loaded, subjects, (0, 1))
    assert job.databases == {"casme2": ("sub01", "sub04", "sub05"), "samm": ("006", "007"), "smic": ("s01", "s02")}
    assert list(groups_of(job.tuned, job.databases)) == ["all", "other", "tuning", "casme2", "samm", "smic"]
    folds = [
        Predictions(seed, subject, ("a", "b"), np.array([0, 1]), np.full((2, 2, 3), (0.6, 0.2, 0.2), np.float16))
        for seed in job.seeds
        for subject in subjects
    ]
    summary = summarise(job, folds)
    shown = [row[:2] for row in summary_rows(summary)]
    of_smic = [name for name, group in shown if group == "2 smic"]
    assert of_smic == ["tail, leak-free", "baseline: logistic reg.", "baseline: RBF SVM"]
    tail = [
        ("tail, no epoch selected", "7 all"), ("tail, leak-free", "6 other"),
        ("tail, no epoch selected", "3 casme2"), ("tail, leak-free", "2 samm"), ("tail, leak-free", "2 smic"),
    ]  # fmt: skip
    assert shown[:5] == tail and shown[5] == ("tail, seeds averaged", "7 all")
    earlier = summary.model_copy(update={"tuning_by_database": {}})  # which did not keep it: as cautious as before
    assert not earlier.is_leak_free("tail", "smic")
    assert summary.rules["tail"]["smic"].uf1 == pytest.approx(1 / 3)  # one of two classes, half of the clips right
    alone = load_data(root / "SMIC", run, silent)
    assert Confirmation(Target(run, "V3NR", tmp_path), alone, ("s01",), (0,)).databases == {}
