"""What the commands do, from Python: with the same names and the same results. `import mer_search as mer`.

Nothing is printed; `progress` and `on_event` are told what happens.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from rich.console import Console

from mer_search.config import Run, Value, with_values
from mer_search.confirmation import score as scoring
from mer_search.confirmation import target as targeting
from mer_search.confirmation.compare import compare as compared
from mer_search.confirmation.compare import keep
from mer_search.confirmation.confirm import Announce, Confirmation, OnEpoch, confirm_all, prepare
from mer_search.confirmation.folders import confirmations
from mer_search.confirmation.scoring import summarise, write
from mer_search.confirmation.summary import Comparison, Summary
from mer_search.confirmation.target import FIRST_SEED, Target
from mer_search.data import Folder, open_folder
from mer_search.data.clips import Clip, Problem
from mer_search.data.flow import frame_sets, measure
from mer_search.data.loose import Moments
from mer_search.engine.local import choose_device
from mer_search.engine.where import Where
from mer_search.errors import UsageError
from mer_search.evaluation.logs import read_log
from mer_search.evaluation.predictions import Predictions
from mer_search.files import RANGES, RUNS, STORAGE
from mer_search.inference import export as exporting
from mer_search.inference import predict as predicting
from mer_search.inference.export import Exported
from mer_search.inference.export import export_final as write_final
from mer_search.inference.predict import ClipPrediction, Confirmed, confirmed_in
from mer_search.model.network import Network
from mer_search.presets import preset
from mer_search.report.dashboard import attach_confirmation
from mer_search.report.page import write_comparison, write_report
from mer_search.report.summaries import comparison_lines, conclusion, gap, summary_table
from mer_search.report.terminal import drawn
from mer_search.search import space
from mer_search.search.finals import Final
from mer_search.search.session import open_session, search_of
from mer_search.search.storage import check_free, check_name, check_url, is_ours
from mer_search.search.study import Event
from mer_search.search.workspace import Progress, find_data, silent
from mer_search.training.fold_store import checkpoint_file
from mer_search.training.fold_store import load_network as load_checkpoint

__all__ = [
    "Result", "Run", "compare", "compare_logs", "confirm", "export", "export_final", "load_data", "load_network",
    "motion", "network_of", "predict", "preset", "run", "score", "with_values",
]  # fmt: skip


Data = Folder | str | Path | None  # a dataset, or its folder


def load_data(path: str | Path | None = None, task: str | int = "") -> Folder:
    """A dataset's clips, without their motion.

    Args:
        path: the dataset's folder; None for the synthetic clips, which are drawn once.
        task: how many classes are told apart, such as 5; "" for the dataset's first.

    Returns:
        the folder, with `clips`, `subjects`, `classes` and `problems` (what is wrong with which clip).

    Raises:
        DataError: if there is no such folder, or no dataset is recognised in it.
        UsageError: if the dataset has no such task.
    """
    return open_folder(find_data(_path(path), silent), str(task))


def motion(clip: Clip, config: Run | None = None) -> NDArray[np.float32]:
    """A clip's motion maps (T, P, H, W): u, v in pixels, to the right and down; of flow images optical strain, too.

    Args:
        clip: one of a dataset's.
        config: whose frames, preparation and flow; the default configuration, at 224 pixels, if None.

    Raises:
        DataError: if its frames cannot be read.
    """
    chosen = config or Run()
    return np.asarray(measure(clip, frame_sets(clip, chosen.frames), chosen).flow[0], np.float32)


def _whole(name: str, value: Any) -> Any:
    """The value as an int; None stands for a default, if there is one."""
    least, most = RANGES[name]
    if value is None and name != "seeds":
        return None
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not least <= value <= most:
        raise UsageError(f"{name} must be a whole number from {least} to {most}, but is {value!r}")
    return int(value)


def _where(executor: str, device: str, slots: Any) -> Where:
    return Where(executor, choose_device(device, executor), _whole("slots", slots))


def _path(data: Data) -> Path | None:
    return data.path if isinstance(data, Folder) else Path(data).expanduser() if data else None


def _subjects(given: Any) -> str:
    """Subjects as a study file has them, from that or from their names."""
    return str(given) if isinstance(given, str | int) else ", ".join(map(str, given))


def _folds(data: Data, leave_out: str | None) -> dict[str, Value]:
    """Values of `data` that were given; a folder's task is, if it is not the one that is taken by itself."""
    task = data.other_task if isinstance(data, Folder) else ""
    return {key: value for key, value in (("data.task", task), ("data.leave_out", leave_out)) if value}


def _ours(study: Any) -> optuna.Study:
    """The study, if this program made it."""
    if not isinstance(study, optuna.Study):
        raise UsageError(f"a study must be an optuna.Study, such as `run` gives, but is {study!r}")
    if not is_ours(study.user_attrs):
        raise UsageError(f"a study must be one that `run` made, but {study.study_name!r} is another program's")
    return study


def run(
    data: Data = None, study: str | Path | None = None, trials: int | None = None, *, storage: str = STORAGE,
    study_name: str | None = None, leave_out: str | None = None, seed: int | None = None, device: str = "auto",
    executor: str = "local", slots: int | None = None, in_flight: int | None = None, out: str | Path = "runs",
    progress: Progress = silent, on_event: Callable[[Event | Final], None] = lambda event: None,
) -> optuna.Study:  # fmt: skip
    """Search until a study has so many trials, and hold its finals; a study that was stopped is resumed.

    Args:
        data: a dataset, its folder, or None for those of the study that is resumed, else the synthetic clips. The task
            of a dataset that was loaded for another than its first is taken, too.
        study: a study file or the name of one that comes with the package; None for the file of the study that is in
            the storage under `study_name`, or without a name for the one that suits data and device.
        trials: in all, earlier calls counted in; None for the study file's, or as many as before if that is more.
        storage: an Optuna storage's URL.
        study_name: in the storage; None for the study file's.
        leave_out: "subject" or, of a composite, "database": what a fold tests and never trains on; None for the study
            file's.
        seed: of the search, 0 to 899; None for as before, else 0.
        device: "auto", "cpu" or "cuda".
        executor: "local", "ray" or "ray://HOST:10001".
        slots: folds that are trained at once; None for as many as before, else as many as the machine has.
        in_flight: trials begun before the first of them has ended; None for as many as before, else as keep slots busy.
        out: the folder in which results are kept, under the study's name.
        progress: told (what, done, total) of clips that are read.
        on_event: told whatever happens to a trial.

    Returns:
        the study, as Optuna has it: `study.trials_dataframe()`, `optuna.visualization` and the like work on it. Its
        `best_trial` is the best by a trial's own seed; `confirm` takes the best after the finals.

    Raises:
        UsageError, DataError, StorageError: what `mer-search run` refuses.
        MerSearchError: after three failures in a row.
    """
    trials, seed, in_flight = _whole("trials", trials), _whole("seed", seed), _whole("in_flight", in_flight)
    file = space.load(str(Path(study).expanduser())) if study else None
    check_name((file.name if file else "default") if study_name is None else study_name)
    check_url(storage)
    check_free(storage)
    where, folds, home = _where(executor, device, slots), _folds(data, leave_out), Path(out).expanduser()
    search = search_of(file, study_name, _path(data), folds, seed, home, storage, where.device, progress)
    with open_session(search, storage, search.out.name, where, in_flight) as session:
        for event in session.events(session.trials(trials), progress):
            on_event(event)
        return session.study


@dataclass(frozen=True, repr=False)
class Result:
    """A confirmed configuration."""

    confirmation: Confirmation
    predictions: tuple[Predictions, ...]  # of every fold: each epoch's probabilities for the test subject's clips
    summary: Summary  # as summary.json holds it

    def __repr__(self) -> str:
        return f"<Result of {self.summary.title}: UF1 {self.summary.tail.uf1:.3f}, in {self.folder}>"

    @property
    def folder(self) -> Path:
        """Where its summary.json, subjects.csv and report.html are, and, of all subjects, its checkpoints and folds."""
        return self.confirmation.folder

    def table(self) -> str:
        """What `mer-search confirm` shows: every estimate with its interval, the baselines, and what follows."""
        text = io.StringIO()
        console = Console(file=text, width=100, highlight=False, markup=False)
        console.print(drawn(summary_table(self.summary)))
        for line in (conclusion(self.summary), gap(self.summary), *self.summary.conclusions):
            console.print(line)
        return text.getvalue()

    def report(self) -> Path:
        """The page to look at."""
        return self.folder / "report.html"

    @property
    def networks(self) -> Confirmed:
        """Its networks, for `predict` and `export`.

        Raises:
            UsageError: of a confirmation on some subjects, for each of its networks was trained on all others.
        """
        job = self.confirmation
        if not job.is_whole:
            raise UsageError(
                f"networks must be of all subjects, but these are of {', '.join(job.subjects)} alone, and each was "
                "trained on all others; confirm without subjects first"
            )
        return confirmed_in(self.folder, job.loaded.folder.path)


def confirm(
    what: optuna.Study | str, trial: int | None = None, *, against: str | None = "start",
    values: Mapping[str, Value] | None = None, recipe: str = "", seeds: int = 3, first_seed: int | None = None,
    subjects: str | Sequence[str] = "all", leave_out: str | None = None, data: Data = None, device: str = "auto",
    executor: str = "local", slots: int | None = None, out: str | Path = "runs", progress: Progress = silent,
) -> Result:  # fmt: skip
    """Leave-one-subject-out with seeds that no search used, baselines on the same folds, and what it is compared with.

    Args:
        what: a study, or the name of a published network.
        trial: of the study; None for its best.
        against: "start" for where the search started, a published network with the study's settings, or None.
        values: dotted paths set on a published network, such as {"train.epochs": 30}.
        recipe: "published" for a published network as its public code has it (docs/parity.md).
        seeds: how many, from first_seed on.
        first_seed: None for 1000, below which a search's seeds lie, or 0, the public code's, of a published network as
            published.
        subjects: as in a study file, or a list of names.
        leave_out: "subject" or, of a composite, "database": what a fold tests and never trains on; None for the
            study's, else "subject".
        data: as for `run`; None for the study's, or the synthetic clips.
        device, executor, slots: as for `run`.
        out: the folder for results of a published network; a study has its own.
        progress: told (what, done, total).

    Raises:
        UsageError, DataError: what `mer-search confirm` refuses.
        MerSearchError: if a fold cannot be trained; it is named, and finished folds are kept.
    """
    seeds, first_seed = _whole("seeds", seeds), _whole("first_seed", first_seed)
    if isinstance(what, str):
        if trial is not None or against not in ("start", None):
            raise UsageError("trial and against go with a study; `compare` compares published networks")
    elif not isinstance(what, optuna.Study):
        raise UsageError(f"what is confirmed must be a study or the name of a published network, but is {what!r}")
    elif values or recipe or Path(out) != RUNS:
        raise UsageError("values, recipe and out go with a published network, for a study has its own")
    home, folds = Path(out).expanduser(), _folds(data, leave_out)
    targets, start = find_targets(what, trial, None, against, values or {}, recipe, folds, home)
    path, where = targeting.data_for(targets, _path(data), progress), _where(executor, device, slots)
    fresh = targeting.seeds_of(targets, seeds, first_seed)
    return confirm_targets(what, targets, start, path, _subjects(subjects), fresh, where, progress)[0]


def find_targets(
    what: optuna.Study | str, trial: int | None, top: int | None, against: str | None, values: Mapping[str, Value],
    recipe: str, folds: Mapping[str, Value], out: Path,
) -> tuple[list[Target], Target | None]:  # fmt: skip
    """What is to be confirmed on these folds, of a study or by a published network's name, and with what it is compared
    beside; `top` for so many of the study's best trials, all else as for `confirm`."""
    if isinstance(what, str):
        targets, start = [targeting.preset_target(what, values, out, recipe)], None
    else:
        targets = targeting.top_targets(_ours(what), top) if top else [targeting.trial_target(_ours(what), trial)]
        start = targeting.start_target(what, "" if against == "start" else against, targets) if against else None
    return [targeting.on(target, folds) for target in targets], start and targeting.on(start, folds)


def confirm_targets(
    what: optuna.Study | str, targets: Sequence[Target], start: Target | None, path: Path, subjects: str,
    seeds: Sequence[int], where: Where, progress: Progress, announce: Announce = lambda jobs, costs, slots: None,
    on_epoch: OnEpoch = lambda title, epoch: None,
) -> list[Result]:  # fmt: skip
    """Confirm configurations on the same folds, compare the first with the others, and write their files and pages.

    `start`, where the search started, comes last, unless it is None or one of the others.
    """
    met = [*targets, *([start] if start and start.folder not in {target.folder for target in targets} else [])]
    jobs = prepare(met, path, subjects, seeds, progress)
    folds = confirm_all(jobs, where, progress, announce, on_epoch)
    summaries = [summarise(job, trained, progress) for job, trained in zip(jobs, folds, strict=True)]
    progress("scoring, and writing pages", 0, len(jobs))
    if len(jobs) > 1 or start:
        comparison = compared(jobs, folds).model_copy(update={"start": start.title if start else None})
        found = {"comparison": comparison, "conclusions": tuple(comparison_lines(comparison, len(targets)))}
        summaries[0] = summaries[0].model_copy(update=found)
    results = [Result(job, tuple(fold), summary) for job, fold, summary in zip(jobs, folds, summaries, strict=True)]
    for result in reversed(results):  # the first is the latest
        write(result.confirmation, result.predictions, result.summary)
        pictures = write_report(result.confirmation, result.predictions, result.summary)
        if not isinstance(what, str) and result.folder in confirmations(what).values():
            attach_confirmation(what, result.folder.name, pictures)
    return results


def compare(
    networks: Sequence[str | int], study: optuna.Study | None = None, *, values: Mapping[str, Value] | None = None,
    recipe: str = "", seeds: int = 3, subjects: str | Sequence[str] = "all", leave_out: str | None = None,
    data: Data = None, device: str = "auto", executor: str = "local", slots: int | None = None,
    out: str | Path = "runs", progress: Progress = silent,
) -> Comparison:  # fmt: skip
    """Networks against each other: same seeds, same folds, paired by subject. A page of it is in `out`/compare.

    Args:
        networks: two or more, by the names of published ones, or by the numbers of trials of the study.
        study: of the trials, whose data, task, folds and folder are taken.
        values, recipe: of published networks, as for `confirm`.
        seeds, subjects, leave_out, data, device, executor, slots, out, progress: as for `confirm`.

    Returns:
        `networks` with each one's `uf1`, `sd` and `ci95`; `pairs`, the first against each other one, with `difference`,
        `ci95`, `p`, `p_holm` and `conclusion`, a sentence; `winner`, and whether that is shown: `winner_shown`.

    Raises:
        UsageError, DataError: what `mer-search compare` refuses.
    """
    seeds, names = _whole("seeds", seeds), [] if isinstance(networks, str) else list(map(str, networks))
    if len(names) < 2:
        raise UsageError(f"networks must be a list of two or more, but are {networks!r}")

    def given() -> optuna.Study:
        if study is None:
            raise UsageError("the number of a trial needs the study that it is of, but study is None")
        return _ours(study)

    home, where = Path(out).expanduser(), _where(executor, device, slots)
    targets = targeting.targets_of(names, given, values or {}, _folds(data, leave_out), recipe, home)
    targeting.check_different(targets[name] for name in names)
    met, path = list(targets.values()), targeting.data_for(targets.values(), _path(data), progress)
    fresh, home = targeting.seeds_of(met, seeds, None), targeting.out_of(targets, home)
    return compare_targets(met, path, _subjects(subjects), fresh, where, home, progress)[0]


def compare_targets(
    targets: Sequence[Target], path: Path, subjects: str, seeds: Sequence[int], where: Where, out: Path,
    progress: Progress, announce: Announce = lambda jobs, costs, slots: None,
) -> tuple[Comparison, Path]:  # fmt: skip
    """The comparison of configurations on the same folds, and its page in `out`/compare."""
    jobs = prepare(targets, path, subjects, seeds, progress)
    found = compared(jobs, confirm_all(jobs, where, progress, announce))
    return found, write_comparison(found, keep(found, out).with_suffix(".html"))


def load_network(result: Result, subject: str, seed: int = FIRST_SEED, device: str = "cpu") -> tuple[Network, Run]:
    """The network that never saw a subject, as a plain torch module in evaluation mode, and its configuration.

    It takes channels (B, T, C, H, W), and the onset image (B, 3, G, G) where it has a position branch, and gives logits
    (B, K); `mer_search.training.predict_proba.predict_proba` gives probabilities of motion as `motion` measures it.

    Raises:
        UsageError: if there is no such network.
        DataError: if the file is missing or damaged.
    """
    job, run = result.confirmation, result.confirmation.loaded.run
    if subject not in job.subjects or seed not in job.seeds:
        raise UsageError(
            f"there must be a network that never saw the subject, but {subject!r} with seed {seed} has none; subjects: "
            f"{', '.join(job.subjects)}; seeds: {', '.join(map(str, job.seeds))}"
        )
    fold = job.loaded.folds[job.loaded.subjects.index(subject)]
    return load_checkpoint(checkpoint_file(job.store, seed, fold), run, device), run


def network_of(config: Run) -> Network:
    """A configuration's network with random weights: channels (B, T, C, H, W) -> logits (B, K)."""
    return Network(config)


def predict(
    result: Result, clips: Sequence[str | Clip], subject: str | None = None, device: str = "auto"
) -> list[ClipPrediction | Problem]:
    """Class probabilities of clips, by the mean of the networks that never saw their subject.

    Args:
        result: whose networks.
        clips: clips of the data, their ids such as "sub05/EP02_01f", folders of frames, videos or flow images.
        subject: of the dataset, if it is in the clips and their paths do not tell.
        device: "auto", "cpu" or "cuda".

    Returns:
        for each clip a prediction with `best`, `classes` and `probabilities`, or the problem that it has.

    Raises:
        UsageError: if the result is not of all subjects, or no such subject was in training.
    """
    asked = [clip.id if isinstance(clip, Clip) else clip for clip in ([clips] if isinstance(clips, str) else clips)]
    return predicting.predict(result.networks, asked, subject, Moments(), choose_device(device), silent)


def export(result: Result, subjects: str | Sequence[str], out: str | Path | None = None) -> list[Exported]:
    """Write the networks that never saw each subject as ONNX files, and check them against torch.

    Args:
        result: whose networks.
        subjects: one file each.
        out: the folder; None for `onnx` in the result's.

    Raises:
        UsageError: without onnx, onnxscript and onnxruntime.
        DataError: if a file does not say what torch says.
    """
    subjects = [subjects] if isinstance(subjects, str) else subjects
    return exporting.export(result.networks, subjects, Path(out) if out else None, silent)


def export_final(
    result: Result, out: str | Path | None = None, *, device: str = "auto", executor: str = "local",
    slots: int | None = None, progress: Progress = silent,
) -> Exported:  # fmt: skip
    """Train networks on everybody, for people who are in no dataset, and write them as one ONNX file, `everybody.onnx`,
    with a script beside it that uses it on frames without this package.

    They have the result's configuration and seeds, and are not tested: the result's figure is their estimate.

    Args:
        result: of all subjects.
        out: the folder of the two files; None for `final` in the result's, where the networks are kept.
        device, executor, slots: as for `run`.
        progress: told (what, done, total).

    Raises:
        UsageError: without onnx, onnxscript and onnxruntime, or if training looks at the test person.
        DataError: if the file does not say what torch says.
    """
    where, folder = _where(executor, device, slots), Path(out) if out else None
    return write_final(result.networks, where, folder, progress, lambda jobs, costs, slots: None)


def score(log: str | Path) -> scoring.ScoredLog:
    """What a log of predictions scores, whichever method it is of.

    Args:
        log: a table with the columns subject, clip, truth and prediction, and perhaps epoch, or MEGC 2019's log, such
            as a confirmation's megc_log.txt.

    Returns:
        `rules`: "as_given", or of a log with epochs "last" and "best_test_epoch", which leaks; each with `uf1`, `ci95`,
        `uar`, `accuracy`, `confusion` (rows: truth) and `subjects`. Of a confirmation's own log "tail"; `tuning`, the
        subjects by whose scores a search chose the network, and `other`, the score of the others.

    Raises:
        DataError: if the file cannot be read as one of the two, or those beside a confirmation's own log cannot.
    """
    return scoring.score(read_log(Path(log).expanduser()))


def compare_logs(first: str | Path, second: str | Path) -> scoring.LogComparison:
    """The predictions of one log against those of another, paired by subject, on the clips that both have.

    Returns:
        a value whose `found.pairs[0]` has `difference` (UF1 of the first less that of the second), `ci95`, `p` and
        `conclusion`, a sentence, and `found.networks` each one's `uf1` and `ci95`. `found.pairs_on_other` has the same
        on the subjects that no search scored, if a search chose one of the two by some of them, and there are enough.

    Raises:
        DataError: if one cannot be read, they share no clip, or they do not agree on the truth of one.
    """
    return scoring.compare_logs(*(read_log(Path(log).expanduser()) for log in (first, second)))
