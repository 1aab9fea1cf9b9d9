"""Marks in colour on a grey scan, by their hue."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fewmask.data.cleaning.options import CleaningOptions, HueRange, hue_ranges

PHOTOGRAPH = 0.2
"""From this share of saturated pixels on, whatever their hue, a picture is no grey scan with marks on it."""

_TINTED_REACH = 2
_TINTED = 0.05
"""How far from a mark a pixel of this saturation belongs to it: its smooth edge, and what JPEG has smeared."""

_LIT = 0.02
"""The least value of such a pixel; in the dark below, one step of one channel is a colour."""

_SQUARE = np.ones((3, 3), dtype=np.bool_)


class Colour(NamedTuple):
    """Hue in degrees [0, 360), saturation and value in [0, 1]; a grey pixel has hue 0 and saturation 0."""

    hue: NDArray[np.float32]
    saturation: NDArray[np.float32]
    value: NDArray[np.float32]


class ColouredMarks(NamedTuple):
    """The pixels of coloured marks (H, W), rim included, and how many saturated pixels have a hue not asked for.

    A `photograph` is coloured as a whole: then nothing is marked.
    """

    marked: NDArray[np.bool_]
    other_hues: int
    photograph: bool


def colour_of(pixels: NDArray[np.uint8]) -> Colour:
    """The colour of each pixel of an RGB picture (3, H, W), by the usual hexagonal formula."""
    red, green, blue = scaled = pixels.astype(np.float32) / 255.0
    value = scaled.max(axis=0)
    chroma = value - scaled.min(axis=0)
    divisor = np.where(chroma > 0.0, chroma, 1.0)
    sector = np.select(
        [chroma == 0.0, value == red, value == green],
        [0.0, (green - blue) / divisor % 6.0, (blue - red) / divisor + 2.0],
        (red - green) / divisor + 4.0,
    )
    saturation = chroma / np.where(value > 0.0, value, 1.0)
    return Colour((60.0 * sector).astype(np.float32), saturation, value)


def coloured_marks(pixels: NDArray[np.uint8], options: CleaningOptions) -> ColouredMarks:
    """The coloured marks on a picture (C, H, W); a grey one (C = 1) has none."""
    nothing = np.zeros(pixels.shape[1:], dtype=np.bool_)
    if len(pixels) != 3:
        return ColouredMarks(nothing, 0, False)
    colour = colour_of(pixels)
    wanted = _within(colour.hue, hue_ranges(options.hues))
    saturated = _at_least(colour, options.least_saturation, options.least_value)
    others = int((saturated & ~wanted).sum())
    if saturated.mean() > PHOTOGRAPH:
        return ColouredMarks(nothing, others, True)
    core = saturated & wanted
    if not core.any():
        return ColouredMarks(nothing, others, False)
    tinted = wanted & _at_least(colour, min(_TINTED, options.least_saturation), _LIT)
    # Closing alone would lose what touches the picture's edge.
    closed = core | np.asarray(ndimage.binary_closing(core, _SQUARE), dtype=np.bool_)
    marked = closed | (tinted & widened(core, _TINTED_REACH))
    return ColouredMarks(widened(marked, options.rim), others, False)


def widened(marked: NDArray[np.bool_], rim: int) -> NDArray[np.bool_]:
    """The marked pixels and those around them, up to `rim` pixels away, also diagonally."""
    # scipy's 0 iterations would mean as many as change anything.
    return np.asarray(ndimage.binary_dilation(marked, _SQUARE, rim), dtype=np.bool_) if rim else marked


def _within(hue: NDArray[np.float32], ranges: Sequence[HueRange]) -> NDArray[np.bool_]:
    found = np.zeros(hue.shape, dtype=np.bool_)
    for start, end in ranges:
        above, below = hue >= start, hue <= end
        # A range up to 360 holds pure red, whose hue is 0.
        found |= (above & below) | (hue + 360.0 <= end) if start <= end else above | below
    return found


def _at_least(colour: Colour, saturation: float, value: float) -> NDArray[np.bool_]:
    return (colour.saturation >= saturation) & (colour.value >= value)
