"""The proxy: whether the tuning subjects rank a search's trials as the other subjects do."""

from typing import NamedTuple

import optuna

from mer_search.confirmation.folders import confirmations
from mer_search.confirmation.summary import read_summary
from mer_search.evaluation.metrics import Interval
from mer_search.search.storage import ran_to_its_end

MIN_TRIALS = 5  # of fewer a rank correlation says nothing


class Proxy(NamedTuple):
    """Confirmed trials, and how their scores in the search go with their confirmed ones."""

    trials: tuple[int, ...]
    tuning_uf1: tuple[float, ...]  # in the search, on the tuning subjects
    confirmed_uf1: tuple[float, ...]  # on the other subjects; where there are none, on all, with fresh seeds
    on_other: bool  # whether there are other subjects
    of: int  # trials that ran to their end, confirmed or not
    spearman: float | None  # None where all have the same score
    ci95: Interval | None  # None of few trials
    conclusion: str


def proxy(study: optuna.Study) -> Proxy | None:
    """Whether the tuning subjects rank trials as the other subjects do; None before two trials are confirmed."""
    ended = [trial for trial in study.get_trials(deepcopy=False) if ran_to_its_end(trial)]
    scores = {trial.number: float(trial.values[0]) for trial in ended}
    folders = {number: path for number, path in confirmations(study).items() if number in scores}
    if len(folders) < 2:
        return None
    from mer_search.evaluation.statistics import rank_correlation  # scipy.stats takes a second: not for every `status`

    tails = [read_summary(path / "summary.json").rules["tail"] for path in folders.values()]
    on_other = all("other" in groups for groups in tails)
    tuning = tuple(scores[number] for number in folders)
    confirmed = tuple(groups["other" if on_other else "all"].uf1 for groups in tails)
    spearman, interval, conclusion = None, None, "all have the same score"
    if min(len(set(tuning)), len(set(confirmed))) > 1:
        spearman, interval = rank_correlation(tuning, confirmed)
        if len(folders) < MIN_TRIALS:
            interval, conclusion = None, f"too few to tell ({MIN_TRIALS} are the least)"
        elif interval[1] < 0:
            conclusion = "the score misleads, trials that it puts first are worse on the others"
        elif interval[0] <= 0:
            conclusion = "the score is not shown to rank trials"
        else:
            conclusion = "the score ranks trials as the others do"
    return Proxy(tuple(folders), tuning, confirmed, on_other, len(scores), spearman, interval, conclusion)
