"""What a prognosis decides at a threshold: who is called positive, how often that is right, and how sure this is.

A case is called positive where its score is the threshold or more. A threshold belongs to other patients than those it
is judged on: pick it on validation cases.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fewmask.metrics.classification import Found, Scores, auc, auc_interval, roc_curve
from fewmask.metrics.estimate import Estimate, checked, estimates, patient_sums, shares
from fewmask.metrics.interval import CONFIDENCE, DRAWS
from fewmask.metrics.overlap import ratio

FALSE_POSITIVE_RATE = 0.1
"""The share of patients without the outcome that may be alarmed, where nothing else is asked for."""

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Decisions:
    """How many cases were called what: the confusion matrix of an outcome that is there or not.

    Each ratio lies in [0, 1] and is None where its denominator is 0.
    """

    true_positive: int
    false_negative: int
    false_positive: int
    true_negative: int

    @property
    def sensitivity(self) -> float | None:
        """The share of cases with the outcome that are called positive (recall)."""
        return _SENSITIVITY.of(self)

    @property
    def specificity(self) -> float | None:
        """The share of cases without the outcome that are called negative."""
        return _SPECIFICITY.of(self)

    @property
    def precision(self) -> float | None:
        """The share of cases called positive that have the outcome (positive predictive value)."""
        return _PRECISION.of(self)

    @property
    def negative_predictive_value(self) -> float | None:
        """The share of cases called negative that do not have the outcome."""
        return _NEGATIVE_PREDICTIVE_VALUE.of(self)

    @property
    def false_positive_rate(self) -> float | None:
        """The share of cases without the outcome that are called positive."""
        return _FALSE_POSITIVE_RATE.of(self)

    @property
    def accuracy(self) -> float | None:
        """The share of cases that are called what they are; with a rare outcome, high for calling nobody positive."""
        return _ACCURACY.of(self)

    @property
    def f1(self) -> float | None:
        """The harmonic mean of sensitivity and precision; None where no case has the outcome or is called positive."""
        return _F1.of(self)


class _Ratio(NamedTuple):
    """How often each of the four counts of `Decisions` is in the part and in the whole of a ratio."""

    part: tuple[int, int, int, int]
    whole: tuple[int, int, int, int]

    def of(self, made: Decisions) -> float | None:
        counts = _counts(made)
        return ratio(float(counts @ np.array(self.part)), float(counts @ np.array(self.whole)))


_SENSITIVITY = _Ratio((1, 0, 0, 0), (1, 1, 0, 0))
_SPECIFICITY = _Ratio((0, 0, 0, 1), (0, 0, 1, 1))
_PRECISION = _Ratio((1, 0, 0, 0), (1, 0, 1, 0))
_NEGATIVE_PREDICTIVE_VALUE = _Ratio((0, 0, 0, 1), (0, 1, 0, 1))
_FALSE_POSITIVE_RATE = _Ratio((0, 0, 1, 0), (0, 0, 1, 1))
_ACCURACY = _Ratio((1, 0, 0, 1), (1, 1, 1, 1))
_F1 = _Ratio((2, 0, 0, 0), (2, 1, 1, 0))


@dataclass(frozen=True)
class DecisionFigures:
    """The ratios of `Decisions`, each with its interval."""

    sensitivity: Estimate
    specificity: Estimate
    precision: Estimate
    negative_predictive_value: Estimate
    false_positive_rate: Estimate
    accuracy: Estimate
    f1: Estimate


_RATIOS = (
    _SENSITIVITY,
    _SPECIFICITY,
    _PRECISION,
    _NEGATIVE_PREDICTIVE_VALUE,
    _FALSE_POSITIVE_RATE,
    _ACCURACY,
    _F1,
)
"""In the order of the fields of `DecisionFigures`."""


def youden_threshold(scores: Scores, found: Found) -> float | None:
    """The score from which on to call cases positive, so that sensitivity + specificity - 1 is greatest.

    One of the scores; of several that are equally good the highest, which has the higher specificity. None without
    both outcomes, and where no threshold is better than calling everybody the same. Youden 1950.

    >>> youden_threshold([0.9, 0.6, 0.4, 0.1], [True, False, True, False])
    0.9
    """
    curve = roc_curve(scores, found)
    if curve is None:
        return None
    many = int(np.asarray(found, dtype=np.bool_).sum())
    others = len(scores) - many
    # In whole cases, so that equally good thresholds are equal: J x many x others.
    gains = np.rint(np.array(curve.sensitivity) * many) * others
    losses = np.rint(np.array(curve.false_positive_rate) * others) * many
    best = int(np.argmax(gains - losses))
    return None if gains[best] == losses[best] else curve.thresholds[best]


def decisions(scores: Scores, found: Found, threshold: float) -> Decisions:
    """Count the cases by what they are and by what they are called."""
    true_positive, false_negative, false_positive, true_negative = (
        int(count) for count in _called(scores, found, threshold).sum(axis=0)
    )
    return Decisions(true_positive, false_negative, false_positive, true_negative)


def decision_figures(
    scores: Scores,
    found: Found,
    patients: Sequence[str],
    threshold: float,
    confidence: float = CONFIDENCE,
    draws: int = DRAWS,
) -> DecisionFigures:
    """The ratios at a threshold that is taken as given: how unsure the threshold itself is, is in no interval."""
    parts = np.array([kind.part for kind in _RATIOS], dtype=np.float64).T
    wholes = np.array([kind.whole for kind in _RATIOS], dtype=np.float64).T

    def ratios(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        return shares(counts @ parts, counts @ wholes)

    totals = patient_sums(_called(scores, found, threshold), patients)
    return DecisionFigures(*estimates(ratios, totals, confidence, draws))


class OperatingPoint(NamedTuple):
    """A point of the ROC curve: the score from which on cases are called positive (infinity: none), and its rates."""

    threshold: float
    false_positive_rate: float
    sensitivity: float


def point_within(
    scores: Scores, found: Found, false_positive_rate: float = FALSE_POSITIVE_RATE
) -> OperatingPoint | None:
    """The most sensitive threshold at which no more than that share of cases without the outcome are called positive.

    An attained point, nothing between two: with few cases without the outcome the share is well below the one that
    is asked for. None without both outcomes. The threshold is read off these cases, so it is no rule for others.

    >>> point_within([0.9, 0.6, 0.4, 0.1], [True, False, True, False], 0.4)
    OperatingPoint(threshold=0.9, false_positive_rate=0.0, sensitivity=0.5)
    """
    curve = roc_curve(scores, found)
    if curve is None:
        return None
    rates = np.array(curve.false_positive_rate)
    allowed = np.flatnonzero(rates <= false_positive_rate + _ROUNDING)
    # Of equally sensitive thresholds the highest, which alarms the fewest.
    best = int(allowed[np.argmax(np.array(curve.sensitivity)[allowed])])
    return OperatingPoint(curve.thresholds[best], curve.false_positive_rate[best], curve.sensitivity[best])


def sensitivity_within(
    scores: Scores,
    found: Found,
    patients: Sequence[str],
    false_positive_rate: float = FALSE_POSITIVE_RATE,
    confidence: float = CONFIDENCE,
    draws: int = DRAWS,
) -> Estimate:
    """The sensitivity of `point_within`, which is sought anew in each draw of patients."""
    values, positive = checked(scores, found)
    levels, place = np.unique(-values, return_inverse=True)
    names, owner = np.unique(np.asarray(patients, dtype=np.str_), return_inverse=True)
    totals = np.zeros((len(names), 2, len(levels)))
    np.add.at(totals, (owner, positive.astype(np.int64), place), 1.0)

    def sensitivity(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        without, with_it = sums.reshape(-1, 2, len(levels)).cumsum(axis=2).transpose(1, 0, 2)
        everybody = np.stack([without[:, -1], with_it[:, -1]])
        allowed = without <= (false_positive_rate + _ROUNDING) * everybody[0][:, None]
        called = np.where(allowed, with_it, 0.0).max(axis=1)
        return shares(called, np.where(everybody.all(axis=0), everybody[1], 0.0))[:, None]

    return estimates(sensitivity, totals.reshape(len(names), -1), confidence, draws)[0]


def auc_estimate(
    scores: Scores,
    found: Found,
    patients: Sequence[str],
    confidence: float = CONFIDENCE,
    draws: int = DRAWS,
) -> Estimate:
    """The area under the ROC curve with `auc_interval`, and how many draws had one outcome alone."""
    positive = np.asarray(found, dtype=np.bool_)
    totals = patient_sums(np.stack([positive, ~positive], axis=1).astype(np.int64), patients)

    def has_an_area(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(counts.all(axis=1), 1.0, np.nan)[:, None]

    (drawn,) = estimates(has_an_area, totals, confidence, draws)
    return Estimate(
        auc(scores, found), auc_interval(scores, found, patients, confidence, draws), drawn.left_out
    )


def _called(scores: Scores, found: Found, threshold: float) -> NDArray[np.int64]:
    """A row a case, with a 1 under what it is, in the order of the fields of `Decisions`."""
    values, positive = checked(scores, found)
    called = values >= threshold
    kinds = (positive & called, positive & ~called, ~positive & called, ~positive & ~called)
    return np.stack(kinds, axis=1).astype(np.int64)


def _counts(made: Decisions) -> NDArray[np.int64]:
    return np.array([made.true_positive, made.false_negative, made.false_positive, made.true_negative])
