"""Networks that learned from everybody, for people whom no dataset has: trained, and written as one ONNX file.

They have the configuration and the seeds of a confirmation, whose figure is the estimate for them: they are tested on
nobody, and what is in their folder is no result.
"""

import json
from dataclasses import replace
from pathlib import Path

from mer_search.config import digest
from mer_search.confirmation.confirm import Announce, Confirmation, confirm_all
from mer_search.confirmation.summary import Summary, read_summary
from mer_search.confirmation.target import Target
from mer_search.engine.where import Where
from mer_search.errors import UsageError
from mer_search.evaluation.folds import EVERYBODY
from mer_search.files import write_whole
from mer_search.inference.export import Exported, check_packages, export, metadata
from mer_search.inference.predict import Confirmed
from mer_search.search.workspace import Progress, load_data

SCRIPT = "use_final.py"


def export_final(
    confirmed: Confirmed, where: Where, out: Path | None, progress: Progress, announce: Announce
) -> Exported:
    """Train a confirmation's configuration on everybody, a network a seed, in `final` in its folder, and write
    `<out>/everybody.onnx`, the networks' mean, and `<out>/use_final.py`, which uses it on frames; `out` is that folder,
    too, where it is None. Networks that are finished are kept whatever happens."""
    check_packages()
    if confirmed.run.leaks:
        raise UsageError(
            f"training on everybody must not look at a test person, but that of {confirmed.title} does "
            '(train.stop_when_perfect, or units.chosen_by = "test"); confirm it without'
        )
    told = _told(read_summary(confirmed.folder / "summary.json"))
    job = _job(confirmed, progress)
    confirm_all([job], where, progress, announce)
    networks = replace(confirmed, title=job.target.title, folder=job.store, folds={EVERYBODY: EVERYBODY})
    (written,) = export(networks, [EVERYBODY], out or job.store, progress, told)
    write_whole(written.path.with_name(SCRIPT), Path(__file__).with_name(SCRIPT).read_text())
    return written


def _job(confirmed: Confirmed, progress: Progress) -> Confirmation:
    """What is to be trained: one fold a seed, which leaves nobody out."""
    run = confirmed.run
    loaded = load_data(confirmed.data, run, progress)
    if digest(loaded.run) != digest(run):
        raise UsageError(
            f"{confirmed.data} must hold the clips that {confirmed.title} was confirmed on, but holds others; restore "
            "them, or confirm again"
        )
    if EVERYBODY in {*loaded.subjects, *(clip.database for clip in loaded.clips)}:
        raise UsageError(
            f"no subject and no database must be called {EVERYBODY!r} where networks are trained on all, but one of "
            f"{confirmed.data} is; rename it"
        )
    target = Target(
        run, f"{confirmed.title}, trained on everybody", confirmed.folder / "final", confirmed.data, run.data.checksum,
        trained=confirmed.folder, leave_out=run.data.leave_out,
    )  # fmt: skip
    return Confirmation(target, loaded, (EVERYBODY,), confirmed.seeds)


def _told(summary: Summary) -> dict[str, str]:
    """What the file's metadata say of whom the networks learned from, and of how good they may be."""
    estimate = {
        "of": f"{summary.title}: {summary.protocol}, of {summary.n_subjects} subjects",
        "seeds": summary.seeds,
        "rule": "tail",
        **summary.tail.model_dump(include={"uf1", "ci95", "averaged"}),
        "subjects_that_chose_the_configuration": summary.n_tuning,
    }
    return {
        "trained_on": f"everybody: all {summary.n_clips} clips of {summary.n_subjects} subjects; they were tested on "
        "nobody, so that no figure is theirs, and what they say of these subjects is no test",
        "estimate_for_new_people": json.dumps(estimate),
    }


def script_refusal(confirmed: Confirmed) -> str:
    """Why the script cannot use a confirmed run's networks; "" if it can."""
    from mer_search.inference import use_final  # imports onnxruntime

    return use_final.refusal(metadata(confirmed))
