"""What a clinician measures on the outline of a long object, such as a cervix: how long, wide, bent and open it is.

All is measured along and across the object's own axis, the arc of a circle (or the line) that runs midway between its
two sides.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

Numbers = NDArray[np.float64]
Points = NDArray[np.complex128]
"""x + iy in the spacing's unit, x to the right and y down."""

NAMES = (
    "length", "closed_length", "mean_width", "greatest_width", "area", "angle", "bend", "funnelling", "taper",
)  # fmt: skip
"""The measures of `Markers`, in the order of `Markers.as_row`."""

ROUND = 1.25
"""An object whose spread along is less than this times that across has a straight axis: a bend would be a whim."""

_TURNS, _STATIONS = 8, 20
_STRAIGHT = 1e-9
"""The curvature, in radians a pixel, of what counts as a line."""

_MOST_BEND = 1.5 * np.pi
"""In radians: an arc that closes has no ends."""

_NEAR_END, _MIDDLE = np.array([0.15, 0.2, 0.25]), np.array([0.4, 0.5, 0.6])


@dataclass(frozen=True)
class Markers:
    """The measures of one object, in `unit`: "mm", or "px" where the size of a pixel is unknown.

    `length`: of the axis, from tip to tip. `closed_length`: of the longest part of it that runs within the object,
    which is less where a notch opens an end. `mean_width`: area over length. `greatest_width`: from edge to edge across
    the axis, notches included. `area`: in mm2 or px2. `angle`: of the line from the axis's left end to its right one,
    in degrees in (-90, 90], 0 being level and positive where the right end is higher. `bend`: the angle between the
    tangents at both ends, in degrees, 0 being straight. `funnelling`: the width near the wider end over that of the
    middle. `taper`: the width near the left end (of an upright object the lower one) over that near the right one.
    """

    unit: str
    length: float
    closed_length: float
    mean_width: float
    greatest_width: float
    area: float
    angle: float
    bend: float
    funnelling: float
    taper: float

    def as_row(self) -> Numbers:
        """The measures (9,) in the order of `NAMES`, for a classifier."""
        return np.array([getattr(self, name) for name in NAMES], dtype=np.float64)


def markers_of(mask: NDArray[np.bool_], spacing: Sequence[float] | None) -> Markers | None:
    """Measure the largest connected object of a mask (H, W); None for an empty mask.

    `spacing` is the height and the width of a pixel in mm, None where it is unknown. Pixels that touch at a corner
    are connected. A round object has a straight axis, level where no direction is longest. Raises ValueError for a
    mask of other than two dimensions.
    """
    if mask.ndim != 2:
        raise ValueError(f"markers are of a mask of 2 dimensions, not of {mask.ndim}")
    if not mask.any():
        return None
    height, width = (1.0, 1.0) if spacing is None else spacing
    pixel = complex(width, height)
    found = _largest(mask)
    row, column = np.nonzero(found)
    points = (column + 0.5) * width + 1j * (row + 0.5) * height
    axis = _axis(points, pixel)
    shares, widths = _widths(axis, points, pixel)
    area = len(points) * width * height
    left, middle, right = (
        float(np.interp(at, shares, widths).mean()) for at in (_NEAR_END, _MIDDLE, 1 - _NEAR_END)
    )
    return Markers(
        unit="px" if spacing is None else "mm",
        length=axis.length,
        closed_length=_length_within(axis, found, pixel),
        mean_width=area / axis.length,
        greatest_width=float(widths.max()),
        area=area,
        angle=axis.angle,
        bend=float(np.degrees(abs(axis.curvature) * axis.length)),
        funnelling=max(left, right) / middle,
        taper=left / right,
    )


def axis_length(mask: NDArray[np.bool_], spacing: Sequence[float] | None) -> float | None:
    """The length of the largest object's axis from tip to tip; None for an empty mask (see `markers_of`)."""
    markers = markers_of(mask, spacing)
    return None if markers is None else markers.length


@dataclass(frozen=True)
class _Axis:
    """An arc through `origin`, with its heading there (radians from x to y) and its curvature (radians a unit length).

    It reaches from `start` to `end`, lengths along it from the origin; places beside it are positive clockwise of the
    heading on a screen.
    """

    origin: complex
    heading: float
    curvature: float
    start: float
    end: float

    @property
    def length(self) -> float:
        return self.end - self.start

    @property
    def angle(self) -> float:
        left, right = self.point(np.array([self.start, self.end]))
        return float(np.degrees(np.arctan2(-(right - left).imag, max((right - left).real, 0.0)))) + 0.0

    def point(self, along: Numbers | float) -> Points:
        """The points of the arc at lengths from its origin."""
        turned = np.exp(1j * self.curvature * np.asarray(along)) - 1
        return self.origin + np.exp(1j * self.heading) * turned / (1j * self.curvature)

    def places(self, points: Points) -> tuple[Numbers, Numbers]:
        """How far along the arc each point lies, and how far beside it."""
        turned = 1 + 1j * self.curvature * (points - self.origin) * np.exp(-1j * self.heading)
        return np.angle(turned) / self.curvature, (1 - np.abs(turned)) / self.curvature

    def headings(self, along: Numbers) -> Numbers:
        """Where the arc leads at lengths from its origin, in radians from x to y."""
        return self.heading + self.curvature * along


def _across_pixel(directions: Numbers, pixel: complex) -> Numbers:
    """How long a pixel is in some directions: from edge to edge along its rows and columns."""
    return np.hypot(np.cos(directions) * pixel.real, np.sin(directions) * pixel.imag)


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    pieces, _ = cast(tuple[NDArray[np.int32], int], label(mask, np.ones((3, 3))))
    return pieces == 1 + int(np.bincount(pieces.ravel())[1:].argmax())


def _axis(points: Points, pixel: complex) -> _Axis:
    """The axis of an object's pixels: from a line along its longest direction, bent until it runs in the middle."""
    x, y = points.real, points.imag
    # One pixel has a spread too: that of a rectangle.
    spread = np.cov(np.stack([x, y]), bias=True) + np.diag([pixel.real**2, pixel.imag**2]) / 12
    values, vectors = np.linalg.eigh(spread)
    long = values[1] > values[0] * (1 + 1e-6)
    heading = float(np.arctan2(vectors[1, 1], vectors[0, 1])) if long else 0.0
    line = _Axis(complex(points.mean()), heading, _STRAIGHT / abs(pixel), 0.0, 0.0)
    axis = _between_tips(line, points, pixel)
    if values[1] > ROUND**2 * values[0]:
        for _ in range(_TURNS):
            axis = _between_tips(_nearer_the_middle(axis, points, pixel), points, pixel)
    return _from_the_left(axis)


def _from_the_left(axis: _Axis) -> _Axis:
    """The same arc with its heading from the left end to the right one, of an upright arc from the lower one up."""
    across = axis.point(axis.end) - axis.point(axis.start)
    upright = abs(across.real) <= 1e-6 * axis.length
    if (across.imag <= 0) if upright else (across.real >= 0):
        return axis
    return _Axis(axis.origin, axis.heading + np.pi, -axis.curvature, -axis.end, -axis.start)


def _nearer_the_middle(axis: _Axis, points: Points, pixel: complex) -> _Axis:
    """The arc moved, turned and bent to where the pixels' middle is, by a parabola through their places.

    The caps of both ends are left out: a cross-section that is not square to the sides still has its middle in the
    middle, but one that runs through a corner has not.
    """
    along, beside = axis.places(points)
    cap = min(0.3 * axis.length, 0.5 * (beside.max() - beside.min()))
    # Weights that fade towards the caps, because a row of pixels that is half in would count as a bend.
    body = np.clip((axis.end - cap - np.abs(along)) / (0.1 * axis.length), 0.0, 1.0)
    # A pixel on the outer side of a bend stands for less of the angle.
    weights = np.sqrt(body / np.maximum(1 - axis.curvature * beside, 0.2))
    terms = np.stack([np.ones(len(along)), along, along**2], axis=1)
    offset, slope, bow = np.linalg.lstsq(terms * weights[:, None], beside * weights, rcond=None)[0]
    # No arc closes, and none is so tight that the object holds the middle of its circle.
    tightest = min(_MOST_BEND / axis.length, 0.9 / float(np.abs(beside - offset).max() + abs(pixel) / 2))
    bent = (axis.curvature + 2 * bow) / (1 - axis.curvature * offset)
    return _Axis(
        origin=axis.origin + offset * 1j * complex(np.exp(1j * axis.heading)),
        heading=axis.heading + float(np.arctan(slope)),
        curvature=float(np.clip(bent, -tightest, tightest)) or _STRAIGHT / abs(pixel),
        start=axis.start,
        end=axis.end,
    )


def _between_tips(axis: _Axis, points: Points, pixel: complex) -> _Axis:
    """The arc from the first pixel to the last, half a pixel beyond their centres, with its origin midway."""
    along, _ = axis.places(points)
    ends = np.array([along.min(), along.max()])
    first, last = ends + np.array([-0.5, 0.5]) * _across_pixel(axis.headings(ends), pixel)
    middle, half = float(first + last) / 2, float(last - first) / 2
    heading = axis.heading + axis.curvature * middle
    return _Axis(complex(axis.point(middle)), heading, axis.curvature, -half, half)


def _widths(axis: _Axis, points: Points, pixel: complex) -> tuple[Numbers, Numbers]:
    """Up to 20 stations, as shares of the axis's length from its left end, and the width from edge to edge at each.

    Each is at least two pixels long; those without a pixel are left out.
    """
    count = int(np.clip(axis.length / (2 * max(pixel.real, pixel.imag)), 1, _STATIONS))
    along, beside = axis.places(points)
    station = np.clip((along - axis.start) / axis.length * count, 0, count - 1).astype(np.intp)
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(low, station, beside)
    np.maximum.at(high, station, beside)
    shares = (np.arange(count) + 0.5) / count
    across = axis.headings(axis.start + shares * axis.length) + np.pi / 2
    there = high >= low
    return shares[there], (high - low + _across_pixel(across, pixel))[there]


def _length_within(axis: _Axis, mask: NDArray[np.bool_], pixel: complex) -> float:
    """The longest part of the axis that runs within the mask, in steps of a quarter of a pixel."""
    count = int(np.ceil(4 * axis.length / min(pixel.real, pixel.imag)))
    points = axis.point(axis.start + (np.arange(count) + 0.5) / count * axis.length)
    row = np.clip(points.imag / pixel.imag, 0, mask.shape[0] - 1).astype(np.intp)
    column = np.clip(points.real / pixel.real, 0, mask.shape[1] - 1).astype(np.intp)
    outside = np.concatenate([[-1], np.flatnonzero(~mask[row, column]), [count]])
    return float(np.diff(outside).max() - 1) * axis.length / count
