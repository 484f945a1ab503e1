"""What training takes: of a search or a confirmation before it begins, and as this machine was measured."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mer_search.config import FLOW_IMAGE, Run, digest
from mer_search.confirmation.confirm import Confirmation
from mer_search.data import open_folder
from mer_search.data.clips import counts
from mer_search.report.document import Table
from mer_search.report.terminal import cut, duration, note, operations, out, plural, say, show
from mer_search.search.cost import Cost
from mer_search.search.workspace import Loaded
from mer_search.training.fold_store import checkpoint_file
from mer_search.training.loop import BEST, Epoch

DISK = 10**8  # bytes that are worth a word
PROBLEMS = 10  # that are listed before a training
FEW_COPIES = 20
SMALL_MAP = 4  # pixels a side of a last map; with 2 on drawn clips UF1 fell by .2 (docs/search.md); published: 14


def print_data(loaded: Loaded) -> None:
    """Which clips are used, and what was left out."""
    counted = counts(loaded.clips, loaded.run.data.classes)
    totals = [sum(column) for column in zip(*counted.values(), strict=True)]
    classes = ", ".join(f"{total} {name}" for total, name in zip(totals, loaded.run.data.classes, strict=True))
    note(
        f"data: {loaded.folder.title}, {len(loaded.clips)} clips ({classes}), {len(counted)} subjects, "
        f"checksum {loaded.run.data.checksum}"
    )
    if (done := sum(clip.processed for clip in loaded.clips)) and len(loaded.clips[0].frames) > 1:
        note(f"  denoised and masked already are the frames of {plural(done, 'clip')}, whatever prep.mask says")
    if loaded.run.flow.size == FLOW_IMAGE and not loaded.folder.dataset.flow_images:
        note(
            f"  warning: flow.size {FLOW_IMAGE}, as in the study megc2019, is for MEGC 2019's flow images, but these "
            "are frames, for which the studies demo and default are made"
        )
    for problem in loaded.problems[:PROBLEMS]:
        note(f"  {problem}")
    if more := len(loaded.problems[PROBLEMS:]):
        note(f"  and {more} more; `mer-search data check` lists them")


def _effort(cost: Cost, where: str) -> str:
    """Operations and time: "about 3 TFLOP and 12 s of training on 2 slots"."""
    return f"about {operations(cost.flop)} and {duration(cost.seconds)} of training on {where}"


def _space(cost: Cost, until: str = "") -> str:
    """The disk that is taken: ", and 4.4 GB of disk"; "" where that is little."""
    return f", and {cost.disk / 1e9:.2g} GB of disk{until}" if cost.disk > DISK else ""


def print_cost(cost: Cost, where: str) -> None:
    """What a search is about to cost."""
    if not cost.trials:
        left = f"its finals, at most {cost.finals} folds" if cost.finals else "nothing"
        note(f"cost: {left}, the study has all its trials")
        return
    trials = f"{plural(cost.trials, 'more trial')} of {cost.folds // cost.trials} folds"
    finals = f" and {cost.finals} folds of finals" if cost.finals else ""
    disk = _space(cost, " while it goes on")
    note(f"cost: {trials}{finals}, {_effort(cost, where)} if none is stopped early{disk}")
    if 0 < cost.last_map < SMALL_MAP:
        note(
            f"warning: the last map of all networks in this space has no more than {cost.last_map} x {cost.last_map} "
            "places, and where a face moves tells emotions apart; fewer model.blocks, stem_stride 1 or a larger "
            "flow.size keep more"
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
    effort = _effort(whole, plural(side_by_side, "slot"))
    note(f"cost: {plural(whole.folds, 'fold')} ({each}{kept}), {effort}{_space(whole)}")


def print_baselines(jobs: Sequence[Confirmation]) -> None:
    """How long the baselines of confirmations take that are not on disk, timed on the largest of their folds."""
    from mer_search.confirmation.scoring import baselines_file  # scikit-learn takes a second to load: not for a search
    from mer_search.evaluation.baselines import seconds_of

    loaded = {baselines_file(job.store, job.loaded.run): job.loaded for job in jobs}
    lacking = [each for file, each in loaded.items() if not file.exists()]
    if lacking:
        seconds = sum(seconds_of(each.motion, each.labels, each.folds) for each in lacking)
        note(f"cost: {duration(seconds)} of fitting baselines, when the folds are trained")


def print_copies(path: Path, runs: Sequence[Run]) -> None:
    """What cropped copies of a folder's clips will take, before they are measured (frames.crops)."""
    for run in {digest(*run.motion): run for run in runs if run.frames.crops}.values():
        clips = len(open_folder(path, run.data.task).clips)
        maps = clips * (1 + run.frames.crops) * run.frames.maps
        size = maps * (2 * 2 + 3 / run.frames.maps) * run.flow.size**2
        fewer = "; fewer with --set frames.crops=20" if run.frames.crops > FEW_COPIES else ""
        note(
            f"cost: {run.frames.crops} cropped copies of each of {clips} clips, {maps:,} maps of flow to be measured "
            f"once, {size / 1e9:.2g} GB in memory and on disk{fewer}"
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


def epoch_line(title: str, epoch: Epoch) -> str:
    """An epoch of a fold, as a line of a log."""
    units = "action units, " * (epoch.stage == 1)
    measured = {
        "accuracy": epoch.train_accuracy, "F1": epoch.train_au_f1, "test loss": epoch.test_log_loss,
        "test accuracy": epoch.test_accuracy, "test F1": epoch.test_au_f1 if epoch.stage == 1 else epoch.test_f1,
    }  # fmt: skip
    told = "".join(f", {name} {value:.3f}" for name, value in measured.items() if not math.isnan(value))
    return (
        f"{title}: {epoch.subject}, seed {epoch.seed}, {units}epoch {epoch.epoch}, lr {epoch.lr:.3g}, "
        f"loss {epoch.train_loss:.4f}{told}, {epoch.seconds:.2g} s{cut(epoch.microbatches)}"
    )


def print_speed(facts: dict[str, Any]) -> None:
    """What `mer-search bench` measured: the machine, the tables and what they mean."""
    machine, top = facts["machine"], facts["ceiling"]
    say(
        f"{machine['device']}, {machine['cores']} cores, torch {machine['torch']}, Python {machine['python']}, "
        f"{machine['date']}; medians of {facts['runs']} runs"
    )
    say(
        f"ceiling: {top['fp32'] / 1e9:,.0f} GFLOP/s in fp32 and {top['bf16'] / 1e9:,.0f} in bf16 (a large matrix "
        f"product), {top['copy'] / 1e9:,.1f} GB/s (a large copy)"
    )
    head = ("a training step", "px", "batch", "ms", "from-to", "clips/s", "GFLOP/s", "ceiling", "faster")
    steps = []
    for step in facts["steps"]:
        speed = (f"{step['samples_s']:,.3g}", f"{step['flop_s'] / 1e9:,.0f}")
        shares = (f"{step['of_ceiling']:.0%}", f"{step['speedup']:.2f}x")
        steps.append((step["network"], step["pixels"], step["batch"], *_milliseconds(step), *speed, *shares))
    show(Table(head, steps))
    if any(step["of_ceiling"] > 1 for step in facts["steps"]):
        say("WARNING: a step is faster than the ceiling, which was measured while others worked; measure again, alone.")
    found = facts["techniques"]
    rows = [(row["technique"], *_milliseconds(row), f"{row['gain']:.2f}x") for row in found["steps"]]
    show(Table((f"{found['network']}, one technique after the other", "ms", "from-to", "gain"), rows))
    epoch = facts["epoch"]
    say(
        "faster: than the conventional step (Conv3d, fp32) on a batch that is there. A whole epoch of "
        f"{epoch['network']} ({epoch['samples']} clips), whose conventional loop reads five JPEGs and measures four "
        f"flows a clip: "
        f"{epoch['epoch_s']:.2f} s against {epoch['conventional_epoch_s']:.2f} s, {epoch['speedup']:.2f}x."
    )
    if gpu := facts.get("gpu_trials"):
        trials = [f"{row['network']} {row['trial_s']:.0f} s ({plural(row['slots'], 'slot')})" for row in gpu["rows"]]
        say(f"{gpu['folds']} folds, all epochs, from those of eight: {'; '.join(trials)}")
        return
    trial, books = facts["trial"], facts["bookkeeping"]
    say(
        f"demo's first trial: {trial['trial_s']:.0f} s of training against {trial['conventional_trial_s']:.0f} s of "
        f"conventional steps, {trial['speedup']:.2f}x"
    )
    out.print(f"motion into the store: {facts['store']['clips_s_core']:.1f} clips/s a core")
    out.print(f"start to the end of the first epoch, warm store: {facts['start']['first_epoch_s']:.1f} s")
    share = f"{books['share']:.1%} of one of demo's"
    out.print(f"what is neither training nor pictures: {books['seconds_a_trial']:.2f} s a trial, {share}")


def _milliseconds(step: dict[str, Any]) -> tuple[str, str]:
    """A step's time, and from where to where it was."""
    own, low, high = (f"{1e3 * each:.{0 if each >= 0.1 else 1}f}" for each in (step["step_s"], *step["step_s_spread"]))
    return own, f"{low}-{high}"
