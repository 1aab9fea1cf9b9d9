"""How much of two masks is shared: counts of voxels, and the ratios made from them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


def ratio(part: float, whole: float) -> float | None:
    """`part / whole`, or None where there is nothing to divide by."""
    return part / whole if whole else None


@dataclass(frozen=True)
class Overlap:
    """Voxels by what the truth and the prediction say of them.

    Each ratio lies in [0, 1], 1 is perfect, and is None where its denominator is 0. What an empty mask then
    scores is decided in `fewmask.metrics.score` and nowhere else.
    """

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    @property
    def voxels_truth(self) -> int:
        """The size of the structure."""
        return self.true_positive + self.false_negative

    @property
    def voxels_predicted(self) -> int:
        """The size of what was predicted."""
        return self.true_positive + self.false_positive

    @property
    def dice(self) -> float | None:
        """Twice the shared voxels over the sum of both sizes."""
        return ratio(2 * self.true_positive, self.voxels_truth + self.voxels_predicted)

    @property
    def iou(self) -> float | None:
        """Shared voxels over the voxels of either mask."""
        return ratio(self.true_positive, self.voxels_truth + self.false_positive)

    @property
    def sensitivity(self) -> float | None:
        """The share of the structure that was found."""
        return ratio(self.true_positive, self.voxels_truth)

    @property
    def precision(self) -> float | None:
        """The share of the prediction that is right."""
        return ratio(self.true_positive, self.voxels_predicted)


def count_overlap(truth: NDArray[np.bool_], predicted: NDArray[np.bool_], ignored: int = 0) -> Overlap:
    """Count the voxels of two boolean masks of one shape; `ignored` voxels, false in both, are left out."""
    shared = int(np.count_nonzero(truth & predicted))
    only_predicted = int(np.count_nonzero(predicted)) - shared
    only_truth = int(np.count_nonzero(truth)) - shared
    rest = truth.size - ignored - shared - only_predicted - only_truth
    return Overlap(shared, only_predicted, only_truth, rest)
