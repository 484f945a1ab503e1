"""What does not fit the device's memory is known before it is tried, from what did not fit before.

Such a trial costs a draw and nothing else: it is not among the trials that a study was asked for. Where the machines of
a study differ, the one with the least memory decides.
"""

import math
from itertools import takewhile

import optuna
from optuna.trial import FrozenTrial

from mer_search.config import Run, with_values
from mer_search.errors import DOES_NOT_FIT, Infeasible, UsageError
from mer_search.model.flops import memory
from mer_search.search.storage import NOT_TRIED
from mer_search.training.learner import microbatch_counts

IN_A_ROW = 100  # draws that were foretold not to fit: then hardly anything in the space does
BYTES = "bytes"  # attribute of a trial


def foretell(study: optuna.Study, trial: optuna.Trial, run: Run) -> None:
    """Refuse a trial whose training holds no less than that of one that did not fit.

    Raises:
        Infeasible: if it is refused.
        UsageError: if too many in a row were.
    """
    trials = study.get_trials(deepcopy=False)
    smallest = min(filter(_did_not_fit, trials), key=lambda other: other.user_attrs[BYTES], default=None)
    if smallest is None or (need := _least(run)) < smallest.user_attrs[BYTES]:
        return
    limit = f"{smallest.user_attrs[BYTES] / 1e9:.2g} GB at least did not fit the device's memory"
    before = reversed(trials[: trial.number])
    if sum(1 for _ in takewhile(lambda other: NOT_TRIED in other.user_attrs, before)) >= IN_A_ROW:
        raise UsageError(
            f"a space must hold networks that fit the device, but {IN_A_ROW} draws in a row would not: trial "
            f"{smallest.number}'s {limit}; make widths or flow.size smaller, or take a larger device"
        )
    trial.set_user_attr(NOT_TRIED, smallest.number)
    raise Infeasible(
        f"not tried: training holds {need / 1e9:.2g} GB at least, and trial {smallest.number}'s {limit}", DOES_NOT_FIT
    )


def note_need(trial: optuna.Trial, run: Run) -> None:
    """Note what the training of a trial holds that did not fit."""
    trial.set_user_attr(BYTES, _least(run))


def _least(run: Run) -> int:
    """Bytes that training holds, its batches cut as small as may be."""
    batch = run.train.batch
    return memory(with_values(run, {"train.batch": math.ceil(batch / microbatch_counts(batch)[-1])}))


def _did_not_fit(trial: FrozenTrial) -> bool:
    """Whether a trial was tried and ran out of memory."""
    return DOES_NOT_FIT in trial.constraints and NOT_TRIED not in trial.user_attrs and BYTES in trial.user_attrs
