"""Trials of one study in another, whose space is wider."""

from dataclasses import replace

import optuna
import pytest
from small import STUDY, drive, folds_of, states, write_casme2

from mer_search.confirmation.verify import verify_study
from mer_search.errors import StorageError, UsageError
from mer_search.search import takeover
from mer_search.search.study import open_study
from mer_search.search.trial import final_folder, trial_folder

WIDER = STUDY.replace("[[start]]", '"model.dropout" = { choice = [0.0, 0.5] }\n[[start]]').replace(
    "1e-3, 1e-2", "1e-4, 1e-1"
)


@pytest.fixture
def narrow(begin):
    return begin(trials=3)[1]


@pytest.fixture
def another(make_search, tmp_path):
    """A function (name, study text) -> Search whose results go to a folder of that name."""
    return lambda name, text=STUDY: replace(make_search(text), out=tmp_path / "runs" / name)


@pytest.fixture
def wide(another):
    return another("wide", WIDER)


def test_a_wider_study_begins_with_the_trials_of_another(narrow, wide, storage, executor, tmp_path):
    (held := final_folder(trial_folder(tmp_path / "runs" / "small", 0).parent, 0) / "folds").mkdir(parents=True)
    study = open_study(wide, storage, "wide", narrow)
    assert held.is_dir() and (final_folder(wide.out, 0) / "folds").is_dir()
    old, new = narrow.get_trials(), study.get_trials()
    kept = [[(each.value, each.intermediate_values, each.constraints) for each in trials] for trials in (old, new)]
    assert kept[0] == kept[1] and all(kept[0][0])
    assert [trial.params for trial in new] == [{**trial.params, "model.dropout": 0.0} for trial in old]
    assert drive(wide, open_study(wide, storage, "wide", narrow), executor, 4).folds == 4  # of the one new trial
    assert states(study) == ["COMPLETE"] * 4 and len(folds_of(wide.folder(0))) == 4
    assert verify_study(study).differences == []


def test_only_what_the_new_space_contains_is_taken_and_nothing_is_made_if_that_is_nothing(narrow, another, storage):
    least = min(trial.params["train.lr"] for trial in narrow.get_trials())
    search = another("less", STUDY.replace("1e-3, 1e-2", f"{least * 1.01}, 1e-2"))
    assert [trial.params["train.lr"] > least for trial, *_ in takeover.contained(search, narrow)] == [True, True]
    fixed = another("other", STUDY.replace('"train.batch" = 8', '"train.batch" = 12'))
    assert takeover.contained(fixed, narrow) == []
    with pytest.raises(UsageError, match=r"must contain trials of 'small', but none has all values of \[set\]"):
        open_study(fixed, storage, "other", narrow)
    assert optuna.get_all_study_names(storage) == ["small"]


def test_what_was_interrupted_goes_on_with_its_own_source_alone(narrow, wide, another, storage, monkeypatch):
    made, create = [], takeover.create_trial

    def once(**facts):
        if made:
            raise KeyboardInterrupt
        made.append(facts)
        return create(**facts)

    monkeypatch.setattr(takeover, "create_trial", once)
    with pytest.raises(KeyboardInterrupt):
        open_study(wide, storage, "wide", narrow)
    monkeypatch.undo()
    said = "was interrupted while it took the trials of 'small'; give --from small"
    for other in (None, open_study(another("empty"), storage, "empty")):
        with pytest.raises(StorageError, match=said):
            open_study(wide, storage, "wide", other)
    study = open_study(wide, storage, "wide", narrow)
    assert states(study) == ["COMPLETE"] * 3
    assert [trial.number for trial in study.get_trials()] == [0, 1, 2]


def test_what_cannot_be_taken_is_refused(narrow, wide, storage):
    with pytest.raises(UsageError, match=r"but subjects is .* in 'small' and .* here"):
        open_study(replace(wide, subjects=wide.subjects[:2]), storage, "wide", narrow)
    elsewhere = replace(wide, loaded=replace(wide.loaded, motion_digest="0"))
    with pytest.raises(UsageError, match=r"but motion is .* in 'small' and 0 here"):
        open_study(elsewhere, storage, "wide", narrow)
    assert optuna.get_all_study_names(storage) == ["small"]  # nothing is made by what is refused
    open_study(wide, storage, "wide")
    with pytest.raises(StorageError, match="into a new study only, but 'wide' is there already"):
        open_study(wide, storage, "wide", narrow)


def test_the_data_are_those_of_the_study_whose_trials_are_taken_unless_others_are_given(mer_search, tmp_path):
    write_casme2(tmp_path / "data")
    for name, text in {"narrow": STUDY, "wide": WIDER}.items():
        (tmp_path / f"{name}.toml").write_text(text)
    assert mer_search("run", "--study", "narrow.toml", "--data", "data", "--trials", 1).exit_code == 0
    result = mer_search("run", "--study", "wide.toml", "--from", "narrow", "--trials", 1)
    assert result.exit_code == 0, result.output
    assert "trials taken over from narrow: 1" in result.stderr and "0 more trials" not in result.stderr
