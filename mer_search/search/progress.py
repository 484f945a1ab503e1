"""How far a study is: told without loading what trains."""

from collections import Counter
from statistics import mean
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from mer_search.search.storage import NOT_TRIED, TAKEN_FROM, best_trial, final_scores, score

STATE_WORDS = {TrialState.PRUNED: "infeasible", TrialState.FAIL: "failed"}  # where they are not Optuna's


def progress_of(study: optuna.Study) -> dict[str, Any]:
    """How far a study is, as one JSON document."""
    trials, facts = study.get_trials(deepcopy=False), study.user_attrs
    taken = len(facts.get(TAKEN_FROM, {}).get("trials", ()))  # the first ones, which were trained elsewhere
    spent = [trial.user_attrs["fold_epochs"] for trial in trials[taken:] if "fold_epochs" in trial.user_attrs]
    best, front = best_trial(study), study.best_trials if len(study.directions) > 1 else []
    return {
        "study": study.study_name,
        **facts,
        "trials": dict(Counter(map(_state, trials))),
        "without_result": [{"trial": trial.number, "reason": why} for trial in trials if (why := reason_of(trial))],
        "fold_epochs": {"trained": sum(own for own, _ in spent), "without_pruning": sum(whole for _, whole in spent)},
        "best": best
        and {
            "trial": best.number,
            "uf1": score(best),
            "uf1_in_finals": mean(scores) if (scores := final_scores(study, best)) else None,
            "values": best.params,
        },
        "pareto_front": [
            {"trial": trial.number, "uf1": trial.values[0], facts["also"]: trial.values[1]} for trial in front
        ],
    }


def reason_of(trial: FrozenTrial) -> str:
    """Why a trial has no result, in one line: "infeasible: ..." or "failed: ..."; "" of any other."""
    if trial.state not in STATE_WORDS:
        return ""
    text = trial.user_attrs.get("infeasible", trial.user_attrs.get("error", "by another program"))
    first, *_ = text.strip().partition("\n")
    return f"{STATE_WORDS[trial.state]}: {first}"


def _state(trial: FrozenTrial) -> str:
    """What became of a trial, in words."""
    special = {"stopped_after": "stopped early", NOT_TRIED: "not tried"}
    word = next((word for key, word in special.items() if key in trial.user_attrs), None)
    return word or STATE_WORDS.get(trial.state, trial.state.name.lower())
