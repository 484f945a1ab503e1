"""A network's class probabilities for clips, in training after every epoch and afterwards.

Shapes: B clips, T maps, P components, C channels, K classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from mer_search.config import Run
from mer_search.model.channels import channels, imagenet
from mer_search.model.flops import step_flop
from mer_search.model.losses import probabilities
from mer_search.model.network import Network
from mer_search.training.augment import mirror


def network_input(run: Run, flow: Tensor, onset: Tensor | None, grid: int) -> tuple[Tensor, Tensor | None]:
    """Flow (B, T, P, H, W) and onset images (B, 3, H, W) -> channels (B, T, C, H, W) and small images (B, 3, G, G).

    Small images are in [0, 1], but with differences of frames normalised as those are (MMNet).
    """
    small = None
    if run.model.position and onset is not None:
        small = F.interpolate(
            onset / 255, size=(grid, grid), mode="bilinear", antialias=run.input.antialias, align_corners=False
        )
        if run.input.channels == "rgb":
            small = imagenet(small)
    return channels(flow, run.input), small


# Floating-point operations of a training step
LARGE_STEP = 1e12  # that keep all cores of a CPU busy on their own
LOW_STEP = 1e10  # from which a CPU with units for bfloat16 is faster with it, by 1.3 to 3 times; below, a GPU is not


def large(run: Run) -> bool:
    """Whether a training step is so large that a CPU's cores should share it, instead of each having its own fold."""
    return step_flop(run) >= LARGE_STEP


def fills_gpu(run: Run) -> bool:
    """Whether a training step keeps a GPU busy on its own."""
    return step_flop(run) >= LOW_STEP


def precision(run: Run, device: str) -> torch.dtype:
    """What convolutions and matrix products are computed in: bfloat16 where a step is not too small, on a GPU or CPU
    (AMX) that has units for it; elsewhere it is emulated, and slower. All else is float32."""
    on_gpu = device == "cuda"
    units = torch.cuda.is_bf16_supported(including_emulation=False) if on_gpu else torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if units and step_flop(run) >= LOW_STEP else torch.float32


def mixed_precision(run: Run, device: torch.device) -> torch.autocast:
    """The context in which a network computes in its `precision`."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision(run, device.type) is torch.bfloat16)


@torch.no_grad()
def predict_proba(network: Network, run: Run, flow: Tensor, onset: Tensor | None) -> Tensor:
    """Flow (B, T, P, H, W) and onset images (B, 3, H, W) -> probabilities (B, K), in the device's precision. The
    network must be in evaluation mode."""
    with mixed_precision(run, flow.device):
        return mean_proba(network, run, flow, onset)


def mean_proba(network: Network, run: Run, flow: Tensor, onset: Tensor | None) -> Tensor:
    """As `predict_proba`, but plain arithmetic, which can be exported, in the precision of what is given. If the run
    says so, it is the mean with the probabilities of the mirrored clips."""

    def once(flow: Tensor, onset: Tensor | None) -> Tensor:
        logits: Tensor = network(*network_input(run, flow, onset, network.grid))
        return probabilities(logits.float(), run.train)

    if not run.train.mirror:
        return once(flow, onset)
    mirrored = mirror(flow, vectors=run.flow.method != "difference")
    return (once(flow, onset) + once(mirrored, None if onset is None else onset.flip(-1))) / 2
