"""Cubic Bezier curves: from the control points in a file to a closed path, and from that to a line of points."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fewmask.data.outlines.shape import BezierPath, Points, points_of
from fewmask.errors import InputFault

TOLERANCE = 0.01
"""How far, in pixels, the line of points may lie from the curve."""

MEET = 0.5
"""How far apart, in pixels, two ends may be that are meant to be one: tools round."""


def bezier_path(pairs: Sequence[Sequence[float]], where: str) -> BezierPath:
    """A closed path from control points in the order in which they are drawn.

    - 4 points: one cubic curve, closed by the straight line from its last point to its first.
    - 4 for each of several curves that are given separately: each must start where the one before it ends, and the
      last must end where the first starts.
    - 3 for each of several curves: two neighbours share an end, and the last curve ends in the first point, which may
      be repeated at the end.

    Where a number of points fits both (12, 16, 24, ...), they are separate curves if their ends meet. Włodarczyk et al.
    2020 tell of four points and of curves, not of how these are closed: this is our reading. Raises InputFault for any
    other number, and for a path of several curves that is open.
    """
    points = points_of(pairs, where)
    count = len(points)
    if count == 4:
        return BezierPath(points, (0,))
    separate = count >= 8 and count % 4 == 0
    if separate and _meet(points[3::4], np.roll(points[0::4], -1, axis=0)):
        return BezierPath(points, tuple(range(0, count, 4)))
    if count >= 6 and count % 3 == 0:
        return BezierPath(points, tuple(range(0, count, 3)))
    if count >= 7 and count % 3 == 1 and _meet(points[-1:], points[:1]):
        return BezierPath(points[:-1], tuple(range(0, count - 1, 3)))
    if separate or (count >= 7 and count % 3 == 1):
        raise InputFault(f"{where}: the ends of its {count} Bezier points do not meet; close the path")
    raise InputFault(
        f"{where}: {count} Bezier points; give 4 (one curve and a straight line), or 3 or 4 for each of several curves"
    )


def _meet(ends: Points, starts: Points) -> bool:
    return bool((np.hypot(*(ends - starts).T) <= MEET).all())


def pieces_of(curves: NDArray[np.float64], tolerance: float = TOLERANCE) -> list[int]:
    """Into how many straight pieces, of equal steps of the parameter, each curve (K, 4, 2) must be cut.

    A piece of a curve with second derivative B'' lies within max|B''| / (8 n^2) of its chord (the error of linear
    interpolation), and |B''| of a cubic is at most 6 times the larger second difference of its points.
    """
    bends = 6.0 * np.linalg.norm(np.diff(curves, n=2, axis=1), axis=2).max(axis=1)
    return np.maximum(1, np.ceil(np.sqrt(bends / (8.0 * tolerance)))).astype(int).tolist()


def flattened(curves: NDArray[np.float64], tolerance: float = TOLERANCE) -> list[Points]:
    """For each curve (K, 4, 2) the points of a line within `tolerance` of it, from its start, without its end."""
    lines: list[Points] = []
    for curve, pieces in zip(curves, pieces_of(curves, tolerance), strict=True):
        step = (np.arange(pieces) / pieces)[:, None]
        rest = 1.0 - step
        weights = np.concatenate([rest**3, 3.0 * rest**2 * step, 3.0 * rest * step**2, step**3], axis=1)
        lines.append(weights @ curve)
    return lines
