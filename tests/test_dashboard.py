"""What the dashboard is told of trials that were stopped early, and where it opens."""

import json
import os
import signal
import socket
import threading
import urllib.request
from contextlib import suppress

import optuna
import pytest
from optuna.artifacts import get_all_artifact_meta
from optuna.trial import TrialState, create_trial
from optuna_dashboard._note import get_note_from_system_attrs as note_of

from mer_search.engine import stop
from mer_search.engine.stop import polling, stoppable
from mer_search.errors import StorageError
from mer_search.report import live
from mer_search.report.dashboard import address, describe_study, serve, server
from mer_search.search.finals import Final
from mer_search.search.storage import open_storage


@pytest.fixture
def study(tmp_path):
    """A study of two trials, the second of which was stopped early."""
    storage = open_storage(f"sqlite:///{tmp_path}/small.db", create=True)
    study = optuna.create_study(storage=storage, study_name="small", direction="maximize")
    facts = {"dataset": "clips", "study_file": "small", "preset": "V4", "subjects": ["s1", "s2"], "rule": "tail"}
    for key, value in (facts | {"seed": 0, "leaks": False, "out": str(tmp_path)}).items():
        study.set_user_attr(key, value)
    for value, more in ((0.5, {}), (0.4, {"stopped_after": 1, "stopped_epochs": 2})):
        attributes = {"gflop": 0.1, "fold_epochs": [2, 4]} | more
        study.add_trial(create_trial(value=value, user_attrs=attributes))
    return study


def test_the_note_of_a_study_tells_estimates_from_scores_in_words_and_in_a_picture(study):
    describe_study(study)
    note = note_of(study._storage.get_study_system_attrs(study._study_id), None)["body"]
    assert "**1 trial stopped early: the values are estimates, not scores.**" in note
    assert "| ~0.400 |" in note and "1 complete, 1 stopped early" in note
    assert [meta.filename for meta in get_all_artifact_meta(study)] == ["history.png"]


def test_trials_that_were_stopped_are_not_complete_in_the_dashboard(study, tmp_path, capfd):
    with server(study._storage, tmp_path, "127.0.0.1", 0) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        opened = address(study._storage, "small", "127.0.0.1", listening.server_port)
        url = f"http://127.0.0.1:{listening.server_port}/api/studies/{study._study_id}"
        assert opened == url.replace("/api/", "/dashboard/")
        with urllib.request.urlopen(url, timeout=60) as answer:
            trials = json.load(answer)["trials"]
        listening.shutdown()
    assert [trial["state"] for trial in trials] == ["Complete", "Pruned"]
    assert [trial["constraints"] for trial in trials] == [[], [1.0]]  # which is drawn in grey
    assert capfd.readouterr().err == ""  # no line for each request
    kept = optuna.load_study(study_name="small", storage=f"sqlite:///{tmp_path}/small.db").get_trials()
    assert {trial.state for trial in kept} == {TrialState.COMPLETE}


@pytest.fixture
def stopped(monkeypatch):
    """What `stoppable` leaves behind after a stop is taken back: signals are heard as before."""
    monkeypatch.setattr(stop, "_command", None)
    yield
    stop._command.close()


def test_a_stop_in_the_middle_of_a_request_ends_the_server_though_another_client_is_silent(
    study, tmp_path, monkeypatch, capfd, stopped
):
    asked = []

    def app(environ, start):
        asked.append(environ["PATH_INFO"])
        os.kill(os.getpid(), signal.SIGINT)
        start("200 OK", [])
        return [b""]

    monkeypatch.setattr("optuna_dashboard.wsgi", lambda *_, **__: app)
    with server(study._storage, tmp_path, "127.0.0.1", 0) as listening:
        place = ("127.0.0.1", listening.server_port)
        with socket.create_connection(place), socket.create_connection(place) as asking:
            asking.sendall(b"GET /api HTTP/1.1\r\n\r\n")
            with pytest.raises(KeyboardInterrupt), stoppable(), polling():
                serve(listening)
    assert asked == ["/api"] and capfd.readouterr().err == ""


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, StorageError])
def test_a_studys_note_takes_a_twentieth_of_the_time_and_tells_the_end(error, tmp_path, monkeypatch):
    now, told = [0.0], []

    def describe(_):  # in a second
        told.append(now[0])
        now[0] += 1

    monkeypatch.setattr(live.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(live, "describe_study", describe)
    with suppress(KeyboardInterrupt, StorageError), live.Live(None, 50, 0, tmp_path) as shown:
        for _ in range(50):
            shown.show(Final(0, (0.5,)))
            now[0] += 1
        if error:
            raise error
    assert told == [0.0, 21.0, 42.0, 53.0][: 3 if error is StorageError else 4]
