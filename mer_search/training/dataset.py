"""All clips of a run as tensors, ready to train on, and their action units as targets."""

import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mer_search.config import Units
from mer_search.data.clips import Clip
from mer_search.data.store import Motion
from mer_search.evaluation.folds import Fold


class Clips(NamedTuple):
    """N clips, S frame sets of all of them, T maps, P components, H W pixels. A clip's first frame set, for tests, is
    unjittered."""

    names: list[str]  # N, "sub05/EP02_01f"
    subjects: list[str]  # N
    folds: list[str]  # N, the fold that tests each: its subject, or its database
    units: list[tuple[str, ...]]  # N, action units as annotated
    flow: Tensor  # (S, T, P, H, W) half precision
    onset: Tensor | None  # (S, 3, H, W) bytes, RGB; None for flow images
    first: Tensor  # (N,) the clip's first frame set
    sets: Tensor  # (N,) how many it has
    labels: Tensor  # (N,) class numbers

    @staticmethod
    def of(clips: Sequence[Clip], motion: Motion, labels: np.ndarray, leave_out: str = "subject") -> "Clips":
        """The clips with their motion and class numbers (N,), in memory that processes can share; in this process's own
        where the system has too little of that (/dev/shm of a container). `leave_out` is the run's."""

        def shared(array: np.ndarray) -> Tensor:
            tensor = torch.from_numpy(array)
            with suppress(RuntimeError):  # torch allocates before it copies
                tensor.share_memory_()
            return tensor

        return Clips(
            [clip.id for clip in clips],
            [clip.subject for clip in clips],
            [clip.fold(leave_out) for clip in clips],
            [clip.action_units for clip in clips],
            shared(motion.flow),
            None if motion.onset is None else shared(motion.onset),
            *map(shared, (motion.first, motion.count, labels)),
        )

    def of_sets(self, sets: Tensor) -> tuple[Tensor, Tensor | None]:
        """Flow (B, T, P, H, W) and onset images (B, 3, H, W) of some frame sets (B,), in single precision."""
        return self.flow.index_select(0, sets).float(), None if self.onset is None else self.onset[sets].float()

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(item.nbytes for item in self if isinstance(item, Tensor))

    @property
    def is_shared(self) -> bool:
        """Whether other processes of this machine can have the same memory."""
        return all(item.is_shared() for item in self if isinstance(item, Tensor))

    def arrays(self) -> tuple[Any, ...]:
        """The same as numpy arrays, which are sent to other processes as copies."""
        return tuple(item.numpy() if isinstance(item, Tensor) else item for item in self)

    @staticmethod
    def of_arrays(arrays: tuple[Any, ...]) -> "Clips":
        """What `arrays` gave, in the arrays' own memory, which may be read-only: nothing writes to clips."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            return Clips._make(torch.from_numpy(item) if isinstance(item, np.ndarray) else item for item in arrays)

    def to(self, device: str) -> "Clips":
        """The same clips on another device."""
        return Clips._make(item.to(device) if isinstance(item, Tensor) else item for item in self)


def units_table(
    codes: Sequence[tuple[str, ...]], fold: Fold, config: Units
) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """The action units that occur in training clips (A names), and for every clip (N, A) 1, 0 or, where unknown, NaN.

    `?` and an empty cell of `codes`, as annotated, mean unknown. Beside others, `?` leaves open what else the clip
    shows: those it names are targets, and no others. (TM-MMNET's public code makes `?` an action unit of its own, and
    takes the vocabulary from test subjects too, which `units.unknown` and `units.vocabulary` bring back.)
    """
    shown = [tuple(code.lstrip("LR") if config.sides == "merge" else code for code in clip) for clip in codes]
    seen = [*fold.train, *fold.test] if config.vocabulary == "all" else fold.train
    unclear = "" if config.unknown == "unit" else "?"
    vocabulary = tuple(sorted({code for i in seen for code in shown[i]} - {unclear}))
    absent = [0.0 if clip and unclear not in clip else np.nan for clip in shown]
    targets = [[1.0 if code in clip else no for code in vocabulary] for clip, no in zip(shown, absent, strict=True)]
    return vocabulary, np.array(targets, dtype=np.float32).reshape(len(codes), len(vocabulary))
