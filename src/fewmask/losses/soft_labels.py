"""Learning from labels that are not sure of themselves, and from two looks at one image.

Sums run over the pixels of the batch and over all processes, as in `fewmask.losses.segmentation`.
"""

import torch
from torch import Tensor

from fewmask.ranks import sum_over_ranks
from fewmask.shapes import Logits, SoftMasks

SHRINK, FLOOR = 0.999, 5e-4
"""Probabilities p are taken as SHRINK p + FLOOR, two of which still sum to 1 and none of which is 0."""


def soft_cross_entropy(logits: Logits, labels: SoftMasks, seen: Tensor | None = None) -> Tensor:
    """The mean over pixels of the surprise, in nats, at a label that says how likely a pixel is the object.

    -<Sum_c y_c ln(0.999 p_c + 5e-4)> with y = (1 - q, q) for a label q in [0, 1]. Least where p is about q, and there
    it is the label's own entropy: 0 to within 5e-4 for a sure label that is met, 7.6 for one that is missed. `logits`
    are (B, 2, H, W), background first. `seen` is (B, H, W), not negative: how much each pixel counts in the mean,
    which is then a weighted one; a pixel with 0 gives exactly no gradient, and where all have 0 the loss is 0. Raises
    ValueError for other than two classes. Fu et al. 2023 (UM-CAM), Eq. 8, in the form of its published code.
    """
    if logits.shape[1] != 2:
        raise ValueError(f"a soft label knows the object and the background, not {logits.shape[1]} classes")
    probabilities = _precise(logits).softmax(1)
    target = labels.to(probabilities.dtype)
    truth = torch.stack([1.0 - target, target], dim=1)
    surprise = -(truth * (SHRINK * probabilities + FLOOR).log()).sum(1)
    share = torch.ones_like(surprise) if seen is None else seen.to(surprise.dtype)
    summed, count = sum_over_ranks(torch.stack([(share * surprise).sum(), share.sum()]))
    return summed / torch.where(count > 0, count, 1.0)


def consensus(one: Logits, other: Logits) -> Tensor:
    """How far two looks at the same images disagree: the mean over pixels of KL(p | q) + KL(q | p), in nats.

    Written as Sum_k (p_k - q_k)(ln p_k - ln q_k). 0 where both give the same probabilities. Gradients go to both.
    Fu et al. 2025 (UM-CAM, random-view consensus), in the form of its published code: the sum of both ways.
    """
    log_one, log_other = _precise(one).log_softmax(1), _precise(other).log_softmax(1)
    distance = ((log_one.exp() - log_other.exp()) * (log_one - log_other)).sum(1)
    pixels = distance.new_tensor(float(distance.numel()))
    summed, count = sum_over_ranks(torch.stack([distance.sum(), pixels]))
    return summed / count


@torch.no_grad()
def agreement(one: Logits, other: Logits) -> SoftMasks:
    """How far two looks agree on each pixel: 1 - (p - m)^2, with m the mean of both looks' p for the object.

    (B, H, W) in [0.75, 1]; the same for either look. Without gradients: as weights of a loss they would otherwise
    reward disagreement. Fu et al. 2025 (UM-CAM, random-view consensus). Differs: whether its code lets gradients
    through is not known here.
    """
    difference = _precise(one).softmax(1)[:, 1] - _precise(other).softmax(1)[:, 1]
    return 1.0 - (0.5 * difference).square()


def _precise(logits: Logits) -> Logits:
    """In single precision at least."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
