"""Grey marks and letters that were burnt into a scan: crosses, the lines between them, and text.

An ultrasound beam blurs sideways, so that tissue never steps from bright to dark and back within two or three pixels of
a row, as an upright stroke of a drawn mark does at the same value over several rows. Such strokes are sought first, and
the rest of the mark around them.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fewmask.data.cleaning.coloured import widened

_DROP = 50.0
"""Grey levels of 255 by which an upright stroke exceeds both its sides."""

_STEADY = 4.0
"""Grey levels by which it may vary along itself: JPEG's noise."""

_RISE = 40.0
"""Grey levels by which the rest of a mark exceeds its surroundings."""

_DIMMER = 12.0
_ARM_DIMMER = 80.0
"""Grey levels by which it may be darker than the nearest upright stroke; and as a cross's arm, which may lie between
two rows of pixels."""

_DOT_RISE = 15.0
_DOTTED = 1.0
"""A line of dots: what a dot exceeds both its sides by; and the share of the line that does, times the ratio by which
the values jump more along the line than beside it (a bright layer of tissue is even)."""

_WITH_NUMBER = 3
"""Most strokes of a cross and the number beside it; a word has more, and its letters are the end of no line."""

Values = NDArray[np.float32]
Mask = NDArray[np.bool_]


class Box(NamedTuple):
    """The smallest rectangle around a mark, in pixels from the upper left corner."""

    left: int
    top: int
    width: int
    height: int


def grey_marks(values: NDArray[np.uint8], apart: Mask) -> Mask:
    """The pixels (H, W) of grey marks in a picture's grey values (H, W), of which those `apart` are not looked at.

    Lengths grow with the picture's longest side. Missed are marks without upright strokes (arrows, crosses that lie
    like an x), solid measuring lines, marks on tissue as bright as they are, half-transparent frames, thick letters,
    and most of what is cut off by the picture's edge.
    """
    filled = _filled(values.astype(np.float32), apart)
    reach = _reach(values.shape)
    strokes = _upright_strokes(filled, reach) & ~widened(apart, reach)
    if not strokes.any():
        return strokes
    marks = _around(filled, strokes, reach)
    for line in _lines(filled, strokes, reach):
        marks |= line
    return marks & ~apart


def boxes_of(marks: Mask) -> tuple[Box, ...]:
    """A rectangle for each mark; the letters of a word are one."""
    gap = 2 * _reach(marks.shape)
    groups, _ = _parts(widened(marks, gap))
    found: list[Box] = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(groups), start=1):
        inside = marks[rows, columns] & (groups[rows, columns] == number)
        down, across = inside.any(axis=1).nonzero()[0], inside.any(axis=0).nonzero()[0]
        top, left = rows.start + int(down[0]), columns.start + int(across[0])
        found.append(Box(left, top, int(across[-1] - across[0]) + 1, int(down[-1] - down[0]) + 1))
    return tuple(found)


def _reach(shape: tuple[int, ...]) -> int:
    """Within how many pixels a stroke must have ended: 2 for a side of 256 pixels, 3 for 512, up to 5."""
    return int(np.clip(round(max(shape) / 256) + 1, 2, 5))


def _filled(values: Values, apart: Mask) -> Values:
    """The values with those that are apart replaced by the nearest other one."""
    if not apart.any() or apart.all():
        return values
    return values[tuple(_nearest(~apart)[1])]


def _nearest(places: Mask) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """How far each pixel is from the nearest of the places, and where that one is (2, H, W)."""
    return cast(Any, ndimage.distance_transform_edt(~places, return_indices=True))


def _parts(mask: Mask) -> tuple[NDArray[np.int32], int]:
    """The connected parts of a mask, numbered from 1, and how many there are; corners connect."""
    return cast(tuple[NDArray[np.int32], int], ndimage.label(mask, np.ones((3, 3))))


def _upright_strokes(values: Values, reach: int) -> Mask:
    """The pixels of thin vertical strokes of one value, brighter than what is to their left and right."""
    size = reach + 1
    # Mirrored at the edges, so that a stroke that an edge cuts has two sides too.
    left = ndimage.minimum_filter1d(values, size, axis=1, origin=reach - size // 2, mode="mirror")
    right = ndimage.minimum_filter1d(values, size, axis=1, origin=-(size // 2), mode="mirror")
    thin = values - np.maximum(left, right) >= _DROP
    length = 2 * reach - 1
    highest = ndimage.maximum_filter1d(values, length, axis=0)
    lowest = ndimage.minimum_filter1d(values, length, axis=0)
    steady = np.asarray(ndimage.maximum_filter1d(highest - lowest <= _STEADY, length, axis=0), dtype=np.bool_)
    return np.asarray(ndimage.binary_opening(steady & thin, np.ones((reach, 1))), dtype=np.bool_)


def _around(values: Values, strokes: Mask, reach: int) -> Mask:
    """What belongs to the strokes: thin, bright, near one of them and as bright as it; but no layer of tissue."""
    distance, where = _nearest(strokes)
    size = 2 * reach + 1
    rise = values - ndimage.grey_opening(values, size=(size, size))
    dimmer = np.where(distance <= 2 * reach, _ARM_DIMMER, _DIMMER)
    bright = (rise >= _RISE) & (values >= values[tuple(where)] - dimmer) & (distance <= 5 * reach)
    parts, _ = _parts(bright | strokes)
    tall = [rows.stop - rows.start > reach for rows, _ in ndimage.find_objects(parts)]
    return np.array([False, *tall])[parts]


def _lines(values: Values, strokes: Mask, reach: int) -> Iterator[Mask]:
    """The dots of the lines between two crosses; solid lines look like a layer of tissue."""
    arm = 3 * reach
    for first, second in combinations(_lone(strokes, reach), 2):
        length = float(np.hypot(*(second - first)))
        if length < 3 * arm:
            continue
        along = (second - first) / length
        points = first + np.arange(arm, length - arm)[:, None] * along
        across = np.array([-along[1], along[0]])
        tracks = np.array([points + side * across for side in (-1.0, 0.0, 1.0)])
        line = np.array([_sampled(values, track) for track in tracks])
        beside = [_sampled(values, points + side * across) for side in (-reach - 1.0, reach + 1.0)]
        best = line.max(axis=0)
        raised = best - np.max(beside, axis=0) >= _DOT_RISE
        restless = _jumps(best) / max(float(np.mean([_jumps(side) for side in beside])), 1.0)
        if raised.mean() * restless >= _DOTTED:
            dots = tracks[line.argmax(axis=0), np.arange(len(points))][raised]
            drawn = np.zeros(values.shape, dtype=np.bool_)
            drawn[tuple(np.rint(dots).astype(int).T)] = True
            # A dot grows with the picture as strokes do.
            yield widened(drawn, (reach - 1) // 2)


def _lone(strokes: Mask, reach: int) -> list[NDArray[np.float64]]:
    """The middles (row, column) of strokes that may be a cross's: those of long words are not."""
    pieces, count = _parts(strokes)
    groups, _ = _parts(widened(strokes, 2 * reach))
    numbers = range(1, count + 1)
    middles = ndimage.center_of_mass(strokes, pieces, numbers)
    group_of = [int(group) for group in ndimage.maximum(groups, pieces, numbers)]
    return [
        np.asarray(middle)
        for middle, group in zip(middles, group_of, strict=True)
        if group_of.count(group) <= _WITH_NUMBER
    ]


def _sampled(values: Values, points: NDArray[np.float64]) -> NDArray[np.float64]:
    return ndimage.map_coordinates(values.astype(np.float64), points.T, order=1, mode="nearest")


def _jumps(line: NDArray[np.float64]) -> float:
    """How restless the values along a line are: the mean size of their second difference."""
    return float(np.abs(np.diff(line, n=2)).mean())
