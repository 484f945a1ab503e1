"""The proxy: whether the subjects of a search rank its trials as all subjects do."""

import json
from pathlib import Path
from typing import Any

import optuna

from mer_search.confirmation.folders import confirmations
from mer_search.errors import DataError
from mer_search.search.storage import ran_to_its_end

MIN_TRIALS = 5  # of fewer a rank correlation says nothing


def proxy(study: optuna.Study) -> dict[str, Any] | None:
    """Whether the subjects of the search rank trials as all subjects do; None before two trials are confirmed.

    Raises:
        DataError: if a confirmation's summary is damaged.
    """
    scores = {
        trial.number: float(trial.values[0]) for trial in study.get_trials(deepcopy=False) if ran_to_its_end(trial)
    }
    confirmed = {number: _confirmed(path) for number, path in confirmations(study).items() if number in scores}
    if len(confirmed) < 2:
        return None
    from mer_search.evaluation.statistics import rank_correlation  # scipy.stats takes a second: not for every `status`

    searched = [scores[number] for number in confirmed]
    found, interval = rank_correlation(searched, list(confirmed.values()))
    enough = len(confirmed) >= MIN_TRIALS
    return {
        "trials": list(confirmed),
        "searched_uf1": searched,
        "confirmed_uf1": list(confirmed.values()),
        "spearman": found,
        "ci95": interval if enough else None,
        "verdict": _conclusion(interval) if enough else f"too few to tell ({MIN_TRIALS} are the least)",
    }


def _confirmed(folder: Path) -> float:
    path = folder / "summary.json"
    try:
        return float(json.loads(path.read_text())["rules"]["tail"]["all"]["uf1"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} must be a confirmation's summary, but cannot be read ({error!r}); confirm the trial again"
        ) from error


def _conclusion(interval: tuple[float, float]) -> str:
    if interval[1] < 0:
        return "the score misleads, trials that it puts first are worse on all subjects"
    if interval[0] <= 0:
        return "the score is not shown to rank trials"
    return "the score ranks trials as all subjects do"
