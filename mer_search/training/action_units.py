"""Action units as targets: which there are, and which a clip shows.

`?` and an empty cell mean unknown: such a clip has no targets and no part in learning action units. Beside others, `?`
leaves open what else the clip shows: those it names are targets, and no others.
(TM-MMNET's public code makes `?` an action unit of its own, and takes the vocabulary from test subjects too, which
`units.unknown` and `units.vocabulary` bring back.) Shapes: N clips, A action units.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mer_search.config import Units
from mer_search.evaluation.folds import Fold

UNKNOWN = "?"


def table(codes: Sequence[tuple[str, ...]], fold: Fold, config: Units) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """The action units that occur in training clips (A names), and for every clip (N, A) 1, 0 or, where unknown, NaN.

    Args:
        codes: each clip's action units as annotated: ("1", "L2").
        fold: which clips are trained on and tested.
        config: whose clips give the action units, what "?" is, and whether L12, R12 and 12 are told apart.
    """
    shown = [tuple(code.lstrip("LR") if config.sides == "merge" else code for code in clip) for clip in codes]
    seen = [*fold.train, *fold.test] if config.vocabulary == "all" else fold.train
    unclear = "" if config.unknown == "unit" else UNKNOWN
    vocabulary = tuple(sorted({code for i in seen for code in shown[i]} - {unclear}))
    absent = [0.0 if clip and unclear not in clip else np.nan for clip in shown]
    targets = [[1.0 if code in clip else no for code in vocabulary] for clip, no in zip(shown, absent, strict=True)]
    return vocabulary, np.array(targets, dtype=np.float32).reshape(len(codes), len(vocabulary))


def units_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean binary cross-entropy of logits (B, A) over the clips whose action units are known; 0 if none is."""
    known = ~targets.isnan()
    entropy = F.binary_cross_entropy_with_logits(logits, targets.nan_to_num(), reduction="none")
    return torch.where(known, entropy, 0.0).sum() / known.sum().clamp_min(1)
