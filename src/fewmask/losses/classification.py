"""How far an image's outcome is from the one that its patient has."""

import torch
from torch import Tensor
from torch.nn import functional

from fewmask.ranks import sum_over_ranks
from fewmask.shapes import OutcomeLogits, Outcomes


def binary_cross_entropy(logits: OutcomeLogits, outcomes: Outcomes, positive_weight: float = 1.0) -> Tensor:
    """The mean over images of the surprise, in nats, at the true outcome.

    With y the outcome, p = sigmoid(logit) and w = `positive_weight`, an image counts -w y ln p - (1 - y) ln(1 - p).
    With w = negatives / positives of the training cases both outcomes weigh alike, however rare one is. ln 2 for an
    undecided answer at w = 1. Zhang et al. 2020 (MSL, Sec. 3.4) name no loss; this is the usual one.
    """
    return _surprises(logits, outcomes, positive_weight).mean()


def known_cross_entropy(
    logits: OutcomeLogits, outcomes: Outcomes, known: Tensor, positive_weight: float = 1.0
) -> Tensor:
    """The same mean over those images of the joint batch of all processes whose outcome is `known`, (B,) bool.

    What stands in the place of an unknown outcome counts nothing. Where none is known it is 0, with gradients of 0.
    """
    surprises = _surprises(logits, outcomes, positive_weight)
    sums = torch.stack([torch.where(known, surprises, 0.0).sum(), known.sum().to(surprises.dtype)])
    surprise, count = sum_over_ranks(sums)
    return surprise / count.clamp(min=1)


def _surprises(logits: OutcomeLogits, outcomes: Outcomes, positive_weight: float) -> Tensor:
    precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
    # ln(1 - sigmoid(z)) is ln sigmoid(-z), which does not overflow.
    found = positive_weight * outcomes * functional.logsigmoid(precise)
    absent = (1.0 - outcomes) * functional.logsigmoid(-precise)
    return -(found + absent)
