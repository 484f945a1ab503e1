"""What optuna-dashboard shows of a trial and a study: notes, and pictures as artifacts."""

import socket
from collections.abc import Mapping
from copy import copy
from pathlib import Path
from socketserver import ThreadingMixIn
from tempfile import TemporaryDirectory
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import numpy as np
import optuna
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta, upload_artifact
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from mer_search.confirmation.folders import confirmations
from mer_search.confirmation.summary import read_summary
from mer_search.engine.executor import POLL
from mer_search.engine.stop import check
from mer_search.errors import UsageError
from mer_search.evaluation.metrics import RULES, accuracy, fold_confusion, uar, uf1
from mer_search.files import csv_text, write_whole
from mer_search.report.document import Table, markdown_table
from mer_search.report.summaries import top_table
from mer_search.report.terminal import plural
from mer_search.report.trials import state_line, trials_table
from mer_search.search.progress import progress_of
from mer_search.search.storage import is_stopped, results
from mer_search.search.trial import Evaluation
from mer_search.training.fold_store import read_history

OURS = ("#### From mer-search", "*Your own words may stand above this part, or below it.*")  # around our part of a note
TRIALS_SHOWN = 5  # trials in a study's note
STOPPED_EARLY = (
    "**This trial was stopped early: its value is an estimate, not a score.** `mer-search dashboard` calls it "
    "Pruned, `optuna-dashboard` Complete."
)


def describe_trial(trial: optuna.Trial, evaluation: Evaluation, artifacts: Path) -> None:
    """Attach a trial's pictures and subjects, and write its note, while it runs: a finished trial takes no artifact."""
    from mer_search.report.figures import confusion
    from mer_search.report.page import curves

    search, classes = evaluation.search, evaluation.run.data.classes
    folder, rule = search.folder(trial.number), search.file.rule
    counts = {fold.subject: fold_confusion(fold, RULES[rule]) for fold in evaluation.folds}
    matrix = np.sum(list(counts.values()), axis=0)
    share = f"{len(counts)} of {len(search.subjects)} subjects, {evaluation.epochs} epochs ({rule} rule)"
    stopped = len(counts) < len(search.subjects) or evaluation.epochs < evaluation.run.train.epochs
    scored, loss = curves(evaluation.folds, read_history(folder))
    by_subject = [(subject, own.sum(), own.trace()) for subject, own in counts.items()]
    files: dict[str, bytes | str] = {
        "confusion.png": confusion(matrix, classes)("png"),
        "uf1.png": scored("png"),
        "loss.png": loss("png"),
        "subjects.csv": csv_text(("subject", "clips", "right"), by_subject),
    }
    for name, content in files.items():
        write_whole(folder / name, content)
    _attach(trial, files, artifacts)
    rows = [(name, *row) for name, row in zip(classes, matrix.tolist(), strict=True)]
    numbered = ", ".join(f"{step} {subject}" for step, subject in enumerate(search.subjects))
    parts = [
        *([STOPPED_EARLY] if stopped else []),
        f"**UF1 {uf1(matrix):.3f}**, UAR {uar(matrix):.3f}, accuracy {accuracy(matrix):.3f} over {share}.",
        markdown_table(Table(("truth, predicted:", *classes), rows)),
        "Intermediate values are what the pruner compares, of one subject each: the truth's mean rank among the "
        "classes, or with other pruners its mean probability, its log, or the share of clips that are right; step and "
        f"subject: {numbered}. At a second and third rung, when folds have gone on for more epochs, it counts from "
        f"{len(search.subjects)} and {2 * len(search.subjects)}.",
        f"Files: `{folder}`",
    ]
    _write_note(trial, "\n\n".join(parts))


def describe_study(study: optuna.Study) -> None:
    """Write the study's note: data, subjects and rule, the best trials, and what was confirmed; attach its history."""
    from mer_search.report.search import history

    facts = study.user_attrs
    parts = [
        f"{facts['dataset']}; study file `{facts['study_file']}` on {facts['preset']}; objective: pooled UF1 "
        f"of {len(facts['subjects'])} subjects under the {facts['rule']} rule; seed {facts['seed']}."
    ]
    if facts["leaks"]:
        parts.append("**The rule looks at the test subject's labels: these figures leak.**")
    told = progress_of(study)
    if told["best"]:
        parts.append(f"{state_line(told)}.")
        if stopped := sum(map(is_stopped, study.get_trials(deepcopy=False))):
            parts.append(
                f"**{plural(stopped, 'trial')} stopped early: the values are estimates, not scores.** They have ~ "
                "here, are hollow in history.png, and Pruned in `mer-search dashboard`; `optuna-dashboard` calls "
                "them Complete."
            )
        parts.append(markdown_table(trials_table(study, TRIALS_SHOWN)))
    parts.append("Confirm the best with `mer-search confirm`.")
    if confirmed := [read_summary(folder / "summary.json") for folder in confirmations(study).values()]:
        parts += ["Confirmed on all subjects:", markdown_table(top_table(confirmed))]
    _write_note(study, "\n\n".join(parts))
    if drawn := history(study):
        _attach(study, {"history.png": drawn.drawings[0]("png")}, results(study) / "artifacts")


def _write_note(thing: optuna.Study | optuna.Trial, text: str) -> None:
    """Write our part of a note; what a person wrote before and after it stays."""
    from optuna_dashboard import get_note, save_note

    before, _, rest = (get_note(thing) or "").partition(OURS[0])
    save_note(thing, f"{before}{OURS[0]}\n\n{text}\n\n{OURS[1]}{rest.partition(OURS[1])[2]}")


def attach_confirmation(study: optuna.Study, trial: str, pictures: Mapping[str, bytes]) -> None:
    """Attach the pictures of a trial's confirmation to its study, and say in the study's note what was found."""
    files = {f"confirmed-{trial}-{picture}.png": png for picture, png in pictures.items()}
    _attach(study, files, results(study) / "artifacts")
    describe_study(study)


def _attach(thing: optuna.Study | optuna.Trial, files: Mapping[str, bytes | str], artifacts: Path) -> None:
    """Attach files to a study or a trial; one of the same name is replaced."""
    known = {each.filename: artifacts / each.artifact_id for each in get_all_artifact_meta(thing)}
    artifacts.mkdir(parents=True, exist_ok=True)
    store = FileSystemArtifactStore(str(artifacts))
    with TemporaryDirectory() as folder:
        for name, content in files.items():
            path = known.get(name, Path(folder) / name)
            write_whole(path, content)
            if name not in known:
                upload_artifact(artifact_store=store, file_path=str(path), study_or_trial=thing)


def check_port(host: str, port: int) -> None:
    """Raise UsageError if this machine has no such address, or the port is taken or may not be listened on."""
    try:
        socket.create_server((host, port)).close()
    except (OSError, UnicodeError, TypeError) as error:  # the latter two of a name that cannot be one
        raise UsageError(
            f"--host and --port must be an IPv4 address of this machine and a free port, but are {host!a} and {port} "
            f"({error}); give others"
        ) from error


def address(storage: BaseStorage, study_name: str, host: str, port: int) -> str:
    """Where a browser finds the study."""
    return f"http://{host}:{port}/dashboard/studies/{storage.get_study_id_from_name(study_name)}"


def _with_marks(storage: BaseStorage) -> BaseStorage:
    """Show trials that were stopped early as pruned, in grey: the dashboard has no grey but for a broken constraint,
    which it reads as an earlier Optuna kept them. What is stored stays as it is."""
    read = storage.get_all_trials

    def get_all_trials(*args: Any, **options: Any) -> list[FrozenTrial]:
        trials = [copy(trial) for trial in read(*args, **options)]
        for trial in filter(is_stopped, trials):
            trial.state = TrialState.PRUNED
            trial.system_attrs = {**trial.system_attrs, "constraints": [1.0]}
        return trials

    storage.get_all_trials = get_all_trials  # type: ignore[method-assign]
    return storage


class _Server(ThreadingMixIn, WSGIServer):
    """A thread a request, so that a client that says nothing keeps no other one waiting."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    """No line for each request."""

    def log_request(self, *_: object) -> None:
        pass


def server(storage: BaseStorage, artifacts: Path, host: str, port: int) -> WSGIServer:
    """Of optuna-dashboard, which has no login; it listens already."""
    from optuna_dashboard import wsgi

    app = wsgi(_with_marks(storage), artifact_store=FileSystemArtifactStore(str(artifacts)))
    return make_server(host, port, app, _Server, _Quiet)


def serve(listening: WSGIServer) -> None:
    """Answer requests until the command is to stop, which must not be raised within one: a server takes it for the
    request's own error."""
    listening.timeout = POLL
    while True:
        check()
        listening.handle_request()
