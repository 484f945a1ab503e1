"""Workers that share a study: each trial has one of them, and a lost worker's trial gets another."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from mer_search.errors import StorageError
from mer_search.search.claims import failed_last, open_claims, reachable
from mer_search.search.storage import open_storage
from mer_search.search.study import open_study


def _draw(trial):
    return {"x": trial.suggest_float("x", 0, 1)}


@pytest.fixture
def join(postgres):
    """A function -> (study, claims) of another worker of one study."""
    name = uuid4().hex
    optuna.create_study(study_name=name, storage=open_storage(postgres))

    def worker():
        study = optuna.load_study(study_name=name, storage=open_storage(postgres))
        return study, open_claims(study._storage, name)

    return worker


def test_a_lost_workers_trial_is_taken_up_under_its_number_with_its_values_and_no_others_is(join):
    (one, lost), (two, alive), (three, heir) = join(), join(), join()
    first, values = lost.ask(one, 3, _draw)
    second, _ = alive.ask(two, 3, _draw)
    lost.connection.close()  # as the server does when a process is killed
    taken, again = heir.ask(three, 3, _draw)
    assert (taken.number, again) == (first.number, values)
    third, _ = heir.ask(three, 3, _draw)
    assert sorted([first.number, second.number, third.number]) == [0, 1, 2]
    alive.check(second._trial_id)


def test_a_worker_that_lost_its_connection_is_told_so_before_it_stores_a_result(join):
    study, claims = join()
    trial, _ = claims.ask(study, 1, _draw)
    claims.check(trial._trial_id)
    pid = claims._do("SELECT pg_backend_pid()")[0]
    with study._storage._backend.engine.connect() as other:
        other.execute(sqlalchemy.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
    with pytest.raises(StorageError, match="same command"):
        claims.check(trial._trial_id)


def test_no_more_trials_start_than_are_wanted_and_a_failed_one_is_replaced(join):
    (one, early), (two, late) = join(), join()
    first, _ = early.ask(one, 1, _draw)
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(late.ask, two, 1, _draw)
        with pytest.raises(TimeoutError):
            waiting.result(1.2)
        one.tell(first, state=TrialState.FAIL)
        second, _ = waiting.result(30)
    assert second.number == 1
    two.tell(second, 0.5)
    assert early.ask(one, 1, _draw) is None


def test_many_workers_run_every_enqueued_trial_once_and_no_trial_twice(join):
    study, _ = join()
    for k in range(10):
        study.enqueue_trial({"x": k / 100})

    def work(_):
        mine, claims = join()
        numbers = []
        while asked := claims.ask(mine, 40, _draw):
            numbers.append(asked[0].number)
            mine.tell(asked[0], asked[1]["x"])
            claims.drop(asked[0]._trial_id)
        return numbers

    with ThreadPoolExecutor(4) as threads:
        numbers = sorted(number for each in threads.map(work, range(4)) for number in each)
    assert numbers == list(range(40))
    trials = study.get_trials()
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 40
    assert [trial.params["x"] for trial in trials[:10]] == [k / 100 for k in range(10)]


def test_workers_that_start_together_make_one_study(postgres, make_search):
    search, name = make_search(), uuid4().hex

    def start(_):
        return open_study(search, open_storage(postgres), name)._study_id

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(start, range(4)))) == 1
    trials = open_study(search, open_storage(postgres), name).get_trials()
    assert [trial.state for trial in trials] == [TrialState.WAITING]  # the start point, once


def test_failures_in_a_row_are_counted_over_all_workers_and_from_now_on(join):
    (one, _), (two, _) = join(), join()
    for study, state in ((one, "FAIL"), (two, "COMPLETE"), (one, "FAIL"), (two, "FAIL")):
        study.tell(study.ask(), 0.5 if state == "COMPLETE" else None, TrialState[state])
    assert [trial.number for trial in failed_last(one, set())] == [2, 3]
    assert [trial.number for trial in failed_last(two, {0, 2})] == [3]


def _cut_short():
    """What SQLAlchemy makes of Ctrl-C in the middle of a statement."""
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        raise SQLAlchemyError("the session is gone") from None


def test_ctrl_c_within_a_statement_is_still_ctrl_c():
    with pytest.raises(KeyboardInterrupt), reachable():
        _cut_short()
    with pytest.raises(StorageError, match="must stay reachable, but is not"), reachable():
        raise SQLAlchemyError("the server is gone")
