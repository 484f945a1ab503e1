"""Databases and files that other programs made: named as such, left as they are."""

import sqlite3

import optuna
import pytest
from small import STUDY, one_line, write_casme2, write_flow_images

from mer_search.data import open_folder
from mer_search.errors import DataError, StorageError, UsageError
from mer_search.search.storage import find_study, open_storage

READING = ["status", "report", "verify", "predict sub01/EP01_01f", "export", "subjects rank", "confirm", "dashboard"]


@pytest.fixture
def foreign(tmp_path):
    """The URL of a database in which plain Optuna made a study."""
    url = f"sqlite:///{tmp_path}/other.db"
    study = optuna.create_study(study_name="theirs", storage=url)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    return url


@pytest.mark.parametrize("command", READING)
def test_a_study_that_plain_optuna_made_is_named_as_such(mer_search, foreign, command):
    told = "it holds none; theirs was not made by mer-search"
    one_line(mer_search(*command.split(), "--storage", foreign), 2, "the storage must hold a study, but", told)
    one_line(
        mer_search(*command.split(), "--storage", foreign, "--study-name", "theirs"), 2, "was not made by mer-search"
    )


def test_of_studies_in_one_database_the_last_of_ours_is_meant(foreign):
    storage = open_storage(foreign)
    ours = optuna.create_study(study_name="ours", storage=storage)
    ours.set_user_attr("mark", "1")
    optuna.create_study(study_name="newer", storage=storage)
    assert find_study(storage, None).study_name == "ours"
    with pytest.raises(UsageError, match="it holds ours; theirs, newer were not made by mer-search"):
        find_study(storage, "newer")


@pytest.mark.parametrize("made", ["with trials", "empty, to be minimised"])
def test_run_does_not_take_over_a_study_that_optuna_made(mer_search, tmp_path, foreign, made):
    if made != "with trials":
        optuna.create_study(study_name="empty", storage=foreign)
    name = "theirs" if made == "with trials" else "empty"
    (tmp_path / "study.toml").write_text(STUDY)
    write_casme2(tmp_path / "data")
    arguments = ["--study", "study.toml", "--data", "data", "--storage", foreign, "--study-name", name, "--trials", 1]
    one_line(mer_search("run", *arguments), 1, f"study '{name}' in this storage was not made by mer-search")
    study = optuna.load_study(study_name=name, storage=foreign)
    assert study.user_attrs == {} and len(study.trials) == (2 if made == "with trials" else 0)


@pytest.mark.parametrize("command", READING)
def test_commands_that_read_leave_another_programs_file_as_it_is(mer_search, tmp_path, command):
    path = tmp_path / "notes.db"
    with sqlite3.connect(path) as notes:
        notes.execute("create table notes (text)")
    notes.close()
    (tmp_path / "empty.db").touch()
    before = path.read_bytes()
    one_line(mer_search(*command.split(), "--storage", f"sqlite:///{path}"), 1, "has other tables (notes)")
    one_line(mer_search(*command.split(), "--storage", "sqlite:///empty.db"), 1, "must hold a study, but is empty")
    assert path.read_bytes() == before and (tmp_path / "empty.db").stat().st_size == 0


def test_another_version_of_optuna_is_told_with_its_advice_alone(foreign):
    path = foreign.removeprefix("sqlite:///")
    with sqlite3.connect(path) as database:
        database.execute("update alembic_version set version_num = 'v2.6.0.a'")
    database.close()
    with pytest.raises(StorageError, match="was made by another version of Optuna: ") as refused:
        open_storage(foreign)
    assert "optuna storage upgrade" in str(refused.value) and "writable" not in str(refused.value)


@pytest.mark.parametrize("depth", ["norm_u_v_os", "repository/datasets/norm_u_v_os"])
def test_flow_images_further_down_are_pointed_at(tmp_path, depth):
    write_flow_images(tmp_path / depth)
    with pytest.raises(DataError, match=f"flow images lie in {tmp_path / depth}; give that folder"):
        open_folder(tmp_path)


def test_a_flat_folder_of_flow_images_is_told_what_it_lacks(tmp_path):
    (tmp_path / "006_006_1_2 .png").touch()
    with pytest.raises(
        DataError, match=r"is none: it needs one of the spreadsheets .* flow images as <subject>/u_test/<0, 1 or 2>/"
    ):
        open_folder(tmp_path)
