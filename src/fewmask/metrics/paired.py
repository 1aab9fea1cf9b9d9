"""Whether one method does better than another on the same patients: a paired test, and its correction for many rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon

from fewmask.metrics.estimate import shares
from fewmask.metrics.interval import Interval, bootstrap_interval


@dataclass(frozen=True)
class PairedTest:
    """One method less another: the mean over `patients`, its interval, and the two-sided p of no difference.

    `larger` is the number of patients on whom it is larger.
    """

    difference: float
    interval: Interval
    p: float
    patients: int
    larger: int


def paired_test(
    one: NDArray[np.float64], other: NDArray[np.float64], patients: Sequence[str]
) -> PairedTest | None:
    """Whether `one` does better than `other` on the same patients; None for fewer than two patients.

    Both are (seeds, cases) in [0, 1], 1 is perfect, of the same seeds and cases; `patients[i]` is whose case i is.
    Every patient has one vote, see `patient_differences`. The interval is the bootstrap's, p that of `signed_rank_p`.
    """
    differences = patient_differences(one, other, patients)
    interval = bootstrap_interval(differences.tolist(), [str(place) for place in range(len(differences))])
    if interval is None:
        return None
    larger = int((differences > 0).sum())
    return PairedTest(
        float(differences.mean()), interval, signed_rank_p(differences), len(differences), larger
    )


def patient_differences(
    one: NDArray[np.float64], other: NDArray[np.float64], patients: Sequence[str]
) -> NDArray[np.float64]:
    """`one` less `other` for each patient, (P,): the mean over the seeds, then over the patient's cases.

    So neither seeds nor images pass for patients. NaN is a case that was rightly left empty: it counts as 1 against a
    method that drew something there, and is no case where both left it empty. A patient without any case is left out.
    """
    empty = np.isnan(one), np.isnan(other)
    changes = np.where(empty[0] & ~empty[1], 1.0, one) - np.where(empty[1] & ~empty[0], 1.0, other)
    by_case = shares(np.nansum(changes, axis=0), np.isfinite(changes).sum(axis=0, dtype=np.float64))
    scored = np.isfinite(by_case)
    owner = np.unique(np.asarray(patients, dtype=np.str_)[scored], return_inverse=True)[1]
    return np.bincount(owner, weights=by_case[scored]) / np.bincount(owner)


def signed_rank_p(differences: NDArray[np.float64]) -> float:
    """The two-sided p that differences such as these lie around 0 by chance alone. Wilcoxon 1945, signed ranks.

    Those of 0 are dropped, as Wilcoxon does; 1 where none is left. Equal ones share the mean of their ranks. p is exact
    for up to 50 differences that all differ, or 13 of which some are equal, and of the normal approximation beyond.
    """
    # Equal differences may differ in their last digit, as they are means.
    rounded = np.round(differences, 12)
    changed = rounded[rounded != 0.0]
    return float(cast(Any, wilcoxon(changed)).pvalue) if changed.size else 1.0


def smallest_p(patients: int) -> float:
    """The smallest p that `signed_rank_p` can give, when all patients agree.

    >>> smallest_p(4)
    0.125
    """
    return 2.0 ** (1 - patients)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """p-values of several tests, each so raised that the chance of any false alarm among them stays what it says.

    The smallest is multiplied by the number of tests, the next by one fewer, and so on; none is smaller than one before
    it, nor greater than 1. Holm 1979.

    >>> holm([0.01, 0.04, 0.03])
    (0.03, 0.06, 0.06)
    """
    order = np.argsort(p_values, kind="stable")
    raised = np.asarray(p_values, dtype=np.float64)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(raised), 1.0)
    return tuple(adjusted.tolist())
