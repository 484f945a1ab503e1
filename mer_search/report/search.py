"""What a search did, as parts of a document: its trials, what mattered, and whether its score can be trusted."""

from collections.abc import Sequence
from statistics import mean
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from mer_search.confirmation.proxy import proxy
from mer_search.files import csv_text
from mer_search.report import figures
from mer_search.report.document import Block, Code, Picture, Section, Text
from mer_search.report.trials import proxy_line, state_line, trials_table
from mer_search.search.progress import STATE_WORDS, progress_of
from mer_search.search.resume import file_of
from mer_search.search.storage import FINALS, final_scores, is_stopped, ran_to_its_end, score

MIN_TRIALS = 8  # trials that ran to their end; importances of fewer are noise


def facts(study: optuna.Study) -> dict[str, Any]:
    """What a paper says of a search."""
    file = file_of(study)
    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return {
        "sampler": file.sampler,
        "pruner": file.pruner,
        "trials": len(ended),
        "subjects": study.user_attrs["subjects"],
        "finalists": len(study.user_attrs.get(FINALS, {})),
    }


def sections(study: optuna.Study) -> list[Section]:
    """History, importances, slices, the space and its best trials, and the proxy."""
    drawn = history(study)
    if not drawn:
        return [Section("The search", [Text("No trial has ended yet.")])]
    told: list[Block] = [Text(f"{state_line(progress_of(study))}."), drawn, trials_table(study)]
    if study.user_attrs["leaks"]:
        told.insert(0, Text("The search's rule looks at the test subjects' labels: its figures leak.", "bad"))
    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    mattered = _importances([trial for trial in ended if ran_to_its_end(trial)])
    if any(trial.params for trial in ended):
        mattered.append(
            Picture("slices", "UF1 against each axis; hollow: stopped early, an estimate", figures.slices(ended))
        )
    trust: list[Block] = [
        Text(
            "That needs two trials confirmed on all subjects, and five to tell: `mer-search confirm --top 2`, or more."
        )
    ]
    if found := proxy(study):
        picture = Picture("proxy", "Confirmed trials, by their number", [figures.proxy(found)])
        trust = [Text(proxy_line(found)), picture]
    return [
        Section("The search", told),
        Section("What mattered", mattered),
        Section("Can the search's score be trusted?", trust),
        Section("The space", [Code(file_of(study).text, "Study file")]),
    ]


def history(study: optuna.Study) -> Picture | None:
    """The search as it went; None before a trial has ended."""
    trials = study.get_trials(deepcopy=False)
    caption = "UF1 of the search's subjects, trial by trial; hollow: stopped early, an estimate"
    ended = any(trial.state == TrialState.COMPLETE for trial in trials)
    return Picture("history", caption, [figures.history(trials)]) if ended else None


def _importances(whole: Sequence[FrozenTrial]) -> list[Block]:
    """By fANOVA on the trials that ran to their end; estimates of the others would follow the sampler's beliefs."""
    if len(whole) < MIN_TRIALS or len({score(trial) for trial in whole}) < 2:
        return [Text(f"Importances need {MIN_TRIALS} trials that ran to their end; there are {len(whole)}.")]
    alone = optuna.create_study(direction="maximize")
    for trial in whole:
        alone.add_trial(create_trial(params=trial.params, distributions=trial.distributions, value=score(trial)))
    fanova = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found = optuna.importance.get_param_importances(alone, evaluator=fanova)
    caption = f"Importances by fANOVA on {len(whole)} trials that ran to their end; of few trials they are rough"
    return [Picture("importances", caption, [figures.importances(found)])] if found else []


def trials_csv(study: optuna.Study) -> str:
    """A row a trial: what became of it, its UF1 or an estimate of it, its cost and its values."""
    trials = study.get_trials(deepcopy=False)
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    head = ("trial", "state", "uf1", "estimated", "uf1_in_finals", "fold_epochs", "gflop", "parameters", *names)
    rows = []
    for trial in trials:
        stopped, done = is_stopped(trial), trial.state == TrialState.COMPLETE
        state = "stopped" if stopped else STATE_WORDS.get(trial.state, trial.state.name.lower())
        scored = (f"{score(trial):.6f}", int(stopped)) if done else ("", "")
        in_finals = f"{mean(scores):.6f}" if (scores := final_scores(study, trial)) else ""
        facts = trial.user_attrs
        cost = (facts.get("fold_epochs", [""])[0], facts.get("gflop", ""), facts.get("parameters", ""))
        values = (trial.params.get(name, "") for name in names)
        rows.append([trial.number, state, *scored, in_finals, *cost, *values])
    return csv_text(head, rows)
