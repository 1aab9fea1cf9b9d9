"""Which class was taken for which, pooled over the pixels of all cases, and the three ratios that MSL reports.

Matrices of several cases are added; the ratios are taken from the sum. A large case then counts for more than a
small one, and no patient has an interval: see `fewmask.metrics.score` for scores per case.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewmask.metrics.overlap import ratio

Confusion = NDArray[np.int64]
"""(K, K) counts of pixels: rows are the true classes, columns the predicted ones."""


def confusion_matrix(
    truth: NDArray[np.integer], predicted: NDArray[np.integer], class_count: int, *, ignored: int = 255
) -> Confusion:
    """Count the pixels of every pair of true and predicted class, background included.

    Pixels that are `ignored` in the truth are in no count. A predicted value that is no class counts as
    background, as in `fewmask.metrics.score`. Raises ValueError for shapes that differ, and for a true value that
    is no class.

    >>> confusion_matrix(np.array([0, 1, 1, 255]), np.array([0, 1, 0, 1]), 2).tolist()
    [[1, 0], [1, 1]]
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"truth {truth.shape} and prediction {predicted.shape} differ in shape")
    counted = truth != ignored
    true_classes = truth[counted].astype(np.int64)
    predicted_classes = predicted[counted].astype(np.int64)
    if true_classes.size and not 0 <= true_classes.min() <= true_classes.max() < class_count:
        found = int(true_classes.min()), int(true_classes.max())
        raise ValueError(f"true classes must be in 0..{class_count - 1}, found {found[0]}..{found[1]}")
    known = (predicted_classes >= 0) & (predicted_classes < class_count)
    pairs = true_classes * class_count + np.where(known, predicted_classes, 0)
    counts = np.bincount(pairs, minlength=class_count * class_count)
    return counts.reshape(class_count, class_count).astype(np.int64)


@dataclass(frozen=True)
class ClassMean:
    """The plain mean over classes, None where no class has a value, and the classes that had none."""

    mean: float | None
    by_class: tuple[float | None, ...]
    left_out: tuple[int, ...]


def pixel_accuracy(confusion: Confusion) -> float | None:
    """The share of pixels whose class is right, in [0, 1]; None without pixels. MSL, Sec. 3.2."""
    return ratio(int(np.trace(confusion)), int(confusion.sum()))


def mean_class_accuracy(confusion: Confusion) -> ClassMean:
    """The mean over classes of the share of a class's pixels that were found, each in [0, 1]. MSL, Sec. 3.2.

    A class that is absent from the truth has no such share and is left out, even where it was predicted.
    """
    found, true_pixels = np.diag(confusion), confusion.sum(axis=1)
    return _mean([ratio(int(part), int(whole)) for part, whole in zip(found, true_pixels, strict=True)])


def mean_iou(confusion: Confusion) -> ClassMean:
    """The mean over classes of shared pixels over the pixels of either, each in [0, 1]. MSL, Sec. 3.2.

    A class that is absent from truth and prediction is left out; one that was predicted but is not there has 0.
    Differs: MSL prints the denominator as a class's true pixels plus those of them that were missed, which counts
    the misses twice and false alarms never; here it is true pixels plus false alarms.
    """
    found = np.diag(confusion)
    either = confusion.sum(axis=1) + confusion.sum(axis=0) - found
    return _mean([ratio(int(part), int(whole)) for part, whole in zip(found, either, strict=True)])


def _mean(by_class: list[float | None]) -> ClassMean:
    values = [value for value in by_class if value is not None]
    left_out = tuple(index for index, value in enumerate(by_class) if value is None)
    return ClassMean(ratio(sum(values), len(values)), tuple(by_class), left_out)
