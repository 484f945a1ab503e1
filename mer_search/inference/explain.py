"""What a confirmation's networks look at, clip by clip: each is judged by the network that never saw its person."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mer_search.engine.local import choose_device
from mer_search.evaluation.metrics import last
from mer_search.evaluation.predictions import Predictions
from mer_search.inference.saliency import saliency
from mer_search.search.workspace import Loaded, Progress
from mer_search.training.fold_store import checkpoint_file, load_network

Map = NDArray[np.float32]  # (G, G)


class Verdict(NamedTuple):
    """What a network said of a clip after its last epoch."""

    clip: str  # "sub05/EP02_01f"
    subject: str
    truth: int
    guess: int
    chances: NDArray[np.float64]  # (K,)

    @property
    def right(self) -> bool:
        return self.truth == self.guess


class Look(NamedTuple):
    """What the same network looked at."""

    truth: Map  # Grad-CAM for it
    guess: Map
    attention: tuple[Map, ...]  # a CA block each; () without attention


def verdicts(folds: Sequence[Predictions], seed: int) -> list[Verdict]:
    """What the networks of a seed say of the clips of the people that they never saw."""
    return [
        Verdict(clip, fold.subject, int(truth), int(row.argmax()), row)
        for fold in folds
        if fold.seed == seed
        for clip, truth, row in zip(fold.clips, fold.labels, last(fold), strict=True)
    ]


def looks(folder: Path, loaded: Loaded, seed: int, told: Sequence[Verdict], progress: Progress) -> Mapping[str, Look]:
    """Clip -> what its network looked at.

    Args:
        folder: of the confirmation.
        seed: whose networks are asked.
        loaded: its clips.
        told: the verdicts on the clips that are asked for.
        progress: told of every subject.

    Raises:
        DataError: if a network is missing, damaged or another run's.
    """
    device, found = choose_device("auto"), {}
    tensors = loaded.tensors.to(device)
    place = {clip: number for number, clip in enumerate(tensors.names)}
    subjects = sorted({each.subject for each in told})
    for done, subject in enumerate(subjects, 1):
        network = load_network(checkpoint_file(folder, seed, subject), loaded.run, device).requires_grad_(False)
        own = [each for each in told if each.subject == subject]
        for start in range(0, len(own), loaded.run.train.batch):
            batch = own[start : start + loaded.run.train.batch]
            sets = tensors.first[[place[each.clip] for each in batch]]
            flow = tensors.flow[sets].float()
            onset = None if tensors.onset is None else tensors.onset[sets].float()
            truth, guess = (
                saliency(network, loaded.run, flow, onset, torch.tensor(classes, device=device))
                for classes in ([each.truth for each in batch], [each.guess for each in batch])
            )
            for number, each in enumerate(batch):
                found[each.clip] = Look(
                    truth.grad_cam[number].cpu().numpy(),
                    guess.grad_cam[number].cpu().numpy(),
                    tuple(map_[number].cpu().numpy() for map_ in truth.attention),
                )
        progress("what networks look at", done, len(subjects))
    return found
