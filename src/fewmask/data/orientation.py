"""Volumes turned to one orientation, RAS, so that two scanners' files look alike, and turned back exactly."""

import nibabel as nib
import numpy as np

from fewmask.data.raster import Raster


def canonical(raster: Raster) -> Raster:
    """A volume with its axes in RAS order (pictures are returned as they are)."""
    if raster.affine is None or raster.dimensions == 2:
        return raster
    orientation = nib.io_orientation(raster.affine)
    turned = np.stack([nib.apply_orientation(channel, orientation) for channel in raster.array])
    order = np.argsort(orientation[:, 0]).astype(int)
    affine = raster.affine @ nib.orientations.inv_ornt_aff(orientation, raster.shape)
    return Raster(turned, tuple(raster.spacing[axis] for axis in order), raster.unit, affine)


def as_it_lay(volume: np.ndarray, original: Raster) -> np.ndarray:
    """A volume (K, *spatial) in RAS order back in the axes of the file it came from."""
    if original.affine is None or original.dimensions == 2:
        return volume
    ras = nib.orientations.axcodes2ornt(("R", "A", "S"))
    back = nib.orientations.ornt_transform(ras, nib.io_orientation(original.affine))
    return np.stack([nib.apply_orientation(channel, back) for channel in volume])
