"""Figures about an outcome with their intervals over patients, where a figure may be undefined in some draws."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewmask.metrics.classification import Found, Scores
from fewmask.metrics.interval import CONFIDENCE, DRAWS, Interval, percentile_interval, resampled_sums

Figures = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""From sums over patients (rows, F) to figures (rows, K); NaN where a figure is undefined."""


@dataclass(frozen=True)
class Estimate:
    """A figure (None where it is undefined) and how far it could lie elsewhere, had other patients come.

    `left_out` draws of patients had no such figure and are not in the interval, which is None for fewer than two
    patients.
    """

    value: float | None
    interval: Interval | None
    left_out: int = 0


def checked(scores: Scores, found: Found) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scores and outcomes as arrays. Raises ValueError where they do not fit, or a score is not finite."""
    values, positive = np.asarray(scores, dtype=np.float64), np.asarray(found, dtype=np.bool_)
    if values.shape != positive.shape or not np.isfinite(values).all():
        raise ValueError(f"{values.shape} scores for {positive.shape} outcomes, all of which must be finite")
    return values, positive


def estimates(
    figures: Figures, totals: NDArray[np.number], confidence: float = CONFIDENCE, draws: int = DRAWS
) -> tuple[Estimate, ...]:
    """Each figure of all patients together, `totals` (patients, F), with its bootstrap interval.

    Patients are drawn with replacement, each with all of their cases, as in `bootstrap_interval`; all figures are taken
    from the same draws. Few patients with the outcome make the draws alike, and the interval too narrow.
    """
    values = figures(totals.sum(axis=0, keepdims=True).astype(np.float64))[0]
    if len(totals) < 2:
        return tuple(Estimate(_defined(value), None) for value in values)
    drawn = figures(resampled_sums(totals, draws))
    return tuple(_estimate(value, column, confidence) for value, column in zip(values, drawn.T, strict=True))


def patient_sums(columns: NDArray[np.number], patients: Sequence[str]) -> NDArray[np.float64]:
    """The columns (cases, F) summed over the cases of each patient, (patients, F), in the order of their names."""
    names, owner = np.unique(np.asarray(patients, dtype=np.str_), return_inverse=True)
    totals = np.zeros((len(names), columns.shape[1]))
    np.add.at(totals, owner, columns)
    return totals


def shares(parts: NDArray[np.float64], wholes: NDArray[np.float64]) -> NDArray[np.float64]:
    """`parts / wholes`, NaN where there is nothing to divide by."""
    return np.divide(parts, wholes, out=np.full_like(wholes, np.nan), where=wholes > 0)


def _estimate(value: float, drawn: NDArray[np.float64], confidence: float) -> Estimate:
    kept = drawn[np.isfinite(drawn)]
    interval = percentile_interval(kept, confidence) if kept.size else None
    return Estimate(_defined(value), interval, len(drawn) - len(kept))


def _defined(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
