import shutil

import optuna
import pytest
from optuna.trial import TrialState
from small import STUDY, confirmation_of, drive, folds_of, silent, states

from mer_search.confirmation.difficulty import of_study
from mer_search.engine.task import Failed, Finished, Progress
from mer_search.errors import DataError, StorageError, UsageError
from mer_search.evaluation.metrics import pooled_uf1, tail, val_epoch
from mer_search.report.costs import print_cost
from mer_search.report.live import Live
from mer_search.report.trials import reason_lines, trial_line, trials_table
from mer_search.search import study as studies
from mer_search.search.cost import search_cost
from mer_search.search.progress import progress_of
from mer_search.search.resume import KEPT, read_kept, start_changed
from mer_search.search.scheduler import Scheduler
from mer_search.search.storage import best_trial, find_trial, only_writer, open_storage, ranked
from mer_search.search.study import open_study, restore
from mer_search.search.trial import _folds, trial_folder
from mer_search.search.workspace import Loaded
from mer_search.training.fold_store import read_config


def test_trials_count_in_all_and_a_second_call_goes_on(begin, storage, executor):
    search, _ = begin(trials=2)
    again = open_study(search, storage, "small")
    drive(search, again, executor, 3)
    drive(search, again, executor, 3)
    assert states(again) == ["COMPLETE"] * 3
    lrs = [trial.params["train.lr"] for trial in again.get_trials()]
    assert lrs[0] == 5e-3  # the starting point came first
    assert len(set(lrs)) == 3


def test_a_trial_leaves_its_predictions_and_its_value_can_be_recomputed(begin):
    search, study = begin(trials=1)
    folder = trial_folder(search.out, 0)
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "folds", "env.json"} <= names
    folds = folds_of(folder)
    assert study.get_trials()[0].value == pooled_uf1(folds, tail)
    assert read_config(folder / "config.json").train.lr == 5e-3
    steps = study.get_trials()[0].intermediate_values
    assert set(steps) == set(range(4))
    assert all(0 < value < 1 for value in steps.values())  # chances


def test_a_trial_that_diverges_is_infeasible_and_never_the_best(begin):
    text = STUDY.replace("[1e-3, 1e-2], log = true", "[1e-3, 10.0]").replace("5e-3", "10.0")
    text = text.replace("[space]", '"train.weight_decay" = 10.0\n"train.epochs" = 40\n[space]')
    text = text.replace('"train.epochs" = 2\n', "")
    _, study = begin(text, trials=1)
    trial = study.get_trials()[0]
    assert trial.state.name == "PRUNED"
    assert "try a smaller train.lr" in trial.user_attrs["infeasible"]
    assert best_trial(study) is None
    assert progress_of(study)["trials"] == {"infeasible": 1}
    with pytest.raises(UsageError, match="must have a finished trial"):
        find_trial(study, None)


def test_a_trial_whose_batches_were_cut_to_fit_says_so(begin, executor, monkeypatch):
    real = executor.poll

    def cut(event):
        return event._replace(epoch=event.epoch._replace(microbatches=4 if event.task.subject == "sub03" else 2))

    monkeypatch.setattr(
        executor, "poll", lambda: [cut(event) if isinstance(event, Progress) else event for event in real()]
    )
    _, study = begin(trials=1)
    (trial,) = study.get_trials()
    assert trial.user_attrs["microbatches"] == 4
    assert ", batches cut into 4, to fit  components=uvo" in trial_line(trial)


def test_a_repeated_configuration_runs_with_another_seed(begin, executor):
    search, study = begin()
    study.enqueue_trial(dict(search.file.start[0]))
    drive(search, study, executor, 2)
    seeds = [{fold.seed for fold in folds_of(trial_folder(search.out, n))} for n in (0, 1)]
    assert seeds == [{0}, {1}]


@pytest.mark.parametrize(
    ("key", "choice", "words"),
    [
        ("frames.maps", [1, 2], "flow images have 1 motion map.*frames.maps must be 1, but frames.maps is 2"),
        ("frames.crops", [0, 2], "flow images have 1 motion map.*frames.crops must be 0, but frames.crops is 2"),
        ("train.val_subjects", [1, 2], "two of the 3 subjects that a fold does not test .*, but is 2; set it to 1"),
    ],
)
def test_an_axis_that_the_data_cannot_have_is_refused_before_the_search(make_search, key, choice, words):
    with pytest.raises(UsageError, match=words):
        make_search(STUDY.replace("[space]", f'"train.val_subjects" = 1\n[space]\n"{key}" = {{ choice = {choice} }}'))


def test_a_study_can_be_judged_by_the_epochs_that_subjects_held_out_choose(begin):
    search, study = begin(
        'rule = "val_epoch"\n' + STUDY.replace("[space]", '"train.val_subjects" = 1\n[space]'), trials=1
    )
    folds = folds_of(trial_folder(search.out, 0))
    assert all(fold.val_log_likelihood.shape == (2,) for fold in folds)
    assert study.get_trials()[0].value == pooled_uf1(folds, val_epoch)


def test_an_axis_of_the_motion_measures_it_anew(begin):
    _, study = begin(STUDY.replace("[space]", '[space]\n"flow.size" = { choice = [16, 28] }'), trials=5)
    assert {trial.params["flow.size"] for trial in study.get_trials()} == {16, 28}
    assert states(study) == ["COMPLETE"] * 5


def test_the_cost_is_known_before_the_first_trial(begin, executor):
    search, study = begin()
    cost = search_cost(search, study, executor, 5, 1, silent)
    assert (cost.trials, cost.folds) == (5, 20)
    assert cost.flop > 0
    assert 0 < cost.seconds < 600
    with pytest.raises(KeyboardInterrupt):
        drive(search, study, executor, 1, stop_after=3)
    assert search_cost(search, study, executor, 5, 1, silent).flop == pytest.approx(cost.flop * 17 / 20)
    drive(search, study, executor, 1)
    assert search_cost(search, study, executor, 1, 1, silent).trials == 0


def test_a_workers_death_is_told(make_search, executor, monkeypatch, capsys):
    search = make_search()
    study, poll, died = open_study(search, optuna.storages.InMemoryStorage(), "small"), executor.poll, []

    def dies_once(*given):
        events = poll(*given)
        for place, event in enumerate(events):
            if isinstance(event, Finished) and not died:
                died.append(event.task.subject)
                events[place] = Failed(event.task, None, "SIGKILL")
        return events

    monkeypatch.setattr(executor, "poll", dies_once)
    with Live(study, 1, 0, search.out) as shown:
        for event in studies.run(search, study, Scheduler(executor, 1), 1):
            shown.show(event)
    assert f"a worker died (SIGKILL) at {died[0]} of trial 0" in capsys.readouterr().err
    assert states(study) == ["COMPLETE"]


def test_the_bar_of_trials_moves_with_every_fold_so_that_the_time_left_can_be_told(begin, executor):
    search, study = begin()
    live, moved = Live(study, 2, 0, search.out), []
    for event in studies.run(search, study, Scheduler(executor, 1), 2):
        live.show(event)
        moved.append(live.progress.tasks[live.trials].completed)
    assert moved == sorted(moved) and moved[-1] == 2
    assert all(any(trial < done < trial + 1 for done in moved) for trial in (0, 1))


@pytest.mark.parametrize(("blocks", "side"), [(1, 14), (4, 2)])
def test_a_space_of_small_last_maps_is_warned_of(make_search, executor, capsys, blocks, side):
    search = make_search(STUDY.replace('"model.blocks" = 1', f'"model.blocks" = {blocks}'))
    study = open_study(search, optuna.storages.InMemoryStorage(), "maps")
    cost = search_cost(search, study, executor, 2, 1, silent)
    assert cost.last_map == side
    print_cost(cost, "2 slots")
    assert ("no more than 2 x 2 places" in " ".join(capsys.readouterr().err.split())) == (side == 2)


SPELT = ["sqlite:///{}", "sqlite+pysqlite:///{}", "sqlite:///{}?timeout=30", "sqlite:///file:{}?uri=true"]


@pytest.mark.parametrize("spelt", SPELT)
@pytest.mark.parametrize("name", ["study.db", "my%20study.db"])
def test_sqlite_has_one_writer_however_it_is_spelt(tmp_path, spelt, name):
    path = tmp_path / name
    with (
        only_writer(f"sqlite:///{path}", tmp_path / "one"),
        pytest.raises(
            StorageError, match=r"study\.db must have one mer-search that writes to it, but another holds it; wait"
        ),
        only_writer(spelt.format(path), tmp_path / "other"),
    ):
        pass
    with only_writer(spelt.format(path), tmp_path / "one"):
        open_storage(spelt.format(path), create=True)
    open_storage(spelt.format(path))  # which is there
    assert (tmp_path / name.replace("%20", " ")).exists()


def test_a_storage_that_cannot_be_opened_is_one_line(tmp_path):
    for url, kind, words in [
        ("nonsense", UsageError, "must be a URL such as"),
        ("postgresql+psycopg//user:secret@localhost/x", UsageError, "user:\\*\\*\\*@localhost"),
        ("oracle://user:secret@localhost/x", UsageError, "must be a URL such as"),
        ("mysql+pymysql://user:secret@localhost/x", UsageError, "pip install pymysql"),
        ("postgresql+psycopg2://user:secret@localhost/x", UsageError, "pip install 'psycopg\\[binary\\]'"),
        ("postgresql+psycopg://user:secret@localhost:1/x?password=secret", StorageError, "must be a database"),
        (f"sqlite:///{tmp_path}/none.db", StorageError, "there is no such file"),
        ("sqlite:///.", StorageError, "must be a file in a folder that exists, but . is a folder"),
        ("postgresql+nodriver://user:secret@localhost/x", StorageError, "must be a database that can be opened"),
    ]:
        with pytest.raises(kind, match=words) as caught:
            open_storage(url)
        assert "\n" not in str(caught.value)
        assert "secret" not in str(caught.value)
    with pytest.raises(StorageError, match=r"study\.db is in none"):
        open_storage(f"sqlite:///{tmp_path}/no/folder/study.db", create=True)
    (tmp_path / "text.db").write_text("not a database, but long enough to be looked at" * 40)
    with pytest.raises(StorageError, match="must be a database"):
        open_storage(f"sqlite:///{tmp_path}/text.db")


def test_values_that_are_impossible_together_are_infeasible(begin, executor, monkeypatch):
    def refuse(*_):
        raise UsageError("the position branch has 4 heads")

    search, study = begin()
    monkeypatch.setattr(Loaded, "with_values", refuse)
    drive(search, study, executor, 1)
    assert states(study) == ["PRUNED"]
    assert study.get_trials()[0].user_attrs["infeasible"] == "the position branch has 4 heads"


FRONT = STUDY.replace('sampler = "random"', 'sampler = "nsga2"\nalso = "parameters"').replace(
    '"train.lr" = {', '"model.attention_width" = { choice = [4, 8] }\n"train.lr" = {'
)


def test_uf1_against_parameters_leaves_a_front_and_a_best_trial(begin):
    _, study = begin(FRONT, trials=4)
    trials = study.get_trials()
    assert all(len(trial.values) == 2 for trial in trials)
    assert {trial.values[1] for trial in trials} == {trial.user_attrs["parameters"] for trial in trials}
    assert all(trial.user_attrs["gflop"] > 0 for trial in trials)  # some 1e-4
    best = best_trial(study)
    assert best.values[0] == max(trial.values[0] for trial in trials)
    facts = progress_of(study)
    assert best.number in {row["trial"] for row in facts["pareto_front"]}
    beaten = [
        other
        for row in facts["pareto_front"]
        for other in trials
        if other.values[0] > row["uf1"] and other.values[1] < row["parameters"]
    ]
    assert beaten == []


def test_a_configuration_tried_again_counts_with_its_mean(storage):
    study = optuna.create_study(storage=storage, direction="maximize")
    for value, x in ((0.5, 1.0), (0.9, 2.0), (0.3, 2.0), (0.55, 3.0)):
        study.add_trial(
            optuna.create_trial(
                params={"x": x},
                distributions={"x": optuna.distributions.FloatDistribution(0, 9)},
                value=value,
                user_attrs={"fold_epochs": [8, 8]},
            )
        )
    assert best_trial(study).number == 1  # .9 and .3 are .6 on average, above .55
    finals = {"1": [0.5, 0.5], "3": [0.6, 0.6]}  # with the same seeds .633 and .583; .9 .3 .5 .5 would be .55
    assert [trial.number for trial in ranked(study.get_trials(), finals)] == [1, 3, 0]


@pytest.mark.parametrize(
    ("key", "value", "must"),
    [
        ("input.components", "o u", "lie on its axis"),
        ("train.lr", 0.5, "lie on its axis"),
        ("train.lr", "fast", "lie on its axis"),
        ("train.rate", 0.5, "be an axis of the study's space"),
    ],
    ids=str,
)
def test_a_trial_enqueued_with_a_value_off_its_axis_is_infeasible_and_blocks_nothing(begin, executor, key, value, must):
    search, study = begin(trials=1)
    study.enqueue_trial({"train.lr": 5e-3, "input.components": "uv"} | {key: value})
    drive(search, study, executor, 3)
    assert states(study) == ["COMPLETE", "PRUNED", "COMPLETE"]
    assert f"{key} must {must}" in study.trials[1].user_attrs["infeasible"]
    (line,) = reason_lines(progress_of(study))
    assert line.startswith(f"trial   1  infeasible: {key} must {must}")


def test_status_lists_why_the_latest_trials_without_a_result_have_none(begin, mer_search):
    _, study = begin()  # whose starting point waits as trial 0
    pruned, failed = TrialState.PRUNED, TrialState.FAIL
    for state, told in [(pruned, "infeasible")] * 3 + [(failed, "error")] * 3 + [(TrialState.RUNNING, "infeasible")]:
        study.add_trial(optuna.create_trial(state=state, user_attrs={told: "too wide\nand more"}))
    study.add_trial(optuna.create_trial(state=failed))  # by hand
    lines = [f"  trial   {number}  {'infeasible' if number < 4 else 'failed'}: too wide" for number in range(3, 7)]
    lines.append("  trial   8  failed: by another program")
    shown = mer_search("status", "--storage", "sqlite:///study.db").stdout.splitlines()
    assert shown[-6:] == [*lines, "  and 2 before them; --json lists all"]


def test_a_trial_that_was_added_by_hand_is_shown(begin):
    _, study = begin(trials=1)
    first = study.trials[0]
    study.add_trial(optuna.create_trial(value=0.9, params=first.params, distributions=first.distributions))
    assert len(trials_table(study).rows) == 1  # the same configuration counts once
    assert progress_of(study)["trials"] == {"complete": 2}


def test_folds_that_are_lost_are_trained_again_as_they_were_and_a_confirmation_waits_for_them(begin, executor):
    search, study = begin(trials=3)
    study.add_trial(optuna.create_trial(value=0.1))  # by hand, which has none
    study.add_trial(study.trials[1])  # which has those of its first
    fold = trial_folder(search.out, 1) / "folds" / "0-sub02.npz"
    there = {path: path.read_bytes() for path in search.out.glob("trial-*/folds/*.npz")}
    fold.unlink()
    shutil.rmtree(trial_folder(search.out, 2))
    with pytest.raises(DataError, match=r"trial-0001 must hold a fold of each tuning subject, but has none of sub02"):
        confirmation_of(study)
    with pytest.raises(DataError, match="trial-0001 must hold a fold of each tuning subject"):
        of_study(study)  # which clips are always wrong
    found = list(restore(search, study, Scheduler(executor, 1)))
    lost = {1: ["sub02"], 2: search.subjects, 4: search.subjects}
    assert sorted(found) == [(number, subject) for number, subjects in lost.items() for subject in subjects]
    assert [fold.seed for fold in folds_of(trial_folder(search.out, 4))] == [0] * 4  # and not that of a repeat
    assert {path: path.read_bytes() for path in there} == there
    assert confirmation_of(study).corrects and not list(restore(search, study, Scheduler(executor, 1)))


def test_folds_that_were_read_of_an_earlier_study_in_the_same_folder_are_read_again(begin, executor):
    search, study = begin()
    drive(search, study, executor, 1)
    before = _folds(search.folder(0))
    assert _folds(search.folder(0)) is before
    drive(search, study, executor, 1)
    assert _folds(search.folder(0)) is not before


def test_a_study_whose_file_was_damaged_is_told_how_to_go_on(begin, storage, make_search):
    search, _ = begin()
    kept = search.out / KEPT
    kept.write_text(STUDY.replace("1e-2]", "2e-2]"))
    with pytest.raises(
        StorageError,
        match=r"study.toml says the same, so that it, or a default, is not what .* was made\).* or undo the change",
    ):
        open_study(make_search(kept.read_text()), storage, "small")
    for damage in (b"\xff\xfe", b"[space"):
        kept.write_bytes(damage)
        with pytest.raises(DataError, match=r"study.toml must hold the study's file, .* with --study, the file that"):
            read_kept(search.out, "small")
        with pytest.raises(StorageError, match="which would tell, cannot be read"):
            open_study(make_search(STUDY.replace("1e-2]", "2e-2]")), storage, "small")
        open_study(make_search(), storage, "small")
        assert kept.read_text() == STUDY


def test_other_first_trials_than_the_study_was_made_with_are_noticed(begin, make_search):
    search, _ = begin()
    assert not start_changed(search)
    assert start_changed(make_search(STUDY.replace('"train.lr" = 5e-3', '"train.lr" = 4e-3')))
