"""A study on the terminal: its trials, and what to do next."""

import shlex
from pathlib import Path
from statistics import mean
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from mer_search.confirmation.folders import confirmed_uf1
from mer_search.confirmation.proxy import Proxy
from mer_search.files import STORAGE
from mer_search.report.document import Table
from mer_search.report.terminal import cut, not_counted, out, plural
from mer_search.search.progress import reason_of
from mer_search.search.storage import (
    FINALS,
    FINALS_OVER,
    NOT_COUNTED,
    final_scores,
    is_stopped,
    ran_to_its_end,
    ranked_trials,
    score,
    shown,
)

REASONS = 5  # trials without a result whose reasons are listed


def values_text(values: dict[str, Any]) -> str:
    """Parameters in one line, without their parts' names: "channels=nr lr=0.0008"."""
    texts = {key: f"{value:.3g}" if isinstance(value, float) else value for key, value in values.items()}
    return " ".join(f"{key.split('.')[1]}={text}" for key, text in texts.items())


def trial_line(trial: FrozenTrial) -> str:
    """How a trial ended, in one line."""
    if reason := reason_of(trial):
        result = reason
    elif "stopped_after" in trial.user_attrs:
        facts = trial.user_attrs
        reached = f"{plural(facts['stopped_after'], 'subject')} and {plural(facts['stopped_epochs'], 'epoch')}"
        result = f"stopped after {reached}, UF1 about {score(trial):.3f}"
    else:
        result = f"UF1 {score(trial):.3f}"
    result += cut(trial.user_attrs.get("microbatches", 1))
    return f"trial {trial.number:3d}  {result}  {values_text(trial.params)}"


def reason_lines(facts: dict[str, Any]) -> list[str]:
    """Why trials have no result, of the latest ones."""
    found = facts["without_result"]
    lines = [f"trial {each['trial']:3d}  {each['reason']}" for each in found[-REASONS:]]
    return [*lines, f"and {more} before them; --json lists all"] if (more := len(found) - len(lines)) else lines


def trials_table(study: optuna.Study, rows: int = 10) -> Table:
    """The best trials of a study, the best first; then those that were stopped early."""
    whole = ranked_trials(study)
    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    stopped = sorted(filter(is_stopped, ended), key=score, reverse=True)
    chosen, confirmed = [*whole, *stopped][:rows], confirmed_uf1(study)
    repeated, held = sum(map(ran_to_its_end, ended)) > len(whole), study.user_attrs.get(FINALS)
    in_finals = "by its finals, the mean with further seeds (so many in all), then " if held else ""
    cells = [
        (
            trial.number,
            values_text(trial.params),
            f"{'~' if is_stopped(trial) else ''}{score(trial):.3f}",
            f"{mean(finals):.3f} ({len(finals)})" if (finals := final_scores(study, trial)) else "",
            confirmed.get(trial.number),
            trial.user_attrs.get("stopped_after", len(study.user_attrs["subjects"])),
            f"{trial.user_attrs['gflop']:.3g}" if "gflop" in trial.user_attrs else "",
        )
        for trial in chosen
    ]
    head, strong = ("trial", "values", "UF1", "finals", "confirmed", "folds", "GFLOP"), 0 if whole else None
    caption = (
        f"The best first: {in_finals}by UF1{', of what was tried again the mean over its trials' * repeated}"
        f"{'; last, those that were stopped early, with an estimate (~)' * bool(stopped)}. "
        "The best of many looks better than it is. "
        f"{not_counted(study.user_attrs.get(NOT_COUNTED, ()))}".strip()
    )
    title = f"{study.study_name}: {study.user_attrs['dataset']}"
    return Table(head, cells, caption, left=2, strong=strong, title=title).without_empty()


def front_table(facts: dict[str, Any]) -> Table:
    """Trials that no other one beats both in UF1 and in what is minimised beside it."""
    found = sorted(facts["pareto_front"], key=lambda row: row["uf1"], reverse=True)
    rows = [(row["trial"], row["uf1"], f"{row[facts['also']]:,.5g}") for row in found]
    return Table(("trial", "UF1", facts["also"]), rows, title=f"Pareto front of UF1 and {facts['also']}")


def state_line(facts: dict[str, Any]) -> str:
    """How many trials are where, and what the pruner spared."""
    states = ", ".join(f"{count} {state}" for state, count in facts["trials"].items())
    states += f", of {facts['wanted']} wanted" if "wanted" in facts else ""
    trained, whole = facts["fold_epochs"]["trained"], facts["fold_epochs"]["without_pruning"]
    if not facts.get(FINALS_OVER, True):
        states += "; the finals are not over, `mer-search run` holds them when all trials have ended"
    if trained == whole:  # perhaps because no trial has ended
        return states
    return f"{states}; {trained:,} epochs of folds trained, {trained / whole:.0%} of what it takes to stop no trial"


def proxy_line(found: Proxy) -> str:
    """Whether the search's subjects can be trusted."""
    ends = ", 95 % {:+.2f} to {:+.2f}".format(*found.ci95) if found.ci95 else ""
    where = "on the subjects that it never scored" if found.on_other else "on the same subjects, with fresh seeds"
    correlation = "not estimable" if found.spearman is None else f"{found.spearman:+.2f}{ends}"
    best = " These are among the best, whose scores lie close together; over all trials it would be higher."
    return (
        f"The search's score against the confirmed UF1 of {len(found.trials)} trials {where}: rank correlation "
        f"{correlation}: {found.conclusion}.{best if found.ci95 and len(found.trials) < found.of else ''}"
    )


def print_next(storage: str, name: str, folder: Path) -> None:
    """Where to look, and what to do next."""
    given = {"--study-name": name} if storage == STORAGE else {"--storage": shown(storage), "--study-name": name}
    options = "".join(f" {option} {shlex.quote(value)}" for option, value in given.items())
    out.print(f"  see it:      mer-search status{options}")
    out.print(f"  confirm it:  mer-search confirm{options}")
    out.print(f"  look at it:  mer-search dashboard{options}")
    artifacts = shlex.quote(str(folder / "artifacts"))
    out.print(f"       or:     optuna-dashboard {shlex.quote(shown(storage))} --artifact-dir {artifacts}")
