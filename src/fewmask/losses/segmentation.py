"""How far class scores are from the masks: cross-entropy and the family of soft Dice losses.

Each loss is made of sums over the pixels of the batch that are not `IGNORED`, and the sums run over all
processes. So every process returns the same loss, that of the joint batch; the sums' backward pass adds the
gradients of all processes, and the mean over processes that the trainer takes makes them exact.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fewmask.ranks import sum_over_ranks
from fewmask.shapes import IGNORED, Logits, Masks, Probabilities


def cross_entropy(logits: Logits, masks: Masks) -> Tensor:
    """The mean over pixels of the surprise, in nats, at the true class: -ln p[true class].

    0 for a certain and right answer, ln K for an undecided one. A batch in which every pixel is ignored gives
    0, with gradients of 0.
    """
    precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
    surprise = functional.cross_entropy(precise, masks, ignore_index=IGNORED, reduction="sum")
    surprise, count = sum_over_ranks(torch.stack([surprise, _counted(masks, surprise)]))
    return surprise / count.clamp(min=1)


def class_weighted_cross_entropy(logits: Logits, masks: Masks, floor: float = 0.005) -> Tensor:
    """The mean over pixels of the surprise at the true class, in which rare classes count more.

    <-w_k ln max(p_k, floor)> for the true class k, with w_k = 1 - N_k / N: N_k of the batch's N labelled pixels
    belong to class k. A pixel whose true class has a probability below `floor` no longer pulls. Chen et al. 2019 and
    2020 (SIFA). Ignored pixels have no surprise and no part in N_k and N; as there, they count in the mean. A batch
    of one class alone, or of ignored pixels, gives 0, with gradients of 0.
    """
    probabilities = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(1)
    classes = torch.arange(logits.shape[1], device=masks.device)
    truth = (masks[:, None] == classes[:, None, None]).to(probabilities.dtype)
    surprises = -(truth * probabilities.clamp(floor, 1.0).log()).sum((0, 2, 3))
    pixels = surprises.new_tensor([float(masks.numel())])
    sums = sum_over_ranks(torch.cat([surprises, truth.sum((0, 2, 3)), pixels]))
    surprises, counts, count = sums[: len(classes)], sums[len(classes) : -1], sums[-1]
    weights = 1.0 - counts / counts.sum().clamp(min=1)
    return (weights * surprises).sum() / count.clamp(min=1)


@dataclass(frozen=True)
class DiceForm:
    """Which member of the Dice family; p is a class's probability, y is 1 on its true pixels and 0 elsewhere.

    With sums over the pixels of the whole batch, a class scores
    (2 Sum py + above) / (Sum p^2 + Sum y + below).

    squared: p^2 in the denominator, else p.
    doubled: the factor 2 of the true Dice; without it a perfect answer has a loss of 0.5, not 0.
    background: class 0 counts as a class.
    pooled: the sums run over the classes too, for one ratio; else each class has its own and their mean counts.
    above, below: added to the numerator and the denominator. With above = 0 a class that is absent from the
    batch scores 0 even where it is rightly not predicted; with above = below it then scores 1.

    As published (ids of the project's notes):
    D1, Chen et al. 2019 and 2020 (SIFA): 1 - (1/K) Sum_k 2 Sum py / (Sum p^2 + Sum y + 1e-7):
    `above=0, below=1e-7`.
    D2, Zhang et al. 2020 (MSL, Eq. 10): 1 - Sum_k Sum py / Sum_k Sum (p + y):
    `squared=False, doubled=False, pooled=True, above=0, below=0`.
    D4, Wlodarczyk et al. 2020 (Eq. 3): 1 - 2 Sum py / (Sum p^2 + Sum y^2 + e), foreground only:
    `background=False, above=0, below=e`.
    D5, the default: per class 1 - (2 Sum py + 1e-5) / (Sum p^2 + Sum y^2 + 1e-5), mean over classes.
    """

    squared: bool = True
    doubled: bool = True
    background: bool = True
    pooled: bool = False
    above: float = 1e-5
    below: float = 1e-5


DEFAULT_FORM = DiceForm()


def soft_dice(probabilities: Probabilities, masks: Masks, form: DiceForm = DEFAULT_FORM) -> Tensor:
    """1 minus the overlap between the predicted and the true areas, in [0, 1].

    What a perfect answer and an absent class score is the form's choice, see `DiceForm`. A batch in which
    every pixel is ignored gives 0, with gradients of 0.
    """
    precise = probabilities.to(torch.promote_types(probabilities.dtype, torch.float32))
    first = 0 if form.background else 1
    counted = (masks != IGNORED)[:, None]
    classes = torch.arange(first, precise.shape[1], device=masks.device)
    truth = (masks[:, None] == classes[:, None, None]).to(precise.dtype)
    predicted = torch.where(counted, precise[:, first:], 0.0)
    everywhere = (0, 2, 3)
    overlap = (predicted * truth).sum(everywhere)
    area = (predicted.square() if form.squared else predicted).sum(everywhere) + truth.sum(everywhere)
    sums = sum_over_ranks(torch.cat([overlap, area, _counted(masks, overlap)[None]]))
    overlap, area, count = sums[: len(overlap)], sums[len(overlap) : -1], sums[-1]
    if form.pooled:
        overlap, area = overlap.sum(), area.sum()
    area = area + form.below
    # Without `below`, no pixel at all would mean 0 / 0, whose gradient is NaN however it is masked
    # afterwards.
    score = ((2.0 if form.doubled else 1.0) * overlap + form.above) / torch.where(area > 0, area, 1.0)
    return (1.0 - score.mean()) * count.clamp(max=1)


def _counted(masks: Masks, like: Tensor) -> Tensor:
    """The number of pixels that are not ignored, as a number of the same kind as `like`."""
    return (masks != IGNORED).sum().to(like.dtype)
