"""What a sonographer and the machine write over a scan: coloured callipers on the canal, grey figures in the margin."""

import numpy as np
from numpy.typing import NDArray

from fewmask.data.phantoms.fields import Field, Generator

YELLOW, GREEN = (245, 225, 40), (60, 230, 75)

_FIGURES = (
    "111101101101111", "010110010010111", "111001111100111", "111001111001111", "101101111001001",
    "111100111001111", "111100111101111", "111001010010010", "111101111101111", "111101111001111",
)  # fmt: skip
"""The ten figures, three pixels wide and five high, row by row."""


def mark_canal(
    picture: NDArray[np.uint8], inner: complex, outer: complex, generator: Generator
) -> NDArray[np.bool_]:
    """Draw a cross near each end of the canal (x + iy in pixels) and a dotted line between, in place.

    Returns the pixels that were painted over, (size, size).
    """
    size = picture.shape[0]
    stroke = max(1, round(size / 160))
    arm = max(2, round(size * generator.uniform(0.02, 0.028)))
    off = size * 0.008 * np.clip(generator.normal(size=(2, 2)), -2.0, 2.0)
    ends = np.array([inner, outer]) + off[0] + 1j * off[1]
    marks = np.zeros((size, size), dtype=np.bool_)

    def block(row: int, column: int, down: int, across: int) -> None:
        marks[max(row, 0) : max(row + down, 0), max(column, 0) : max(column + across, 0)] = True

    for end in ends:
        row, column = int(end.imag) - stroke // 2, int(end.real) - stroke // 2
        block(row - arm, column, 2 * arm + stroke, stroke)
        block(row, column - arm, stroke, 2 * arm + stroke)
    pitch = max(3.0, size * generator.uniform(0.022, 0.035))
    dots = max(2, round(abs(ends[1] - ends[0]) / pitch))
    for share in np.arange(1, dots) / dots:
        dot = ends[0] + share * (ends[1] - ends[0])
        block(int(dot.imag) - stroke // 2, int(dot.real) - stroke // 2, stroke, stroke)
    colour = np.array(YELLOW if generator.uniform() < 0.5 else GREEN)
    faded = np.clip(colour * generator.uniform(0.85, 1.04), 0, 255)
    picture[marks] = np.rint(faded).astype(np.uint8)
    return marks


def write_margin(picture: Field, generator: Generator) -> None:
    """Write figures into two corners and a scale of ticks down one side, in place. picture (size, size) in [0, 1]."""
    size = picture.shape[0]
    scale = max(1, size // 128)
    grey = generator.uniform(0.55, 0.95)
    # Of small pictures the figures would hide more than the margin.
    for line in range(min(int(generator.integers(1, 4)), int(0.2 * size) // (7 * scale))):
        _write(picture, generator, 2 * scale + 7 * scale * line, 2 * scale, scale, grey)
    if generator.uniform() < 0.5 and size >= 64:
        _write(picture, generator, size - 8 * scale, size - 26 * scale, scale, grey)
    for row in np.linspace(0.05, 0.95, int(generator.integers(6, 10))):
        at = int(row * size)
        picture[at : at + scale, size - 3 * scale :] = grey


def _write(picture: Field, generator: Generator, row: int, column: int, scale: int, grey: float) -> None:
    """Write three to six figures from a corner on."""
    for place in range(int(generator.integers(3, 7))):
        bits = np.array([bit == "1" for bit in _FIGURES[int(generator.integers(10))]]).reshape(5, 3)
        left = column + 4 * scale * place
        where = picture[row : row + 5 * scale, left : left + 3 * scale]
        where[np.kron(bits, np.ones((scale, scale), dtype=np.bool_))[: where.shape[0], : where.shape[1]]] = (
            grey
        )
