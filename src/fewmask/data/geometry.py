"""What an image is once it has left its file: numbers on a grid, and where that grid lies in the patient."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Raster:
    """An image or label file with its geometry.

    `array` is (C, H, W) for a picture and (C, X, Y, Z) for a volume, in the file's own number type. `spacing`
    is the size of a pixel along each spatial axis, in `unit`: "mm", or "px" where the size is unknown.
    `affine` (volumes only) is 4x4 and leads from voxel indices to RAS coordinates, as in nibabel.
    """

    array: NDArray[Any]
    spacing: tuple[float, ...]
    unit: str
    affine: NDArray[np.float64] | None = None

    @property
    def dimensions(self) -> int:
        """2 for a picture, 3 for a volume."""
        return self.array.ndim - 1

    @property
    def shape(self) -> tuple[int, ...]:
        """The spatial shape, without channels."""
        return self.array.shape[1:]


@dataclass(frozen=True)
class Outline:
    """What a file's header promises: its number of channels and its spatial shape. No pixel is read for it."""

    channels: int
    shape: tuple[int, ...]
