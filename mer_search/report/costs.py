"""What is about to be trained, and what it takes, in sentences."""

import math
from collections.abc import Sequence
from pathlib import Path

from mer_search.config import Run, digest
from mer_search.confirmation.confirm import Confirmation
from mer_search.confirmation.scoring import baselines_file
from mer_search.data import open_folder
from mer_search.evaluation.baselines import seconds_of
from mer_search.report.terminal import duration, note, operations, plural
from mer_search.search.cost import Cost
from mer_search.training.fold_store import checkpoint_file
from mer_search.training.loop import BEST, Epoch

DISK = 10**8  # bytes that are worth a word
FEW_COPIES = 20
SMALL_MAP = 4  # pixels a side of a last map; with 2 on drawn clips UF1 fell by .2 (docs/search.md); published: 14


def print_cost(cost: Cost, where: str) -> None:
    """What a search is about to cost."""
    if not cost.trials:
        left = f"its finals, at most {cost.finals} folds" if cost.finals else "nothing"
        note(f"cost: {left}, the study has all its trials")
        return
    trials = f"{plural(cost.trials, 'more trial')} of {cost.folds // cost.trials} folds"
    disk = space(cost) and f"{space(cost)} while it goes on"
    finals = f" and {cost.finals} folds of finals" if cost.finals else ""
    note(f"cost: {trials}{finals}, {effort(cost, where)} if none is stopped early{disk}")
    if 0 < cost.last_map < SMALL_MAP:
        note(
            f"warning: the last map of all networks in this space has no more than {cost.last_map} x {cost.last_map} "
            "places, and where a face moves tells emotions apart; fewer model.blocks, stem_stride 1 or a larger "
            "flow.size keep more"
        )


def effort(cost: Cost, where: str) -> str:
    """Operations and time: "about 3 TFLOP and 12 s of training on 2 processes"."""
    return f"about {operations(cost.flop)} and {duration(cost.seconds)} of training on {where}"


def epoch_line(title: str, epoch: Epoch) -> str:
    """An epoch of a fold, as a line of a log."""
    parts = [
        f"{title}: {epoch.subject}, seed {epoch.seed}, {'action units, ' * (epoch.stage == 1)}epoch {epoch.epoch}",
        f"lr {epoch.lr:.3g}",
        f"loss {epoch.train_loss:.4f}",
    ]
    told = {
        "accuracy": epoch.train_accuracy, "F1": epoch.train_au_f1, "test loss": epoch.test_log_loss,
        "test accuracy": epoch.test_accuracy, "test F1": epoch.test_au_f1 if epoch.stage == 1 else epoch.test_f1,
    }  # fmt: skip
    parts += [f"{name} {value:.3f}" for name, value in told.items() if not math.isnan(value)]
    return ", ".join(parts) + f", {epoch.seconds:.2g} s"


def print_baselines(jobs: Sequence[Confirmation]) -> None:
    """How long the baselines of confirmations take that are not on disk, timed on the largest of their folds."""
    lacking = {file: job for job in jobs if not (file := baselines_file(job.store, job.loaded.run)).exists()}
    if lacking:
        loaded = [job.loaded for job in lacking.values()]
        seconds = sum(seconds_of(each.motion, each.labels, each.folds) for each in loaded)
        note(f"cost: {duration(seconds)} of fitting baselines, when the folds are trained")


def space(cost: Cost) -> str:
    """The disk that is taken: ", and 4.4 GB of disk"; "" where that is little."""
    return f", and {cost.disk / 1e9:.2g} GB of disk" if cost.disk > DISK else ""


def print_copies(path: Path, runs: Sequence[Run]) -> None:
    """What cropped copies of a folder's clips will take, before they are measured (frames.crops)."""
    for run in {digest(*run.motion): run for run in runs if run.frames.crops}.values():
        folder = open_folder(path, run.data.task)
        maps = len(folder.clips) * (1 + run.frames.crops) * run.frames.maps
        size = maps * (2 * 2 + 3 / run.frames.maps) * run.flow.size**2
        note(
            f"cost: {run.frames.crops} cropped copies of each of {len(folder.clips)} clips, {maps:,} maps of flow to "
            f"be measured once, {size / 1e9:.2g} GB in memory and on disk"
            + ("; fewer with --set frames.crops=20" if run.frames.crops > FEW_COPIES else "")
        )


def print_not_kept(jobs: Sequence[Confirmation]) -> None:
    """That networks are wanted of folds which are on disk already, and were trained without keeping them."""
    for job in jobs:
        there = set(job.wanted) - set(job.missing)
        best = [name for name in job.target.keep if name in BEST.values()]
        lacking = [key for key in there for name in best if not checkpoint_file(job.store, *key, name).exists()]
        if lacking:
            note(
                f"warning: {plural(len(lacking), 'fold')} of {job.target.title} are on disk without the networks that "
                f"--keep-best keeps; delete {job.store} and confirm again, which trains them anew"
            )


def print_costs(jobs: Sequence[Confirmation], costs: Sequence[Cost], side_by_side: int) -> None:
    """What confirmations are about to cost."""
    wanted = len({(job.store, *key) for job in jobs for key in job.wanted})
    whole = Cost(*map(sum, zip(*costs, strict=True)))
    if not whole.folds:
        note(f"cost: nothing, all {wanted} folds are on disk")
        return
    each = ", ".join(f"{cost.folds} for {job.target.title}" for job, cost in zip(jobs, costs, strict=True))
    kept = f"; already on disk: {wanted - whole.folds}" if whole.folds < wanted else ""
    folds = plural(whole.folds, "fold")
    note(f"cost: {folds} ({each}{kept}), {effort(whole, plural(side_by_side, 'slot'))}{space(whole)}")
