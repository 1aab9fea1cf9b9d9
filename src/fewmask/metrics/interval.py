"""How sure a mean is: a bootstrap over patients."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000
CONFIDENCE = 0.95

_BLOCK = 2_000_000
"""Patients drawn at once, so that memory stays near 50 MB however many patients there are."""


@dataclass(frozen=True)
class Interval:
    """The range in which the mean falls in the stated share of the draws."""

    low: float
    high: float


def bootstrap_interval(
    values: Sequence[float],
    patients: Sequence[str],
    confidence: float = CONFIDENCE,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval | None:
    """How far the mean of `values` could lie elsewhere, had other patients of the same kind come.

    `patients[i]` is whose value `values[i]` is. Patients are drawn with replacement, each with all of their
    values, and the percentiles of the draws' means are the interval. None for fewer than two patients: one
    patient says nothing about another. Efron 1979, percentile method, clusters by patient.

    Of few patients it is too narrow: of skewed Dice, 1 to 3 cases a patient, a 95 % interval held the true mean in
    78 % of cohorts of 4 patients, 88 % of 10, 91 % of 20, 93 % of 40, 94 % of 80.
    """
    names, owner = np.unique(np.asarray(patients, dtype=np.str_), return_inverse=True)
    if names.size < 2:
        return None
    totals = np.bincount(owner, weights=np.asarray(values, dtype=np.float64))
    counts = np.bincount(owner).astype(np.float64)
    blocks = _drawn_patients(names.size, draws, seed)
    means = np.concatenate([totals[drawn].sum(axis=1) / counts[drawn].sum(axis=1) for drawn in blocks])
    return percentile_interval(means, confidence)


def resampled_sums(totals: NDArray[np.number], draws: int = DRAWS, seed: int = 0) -> NDArray[np.float64]:
    """The sum over the patients of each draw, (draws, F), of what belongs to each patient, `totals` (patients, F).

    The draws are those of `bootstrap_interval`. Counts stay whole as long as a sum is below 2**53.
    """
    patients, values = len(totals), totals.astype(np.float64)
    if patients * draws <= _BLOCK:
        return _times(patients, draws, seed) @ values
    blocks = _drawn_patients(patients, draws, seed)
    return np.concatenate([_times_in(drawn, patients) @ values for drawn in blocks])


@lru_cache(maxsize=4)
def _times(patients: int, draws: int, seed: int) -> NDArray[np.float64]:
    """How often each draw has each patient, (draws, patients); a table asks for the same draws again and again."""
    (drawn,) = _drawn_patients(patients, draws, seed)
    times = _times_in(drawn, patients)
    times.flags.writeable = False
    return times


def _times_in(drawn: NDArray[np.int64], patients: int) -> NDArray[np.float64]:
    """How often each patient is in each row of `drawn`: one product of matrices then sums all draws."""
    places = drawn + patients * np.arange(len(drawn))[:, None]
    times = np.bincount(places.ravel(), minlength=patients * len(drawn)).reshape(len(drawn), patients)
    return times.astype(np.float64)


def percentile_interval(values: NDArray[np.float64], confidence: float = CONFIDENCE) -> Interval:
    """The range that leaves out the same share of the draws' `values` at either end."""
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(values, [tail, 100.0 - tail])
    return Interval(float(low), float(high))


def _drawn_patients(patients: int, draws: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """The patients of each draw, with replacement, as rows of numbers; several rows at a time."""
    random = np.random.default_rng(seed)
    rows = max(1, _BLOCK // patients)
    for start in range(0, draws, rows):
        yield random.integers(patients, size=(min(rows, draws - start), patients))
