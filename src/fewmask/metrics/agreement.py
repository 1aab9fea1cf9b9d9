"""What drawings of one case say without a true mask: how alike and how certain they are, and how usual in size."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fewmask.metrics.overlap import count_overlap

Classes = NDArray[np.uint8]
"""Class numbers of one case, (N, H, W); pixels that do not count are 0."""

ByClass = NDArray[np.float64]
"""(K - 1,) one number a foreground class; NaN where nothing can be said."""


def dice_by_class(one: Classes, other: Classes, class_count: int) -> ByClass:
    """The Dice of each class, pooled over the slices; NaN where neither has it."""
    overlaps = [count_overlap(one == number, other == number) for number in range(1, class_count)]
    return np.array([np.nan if overlap.dice is None else overlap.dice for overlap in overlaps])


def agreement_by_class(drawn: Classes, others: Sequence[Classes], class_count: int) -> ByClass:
    """The mean Dice of a drawing with each of the others; NaN for a class that was not drawn: nothing to agree on."""
    dice = np.mean([dice_by_class(drawn, other, class_count) for other in others], axis=0)
    return np.where(np.isin(np.arange(1, class_count), drawn), dice, np.nan)


def expected_dice(
    drawn: Classes, certainty: NDArray[np.float32], summed: ByClass, class_count: int
) -> ByClass:
    """The Dice that the probabilities themselves promise, 2 sum(p m) / (sum p + sum m); NaN where nothing was drawn.

    `certainty` (N, H, W) is the probability of each pixel's drawn class m, and `summed` has the sum of each class's p
    over all pixels. It is right for a network that errs as often as it says.
    """
    pixels = np.bincount(drawn.ravel(), minlength=class_count)[1:class_count]
    sure = np.bincount(drawn.ravel(), certainty.ravel(), class_count)[1:class_count]
    return np.where(pixels > 0, 2.0 * sure / np.maximum(summed + pixels, 1e-12), np.nan)


def share_by_class(drawn: Classes, counted: int, class_count: int) -> ByClass:
    """The share of the `counted` pixels that each class takes; NaN for a class that was not drawn."""
    pixels = np.bincount(drawn.ravel(), minlength=class_count)[1:class_count]
    return np.where(pixels > 0, pixels / max(1, counted), np.nan)


def size_fit(shares: ByClass, low: ByClass, high: ByClass) -> ByClass:
    """How usual sizes are, in [0, 1]: 1 from `low` to `high`, 1/2 at half of the one and at twice the other.

    >>> size_fit(np.array([0.2, 0.05, 0.6]), np.array([0.1] * 3), np.array([0.3] * 3)).tolist()
    [1.0, 0.5, 0.5]
    """
    return np.minimum(1.0, np.minimum(high / shares, shares / low))
