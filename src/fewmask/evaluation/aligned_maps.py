"""Pictures laid over each other by their masks, so that a mean says where on the organ a classifier looks."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

CANVAS = 192
"""Pixels of a side of the square that all pictures are brought to."""

SPREAD = CANVAS / 8
"""The standard deviation of every mask along its long axis there: an ellipse then fills half of the square's width."""


@dataclass(frozen=True)
class Alignment:
    """How a mask lies in its picture, in the units that `pixel` gave: rows run down, columns across.

    `angle` is how far its long axis is turned from the horizontal, in radians, above -pi/2 and at most pi/2. `spread`
    is the standard deviation along that axis.
    """

    row: float
    column: float
    angle: float
    spread: float


def alignment_of(mask: NDArray[np.bool_], pixel: tuple[float, float] = (1.0, 1.0)) -> Alignment | None:
    """How a mask (H, W) lies; None for an empty one. `pixel` is a pixel's height and width.

    The axes are those of the mask's second moments. Of a round mask they are left to chance, and so is its turn.
    """
    if not mask.any():
        return None
    size = np.array(pixel)
    places = (np.argwhere(mask) + 0.5) * size
    middle = places.mean(axis=0)
    down, across = (places - middle).T
    # A pixel is a small square, not a point: a mask of one pixel has a spread too.
    own = size**2 / 12.0
    variance_down, variance_across = (down**2).mean() + own[0], (across**2).mean() + own[1]
    together = (down * across).mean()
    angle = 0.5 * np.arctan2(2.0 * together, variance_across - variance_down)
    half_gap = np.hypot((variance_across - variance_down) / 2.0, together)
    longest = (variance_across + variance_down) / 2.0 + half_gap
    return Alignment(float(middle[0]), float(middle[1]), float(angle), float(np.sqrt(longest)))


def aligned(
    layers: NDArray[np.floating], alignment: Alignment, pixel: tuple[float, float] = (1.0, 1.0)
) -> NDArray[np.float64]:
    """Layers (K, H, W) on the canvas (K, `CANVAS`, `CANVAS`); NaN beyond the picture's border.

    The mask's centroid comes to the middle, its long axis to the horizontal by the shorter turn, and its standard
    deviation along it becomes `SPREAD`. Values between pixels are interpolated linearly.
    """
    rows, columns = _places(alignment, pixel)
    height, width = layers.shape[1:]
    # Half a pixel around the outermost centres still belongs to the picture.
    beyond = (rows < -0.5) | (rows > height - 0.5) | (columns < -0.5) | (columns > width - 0.5)
    drawn = [
        ndimage.map_coordinates(layer.astype(np.float64), [rows, columns], order=1, mode="nearest")
        for layer in layers
    ]
    return np.where(beyond, np.nan, np.stack(drawn))


def _places(
    alignment: Alignment, pixel: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For every pixel of the canvas the row and the column in the picture that it shows."""
    steps = (np.arange(CANVAS) + 0.5 - CANVAS / 2) * alignment.spread / SPREAD
    down, across = np.meshgrid(steps, steps, indexing="ij")
    sine, cosine = np.sin(alignment.angle), np.cos(alignment.angle)
    rows = (alignment.row + sine * across + cosine * down) / pixel[0] - 0.5
    columns = (alignment.column + cosine * across - sine * down) / pixel[1] - 0.5
    return rows, columns


@dataclass(frozen=True)
class AlignedMean:
    """The mean of `count` cases on the canvas: the grey image, the mask and the map, each (`CANVAS`, `CANVAS`).

    All three are in [0, 1], and NaN where fewer than half of the images reach.
    """

    count: int
    image: NDArray[np.float64]
    mask: NDArray[np.float64]
    heat: NDArray[np.float64]


class AlignedSum:
    """Takes in one case after the other, so that a large cohort needs no more memory than a small one."""

    def __init__(self) -> None:
        self.count = 0
        self._sums = np.zeros((3, CANVAS, CANVAS))
        self._reached = np.zeros((CANVAS, CANVAS))

    def add(
        self,
        image: NDArray[np.floating],
        mask: NDArray[np.bool_],
        heat: NDArray[np.floating],
        pixel: tuple[float, float],
    ) -> None:
        """Lay a case, all three (H, W), over the others; one with an empty mask cannot be laid and is left out."""
        alignment = alignment_of(mask, pixel)
        if alignment is None:
            return
        layers = aligned(np.stack([image, mask.astype(np.float64), heat]), alignment, pixel)
        self.count += 1
        self._sums += np.nan_to_num(layers)
        self._reached += ~np.isnan(layers[0])

    def mean(self) -> AlignedMean | None:
        """The mean of the cases so far; None where there is none."""
        if self.count == 0:
            return None
        enough = self._reached >= self.count / 2
        means = np.where(enough, self._sums / np.maximum(self._reached, 1.0), np.nan)
        return AlignedMean(self.count, *means)
