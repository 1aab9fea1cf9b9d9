"""How well scores tell those with an outcome from those without: ROC curves, their areas, and how sure these are.

Scores are higher where the outcome is more likely; only their order counts. An outcome is true where it was found.
Without both kinds of case nothing can be said, and the answer is None.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc
from scipy.stats import rankdata

from fewmask.metrics.interval import CONFIDENCE, DRAWS, Interval, percentile_interval, resampled_sums

Scores = NDArray[np.floating] | Sequence[float]
Found = NDArray[np.bool_] | Sequence[bool]


@dataclass(frozen=True)
class RocCurve:
    """From (0, 0) to (1, 1), a point for each score that occurs: what is found when that score and all above count.

    `false_positive_rate` is the share of cases without the outcome that are called positive, `sensitivity` the share
    of those with it, at `thresholds`, which fall from infinity. Equal scores are passed at once, by a slanting line.
    """

    false_positive_rate: tuple[float, ...]
    sensitivity: tuple[float, ...]
    thresholds: tuple[float, ...]


def roc_curve(scores: Scores, found: Found) -> RocCurve | None:
    """The receiver operating characteristic. Fawcett 2006, Algorithm 1."""
    values, positive = _arrays(scores, found)
    if not _both(positive):
        return None
    thresholds, place = np.unique(-values, return_inverse=True)
    rates = [
        np.concatenate([[0], np.bincount(place[side], minlength=len(thresholds)).cumsum()]) / side.sum()
        for side in (~positive, positive)
    ]
    return RocCurve(tuple(rates[0].tolist()), tuple(rates[1].tolist()), (np.inf, *(-thresholds).tolist()))


def auc(scores: Scores, found: Found) -> float | None:
    """The area under the ROC curve, in [0, 1]: how often a case with the outcome scores above one without.

    Equal scores count one half, so 0.5 is chance. Hanley & McNeil 1982, the Mann-Whitney statistic.

    >>> auc([0.9, 0.4, 0.4, 0.1], [True, True, False, False])
    0.875
    """
    values, positive = _arrays(scores, found)
    if not _both(positive):
        return None
    many, others = int(positive.sum()), int((~positive).sum())
    return float((rankdata(values)[positive].sum() - many * (many + 1) / 2) / (many * others))


def auc_interval(
    scores: Scores, found: Found, patients: Sequence[str], confidence: float = CONFIDENCE, draws: int = DRAWS
) -> Interval | None:
    """How far the AUC could lie elsewhere, had other patients of the same kind come.

    Patients are drawn with replacement, each with all of their cases; a draw without both outcomes has no AUC and is
    left out. The percentiles of the draws are the interval. None for fewer than two patients.
    """
    areas = drawn_areas([scores], found, patients, draws)
    return None if areas is None else percentile_interval(areas[0], confidence)


@dataclass(frozen=True)
class DeLong:
    """The second AUC minus the first, its variance, and the two-sided p of no difference.

    p is None where the variance is 0 and the areas differ: each is then 0, 0.5 or 1 (always wrong, the same for all
    cases, always right).
    """

    difference: float
    variance: float
    p: float | None


def delong(first: Scores, second: Scores, found: Found) -> DeLong | None:
    """Whether two scores of the same cases tell the outcome equally well.

    DeLong et al. 1988, Eqs. 5 and 6, for two areas. It takes cases for independent: where a patient has several, the
    bootstrap of `auc_difference` is the one to trust. None for fewer than two cases of either outcome.
    """
    positive = np.asarray(found, dtype=np.bool_)
    if min(positive.sum(), (~positive).sum()) < 2:
        return None
    parts = [_placements(np.asarray(scores, dtype=np.float64), positive) for scores in (first, second)]
    # The components of the difference are the differences of the components.
    above, below = (second_part - first_part for first_part, second_part in zip(*parts, strict=True))
    difference = float(above.mean())
    variance = float(above.var(ddof=1) / len(above) + below.var(ddof=1) / len(below))
    if variance == 0.0:
        return DeLong(difference, variance, 1.0 if difference == 0.0 else None)
    return DeLong(difference, variance, float(erfc(abs(difference) / np.sqrt(2.0 * variance))))


@dataclass(frozen=True)
class AucDifference:
    """The second AUC minus the first, its interval over patients, and the two-sided p of no difference."""

    difference: float
    interval: Interval
    p: float


def auc_difference(
    first: Scores,
    second: Scores,
    found: Found,
    patients: Sequence[str],
    confidence: float = CONFIDENCE,
    draws: int = DRAWS,
) -> AucDifference | None:
    """How much better the second score tells the outcome, by a bootstrap that draws patients for both at once.

    Right also where patients have several cases. p is twice the smaller share of draws on one side of 0, those at 0
    counted on both; with `draws` draws none is below 2 / (draws + 1). None as for `auc_interval`.
    """
    areas = drawn_areas([first, second], found, patients, draws)
    one, other = auc(first, found), auc(second, found)
    if areas is None or one is None or other is None:
        return None
    differences = areas[1] - areas[0]
    # Equal areas may differ in their last digit, as they are sums in another order.
    smaller = min((differences <= 1e-12).sum(), (differences >= -1e-12).sum())
    p = min(1.0, 2.0 * (smaller + 1) / (len(differences) + 1))
    return AucDifference(other - one, percentile_interval(differences, confidence), float(p))


def _arrays(scores: Scores, found: Found) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    values, positive = np.asarray(scores, dtype=np.float64), np.asarray(found, dtype=np.bool_)
    if values.shape != positive.shape:
        raise ValueError(f"{values.shape} scores for {positive.shape} outcomes")
    if not np.isfinite(values).all():
        raise ValueError("a score is not finite")
    return values, positive


def _both(positive: NDArray[np.bool_]) -> bool:
    return bool(positive.any() and not positive.all())


def _placements(
    values: NDArray[np.float64], positive: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each case with the outcome the share of those without that it beats, and the reverse; ties are halves.

    By ranks: a case's rank among all less its rank among its own kind is how many of the other kind it beats. Sun & Xu
    2014.
    """
    ranks = rankdata(values)
    beaten = (ranks[positive] - rankdata(values[positive])) / (~positive).sum()
    beaten_by = 1.0 - (ranks[~positive] - rankdata(values[~positive])) / positive.sum()
    return beaten, beaten_by


def drawn_areas(
    several: Sequence[Scores], found: Found, patients: Sequence[str], draws: int = DRAWS
) -> list[NDArray[np.float64]] | None:
    """The areas of several scores in each draw of patients that has both outcomes; None where there is no such draw.

    The same patients are drawn for each of them, and whenever the same cases are asked about.
    """
    names, owner = np.unique(np.asarray(patients, dtype=np.str_), return_inverse=True)
    positive = np.asarray(found, dtype=np.bool_)
    if len(names) < 2 or not _both(positive):
        return None
    kept: NDArray[np.bool_] | None = None
    areas: list[NDArray[np.float64]] = []
    for scores in several:
        levels, place = np.unique(_arrays(scores, found)[0], return_inverse=True)
        counts = np.zeros((2, len(names), len(levels)))
        np.add.at(counts, (positive.astype(np.int64), owner, place), 1.0)
        # The seed is the same for each, so the same patients are drawn.
        without, with_it = (resampled_sums(side, draws) for side in counts)
        if kept is None:
            kept = (without.sum(axis=1) > 0) & (with_it.sum(axis=1) > 0)
        areas.append(_weighted_areas(with_it[kept], without[kept]))
    return areas if len(areas[0]) else None


def _weighted_areas(with_it: NDArray[np.float64], without: NDArray[np.float64]) -> NDArray[np.float64]:
    """The AUC of each draw from the number of cases at each score (draws, levels), levels rising."""
    below = without.cumsum(axis=1) - without / 2.0
    return (with_it * below).sum(axis=1) / (with_it.sum(axis=1) * without.sum(axis=1))
