"""The few shapes that all phantoms are drawn with: clouds, curves, soft edges.

Everything is float64: a last-digit difference between two machines' sines then moves a grey value by 1e-13,
so that rounding to whole numbers almost surely gives the same pixels everywhere.
"""

from math import ceil

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float64]
Cover = NDArray[np.floating | np.bool_]
Generator = np.random.Generator

# Root mean square of the cubic B-spline weights over one cell: what one axis of smoothing leaves of unit noise.
_SPLINE_RMS = 0.692


def _spline_weights(length: int, cells: int) -> Field:
    """(length, cells + 3) cubic B-spline weights at pixel centres; each row sums to 1."""
    place = (np.arange(length) + 0.5) / length * cells
    cell = np.minimum(place.astype(np.int64), cells - 1)
    t = place - cell
    weights = np.zeros((length, cells + 3))
    rows = np.arange(length)
    weights[rows, cell] = (1 - t) ** 3 / 6
    weights[rows, cell + 1] = (3 * t**3 - 6 * t**2 + 4) / 6
    weights[rows, cell + 2] = (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6
    weights[rows, cell + 3] = t**3 / 6
    return weights


def cloud(generator: Generator, shape: tuple[int, ...], cells: tuple[int, ...]) -> Field:
    """Smooth random field of about zero mean and unit deviation; `cells` lumps along each axis.

    The lumps depend on the generator and `cells` alone, so another shape samples the same cloud.
    """
    field = generator.standard_normal(tuple(count + 3 for count in cells))
    for length, count in zip(shape, cells, strict=True):
        # Contracting the first axis and appending the new one last turns the axes round once in all.
        field = np.tensordot(field, _spline_weights(length, count), axes=([0], [1])) / _SPLINE_RMS
    return field


def ramp(field: Field, low: float, high: float) -> Field:
    """0 below `low`, 1 above `high`, smooth between; `high` below `low` turns it round."""
    t = np.clip((field - low) / (high - low), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def lay_over(canvas: Field, alpha: Cover, colour: Field | tuple[float, float, float]) -> None:
    """Paint a colour (3,), or a picture (3, H, W), over the canvas (3, H, W) in place. alpha (H, W) in [0, 1].

    Works as well on a list of pixels, (3, N) and (N,).
    """
    for index, value in enumerate(np.asarray(colour)):
        canvas[index] += alpha * (value - canvas[index])


def nearest_of_curve(
    points: Field, widths: Field, size: int, reach: float
) -> tuple[Field, NDArray[np.int64]]:
    """Distance of each pixel to the nearest point, in that point's widths, and which point it is.

    points (M, 2) as row and column in pixels, widths (M,) in pixels. Beyond `reach` widths: distance `reach`, point 0.
    """
    count = len(points)
    half = ceil(reach * float(widths.max()))
    steps = np.arange(-half, half + 1)
    places = np.floor(points).astype(np.int64)[:, :, None] + steps
    squares = (places + 0.5 - points[:, :, None]) ** 2
    distances = np.sqrt(squares[:, 0, :, None] + squares[:, 1, None, :]) / widths[:, None, None]
    # A whole-number key orders by distance, then by point, and is the same on every machine.
    keys = np.rint(distances * 4096).astype(np.int64) * count + np.arange(count)[:, None, None]
    inside = (places >= 0) & (places < size)
    valid = inside[:, 0, :, None] & inside[:, 1, None, :] & (distances < reach)
    pixels = places[:, 0, :, None] * size + places[:, 1, None, :]
    best = np.full(size * size, round(reach * 4096) * count, dtype=np.int64)
    np.minimum.at(best, pixels[valid], keys[valid])
    best = best.reshape(size, size)
    return (best // count) / 4096, best % count
