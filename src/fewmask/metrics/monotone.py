"""What a sign is worth: a rising curve from the sign to the score that it speaks for, and how far that may be off."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from scipy.stats import spearmanr

Numbers = NDArray[np.float64]

FOLDS = 5
"""Patients are divided into so many parts, or as many as there are patients, where one judges what the others gave."""

CONFIDENCE = 0.9

MOST_BINS = 4
LEAST_IN_A_BIN = 30
"""Fewer bins are made where there are fewer values for each; a quantile of 90 % needs some above it."""


@dataclass(frozen=True)
class RisingCurve:
    """A curve that never falls: straight between its knots, level beyond them."""

    at: tuple[float, ...]
    value: tuple[float, ...]

    def of(self, signs: Numbers) -> Numbers:
        """The curve at some places; NaN where a sign is."""
        return np.interp(signs, self.at, self.value)


@dataclass(frozen=True)
class Margins:
    """How far estimates lie off, by their height: up to `upto[0]` by `margin[0]`, up to `upto[1]` by `margin[1]` ...

    The last margin has no upper end, so `upto` is one shorter.
    """

    upto: tuple[float, ...]
    margin: tuple[float, ...]

    def at(self, estimates: Numbers) -> Numbers:
        """The margin of each estimate."""
        return np.asarray(self.margin)[np.searchsorted(self.upto, estimates, side="left")]


def rising_curve(signs: Numbers, scores: Numbers) -> RisingCurve:
    """The curve that never falls and lies nearest to the scores by least squares; equal signs share their mean.

    Ayer et al. 1955 (isotonic regression). Differs: straight between the middles of its level pieces, and from (0, 0)
    to the first, for a sign of 0 speaks for nothing. Raises ValueError for no sign.
    """
    if not len(signs):
        raise ValueError("a curve needs one sign or more")
    places, owner, counts = np.unique(signs, return_inverse=True, return_counts=True)
    means = np.bincount(owner, weights=scores) / counts
    fitted = isotonic_regression(means, weights=counts.astype(np.float64))
    # A level piece becomes one knot in its middle, so that a greater sign still speaks for a greater score.
    starts = fitted.blocks[:-1]
    middles = np.add.reduceat(places * counts, starts) / np.add.reduceat(counts, starts)
    at, value = middles.tolist(), fitted.x[starts].tolist()
    return RisingCurve(*((tuple(at), tuple(value)) if at[0] <= 0.0 else ((0.0, *at), (0.0, *value))))


def folds_of(patients: Sequence[str]) -> NDArray[np.intp]:
    """The part that each value falls into, a patient's all into one; parts have equally many patients, or one more."""
    names, owner = np.unique(np.asarray(patients, dtype=np.str_), return_inverse=True)
    order = np.random.default_rng(0).permutation(names.size)
    return (order % min(FOLDS, names.size))[owner]


def cross_fitted(signs: Numbers, scores: Numbers, folds: NDArray[np.intp]) -> Numbers:
    """What the other patients' curve says of each value. Raises ValueError for a single fold."""
    kinds = np.unique(folds)
    if kinds.size < 2:
        raise ValueError("two patients or more are needed")
    estimates = np.empty(len(signs))
    for fold in kinds:
        own = folds == fold
        estimates[own] = rising_curve(signs[~own], scores[~own]).of(signs[own])
    return estimates


def conformal_margins(
    estimates: Numbers, scores: Numbers, confidence: float = CONFIDENCE, bins: int | None = None
) -> Margins:
    """Margins that hold the stated share of scores, taken in bins of about equal number by the estimates' height.

    A bin of n values takes the ceil((n + 1) confidence)-th smallest distance, or 1 where it has too few to tell, so
    that another value of the same kind lies inside with that probability or a greater one. Lei et al. 2018, Theorem
    2.2. Differs: distances are cross-fitted by patient instead of taken from one half of the data. Raises ValueError
    for no estimate.
    """
    count = bins or min(MOST_BINS, max(1, len(estimates) // LEAST_IN_A_BIN))
    edges = np.quantile(estimates, np.linspace(0.0, 1.0, count + 1)[1:-1])
    # A level piece of a curve gives many equal estimates: they share a bin, and an empty one is none.
    place = np.unique(np.searchsorted(edges, estimates, side="left"), return_inverse=True)[1]
    parts = [place == number for number in range(int(place.max()) + 1)]
    return Margins(
        tuple(float(estimates[part].max()) for part in parts[:-1]),
        tuple(_quantile(np.abs(scores - estimates)[part], confidence) for part in parts),
    )


def _quantile(distances: Numbers, confidence: float) -> float:
    rank = math.ceil((distances.size + 1) * confidence - 1e-9)
    return float(np.sort(distances)[rank - 1]) if rank <= distances.size else 1.0


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Spearman's, in [-1, 1]; None for fewer than three values, or where one side is all alike.

    >>> rank_correlation([1.0, 2.0, 4.0], [0.3, 0.5, 0.4])
    0.5
    """
    if len(one) < 3 or len(set(one)) < 2 or len(set(other)) < 2:
        return None
    # Without the last digits, which differ between machines.
    return round(float(np.asarray(spearmanr(one, other))[0]), 12)
