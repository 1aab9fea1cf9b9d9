"""The pixels that an outline marks in its image, and what may be wrong with it there."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fewmask.data.outlines.bezier import flattened
from fewmask.data.outlines.shape import BezierPath, Ellipse, Outline, Points, Polygon, Raster
from fewmask.data.outlines.winding import crossing, winding, within
from fewmask.errors import InputFault

MARGIN = 1.0
"""How far, in pixels, a point may lie outside the image: tools round, and some count from 1."""


class _Ring(NamedTuple):
    """A closed line, and what the annotator drew each piece of it as: `names[parts[i]]` is the piece from point i."""

    points: Points
    parts: NDArray[np.intp]
    names: tuple[str, ...]


def pixels_of(outline: Outline, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels of an image (rows, columns) whose centres an outline encloses (see `winding`).

    A curve is drawn as a line within `bezier.TOLERANCE` of it. Raises InputFault where the outline was drawn on an
    image of another size, a control point lies outside the image by more than `MARGIN`, or the line crosses itself;
    a loop that holds no pixel's centre, as a hand leaves where it closes a line, is none.
    """
    shape = outline.shape
    _require_size(outline, shape.size if isinstance(shape, Raster) else outline.size, size)
    if isinstance(shape, Raster):
        marked = np.repeat(np.arange(len(shape.runs)) % 2 == 1, shape.runs)
        return marked.reshape(size[::-1]).T
    if isinstance(shape, Ellipse):
        _require_inside(np.array([shape.centre]), size, f"{outline.where}: its centre")
        return within(shape, size)
    mask = np.zeros(size, dtype=np.bool_)
    for ring in _rings(shape, size, outline.where):
        turns = winding(ring.points, size)
        if turns.max(initial=0) - turns.min(initial=0) > 1:
            raise InputFault(
                f"{outline.where}: {_crossing(ring)}; draw the points in order around the object"
            )
        mask |= turns != 0
    return mask


def _require_size(outline: Outline, drawn_on: tuple[int, int] | None, size: tuple[int, int]) -> None:
    if drawn_on is not None and drawn_on != size:
        told = f"drawn on {_size(drawn_on)} pixels, but the image has {_size(size)}"
        raise InputFault(f"{outline.where}: {told}; give the image that was drawn on")


def _require_inside(points: Points, size: tuple[int, int], what: str) -> None:
    bounds = np.array(size[::-1], dtype=np.float64)
    outside = np.flatnonzero(((points < -MARGIN) | (points > bounds + MARGIN)).any(axis=1))
    if len(outside):
        x, y = points[outside[0]]
        number = f" {outside[0] + 1}" if len(points) > 1 else ""
        raise InputFault(
            f"{what}{number} ({x:g}, {y:g}) lies outside the image of {_size(size)} pixels; mend its coordinates"
        )


def _rings(shape: Polygon | BezierPath, size: tuple[int, int], where: str) -> list[_Ring]:
    """The closed lines of a shape, once its points are known to lie in the image."""
    if isinstance(shape, BezierPath):
        _require_inside(shape.points, size, f"{where}: control point")
        lines = flattened(shape.curves)
        end = shape.curves[-1:, 3]
        names = (*(f"the curve from point {start + 1}" for start in shape.starts), "the closing line")
        parts = np.repeat(np.arange(len(names)), [*map(len, lines), 1])
        return [_Ring(np.concatenate([*lines, end]), parts, names)]
    rings: list[_Ring] = []
    for number, ring in enumerate(shape.rings, start=1):
        which = f"ring {number}, " if len(shape.rings) > 1 else ""
        _require_inside(ring, size, f"{where}: {which}point")
        names = tuple(f"{which}the line from point {point}" for point in range(1, len(ring) + 1))
        rings.append(_Ring(ring, np.arange(len(ring)), names))
    return rings


def _crossing(ring: _Ring) -> str:
    found = crossing(ring.points)
    if found is None:
        return "the outline runs through one of its own points"
    one, other = (ring.names[ring.parts[piece]] for piece in found[:2])
    return f"{one} crosses {'itself' if one == other else other} near ({found[2][0]:.1f}, {found[2][1]:.1f})"


def _size(size: tuple[int, int]) -> str:
    return f"{size[1]} x {size[0]}"
