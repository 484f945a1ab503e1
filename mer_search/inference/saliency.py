"""What a network looks at: the attention of its CA blocks, and the places that speak for a class.

Shapes: B clips, T maps, P components, C channels, H W pixels, G x G places of a block's features.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mer_search.config import Run
from mer_search.engine.local import choose_device
from mer_search.evaluation.metrics import last
from mer_search.evaluation.predictions import Predictions
from mer_search.model.network import Network
from mer_search.search.workspace import Loaded, Progress
from mer_search.training.fold_store import checkpoint_file, load_network
from mer_search.training.predict_proba import mixed_precision, network_input

COARSE = 7  # places a side; ResNet's last features, on which Grad-CAM is usually drawn, have no fewer


class Saliency(NamedTuple):
    """Of B clips. Each block has a G of its own."""

    grad_cam: Tensor  # (B, G, G), in logits, 0 where nothing speaks for the class
    attention: tuple[Tensor, ...]  # a CA block each: (B, G, G) in [0, 1], mean over maps; () without attention


def saliency(network: Network, run: Run, flow: Tensor, onset: Tensor | None, classes: Tensor) -> Saliency:
    """Attention, and Grad-CAM (Selvaraju et al., ICCV 2017) for one class a clip.

    The gradient of the class's logit is multiplied with the features place by place and summed over channels, without
    Grad-CAM's mean of the gradient over places first (HiResCAM, Draelos and Carin, arXiv:2011.08891). The head here has
    weights of its own for each place, and the mean would light up places that the logit does not depend on; where the
    head pools all places (head_grid = 1), both are the same. The features are those of the last CA block that has
    `COARSE` places a side or more, else of the first: those after it tell too little of where.

    The network is in evaluation mode, and as it was afterwards. Flow is (B, T, P, H, W), onset images (B, 3, H, W), or
    None, class numbers (B,).
    """
    called: list[tuple[Tensor, Tensor | None]] = []

    def keep(module: nn.Module, given: Any, out: tuple[Tensor, Tensor | None]) -> None:
        if not out[0].requires_grad:
            out[0].requires_grad_()  # a frozen network: what lies before its blocks is not kept for a backward pass
        called.append(out)

    with torch.enable_grad(), ExitStack() as stack:
        for block in network.blocks:
            stack.callback(block.register_forward_hook(keep).remove)
        maps, small = network_input(run, flow, onset, network.grid)
        with mixed_precision(run, flow.device):
            logits = network(maps, small)
        features = next((x for x, _ in reversed(called) if x.shape[-1] >= COARSE), called[0][0])  # (B, T, C, G, G)
        (gradient,) = torch.autograd.grad(logits.gather(1, classes[:, None]).sum(), features)
    cam = (features * gradient).detach().float().sum((1, 2)).relu()
    return Saliency(cam, tuple(map_.detach().float().mean((1, 2)) for _, map_ in called if map_ is not None))


Map = NDArray[np.float32]  # (G, G)


class FoldPrediction(NamedTuple):
    """What a network said of a clip after its last epoch."""

    clip: str  # "sub05/EP02_01f"
    fold: str  # whose network it was
    truth: int
    guess: int
    probs: NDArray[np.float64]  # (K,)

    @property
    def right(self) -> bool:
        return self.truth == self.guess


class ClipSaliency(NamedTuple):
    """What the same network looked at."""

    truth: Map  # Grad-CAM for it
    guess: Map
    attention: tuple[Map, ...]  # a CA block each; () without attention


def fold_predictions(folds: Sequence[Predictions], seed: int) -> list[FoldPrediction]:
    """What the networks of a seed say of the clips of the people that they never saw."""
    return [
        FoldPrediction(clip, fold.fold, int(truth), int(row.argmax()), row)
        for fold in folds
        if fold.seed == seed
        for clip, truth, row in zip(fold.clips, fold.labels, last(fold), strict=True)
    ]


def saliency_maps(
    folder: Path, loaded: Loaded, seed: int, told: Sequence[FoldPrediction], progress: Progress
) -> Mapping[str, ClipSaliency]:
    """Clip -> what its network of a seed looked at, for the clips of a confirmation's folder that are `told`."""
    device, found = choose_device("auto"), {}
    tensors = loaded.tensors.to(device)
    place = {clip: number for number, clip in enumerate(tensors.names)}
    names = sorted({each.fold for each in told})
    progress("what networks look at", 0, len(names))
    for done, fold in enumerate(names, 1):
        network = load_network(checkpoint_file(folder, seed, fold), loaded.run, device).requires_grad_(False)
        own = [each for each in told if each.fold == fold]
        for start in range(0, len(own), loaded.run.train.batch):
            batch = own[start : start + loaded.run.train.batch]
            flow, onset = tensors.of_sets(tensors.first[[place[each.clip] for each in batch]])
            truth, guess = (
                saliency(network, loaded.run, flow, onset, torch.tensor(classes, device=device))
                for classes in ([each.truth for each in batch], [each.guess for each in batch])
            )
            maps = [each.cpu().numpy() for each in (truth.grad_cam, guess.grad_cam, *truth.attention)]  # (B, G, G) each
            for each, (for_truth, for_guess, *attention) in zip(batch, zip(*maps, strict=True), strict=True):
                found[each.clip] = ClipSaliency(for_truth, for_guess, tuple(attention))
        progress("what networks look at", done, len(names))
    return found
