"""What `mer-search bench` found, on the terminal and as Markdown's rows."""

from typing import Any

from mer_search.report.document import Cell, Table
from mer_search.report.terminal import out, plural, say, show


def print_speed(facts: dict[str, Any]) -> None:
    """The machine, the tables and what they mean."""
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
    show(Table(head, [_step(step) for step in facts["steps"]]))
    if any(step["of_ceiling"] > 1 for step in facts["steps"]):
        say("WARNING: a step is faster than the ceiling, which was measured while others worked; measure again, alone.")
    found = facts["techniques"]
    rows = [(row["technique"], *_milliseconds(row), f"{row['gain']:.2f}x") for row in found["steps"]]
    show(Table((f"{found['network']}, one technique after the other", "ms", "from-to", "gain"), rows))
    epoch, trial, store, start, books = (facts[key] for key in ("epoch", "trial", "store", "start", "bookkeeping"))
    say(
        "faster: than the conventional step (Conv3d, fp32) on a batch that is there. A whole epoch of "
        f"{epoch['network']} ({epoch['samples']} clips), whose conventional loop reads five JPEGs and measures four "
        f"flows a clip: "
        f"{epoch['epoch_s']:.2f} s against {epoch['conventional_epoch_s']:.2f} s, {epoch['speedup']:.2f}x."
    )
    say(
        f"demo's first trial: {trial['trial_s']:.0f} s of training against {trial['conventional_trial_s']:.0f} s of "
        f"conventional steps, {trial['speedup']:.2f}x"
    )
    out.print(f"motion into the store: {store['clips_s_core']:.1f} clips/s a core")
    out.print(f"start to the end of the first epoch, warm store: {start['first_epoch_s']:.1f} s")
    out.print(f"what is not training: {books['seconds_a_trial']:.2f} s a trial, {books['share']:.1%} of one of demo's")
    if gpu := facts["gpu_trials"]:
        trials = [f"{row['network']} {row['trial_s']:.0f} s ({plural(row['slots'], 'slot')})" for row in gpu["rows"]]
        say(f"{gpu['folds']} folds, all epochs, from those of eight: {'; '.join(trials)}")


def _step(step: dict[str, Any]) -> tuple[Cell, ...]:
    return (
        step["network"],
        step["pixels"],
        step["batch"],
        *_milliseconds(step),
        f"{step['samples_s']:,.3g}",
        f"{step['flop_s'] / 1e9:,.0f}",
        f"{step['of_ceiling']:.0%}",
        f"{step['speedup']:.2f}x",
    )


def _milliseconds(step: dict[str, Any]) -> tuple[str, str]:
    """A step's time, and from where to where it was."""
    low, high = step["step_s_spread"]
    return f"{1e3 * step['step_s']:.0f}", f"{1e3 * low:.0f}-{1e3 * high:.0f}"
