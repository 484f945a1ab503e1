import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mer_search.errors import UsageError
from mer_search.evaluation.folds import EVERYBODY, fold_seed, leave_one_out, select_subjects

KNOWN = tuple(f"sub{number:02d}" for number in (3, 1, 2, 4, 7, 17))
HARDEST = ("sub17", "sub03", "sub01", "sub02", "sub04", "sub07")


@settings(derandomize=True, deadline=None)
@given(st.lists(st.sampled_from(["s01", "s1", "sub01", "001", "S01"]), min_size=1, max_size=30))
def test_a_fold_splits_all_clips_and_keeps_its_subject_out_of_training(clip_subjects):
    tested = []
    for subject in set(clip_subjects):
        fold = leave_one_out(clip_subjects, clip_subjects, subject)
        assert fold.left_out == subject
        assert {clip_subjects[i] for i in fold.test} == {subject}
        assert subject not in {clip_subjects[i] for i in fold.train}
        assert sorted([*fold.train, *fold.test]) == list(range(len(clip_subjects)))
        assert sorted(fold.train) == fold.train.tolist() and sorted(fold.test) == fold.test.tolist()
        tested.extend(fold.test)
    assert sorted(tested) == list(range(len(clip_subjects)))


@settings(derandomize=True, deadline=None)
@given(st.integers(4, 12).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n - 3))), st.integers(0, 2**48))
def test_subjects_held_out_are_neither_trained_on_nor_tested(numbers, seed):
    subjects, val = numbers
    clip_subjects = [f"s{i % subjects}" for i in range(3 * subjects)]
    fold = leave_one_out(clip_subjects, clip_subjects, "s1", val, seed)
    train, test, held_out = ({clip_subjects[i] for i in part} for part in (fold.train, fold.test, fold.val))
    assert (len(train), len(test), len(held_out)) == (subjects - 1 - val, 1, val)
    assert sorted([*fold.train, *fold.test, *fold.val]) == list(range(len(clip_subjects)))
    again = leave_one_out(clip_subjects, clip_subjects, "s1", val, seed)
    np.testing.assert_array_equal(fold.val, again.val)


def test_a_seed_draws_who_is_held_out():
    drawn = {tuple(leave_one_out(list("abcdef"), list("abcdef"), "a", 2, seed).val) for seed in range(200)}
    assert len(drawn) == 10  # every pair of the five others


def test_the_fold_that_leaves_nobody_out_tests_nobody():
    fold = leave_one_out(list("aabcd"), list("aabcd"), EVERYBODY)
    np.testing.assert_array_equal(fold.train, range(5))
    assert len(fold.test) == len(fold.val) == 0


def test_a_folds_seed_is_the_same_for_ever():
    assert fold_seed(0, "sub01") == 129090378849371


def test_every_seed_and_subject_has_its_own_seed():
    pairs = [(seed, subject) for seed in (0, 1, 10, 11) for subject in ("sub01", "sub11", "1", "01", "0 1")]
    assert len({fold_seed(*pair) for pair in pairs}) == len(pairs)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("all", tuple(sorted(KNOWN))), (" all\n", tuple(sorted(KNOWN))), ("hardest", HARDEST),
        ("hardest_2", ("sub17", "sub03")), ("1-4", ("sub01", "sub02", "sub03", "sub04")), ("3 - 3", ("sub03",)),
        ("[1, 2, 3]", ("sub01", "sub02", "sub03")), ("7", ("sub07",)), ("007", ("sub07",)),
        ("sub03, sub17", ("sub03", "sub17")), ("['sub17', \"sub03\"]", ("sub17", "sub03")),
        ("3 sub03 17", ("sub03", "sub17")),
    ],
)  # fmt: skip
def test_subjects_are_named_in_many_ways(text, expected):
    assert select_subjects(text, KNOWN, HARDEST) == expected


MANY = tuple(f"s{number:02d}" for number in range(20, 0, -1))
DATABASES = {"casme2": {"sub03", "sub01"}, "smic": {"s03"}, "samm": {"006", "007"}}
COMPOSITE = tuple(name for names in DATABASES.values() for name in names)


@pytest.mark.parametrize(
    ("text", "known", "ranked", "expected"),
    [
        ("s03, sub17", ("s03", "sub03", "sub17"), (), ("s03", "sub17")),  # names of several datasets
        ("007", ("007", "s07", "sub07"), (), ("007",)),  # a whole name is meant before a number
        ("hardest", MANY, MANY, MANY[:10]), ("hardest_7", MANY, MANY, MANY[:7]), ("hardest_12", MANY, MANY, MANY[:12]),
        ("stratified", MANY, MANY, MANY[1::2]), ("stratified_20", MANY, MANY, MANY),
        ("stratified_4", MANY, MANY, (MANY[2], MANY[7], MANY[12], MANY[17])),
        ("stratified", MANY, MANY[:6], MANY[:6]),
        ("smic", COMPOSITE, (), ("s03",)), ("casme2", COMPOSITE, (), ("sub01", "sub03")),
        ("casme2, s03", COMPOSITE, (), ("sub01", "sub03", "s03")),
        ("[sub03, casme2]", COMPOSITE, (), ("sub03", "sub01")), ("samm smic", COMPOSITE, (), ("006", "007", "s03")),
    ],
)  # fmt: skip
def test_names_ranks_and_databases_of_many(text, known, ranked, expected):
    assert select_subjects(text, known, ranked, DATABASES) == expected


def test_a_number_that_fits_two_subjects_needs_the_name():
    with pytest.raises(UsageError, match="'3' fits s03 and sub03; write the name"):
        select_subjects("3", ("s03", "sub03"), ())


@pytest.mark.parametrize(
    "text", ["5", "4-7", "sub05", "1, sub5", "Sub01", "hardest-3", "hardest_", "1-2-3", "-1", "²", "1-9999999999"]
)
def test_an_unknown_subject_is_refused_with_the_known_ones(text):
    with pytest.raises(
        UsageError, match=r"is none(; did you mean .*\? There are| of) sub01, sub02, sub03, sub04, sub07, sub17"
    ):
        select_subjects(text, KNOWN, HARDEST)


@pytest.mark.parametrize("text", ["", "  ", "[]", ",", "4-1", "hardest_0", "hardest_00"])
def test_a_text_that_names_nobody_is_refused(text):
    with pytest.raises(UsageError, match="subjects must be all, hardest"):
        select_subjects(text, KNOWN, HARDEST)


def test_more_of_the_hardest_than_are_ranked_are_refused():
    with pytest.raises(UsageError, match="hardest_7 needs as many ranked subjects, but there are 6: sub17, sub03"):
        select_subjects("hardest_7", KNOWN, HARDEST)
    with pytest.raises(UsageError, match="as many ranked subjects, but the published list has 2: sub17, sub03"):
        select_subjects("hardest_7", KNOWN, HARDEST[:2])


def test_an_unknown_name_is_refused_with_the_databases_too():
    with pytest.raises(
        UsageError, match=r"'casme3' is none; did you mean .*There are 006, 007, s03, sub01, sub03, casme2, samm, smic"
    ):
        select_subjects("casme3", COMPOSITE, (), DATABASES)


@pytest.mark.parametrize(("text", "meant"), [("hardest7", "hardest_7"), ("hardest-7", "hardest_7"), ("sub9x", "sub09")])
def test_the_subjects_that_are_meant_are_named(text, meant):
    known = [f"sub{number:02d}" for number in range(1, 12)]
    with pytest.raises(UsageError, match=rf"; did you mean {meant}\?"):
        select_subjects(text, known, known)
