"""How sure a mean is: a bootstrap over patients."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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
    random = np.random.default_rng(seed)
    means = np.empty(draws)
    rows = max(1, _BLOCK // names.size)
    for start in range(0, draws, rows):
        drawn = random.integers(names.size, size=(min(rows, draws - start), names.size))
        means[start : start + rows] = totals[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(means, [tail, 100.0 - tail])
    return Interval(float(low), float(high))
