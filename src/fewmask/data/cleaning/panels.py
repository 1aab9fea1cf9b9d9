"""A picture before cleaning, its marks outlined, and the picture after it, side by side."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fewmask.data.cleaning.coloured import widened
from fewmask.data.cleaning.marks import Marks
from fewmask.files import replaced

REPLACED, REPORTED = (255, 0, 0), (0, 200, 255)
"""The outlines' colours: red around what was replaced, blue around grey marks that are only reported."""

_GAP = 4


def write_panel(
    before: NDArray[np.uint8], after: NDArray[np.uint8], marks: Marks, gone: NDArray[np.bool_], path: Path
) -> None:
    """Write the three pictures (C, H, W) as one RGB picture; `gone` (H, W) is what was replaced."""
    middle = _rgb(before)
    for marked, colour in ((marks.grey & ~gone, REPORTED), (gone, REPLACED)):
        middle[widened(marked, 2) & ~widened(marked, 1)] = colour
    gap = np.full((middle.shape[0], _GAP, 3), 255, dtype=np.uint8)
    panel = np.concatenate([_rgb(before), gap, middle, gap, _rgb(after)], axis=1)
    with replaced(path) as temporary:
        Image.fromarray(panel).save(temporary)


def _rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.moveaxis(np.broadcast_to(pixels, (3, *pixels.shape[1:])), 0, -1)).copy()
