"""How well two classes can be told apart by the colours of their pixels alone."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

LEAST_SHARE = 0.01
"""A class with less than one percent of the pixels is not judged: a few pixels can be told from anything."""

_ROUNDING = 1e-6
"""Added to variances in shares of the range: a hundredth of a grey level, so that flat colours have an inverse."""


def pairs_of(class_count: int) -> tuple[tuple[int, int], ...]:
    """Every pair of classes, in the order in which results of this module are given.

    >>> pairs_of(3)
    ((0, 1), (0, 2), (1, 2))
    """
    return tuple(combinations(range(class_count), 2))


def told_apart(
    image: NDArray[np.floating], classes: NDArray[np.integer], class_count: int
) -> tuple[float | None, ...]:
    """For each pair of classes, how surely a pixel's colour tells which of the two it is: near 0 not at all, 1 always.

    `image` is (C, H, W) in [-1, 1], `classes` (H, W); values that are no class are not counted. Youden's index (the
    shares of both classes that are found, less 1) of Fisher's linear discriminant with the mean of both covariances,
    cut half way between the means; on the pixels it is made from, so a small class seems somewhat better told apart
    than it is. None where either class is smaller than `LEAST_SHARE`.
    """
    pixels = (image.reshape(len(image), -1).T.astype(np.float64) + 1.0) / 2.0
    flat = classes.ravel()
    groups = [pixels[flat == index] for index in range(class_count)]
    least = max(LEAST_SHARE * flat.size, 2.0)
    return tuple(
        _youden(groups[first], groups[second])
        if min(len(groups[first]), len(groups[second])) >= least
        else None
        for first, second in pairs_of(class_count)
    )


def mean_over_slices(slices: Sequence[Sequence[float | None]]) -> tuple[float | None, ...]:
    """What several slices say together, pair by pair; slices that say nothing of a pair are left out.

    >>> mean_over_slices([(0.5, None), (1.0, None)])
    (0.75, None)
    """
    by_pair = [[value for value in values if value is not None] for values in zip(*slices, strict=True)]
    return tuple(sum(values) / len(values) if values else None for values in by_pair)


def _youden(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    means = first.mean(axis=0), second.mean(axis=0)
    spread = (np.atleast_2d(np.cov(first.T)) + np.atleast_2d(np.cov(second.T))) / 2.0
    direction = np.linalg.solve(spread + _ROUNDING * np.eye(len(spread)), means[0] - means[1])
    middle = float(direction @ (means[0] + means[1])) / 2.0
    one, other = first @ direction - middle, second @ direction - middle
    # A pixel on the line is right by half, so that equal colours score 0.
    right = (one > 0).mean() + (other < 0).mean() + 0.5 * ((one == 0).mean() + (other == 0).mean())
    return float(right) - 1.0
