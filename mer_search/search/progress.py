"""How far a study is: told without loading what trains."""

from collections import Counter
from statistics import mean
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from mer_search.search.storage import NOT_TRIED, TAKEN_FROM, best_trial, final_scores, score

STATE_WORDS = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "infeasible",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


def progress_of(study: optuna.Study) -> dict[str, Any]:
    """How far a study is, as one JSON document."""
    trials = study.get_trials(deepcopy=False)
    best = best_trial(study)
    states = Counter(_state(trial) for trial in trials)
    taken = len(study.user_attrs.get(TAKEN_FROM, {}).get("trials", ()))  # the first ones, which were trained elsewhere
    spent = [trial.user_attrs["fold_epochs"] for trial in trials[taken:] if "fold_epochs" in trial.user_attrs]
    return {
        "study": study.study_name,
        **study.user_attrs,
        "trials": dict(states),
        "fold_epochs": {"trained": sum(own for own, _ in spent), "without_pruning": sum(whole for _, whole in spent)},
        "best": None
        if best is None
        else {
            "trial": best.number,
            "uf1": score(best),
            "uf1_in_finals": mean(scores) if (scores := final_scores(study, best)) else None,
            "values": best.params,
        },
        "pareto_front": [
            {"trial": trial.number, "uf1": trial.values[0], study.user_attrs["also"]: trial.values[1]}
            for trial in (study.best_trials if len(study.directions) > 1 else [])
        ],
    }


def _state(trial: FrozenTrial) -> str:
    """What became of a trial, in words."""
    special = {"stopped_after": "stopped early", NOT_TRIED: "not tried"}
    return next((word for key, word in special.items() if key in trial.user_attrs), STATE_WORDS[trial.state])
