"""How sure a mean is: a bootstrap over patients."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
    patients = len(totals)
    sums: list[NDArray[np.float64]] = []
    for drawn in _drawn_patients(patients, draws, seed):
        # How often each patient was drawn, a row a draw: one product of matrices then sums all of them.
        places = drawn + patients * np.arange(len(drawn))[:, None]
        times = np.bincount(places.ravel(), minlength=patients * len(drawn)).reshape(len(drawn), patients)
        sums.append(times.astype(np.float64) @ totals.astype(np.float64))
    return np.concatenate(sums)


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
