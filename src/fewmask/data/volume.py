"""NIfTI files: reading a volume, and writing one onto the very grid of another."""

import gzip
import struct
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from fewmask.data.geometry import Outline, Raster
from fewmask.data.quiet import silenced
from fewmask.errors import InputFault
from fewmask.files import replaced

_DAMAGE = (OSError, EOFError, ValueError, struct.error, zlib.error, ImageFileError, HeaderDataError)
_MM_PER_UNIT = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}
_NIFTI1, _NIFTI2 = 348, 540


def read_volume(path: Path) -> Raster:
    """A NIfTI volume, (C, X, Y, Z): the fourth axis holds channels, a missing third one has length 1.

    The file's slope and intercept are applied. The unit is "px" where the header names no unit and gives every
    voxel the size 1. Raises InputFault for a damaged or truncated file and for NaN or infinity.
    """
    with _one_line_faults(path):
        image = _loaded(path)
        values = np.asarray(image.dataobj)
    if values.dtype.kind not in "biuf":
        raise InputFault(
            f"{path}: holds colours or complex numbers; save real numbers, colours as a fourth axis"
        )
    if values.dtype.kind == "f":
        bad = int(values.size - np.isfinite(values).sum())
        if bad:
            raise InputFault(
                f"{path}: {bad} voxels are NaN or infinite; replace them, e.g. by 0, and save it again"
            )
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    shape = _four_axes(values.shape, path)
    spacing, unit = _spacing(image, path)
    affine = np.asarray(image.affine, dtype=np.float64)
    return Raster(np.moveaxis(values.reshape(shape), -1, 0), spacing, unit, affine)


def volume_outline(path: Path) -> Outline:
    """Channels and (X, Y, Z) of a NIfTI file, from its header."""
    with _one_line_faults(path):
        shape = _four_axes(cast(Any, nib.load(path)).shape, path)
    return Outline(shape[3], shape[:3])


def write_volume_like(values: NDArray[Any], like: Path, path: Path) -> None:
    """Write (X, Y, Z) or (X, Y, Z, K) values as NIfTI with the affine and the sform and qform codes of `like`."""
    with _one_line_faults(like):
        original = cast(Any, nib.load(like))
        header = original.header.copy()
        affine = original.affine
    # What describes the image's own numbers would be wrong of a mask, and an extension may hold its DICOM header.
    header["cal_min"] = header["cal_max"] = 0
    header.extensions.clear()
    header.set_intent("none")
    if values.ndim == 3:
        values = values.reshape(original.shape[:3])
    _write(type(original)(values, affine, header), values.dtype, path)


def write_volume(
    values: NDArray[Any], affine: NDArray[np.float64], path: Path, unit: str = "mm", code: int = 1
) -> None:
    """Write (X, Y, Z) or (X, Y, Z, K) values as NIfTI with a given affine.

    `unit` is that of the affine: "mm", or "px" where the size of a voxel is unknown. `code` is NIfTI's for what the
    affine leads to: 1 the scanner's coordinates, 2 those of some other image.
    """
    image = nib.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm" if unit == "mm" else "unknown")
    image.set_sform(affine, code=code)
    image.set_qform(affine, code=code)
    _write(image, values.dtype, path)


def _write(image: Any, kind: np.dtype[Any], path: Path) -> None:
    image.header.set_data_dtype(kind)
    image.header.set_slope_inter(1, 0)
    with replaced(path) as temporary:
        nib.save(image, temporary)


@contextmanager
def _one_line_faults(path: Path) -> Generator[None]:
    try:
        with silenced():
            yield
    except FileNotFoundError:
        raise InputFault(f"{path}: no such file; check the path") from None
    except _DAMAGE:
        raise InputFault(
            f"{path}: damaged, truncated or not a NIfTI file; copy it again or export it anew"
        ) from None


def _loaded(path: Path) -> Any:
    if not path.name.lower().endswith(".gz"):
        return nib.load(path, mmap=False)
    # Decompressed whole, because only the end of the stream shows that nothing of it is missing or altered.
    content = gzip.decompress(path.read_bytes())
    sizes = {struct.unpack(order + "i", content[:4])[0] for order in "<>"}
    if _NIFTI1 in sizes:
        return nib.Nifti1Image.from_bytes(content)
    if _NIFTI2 in sizes:
        return nib.Nifti2Image.from_bytes(content)
    raise ValueError("neither NIfTI-1 nor NIfTI-2")


def _four_axes(shape: tuple[int, ...], path: Path) -> tuple[int, int, int, int]:
    """The shape as (X, Y, Z, C). NIfTI keeps the fourth axis for time; vectors lie on the fifth."""
    axes = [int(length) for length in shape] + [1] * (4 - len(shape))
    if len(axes) == 5 and axes[3] == 1:
        axes = [*axes[:3], axes[4]]
    if len(axes) != 4 or 0 in axes or len(shape) < 2:
        raise InputFault(f"{path}: shape {tuple(shape)} is no volume; save (x, y, z) or (x, y, z, channels)")
    return axes[0], axes[1], axes[2], axes[3]


def _spacing(image: Any, path: Path) -> tuple[tuple[float, ...], str]:
    zooms = ([float(size) for size in image.header.get_zooms()] + [1.0, 1.0])[:3]
    if not all(np.isfinite(zooms)) or min(zooms) <= 0 or not np.isfinite(image.affine).all():
        raise InputFault(f"{path}: its header gives no valid voxel size; mend pixdim and the affine")
    # An axis without a direction can neither be turned to RAS nor be laid onto another grid.
    if np.isnan(nib.io_orientation(image.affine)).any():
        raise InputFault(
            f"{path}: its affine is singular, e.g. an sform of zeros; write a valid affine, or set sform_code to 0"
        )
    try:
        unit = image.header.get_xyzt_units()[0]
    except KeyError:  # a code that the standard does not know
        unit = "unknown"
    if unit == "unknown" and zooms == [1.0, 1.0, 1.0]:
        return (1.0, 1.0, 1.0), "px"
    return tuple(size * _MM_PER_UNIT[unit] for size in zooms), "mm"
