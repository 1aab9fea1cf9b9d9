"""Shapes that annotators draw, and of which image, of what and by whom each is.

Coordinates are (x, y) in pixels from the image's upper left corner, as in COCO, LabelMe and VIA: the first pixel
reaches from 0 to 1, and its centre is (0.5, 0.5).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewmask.errors import InputFault

Points = NDArray[np.float64]
"""(N, 2): x and y of each point."""

FEWEST_POINTS = 3


@dataclass(frozen=True, eq=False)
class Polygon:
    """Rings of straight lines, each closed from its last point to its first; the object is all that any encloses."""

    rings: tuple[Points, ...]


@dataclass(frozen=True, eq=False)
class BezierPath:
    """Cubic curves, each from where the one before it ends; a straight line closes them where the ends are apart.

    `points` are the control points (N, 2). The curve that starts at point i has the points i to i + 3, and after the
    last point comes the first.
    """

    points: Points
    starts: tuple[int, ...]

    @property
    def curves(self) -> NDArray[np.float64]:
        """(K, 4, 2): the control points of each curve."""
        return self.points[(np.array(self.starts)[:, None] + np.arange(4)) % len(self.points)]


@dataclass(frozen=True)
class Ellipse:
    """`turned`: radians from the x axis towards the y axis (clockwise on a screen) to the axis of the first radius."""

    centre: tuple[float, float]
    radii: tuple[float, float]
    turned: float = 0.0


@dataclass(frozen=True, eq=False)
class Raster:
    """A mask of a whole image (rows, columns) as runs of pixels, down each column in turn, the first not the object."""

    size: tuple[int, int]
    runs: NDArray[np.int64]


Shape = Polygon | BezierPath | Ellipse | Raster


@dataclass(frozen=True)
class Outline:
    """One object in one image. `image` is what the file calls it; `annotator` is None where nobody is named.

    `where` tells the user which entry of which file it is. `size` is the image's (rows, columns) as that file has it.
    """

    image: str
    label: str
    annotator: str | None
    shape: Shape
    where: str = ""
    size: tuple[int, int] | None = None


def points_of(pairs: Sequence[Sequence[float]], where: str) -> Points:
    """Points from pairs of numbers. Raises InputFault for NaN and infinity, and where one is no pair."""
    for number, pair in enumerate(pairs, start=1):
        if len(pair) != 2:
            raise InputFault(f"{where}: point {number} has {len(pair)} numbers; give x and y")
    points = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    strange = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(strange):
        raise InputFault(f"{where}: point {strange[0] + 1} is not finite; mend its coordinates")
    return points


def polygon(rings: Sequence[Sequence[Sequence[float]]], where: str) -> Polygon:
    """A polygon from pairs of numbers. Raises InputFault for a ring of fewer than 3 points that differ."""
    arrays = tuple(points_of(ring, where) for ring in rings)
    for ring in arrays:
        count = len(np.unique(ring, axis=0))
        if count < FEWEST_POINTS:
            raise InputFault(
                f"{where}: {count} points enclose nothing; give {FEWEST_POINTS} or more, or remove it"
            )
    return Polygon(arrays)


def rectangle(left: float, top: float, right: float, bottom: float, where: str) -> Polygon:
    """An upright rectangle from two opposite corners, in any order."""
    return polygon([[(left, top), (right, top), (right, bottom), (left, bottom)]], where)


def ellipse(centre: Sequence[float], radii: Sequence[float], turned: float, where: str) -> Ellipse:
    """An ellipse. Raises InputFault for radii that are not positive, and for NaN and infinity."""
    (x, y), (first, second) = points_of([centre, radii], where).tolist()
    if min(first, second) <= 0.0:
        raise InputFault(f"{where}: a radius of {min(first, second):g}; give radii above 0, or remove it")
    if not np.isfinite(turned):
        raise InputFault(f"{where}: its angle is not finite; mend it")
    return Ellipse((x, y), (first, second), float(turned))
