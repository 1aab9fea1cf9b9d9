"""What an image is once it has left its file: numbers on a grid, and where that grid lies in the patient."""

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAME_PLACE = 0.1
"""How far the voxels at the corners of one grid may be apart, in shares of the smallest side of a voxel.

NIfTI's 32 bits move a corner of a large volume by up to 1e-4 of a voxel where the affine is stored and by about a
hundredth where it is a quaternion; a tenth is still a shift that nobody sees.
"""


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
    """What a file's header promises: its number of channels and its spatial shape. No pixel is read for it.

    `affine` is as in `Raster`, where it was asked for.
    """

    channels: int
    shape: tuple[int, ...]
    affine: NDArray[np.float64] | None = None


def on_one_grid(first: Raster | Outline, other: Raster | Outline) -> bool:
    """Whether two images have the same size and lie in the same place of the patient.

    The voxels at their corners may be apart by `SAME_PLACE`; where either has no affine, the size alone decides.
    """
    if first.shape != other.shape:
        return False
    if first.affine is None or other.affine is None:
        return True
    corners = np.array([(*corner, 1) for corner in product(*((0, side - 1) for side in first.shape))])
    apart = np.linalg.norm(((first.affine - other.affine) @ corners.T)[:3], axis=0).max()
    sides = [np.linalg.norm(affine[:3, :3], axis=0).min() for affine in (first.affine, other.affine)]
    return bool(apart <= SAME_PLACE * min(sides))


def laid_on(mask: Raster, image: Raster | Outline) -> Raster:
    """A mask as its image sees it: the flat NIfTI file (x, y, 1) of a picture turned to (rows, columns).

    Any other mask is returned as it is, whether it fits the image or not.
    """
    if len(image.shape) != 2 or mask.dimensions != 3 or mask.shape[2] != 1:
        return mask
    return Raster(mask.array[..., 0].transpose(0, 2, 1), mask.spacing[1::-1], mask.unit)


def misfit(mask: Raster, image: Raster | Outline) -> str | None:
    """Why a mask cannot be used with its image, and the remedy; None where it can."""
    if mask.shape != image.shape:
        sizes = f"a mask of {size_text(mask.shape)} on an image of {size_text(image.shape)} pixels"
        return f"{sizes}; draw or resample it on the image's own grid"
    if not on_one_grid(mask, image):
        return (
            "image and mask lie in different places (affines differ); resample the mask onto the image's grid, "
            "or give it the image's affine where its header alone is wrong"
        )
    return None


def size_text(shape: tuple[int, ...]) -> str:
    """A shape in words.

    >>> size_text((48, 50))
    '48 x 50'
    """
    return " x ".join(str(length) for length in shape)
