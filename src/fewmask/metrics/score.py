"""The scores of one case, class by class, and the one rule for empty masks.

| status      | truth | predicted | dice, iou, nsd | sensitivity | precision | distances            |
|-------------|-------|-----------|----------------|-------------|-----------|----------------------|
| ok          | some  | some      | measured       | measured    | measured  | measured             |
| missed      | some  | none      | 0              | 0           | 0         | the image's diagonal |
| false_alarm | none  | some      | 0              | None        | 0         | the image's diagonal |
| absent      | none  | none      | None           | None        | None      | None                 |

None is left out of every mean, and each status is counted beside it: a missed structure and a false alarm
cost the worst score, and a rightly empty mask earns nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fewmask.metrics.overlap import Overlap, count_overlap
from fewmask.metrics.surface import SurfaceScores, surface_scores

Status = Literal["ok", "missed", "false_alarm", "absent"]

METRICS = (
    "dice", "iou", "hd95", "hd95_pooled", "assd", "nsd", "sensitivity", "precision", "masd", "masd_voxels",
    "hd95_voxels",
)  # fmt: skip
"""The fields of a `ClassScore` that are averaged, in the order in which tables show them."""


@dataclass(frozen=True)
class ClassScore:
    """How well one class of one case was segmented; None where the empty rule says that nothing can be said.

    Shares in [0, 1], 1 is perfect; `hd95`, `hd95_pooled`, `assd`, `masd` in the spacing's unit, `masd_voxels` and
    `hd95_voxels` in voxels (pixels), 0 is perfect. The worst distance of those two is the image's diagonal in voxels.
    """

    dice: float | None
    iou: float | None
    hd95: float | None
    hd95_pooled: float | None
    assd: float | None
    nsd: float | None
    sensitivity: float | None
    precision: float | None
    voxels_truth: int
    voxels_predicted: int
    status: Status
    overlap: Overlap
    masd: float | None
    masd_voxels: float | None
    hd95_voxels: float | None


def score_case(
    truth_classes: NDArray[np.uint8],
    predicted_classes: NDArray[np.uint8],
    class_count: int,
    spacing: Sequence[float],
    *,
    nsd_tolerance: float = 2.0,
    ignored: int = 255,
) -> list[ClassScore]:
    """Score the foreground classes 1..class_count-1 of one picture or volume, in that order.

    Voxels that are `ignored` in the truth are background in both and in no count. A predicted value that is
    no class counts as background. Axes of length 1 are dropped first: one slice is a picture, and its faces
    are no surface. `nsd_tolerance` is in the spacing's unit.
    """
    if truth_classes.shape != predicted_classes.shape or len(spacing) != truth_classes.ndim:
        raise ValueError(
            f"{truth_classes.shape}, {predicted_classes.shape} and {len(spacing)} spacings do not fit"
        )
    kept = [axis for axis, side in enumerate(truth_classes.shape) if side > 1] or [0]
    shape = tuple(truth_classes.shape[axis] for axis in kept)
    lengths = tuple(float(spacing[axis]) for axis in kept)
    truth, predicted = truth_classes.reshape(shape), predicted_classes.reshape(shape)
    unscored = truth == ignored
    ignored_voxels = int(np.count_nonzero(unscored))
    if ignored_voxels:
        predicted = np.where(unscored, 0, predicted)
    return [
        _score_class(truth == index, predicted == index, ignored_voxels, lengths, nsd_tolerance)
        for index in range(1, class_count)
    ]


def diagonal(shape: Sequence[int], spacing: Sequence[float]) -> float:
    """The length from corner to corner of an image, in the spacing's unit.

    >>> diagonal((3, 4), (1.0, 1.0))
    5.0
    """
    return math.hypot(*(side * length for side, length in zip(shape, spacing, strict=True)))


def _score_class(
    truth: NDArray[np.bool_],
    predicted: NDArray[np.bool_],
    ignored_voxels: int,
    spacing: tuple[float, ...],
    nsd_tolerance: float,
) -> ClassScore:
    overlap = count_overlap(truth, predicted, ignored_voxels)
    status = _status(overlap)
    if status == "ok":
        surface = surface_scores(truth, predicted, spacing, nsd_tolerance)
        return _class_score(overlap, status, overlap.sensitivity, overlap.precision, surface)
    if status == "absent":
        return _class_score(overlap, status, None, None, None)
    worst = diagonal(truth.shape, spacing)
    in_voxels = diagonal(truth.shape, (1.0,) * truth.ndim)
    sensitivity = 0.0 if status == "missed" else None
    surface = SurfaceScores(worst, worst, worst, 0.0, worst, in_voxels, in_voxels)
    return _class_score(overlap, status, sensitivity, 0.0, surface)


def _status(overlap: Overlap) -> Status:
    """Which row of the empty rule a pair of masks falls under."""
    if overlap.voxels_truth:
        return "ok" if overlap.voxels_predicted else "missed"
    return "false_alarm" if overlap.voxels_predicted else "absent"


def _class_score(
    overlap: Overlap,
    status: Status,
    sensitivity: float | None,
    precision: float | None,
    surface: SurfaceScores | None,
) -> ClassScore:
    return ClassScore(
        dice=overlap.dice,
        iou=overlap.iou,
        hd95=surface.hd95 if surface else None,
        hd95_pooled=surface.hd95_pooled if surface else None,
        assd=surface.assd if surface else None,
        nsd=surface.nsd if surface else None,
        sensitivity=sensitivity,
        precision=precision,
        voxels_truth=overlap.voxels_truth,
        voxels_predicted=overlap.voxels_predicted,
        status=status,
        overlap=overlap,
        masd=surface.masd if surface else None,
        masd_voxels=surface.masd_voxels if surface else None,
        hd95_voxels=surface.hd95_voxels if surface else None,
    )
