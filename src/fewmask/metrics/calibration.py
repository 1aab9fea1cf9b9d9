"""Whether probabilities mean what they say: of the cases that were given 0.3, three in ten should have the outcome."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from fewmask.metrics.classification import Found, Scores
from fewmask.metrics.estimate import Estimate, checked, estimates, patient_sums, shares
from fewmask.metrics.interval import CONFIDENCE, DRAWS, Interval

MOST_BINS = 10
LEAST_IN_A_BIN = 10
"""Fewer bins are made where there are fewer cases for each."""


@dataclass(frozen=True)
class CalibrationBin:
    """Cases of like probability: how likely the outcome was held to be on average, and how many had it.

    `share` is `with_outcome / n`, and `interval` Wilson's, which takes cases for independent: it is too narrow where
    patients have several.
    """

    n: int
    with_outcome: int
    mean_probability: float
    share: float
    interval: Interval


@dataclass(frozen=True)
class CalibrationFigures:
    """Figures that ask for the probabilities themselves, not for their order alone.

    `brier` is the mean squared distance of the probability from the outcome (0 is perfect), `brier_of_prevalence` what
    the same probability for everybody would have, the share of cases with the outcome, and `brier_skill` how much of
    that is saved (1 is perfect, 0 or less is worthless). `excess` is the mean probability minus the prevalence (0 is
    right, above 0 too alarming). `expected_error` is the mean distance in a bin between the probability and the share
    with the outcome, a bin counting by its cases: 0 is right, but in small samples chance alone makes it larger.
    """

    brier: Estimate
    brier_of_prevalence: Estimate
    brier_skill: Estimate
    mean_probability: Estimate
    prevalence: Estimate
    excess: Estimate
    expected_error: Estimate


def wilson_interval(with_outcome: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """How far a share of `n` independent cases could lie elsewhere; never of no width. Wilson 1927."""
    z2 = float(ndtri(0.5 + confidence / 2.0)) ** 2
    middle = (with_outcome + z2 / 2.0) / (n + z2)
    reach = math.sqrt(z2 * (with_outcome * (n - with_outcome) / n + z2 / 4.0)) / (n + z2)
    return Interval(max(0.0, middle - reach), min(1.0, middle + reach))


def calibration_curve(
    probabilities: Scores, found: Found, bins: int | None = None, confidence: float = CONFIDENCE
) -> tuple[CalibrationBin, ...]:
    """The cases in bins of about equal number, the least likely first; equal probabilities share a bin.

    By default up to ten bins of ten cases or more. Raises ValueError for no case, and for what is no probability.
    """
    values, positive = _checked(probabilities, found)
    place = _bins(values, bins)
    curve: list[CalibrationBin] = []
    for index in range(int(place.max()) + 1):
        inside = place == index
        n, many = int(inside.sum()), int(positive[inside].sum())
        interval = wilson_interval(many, n, confidence)
        curve.append(CalibrationBin(n, many, float(values[inside].mean()), many / n, interval))
    return tuple(curve)


def calibration_figures(
    probabilities: Scores,
    found: Found,
    patients: Sequence[str],
    bins: int | None = None,
    confidence: float = CONFIDENCE,
    draws: int = DRAWS,
) -> CalibrationFigures:
    """The figures with their intervals over patients; the bins are those of `calibration_curve` in every draw.

    Brier 1950; Naeini et al. 2015, Eq. 1, for the expected error. Differs: the bins hold equal numbers of cases, for
    with a rare outcome most bins of equal width would be empty.
    """
    values, positive = _checked(probabilities, found)
    place = _bins(values, bins)
    many = int(place.max()) + 1
    # How far each case's probability lies above its outcome, in the column of its bin.
    above = np.zeros((len(values), many))
    above[np.arange(len(values)), place] = values - positive
    outcomes = positive.astype(np.float64)
    columns = np.column_stack([np.ones_like(values), values, outcomes, (values - outcomes) ** 2, above])

    def figures(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        n, probability, outcome, squares = sums[:, :4].T
        brier, mean, prevalence = (shares(part, n) for part in (squares, probability, outcome))
        reference = prevalence * (1.0 - prevalence)
        skill = 1.0 - shares(brier, reference)
        error = shares(np.abs(sums[:, 4:]).sum(axis=1), n)
        return np.column_stack([brier, reference, skill, mean, prevalence, mean - prevalence, error])

    return CalibrationFigures(*estimates(figures, patient_sums(columns, patients), confidence, draws))


def _checked(probabilities: Scores, found: Found) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    values, positive = checked(probabilities, found)
    if not values.size or values.min() < 0.0 or values.max() > 1.0:
        raise ValueError("probabilities from 0 to 1 are needed, one or more")
    return values, positive


def _bins(values: NDArray[np.float64], bins: int | None) -> NDArray[np.intp]:
    """The number of each case's bin, from 0 on, none empty."""
    count = bins or min(MOST_BINS, max(1, len(values) // LEAST_IN_A_BIN))
    edges = np.quantile(values, np.linspace(0.0, 1.0, count + 1)[1:-1])
    return np.unique(np.searchsorted(edges, values, side="left"), return_inverse=True)[1]
