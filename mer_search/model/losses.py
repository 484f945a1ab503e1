"""Losses: logits (B, K) and soft targets (B, K) -> one number. Soft targets let mixup and smoothing share a path."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mer_search.config import Train

TINY = 1e-6  # the slope of x^gamma at 0 is infinite for gamma < 1


def cross_entropy(logits: Tensor, targets: Tensor, config: Train) -> Tensor:
    """Softmax cross-entropy a clip (B,), with label smoothing."""
    targets = targets * (1 - config.label_smoothing) + config.label_smoothing / targets.shape[1]
    return -(targets * F.log_softmax(logits, dim=1)).sum(1)


def sigmoid_focal(logits: Tensor, targets: Tensor, config: Train) -> Tensor:
    """Focal loss of K independent sigmoids a clip (B,) (Lin et al., 2017; as torchvision.ops.sigmoid_focal_loss
    defines it), averaged over classes."""
    prob = torch.sigmoid(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    right = prob * targets + (1 - prob) * (1 - targets)
    alpha = config.focal_alpha * targets + (1 - config.focal_alpha) * (1 - targets)
    return (alpha * (1 - right).clamp_min(TINY).pow(config.focal_gamma) * entropy).mean(1)


def softmax_focal(logits: Tensor, targets: Tensor, config: Train) -> Tensor:
    """The usual multi-class focal loss a clip (B,): cross-entropy weighted with (1 - p)^gamma."""
    logs = F.log_softmax(logits, dim=1)
    return -(targets * (1 - logs.exp()).clamp_min(TINY).pow(config.focal_gamma) * logs).sum(1)


LOSSES: dict[str, Callable[[Tensor, Tensor, Train], Tensor]] = {
    "ce": cross_entropy,
    "focal": sigmoid_focal,
    "softmax_focal": softmax_focal,
}


def loss(logits: Tensor, targets: Tensor, weights: Tensor, config: Train) -> Tensor:
    """Mean loss of a batch; `weights` (K,) weigh each clip by its class, as in torch's cross_entropy."""
    clip_weights = targets @ weights  # (B,)
    return (LOSSES[config.loss](logits, targets, config) * clip_weights).sum() / clip_weights.sum()


def units_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean binary cross-entropy of logits (B, A) over the clips whose action units are known; 0 if none is."""
    known = ~targets.isnan()
    entropy = F.binary_cross_entropy_with_logits(logits, targets.nan_to_num(), reduction="none")
    return torch.where(known, entropy, 0.0).sum() / known.sum().clamp_min(1)


def probabilities(logits: Tensor, config: Train) -> Tensor:
    """(B, K) class probabilities in the loss's own terms: softmax, or the K sigmoids scaled to sum to one."""
    return F.softmax(F.logsigmoid(logits) if config.loss == "focal" else logits, dim=1)
