"""Across which axis a volume is cut into slices, and which slices a network sees together."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fewmask.data.survey import Look
from fewmask.errors import InputFault

VIEWS = ("sagittal", "coronal", "axial")
"""The slices that lie across each axis of a volume in RAS order."""

CLEARLY_THICKER = 1.5
"""A volume is cut across the axis whose spacing exceeds the others by this factor, else across its last axis."""

TOO_THICK = 4.0
"""Voxels that are longer than this many times their width make a slice along them mostly interpolation.

Cardiac scans that are cut coronally by their users stay far below it, stacks of thick slices lie above.
"""


def slice_axis(looks: Sequence[Look]) -> int:
    """The axis across which volumes are cut that are thick in no direction of their own."""
    return thick_axis(np.median([look.spacing for look in looks], axis=0).tolist(), 2)


def thick_axis(spacing: Sequence[float], otherwise: int) -> int:
    """The axis whose spacing clearly exceeds the others'."""
    thickest = int(np.argmax(spacing))
    return thickest if spacing[thickest] >= CLEARLY_THICKER * _widest_other(spacing, thickest) else otherwise


def require_cuttable(case: str, spacing: Sequence[float], axis: int) -> None:
    """Refuse to cut along voxels that are `TOO_THICK`, for a volume in RAS order and an axis that was asked for."""
    thickest = int(np.argmax(spacing))
    width = _widest_other(spacing, thickest)
    if thickest != axis and spacing[thickest] > TOO_THICK * width:
        raise InputFault(
            f"{case}: its voxels are {spacing[thickest]:.3g} mm long across {VIEWS[thickest]} slices and "
            f"{width:.3g} mm wide within, too anisotropic for {VIEWS[axis]} ones; train with --set slice_axis=auto or "
            f"{VIEWS[thickest]}, or resample the volume"
        )


def cut_remark(looks: Sequence[Look], axis: int) -> str | None:
    """What a user should be told whose volumes are cut along their thick direction, as was asked for."""
    along = [look.case for look in looks if thick_axis(look.spacing, axis) != axis]
    if not along:
        return None
    return (
        f"{len(along)} of {len(looks)} volumes are cut into {VIEWS[axis]} slices along their thick direction "
        f"(first: {along[0]}), as slice_axis says"
    )


def neighbour_rows(
    rows: NDArray[np.integer],
    first: NDArray[np.integer] | int,
    last: NDArray[np.integer] | int,
    neighbours: int,
) -> list[NDArray[np.integer]]:
    """For each slice its neighbours, from the one before to the one behind; at a volume's edge the edge is repeated.

    >>> [rows.tolist() for rows in neighbour_rows(np.arange(3), 0, 2, 3)]
    [[0, 0, 1], [0, 1, 2], [1, 2, 2]]
    """
    reach = neighbours // 2
    return [np.clip(rows + offset, first, last) for offset in range(-reach, reach + 1)]


def _widest_other(spacing: Sequence[float], thickest: int) -> float:
    return max(mm for axis, mm in enumerate(spacing) if axis != thickest)
