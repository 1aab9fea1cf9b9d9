"""The marks on a picture, found by colour and by shape, and the picture without them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewmask.data.cleaning.coloured import coloured_marks, widened
from fewmask.data.cleaning.grey import Box, boxes_of, grey_marks
from fewmask.data.cleaning.options import CleaningOptions
from fewmask.errors import InputFault

_TELEA_RADIUS = 3
"""Pixels around a replaced one of which it becomes the weighted mean."""


@dataclass(frozen=True)
class Marks:
    """What is burnt into a picture: masks (H, W) of coloured marks, rim included, and of grey ones, without.

    `boxes` are around the grey ones. `other_hues` counts saturated pixels that no asked hue covers. In a `photograph`,
    which is coloured as a whole, nothing is marked.
    """

    coloured: NDArray[np.bool_]
    grey: NDArray[np.bool_]
    boxes: tuple[Box, ...]
    other_hues: int
    photograph: bool

    def to_replace(self, options: CleaningOptions) -> NDArray[np.bool_]:
        """The pixels (H, W) that cleaning replaces."""
        if options.grey == "report":
            return self.coloured
        return self.coloured | widened(self.grey, max(1, options.rim))


def found_marks(pixels: NDArray[np.uint8], options: CleaningOptions) -> Marks:
    """The marks on a picture (C, H, W), grey (C = 1) or RGB (C = 3), of 8 bits. No pixel is changed."""
    marked, others, photograph = coloured_marks(pixels, options)
    # In the darkest channel only grey is bright: what has another hue is no grey mark.
    grey = np.zeros_like(marked) if photograph else grey_marks(pixels.min(axis=0), marked)
    return Marks(marked, grey, boxes_of(grey), others, photograph)


def inpainted(pixels: NDArray[np.uint8], marked: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """A picture (C, H, W) whose marked pixels (H, W) are filled in from around them; the others keep every bit.

    Telea 2004, by OpenCV. Raises InputFault where OpenCV is not installed.
    """
    if not marked.any():
        return pixels.copy()
    if marked.all():
        raise ValueError("every pixel is marked, so that there is nothing to fill them in from")
    try:
        import cv2
    except ImportError:
        raise InputFault(
            "removing marks needs OpenCV, which is not installed; pip install fewmask[marks]"
        ) from None
    last = np.ascontiguousarray(np.moveaxis(pixels, 0, -1))
    filled = cv2.inpaint(last, marked.astype(np.uint8), _TELEA_RADIUS, cv2.INPAINT_TELEA)
    filled = np.moveaxis(filled.reshape(last.shape), -1, 0)
    return np.where(marked, filled, pixels).astype(np.uint8)
