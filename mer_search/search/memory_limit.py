"""What does not fit the device's memory is known before it is tried, from what did not fit before.

Such a trial costs a draw and nothing else: it is not among the trials that a study was asked for. Where the machines of
a study differ, the one with the least memory decides.
"""

import math
from collections.abc import Sequence
from itertools import takewhile

import optuna
from optuna.trial import FrozenTrial

from mer_search.config import Run, with_values
from mer_search.errors import DOES_NOT_FIT, Infeasible, UsageError
from mer_search.model.flops import memory
from mer_search.search.storage import NOT_TRIED
from mer_search.training.learner import microbatch_counts

IN_A_ROW = 100  # draws that were foretold not to fit: then hardly anything in the space does
BYTES = "bytes"  # attribute of a trial that did not fit: what its training holds


def foretell(trials: Sequence[FrozenTrial], trial: optuna.Trial, run: Run) -> None:
    """Raise Infeasible for a trial whose training holds no less than that of one of the study's trials that did not
    fit, and UsageError if too many in a row were."""
    tried = [each for each in trials if BYTES in each.user_attrs and DOES_NOT_FIT in each.constraints]
    smallest = min(tried, key=lambda other: other.user_attrs[BYTES], default=None)
    if smallest is None or (need := training_bytes(run)) < smallest.user_attrs[BYTES]:
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


def training_bytes(run: Run) -> int:
    """Bytes that training holds, its batches cut as small as may be."""
    batch = run.train.batch
    return memory(with_values(run, {"train.batch": math.ceil(batch / microbatch_counts(batch)[-1])}))
