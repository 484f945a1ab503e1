"""What optuna-dashboard shows of a trial and a study: notes, and pictures as artifacts."""

import errno
import socket
from pathlib import Path

import numpy as np
import optuna
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.storages import BaseStorage

from mer_search.errors import UsageError
from mer_search.files import write_whole
from mer_search.search.study import Evaluation
from mer_search.training.metrics import scores


def describe_trial(trial: optuna.Trial, evaluation: Evaluation, artifacts: Path) -> None:
    """Attach a trial's confusion matrix and write its note, while it runs: a finished trial takes no artifact."""
    from optuna_dashboard import save_note

    from mer_search.report.figures import confusion_png

    matrix = np.sum(list(evaluation.seen.values()), axis=0)
    score, classes = scores(matrix), evaluation.run.data.classes
    share = f"{len(evaluation.seen)} of {len(evaluation.subjects)} subjects, {evaluation.epochs} epochs"
    picture = evaluation.folder / "confusion.png"
    write_whole(picture, confusion_png(matrix, classes, f"trial {trial.number}: {share}, {evaluation.rule} rule"))
    artifacts.mkdir(parents=True, exist_ok=True)
    upload_artifact(
        artifact_store=FileSystemArtifactStore(str(artifacts)), file_path=str(picture), study_or_trial=trial
    )
    rows = [f"| {name} | {' | '.join(map(str, row))} |" for name, row in zip(classes, matrix, strict=True)]
    numbered = ", ".join(f"{step} {subject}" for step, subject in enumerate(evaluation.subjects))
    save_note(
        trial,
        "\n".join(
            [
                f"**UF1 {score.uf1:.3f}**, UAR {score.uar:.3f}, accuracy {score.accuracy:.3f} over {share} "
                f"({evaluation.rule} rule).",
                "",
                f"| truth, predicted: | {' | '.join(classes)} |",
                "|" + "---|" * (len(classes) + 1),
                *rows,
                "",
                "Intermediate values are what the race compares, of one subject each: the mean chance given to the "
                f"truth, or with `wilcoxon` its mean log; step and subject: {numbered}. At a race's second and third "
                f"rung, when the folds have gone on for more epochs, it counts from {len(evaluation.subjects)} and "
                f"{2 * len(evaluation.subjects)}.",
                "",
                f"Files: `{evaluation.folder}`",
            ]
        ),
    )


def describe_study(study: optuna.Study) -> None:
    """Write the study's note: data, subjects and rule."""
    from optuna_dashboard import save_note

    facts = study.user_attrs
    warning = "\n\n**The rule looks at the test subject's labels: these figures leak.**" if facts["leaks"] else ""
    save_note(
        study,
        f"{facts['dataset']}; study file `{facts['study_file']}` on {facts['preset']}; objective: pooled UF1 "
        f"of {len(facts['subjects'])} subjects under the {facts['rule']} rule; seed {facts['seed']}."
        f"{warning}\n\nThe best of many noisy trials looks better than it is: confirm it with "
        f"`mer-search confirm`.",
    )


def exposed(host: str) -> bool:
    """Whether others than this machine's users may reach a server that listens on an address."""
    return not (host == "localhost" or host.startswith("127."))


def check_port(host: str, port: int) -> None:
    """Raise UsageError if this machine has no such address, or something answers on the port already."""
    try:
        socket.create_server((host, port)).close()
    except (OSError, UnicodeError, TypeError) as error:  # the latter two of a name that cannot be one
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise UsageError(f"--port must be free, but something answers on {port}; give another") from error
        raise UsageError(
            f"--host and --port must be an IPv4 address of this machine and a port that may be listened on, but are "
            f"{host!a} and {port} ({error})"
        ) from error


def serve(storage: BaseStorage, artifacts: Path, host: str, port: int) -> None:
    """Serve optuna-dashboard, which has no login."""
    from optuna_dashboard import run_server

    store = FileSystemArtifactStore(str(artifacts))
    run_server(storage, host=host, port=port, artifact_store=store)
