"""What a network looks at: the attention of its CA blocks, and the places that speak for a class.

Shapes: B clips, T maps, P components, C channels, H W pixels, G x G places of a block's features.
"""

from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mer_search.config import Run
from mer_search.model.network import Network
from mer_search.training.judge import mixed_precision, network_input

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

    Args:
        network: in evaluation mode; it is as it was afterwards.
        run: its configuration.
        flow: (B, T, P, H, W).
        onset: images (B, 3, H, W), or None.
        classes: (B,) class numbers.
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
