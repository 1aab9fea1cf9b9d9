"""Cross-entropy that dwells on the pixels which are still wrong."""

import torch
from torch import Tensor

from fewmask.ranks import sum_over_ranks
from fewmask.shapes import IGNORED, Logits, Masks


def focal(logits: Logits, masks: Masks, gamma: float = 2.0) -> Tensor:
    """The mean over pixels of the surprise at the true class, in nats, weighed down where the answer is good already.

    With p the probability of the true class: <-(1 - p)^gamma ln p>. 0 for a certain and right answer; gamma = 0 is
    the cross-entropy. A batch in which every pixel is ignored gives 0, with gradients of 0. Sums run over all
    processes. Lin et al. 2017, Eq. 4. Differs: several classes, and the mean is over all pixels that count.
    """
    precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
    counted = masks != IGNORED
    true_class = masks.where(counted, torch.zeros_like(masks))[:, None]
    log_chance = precise.log_softmax(1).gather(1, true_class)[:, 0]
    # -expm1 keeps the digits of 1 - p near p = 1; the floor keeps the slope of a power below 1 finite.
    doubt = (-torch.expm1(log_chance)).clamp(min=torch.finfo(precise.dtype).tiny)
    summed = torch.where(counted, -(doubt**gamma) * log_chance, 0.0).sum()
    summed, count = sum_over_ranks(torch.stack([summed, counted.sum().to(summed.dtype)]))
    return summed / count.clamp(min=1)
