"""The three ratios that MSL reports, pooled over the pixels of all cases, with intervals over patients."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewmask.metrics.confusion import Confusion, mean_class_accuracy, mean_iou, pixel_accuracy
from fewmask.metrics.interval import DRAWS, Interval, percentile_interval, resampled_sums


@dataclass(frozen=True)
class PooledRatio:
    """A ratio in [0, 1], 1 is perfect, and its interval; None where nothing can be said.

    `left_out` are the classes that the mean over classes leaves out, see `fewmask.metrics.confusion`.
    """

    value: float | None
    interval: Interval | None
    left_out: tuple[int, ...] = ()


@dataclass(frozen=True)
class PooledRatios:
    """Pixel accuracy, mean class accuracy and mean IoU of one set of cases."""

    pixel_accuracy: PooledRatio
    mean_class_accuracy: PooledRatio
    mean_iou: PooledRatio


def pooled_ratios(
    confusions: Sequence[Confusion], patients: Sequence[str], draws: int = DRAWS, seed: int = 0
) -> PooledRatios:
    """The ratios of the summed matrices, one (K, K) a case; `patients[i]` is whose case i is. MSL, Sec. 3.2.

    Patients are drawn with replacement, each with the matrices of all of their cases, and each draw's matrices are
    pooled anew; a class that is absent from a draw is left out of that draw's mean. No interval for fewer than two
    patients. Raises ValueError for no case.
    """
    totals = patient_totals(confusions, patients)
    pooled = totals.sum(axis=0)
    by_class = mean_class_accuracy(pooled), mean_iou(pooled)
    values = (pixel_accuracy(pooled), by_class[0].mean, by_class[1].mean)
    left_out = ((), by_class[0].left_out, by_class[1].left_out)
    drawn = drawn_ratios(totals, draws, seed) if len(totals) > 1 else (None, None, None)
    return PooledRatios(
        *(
            PooledRatio(value, _interval(ratios), absent)
            for value, ratios, absent in zip(values, drawn, left_out, strict=True)
        )
    )


def patient_totals(confusions: Sequence[Confusion], patients: Sequence[str]) -> NDArray[np.int64]:
    """The summed matrices of each patient, (P, K, K), patients in the order of their names."""
    matrices = np.stack(confusions)
    names, owner = np.unique(np.asarray(patients, dtype=np.str_), return_inverse=True)
    totals = np.zeros((names.size, *matrices.shape[1:]), dtype=np.int64)
    np.add.at(totals, owner, matrices)
    return totals


def drawn_ratios(
    totals: NDArray[np.int64], draws: int = DRAWS, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Pixel accuracy, mean class accuracy and mean IoU of each draw of patients; NaN where no pixel counts.

    Equal seeds draw equal patients, so the draws of two methods on the same patients may be subtracted.
    """
    sums = resampled_sums(totals.reshape(len(totals), -1), draws, seed).reshape(-1, *totals.shape[1:])
    found = np.diagonal(sums, axis1=1, axis2=2)
    true_pixels, predicted_pixels = sums.sum(axis=2), sums.sum(axis=1)
    either = true_pixels + predicted_pixels - found
    return (
        _shares(found.sum(axis=1), true_pixels.sum(axis=1)),
        _class_means(found, true_pixels),
        _class_means(found, either),
    )


def _shares(parts: NDArray[np.float64], wholes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(parts, wholes, out=np.full_like(wholes, np.nan), where=wholes > 0)


def _class_means(parts: NDArray[np.float64], wholes: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean over the classes (draws, K) that have a share, NaN where none has."""
    shares = _shares(parts, wholes)
    has = np.isfinite(shares)
    return _shares(np.where(has, shares, 0.0).sum(axis=1), has.sum(axis=1).astype(np.float64))


def _interval(ratios: NDArray[np.float64] | None) -> Interval | None:
    """The interval of the draws that have a ratio; None where none has."""
    kept = ratios[np.isfinite(ratios)] if ratios is not None else np.empty(0)
    return percentile_interval(kept) if kept.size else None
