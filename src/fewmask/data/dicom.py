"""DICOM: a folder that holds one series is a volume, a single file is a picture.

No message quotes a header, because a header names the patient.
"""

import struct
import zlib
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError
from pydicom.pixels.processing import apply_color_lut

from fewmask.data.folder import dicom_files_in
from fewmask.data.geometry import Outline, Raster
from fewmask.data.quiet import silenced
from fewmask.errors import InputFault

_DAMAGE = (
    InvalidDicomError,
    OSError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
_NOT_IMAGES = ("SR", "PR", "KO", "RTSTRUCT", "RTPLAN", "RTDOSE", "REG")
_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
_UNEVEN = 0.1
"""By how much of a slice's distance two neighbours may be off before a slice counts as missing."""


def read_dicom_picture(path: Path) -> Raster:
    """One DICOM file as a picture, (C, H, W); spacing in mm where the header gives it, else px.

    Bright is always bright: a MONOCHROME1 file (0 = white) is inverted.
    """
    with _one_line_faults(path):
        header = pydicom.dcmread(path)
        pixels = _upright(_rescaled(header, path), header)
        spacing, unit = _pixel_spacing(header)
        return Raster(pixels, spacing, unit)


def read_series(folder: Path) -> Raster:
    """The one series in a folder as a volume, (1, X, Y, Z), sorted along the normal of its slices, in mm.

    X runs along a slice's columns and Y along its rows; the affine is RAS. A folder with a single file that has
    no position in the patient (a radiograph) is a picture. Raises InputFault for several series, slices of
    several sizes or directions, a missing slice, or two at one place.
    """
    paths, headers = _slices(folder)
    if len(headers) == 1 and "ImagePositionPatient" not in headers[0]:
        return read_dicom_picture(paths[0])
    with _one_line_faults(folder):
        order, affine, unit = _geometry(folder, headers)
    planes: list[NDArray[Any]] = []
    for index in order:
        with _one_line_faults(paths[index]):
            plane = _rescaled(pydicom.dcmread(paths[index]), paths[index])
        if plane.ndim != 2:
            raise InputFault(
                f"{paths[index]}: a colour or multi-frame file in a series; convert it, e.g. by dcm2niix"
            )
        planes.append(plane.T)
    spacing = tuple(float(length) for length in np.linalg.norm(affine[:3, :3], axis=0))
    return Raster(np.stack(planes, axis=-1)[None], spacing, unit, affine)


def series_order(folder: Path) -> tuple[Path, ...]:
    """The files of the one series in a folder, in the order of `read_series`'s slices."""
    paths, headers = _slices(folder)
    with _one_line_faults(folder):
        order, _, _ = _geometry(folder, headers)
    return tuple(paths[index] for index in order)


def dicom_outline(path: Path) -> Outline:
    """Channels and spatial shape of a DICOM file, or of the series in a folder, from the headers."""
    if path.is_dir():
        _, headers = _slices(path)
        if len(headers) > 1 or "ImagePositionPatient" in headers[0]:
            with _one_line_faults(path):
                return Outline(1, (int(headers[0].Columns), int(headers[0].Rows), len(headers)))
    else:
        with _one_line_faults(path):
            headers = [pydicom.dcmread(path, stop_before_pixels=True)]
    with _one_line_faults(path):
        colours = 3 if "PALETTE" in headers[0].PhotometricInterpretation else int(headers[0].SamplesPerPixel)
        return Outline(colours, (int(headers[0].Rows), int(headers[0].Columns)))


def series_affine(folder: Path) -> NDArray[np.float64] | None:
    """The affine (RAS) of the series in a folder, from the headers; None where the folder holds a picture."""
    _, headers = _slices(folder)
    if len(headers) == 1 and "ImagePositionPatient" not in headers[0]:
        return None
    with _one_line_faults(folder):
        return _geometry(folder, headers)[1]


def same_series(first: Path, second: Path) -> bool:
    """Whether two DICOM files belong to one series."""
    identities: list[Any] = []
    for path in (first, second):
        with _one_line_faults(path):
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"])
            identities.append(header.get("SeriesInstanceUID"))
    return identities[0] == identities[1]


@contextmanager
def _one_line_faults(path: Path) -> Generator[None]:
    try:
        with silenced():
            yield
    except RuntimeError:
        raise InputFault(
            f"{path}: compressed in a way that cannot be read here; decompress it, e.g. by gdcmconv --raw"
        ) from None
    except _DAMAGE:
        raise InputFault(f"{path}: damaged, truncated or not a DICOM image; export it again") from None


def _slices(folder: Path) -> tuple[list[Path], list[Any]]:
    paths: list[Path] = []
    headers: list[Any] = []
    for path in dicom_files_in(folder):
        with _one_line_faults(path):
            header = pydicom.dcmread(path, stop_before_pixels=True)
            if header.get("Modality") in _NOT_IMAGES:
                continue
            if "Rows" not in header or "Columns" not in header:
                raise ValueError("truncated before the size of its image")
        paths.append(path)
        headers.append(header)
    if not headers:
        raise InputFault(f"{folder}: holds no DICOM images; check the path")
    count = len({header.get("SeriesInstanceUID") for header in headers})
    if count > 1:
        raise InputFault(f"{folder}: holds {count} DICOM series; give each a sub-folder of its own")
    return paths, headers


def _geometry(folder: Path, headers: Sequence[Any]) -> tuple[list[int], NDArray[np.float64], str]:
    """The slices' order, the affine (RAS) and the unit."""
    if any("ImagePositionPatient" not in h or "ImageOrientationPatient" not in h for h in headers):
        raise InputFault(
            f"{folder}: a slice has no position in the patient; convert the series to NIfTI by hand"
        )
    directions = np.array([[float(part) for part in h.ImageOrientationPatient] for h in headers])
    sizes = {(int(h.Rows), int(h.Columns), *_pixel_spacing(h)[0]) for h in headers}
    if len(sizes) > 1 or np.abs(directions - directions[0]).max() > 1e-3:
        raise InputFault(f"{folder}: its slices differ in size or direction; leave one stack in the folder")
    along_row, along_column = directions[0, :3], directions[0, 3:]
    normal = np.cross(along_row, along_column)
    positions = np.array([[float(part) for part in h.ImagePositionPatient] for h in headers])
    order = np.argsort(positions @ normal, kind="stable")
    positions = positions[order]
    step = _step(folder, positions, normal, headers[0])
    (row_distance, column_distance), unit = _pixel_spacing(headers[0])
    affine = np.eye(4)
    affine[:3] = np.stack(
        [along_row * column_distance, along_column * row_distance, step, positions[0]], axis=1
    )
    affine[
        :2
    ] *= -1  # DICOM's x and y grow towards left and posterior (LPS), NIfTI's towards right and anterior
    return [int(index) for index in order], affine, unit


def _step(
    folder: Path, positions: NDArray[np.float64], normal: NDArray[np.float64], header: Any
) -> NDArray[np.float64]:
    """The way from one slice to the next; it leaves the normal where the gantry was tilted."""
    if len(positions) == 1:
        return normal * float(header.get("SpacingBetweenSlices") or header.get("SliceThickness") or 1.0)
    gaps = np.diff(positions @ normal)
    usual = float(np.median(gaps))
    if gaps.min() < 1e-4:
        raise InputFault(
            f"{folder}: two slices lie at one place; leave one stack (one time, one echo) in the folder"
        )
    if np.abs(gaps - usual).max() > _UNEVEN * usual:
        raise InputFault(
            f"{folder}: its slices are unevenly spaced, so one seems to be missing; export the series again"
        )
    return (positions[-1] - positions[0]) / (len(positions) - 1)


def _pixel_spacing(header: Any) -> tuple[tuple[float, float], str]:
    """Distances between rows and between columns, and their unit."""
    for name in _SPACINGS:
        value = header.get(name)
        if value is not None and len(value) == 2 and min(float(value[0]), float(value[1])) > 0:
            return (float(value[0]), float(value[1])), "mm"
    return (1.0, 1.0), "px"


def _rescaled(header: Any, path: Path) -> NDArray[Any]:
    """The pixels of one file with slope and intercept applied: (H, W), or (H, W, 3) for colours."""
    if int(header.get("NumberOfFrames") or 1) > 1:
        raise InputFault(f"{path}: a multi-frame file; convert it to NIfTI, e.g. by dcm2niix")
    pixels = header.pixel_array
    if header.PhotometricInterpretation == "PALETTE COLOR":
        return apply_color_lut(pixels, header)
    slope, intercept = float(header.get("RescaleSlope", 1)), float(header.get("RescaleIntercept", 0))
    if slope == 1.0 and intercept == 0.0:
        return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if slope.is_integer() and intercept.is_integer():
        return (pixels.astype(np.int64) * int(slope) + int(intercept)).astype(np.int32)
    return (pixels.astype(np.float64) * slope + intercept).astype(np.float32)


def _upright(pixels: NDArray[Any], header: Any) -> NDArray[Any]:
    """(C, H, W) with 0 as the dark end."""
    if header.PhotometricInterpretation != "MONOCHROME1":
        return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0))
    # Mirrored within the values that occur, so that the number type and the range are kept.
    wide = pixels.astype(np.float64)
    return (wide.max() + wide.min() - wide)[None].astype(pixels.dtype)
