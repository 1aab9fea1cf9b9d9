"""How much of an image each class takes, how much of its border, and what is usual in a cohort of masks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewmask.shapes import IGNORED

QUANTILES = (0.005, 0.995)
"""A share is usual between these two quantiles of the cohort's shares."""

MARGIN = 0.1
"""A usual range is widened on each side by this part of its width: the next patient is never quite like the last."""

LEAST_MARGIN = 0.01
"""And by no less than one percent of the image, or of its border: a class that always takes the same has no width."""


@dataclass(frozen=True)
class ClassShares:
    """The share of the image, and of its border, that each class takes; shares of one kind add up to 1."""

    area: tuple[float, ...]
    border: tuple[float, ...]


@dataclass(frozen=True)
class Range:
    """From the lowest to the highest usual share, without the margin."""

    low: float
    high: float

    def holds(self, share: float) -> bool:
        """Whether a share lies in the range, its margin included.

        >>> Range(0.2, 0.4).holds(0.41), Range(0.2, 0.4).holds(0.43)
        (True, False)
        """
        margin = max(MARGIN * (self.high - self.low), LEAST_MARGIN)
        return self.low - margin <= share <= self.high + margin


@dataclass(frozen=True)
class UsualClasses:
    """What is usual in `cases` images with masks: one range a class, for areas and for borders.

    `told_apart` has, for each pair of `fewmask.metrics.colour_separation.pairs_of`, the lower quantile of how surely
    colours tell the two classes apart; None where no image has enough of both.
    """

    cases: int
    area: tuple[Range, ...]
    border: tuple[Range, ...]
    told_apart: tuple[float | None, ...]


def content_box(seen: NDArray[np.bool_]) -> tuple[slice, slice] | None:
    """The rows and columns of the smallest rectangle around what is 1, or None where nothing is."""
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    if not len(rows):
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def class_shares(masks: NDArray[np.integer], seen: NDArray[np.bool_], class_count: int) -> ClassShares | None:
    """The shares of each class in the slices (N, H, W) of one image; N is 1 for a picture.

    `seen` (H, W) is 1 where any slice holds something else than black. Counted is the smallest rectangle around
    it, so that padding, and the air around a body, belong to no class; its outermost pixels are the border. Pixels
    that are `IGNORED` are not counted. None where nothing is left.
    """
    box = content_box(seen)
    if box is None:
        return None
    inner = masks[:, *box]
    rim = np.ones(inner.shape[1:], dtype=np.bool_)
    rim[1:-1, 1:-1] = False
    counts = [_counts(inner, class_count), _counts(inner[:, rim], class_count)]
    if not all(count.sum() for count in counts):
        return None
    area, border = (tuple((count / count.sum()).tolist()) for count in counts)
    return ClassShares(area, border)


def _counts(masks: NDArray[np.integer], class_count: int) -> NDArray[np.int64]:
    return np.bincount(masks[masks != IGNORED].ravel(), minlength=class_count)


def usual_classes(
    shares: Sequence[ClassShares], told_apart: Sequence[Sequence[float | None]]
) -> UsualClasses | None:
    """What is usual, from the shares of several images, and from how well colours tell their classes apart.

    A range lies between the two `QUANTILES`. None for no image.
    """
    if not shares:
        return None
    by_pair = [[value for value in values if value is not None] for values in zip(*told_apart, strict=True)]
    return UsualClasses(
        len(shares),
        _ranges(np.array([share.area for share in shares])),
        _ranges(np.array([share.border for share in shares])),
        tuple(float(np.quantile(values, QUANTILES[0])) if values else None for values in by_pair),
    )


def _ranges(shares: NDArray[np.float64]) -> tuple[Range, ...]:
    low, high = np.quantile(shares, QUANTILES, axis=0)
    return tuple(Range(*pair) for pair in zip(low.tolist(), high.tolist(), strict=True))
