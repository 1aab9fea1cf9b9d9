"""Which pixels a closed line encloses, and where a line crosses itself."""

import numpy as np
from numpy.typing import NDArray

from fewmask.data.outlines.shape import Ellipse, Points


def winding(line: Points, size: tuple[int, int]) -> NDArray[np.int32]:
    """How often a closed line of points (N, 2) runs round the centre of each pixel, (rows, columns).

    Clockwise on a screen counts up, the other way down. A centre that lies on the line belongs to what is to the right
    of it or, on a level line, below it: of two areas that share a border each pixel belongs to one.
    """
    height, width = size
    after = np.roll(line, -1, axis=0)
    falls = (line[:, 1] < after[:, 1])[:, None]
    # From the upper end to the lower one whichever way the line runs, so that a shared border is the same twice.
    upper, lower = np.where(falls, line, after), np.where(falls, after, line)
    first, end = (np.ceil(ends[:, 1] - 0.5).clip(0, height).astype(np.int64) for ends in (upper, lower))
    counts = end - first
    edge = np.repeat(np.arange(len(line)), counts)
    row = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts - first, counts)
    run, rise = (lower - upper)[edge].T
    x = upper[edge, 0] + (row + 0.5 - upper[edge, 1]) * run / rise
    column = np.ceil(x - 0.5).clip(0, width).astype(np.int64)
    turns = np.zeros((height, width + 1), dtype=np.int32)
    np.add.at(turns, (row, column), np.where(falls[edge, 0], -1, 1))
    return turns.cumsum(axis=1, dtype=np.int32)[:, :-1]


def within(ellipse: Ellipse, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels (rows, columns) whose centres lie in an ellipse or on it."""
    down, right = (np.arange(side) + 0.5 for side in size)
    x, y = right[None, :] - ellipse.centre[0], down[:, None] - ellipse.centre[1]
    cosine, sine = np.cos(ellipse.turned), np.sin(ellipse.turned)
    along, across = (x * cosine + y * sine) / ellipse.radii[0], (y * cosine - x * sine) / ellipse.radii[1]
    return along**2 + across**2 <= 1.0


def crossing(line: Points) -> tuple[int, int, Points] | None:
    """The two pieces of a closed line that cross, by the number of the point that each starts from, and the place.

    Of several crossings the one that ties off the largest loop. Lines that touch without passing through each other do
    not cross; None where none do.
    """
    after = np.roll(line, -1, axis=0)
    swept = np.concatenate([[0.0], _cross(line, after).cumsum()])
    found: tuple[int, int, Points] | None = None
    largest = -1.0
    for piece in range(len(line) - 1):
        a, b = line[piece : piece + 1], after[piece : piece + 1]
        c, d = line[piece + 1 :], after[piece + 1 :]
        of_others = _cross(b - a, c - a), _cross(b - a, d - a)
        of_own = _cross(d - c, a - c), _cross(d - c, b - c)
        other = np.flatnonzero((of_others[0] * of_others[1] < 0) & (of_own[0] * of_own[1] < 0))
        if not len(other):
            continue
        reached = of_own[0][other] / (of_own[0] - of_own[1])[other]
        places = a + reached[:, None] * (b - a)
        # Twice the area of the loop from the crossing along the line and back to it.
        loops = swept[piece + 1 + other] - swept[piece + 1] + _cross(c[other], places) + _cross(places, b)
        sizes = np.minimum(np.abs(loops), np.abs(swept[-1] - loops))
        if sizes.max() > largest:
            largest, best = float(sizes.max()), int(sizes.argmax())
            found = piece, piece + 1 + int(other[best]), places[best]
    return found


def _cross(first: Points, other: Points) -> NDArray[np.float64]:
    return first[:, 0] * other[:, 1] - first[:, 1] * other[:, 0]
