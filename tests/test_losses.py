import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mer_search.config import Train
from mer_search.model.losses import LOSSES, loss, probabilities

LOGITS = 3 * torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3, 1, 1, 0])
TARGETS = F.one_hot(LABELS, 4).float()
ONES = torch.ones(4)
WEIGHTS = torch.tensor([0.2, 1.0, 3.0, 0.5])


@pytest.mark.parametrize(("weights", "smoothing"), [(WEIGHTS, 0.0), (ONES, 0.2)])
def test_ce_is_torchs(weights, smoothing):
    expected = F.cross_entropy(LOGITS, LABELS, weights, label_smoothing=smoothing)
    torch.testing.assert_close(loss(LOGITS, TARGETS, weights, Train(label_smoothing=smoothing)), expected)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.7, 1.5), (0.5, 0.0)])
def test_focal_is_the_published_formula(alpha, gamma):
    p = 1 / (1 + np.exp(-LOGITS.double().numpy()))
    y = TARGETS.double().numpy()
    positive = -alpha * (1 - p) ** gamma * np.log(p)
    negative = -(1 - alpha) * p**gamma * np.log(1 - p)
    expected = np.where(y == 1, positive, negative).mean()
    found = loss(LOGITS, TARGETS, ONES, Train(loss="focal", focal_alpha=alpha, focal_gamma=gamma))
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_focal_defaults_are_the_papers():
    explicit = Train(loss="focal", focal_alpha=0.25, focal_gamma=2.0)
    assert loss(LOGITS, TARGETS, ONES, Train(loss="focal")) == loss(LOGITS, TARGETS, ONES, explicit)


@pytest.mark.parametrize("gamma", [0.0, 3.0])
def test_softmax_focal_weighs_a_clip_by_what_the_truth_lacks(gamma):
    truth = F.softmax(LOGITS.double(), dim=1).numpy()[np.arange(7), LABELS.numpy()]
    found = loss(LOGITS, TARGETS, ONES, Train(loss="softmax_focal", focal_gamma=gamma))
    assert float(found) == pytest.approx(np.mean(-((1 - truth) ** gamma) * np.log(truth)), rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_class_weights_average_clips(name):
    config = Train(loss=name)
    alone = torch.stack(
        [loss(row, target, ONES, config) for row, target in zip(LOGITS.split(1), TARGETS.split(1), strict=True)]
    )
    clip_weights = WEIGHTS[LABELS]
    torch.testing.assert_close(
        loss(LOGITS, TARGETS, WEIGHTS, config), (alone * clip_weights).sum() / clip_weights.sum()
    )
    torch.testing.assert_close(loss(LOGITS, TARGETS, 5 * WEIGHTS, config), loss(LOGITS, TARGETS, WEIGHTS, config))


@pytest.mark.parametrize("name", LOSSES)
def test_probabilities_sum_to_one_and_rank_as_the_logits(name):
    chances = probabilities(LOGITS, Train(loss=name))
    torch.testing.assert_close(chances.sum(1), torch.ones(7))
    assert torch.equal(chances.argsort(1), LOGITS.argsort(1))


def test_probabilities_speak_the_losss_language():
    logits = torch.tensor([[0.0, math.log(3.0)]])  # sigmoids 1/2 and 3/4
    torch.testing.assert_close(probabilities(logits, Train(loss="focal")), torch.tensor([[0.4, 0.6]]))
    torch.testing.assert_close(probabilities(logits, Train(loss="ce")), torch.tensor([[0.25, 0.75]]))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_ce_is_linear_in_soft_targets(smoothing):
    config = Train(label_smoothing=smoothing)
    other = TARGETS.flip(0)
    mixed = loss(LOGITS, 0.3 * TARGETS + 0.7 * other, ONES, config)
    ends = [loss(LOGITS, targets, ONES, config) for targets in (TARGETS, other)]
    torch.testing.assert_close(mixed, 0.3 * ends[0] + 0.7 * ends[1])


@pytest.mark.parametrize("name", ["focal", "softmax_focal"])
def test_a_certain_prediction_has_a_finite_gradient_whatever_gamma(name):
    logits = torch.tensor([[30.0, -2.0, 1.0]], requires_grad=True)
    loss(logits, torch.eye(3)[:1], torch.ones(3), Train(loss=name, focal_gamma=0.5)).backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("scale", [-400.0, -40.0, 40.0])
def test_sigmoid_probabilities_sum_to_one_however_unlikely_all_classes_are(scale):
    found = probabilities(torch.tensor([[1.0, 1.1, 1.2]]) * scale, Train(loss="focal"))
    assert found.sum() == pytest.approx(1)
