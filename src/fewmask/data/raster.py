"""One image or mask file and its geometry: what every verb reads, and how a result is written back onto its grid."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from fewmask.data.case import Case, Cohort
from fewmask.data.dicom import dicom_outline, read_dicom_picture, read_series, series_affine
from fewmask.data.folder import PROBABILITIES, ending_of, kind_of
from fewmask.data.geometry import Outline, Raster, laid_on, misfit, on_one_grid, size_text
from fewmask.data.picture import picture_outline, read_label_picture, read_picture, write_picture
from fewmask.data.volume import read_volume, volume_outline, write_volume, write_volume_like
from fewmask.errors import InputFault
from fewmask.files import replaced
from fewmask.shapes import IGNORED


def read_raster(path: Path) -> Raster:
    """An image with its geometry: a picture, a NIfTI volume, a DICOM file, or a folder that holds one DICOM series.

    Raises InputFault, one line, where the file is absent, damaged, truncated or no image.
    """
    kind = kind_of(path)
    if kind == "picture":
        return Raster(read_picture(path), (1.0, 1.0), "px")
    if kind == "volume":
        return read_volume(path)
    return read_series(path) if kind == "series" else read_dicom_picture(path)


def outline(path: Path) -> Outline:
    """Channels and spatial shape of an image, from its header: no pixel is read."""
    kind = kind_of(path)
    if kind == "picture":
        return picture_outline(path)
    return volume_outline(path) if kind == "volume" else dicom_outline(path)


def read_case(case: Case) -> Raster:
    """A case's image with all its channels stacked.

    Raises InputFault where the channels' files differ in size or in where they lie.
    """
    parts = [read_raster(path) for path in case.images]
    first = parts[0]
    for part, path in zip(parts[1:], case.images[1:], strict=True):
        if part.shape != first.shape:
            sizes = f"{size_text(part.shape)} pixels, but {case.images[0].name} has {size_text(first.shape)}"
            raise InputFault(f"{path}: {sizes}; bring a case's channels onto one grid")
        if not on_one_grid(first, part):
            other = case.images[0].name
            raise InputFault(
                f"{path}: lies elsewhere than {other} (affines differ); resample it onto that grid"
            )
    if len(parts) == 1:
        return first
    stacked = np.concatenate([part.array for part in parts])
    return Raster(stacked, first.spacing, first.unit, first.affine)


def read_label_values(path: Path) -> Raster:
    """The numbers in a mask file as they lie there, (1, *spatial), as integers.

    A palette PNG gives its indices; RGB with equal channels is grey; floats that are whole numbers are taken as
    integers. Raises InputFault for colours, fractions and several channels.
    """
    is_picture = kind_of(path) == "picture"
    raster = Raster(read_label_picture(path), (1.0, 1.0), "px") if is_picture else read_raster(path)
    values = raster.array
    if len(values) != 1:
        raise InputFault(
            f"{path}: {len(values)} channels in a mask; save one number a pixel, with one value a class"
        )
    if values.dtype.kind == "f":
        whole = np.rint(values)
        if (whole != values).any():
            raise InputFault(
                f"{path}: a mask with fractions (probabilities?); save whole numbers, one value a class"
            )
        values = whole.astype(np.int32)
    return Raster(values, raster.spacing, raster.unit, raster.affine)


def read_classes(cohort: Cohort, case: Case) -> NDArray[np.uint8]:
    """The class of every pixel of a case, in the spatial shape of its image; `IGNORED` where the mask says so.

    A flat NIfTI mask (x, y, 1) of a picture is turned to (rows, columns). Raises InputFault where the case has no
    mask, the mask has another size than the image, lies elsewhere (a mirrored mask would train a mirrored network),
    or holds a value that the cohort does not know.
    """
    if case.mask is None:
        raise InputFault(f"{cohort.root}: case {case.name} has no mask; add it to the masks' folder")
    image = _placed_outline(case.images[0])
    mask = laid_on(read_label_values(case.mask), image)
    reason = misfit(mask, image)
    if reason is not None:
        raise InputFault(f"{case.mask}: {reason}")
    return classes_of(mask.array[0], cohort, str(case.mask))


def _placed_outline(path: Path) -> Outline:
    """The outline of an image with its affine, from its header."""
    header = outline(path)
    if kind_of(path) == "volume":
        return replace(header, affine=np.asarray(cast(Any, nib.load(path)).affine, dtype=np.float64))
    return replace(header, affine=series_affine(path)) if path.is_dir() else header


def classes_of(values: NDArray[Any], cohort: Cohort, where: str) -> NDArray[np.uint8]:
    """The class index for each label value; `IGNORED` for the cohort's ignored value.

    Raises InputFault, naming `where`, for values that the cohort does not know.
    """
    classes = np.zeros(values.shape, dtype=np.uint8)
    known = np.zeros(values.shape, dtype=np.bool_)
    meanings = [(cohort.ignored_value, IGNORED)] if cohort.ignored_value not in cohort.label_values else []
    for value, index in [*meanings, *((value, index) for index, value in enumerate(cohort.label_values))]:
        here = values == value
        classes[here] = index
        known |= here
    if not known.all():
        strange = np.unique(values[~known])
        listed = ", ".join(str(value) for value in strange[:5]) + (", ..." if len(strange) > 5 else "")
        declared = ", ".join(str(value) for value in cohort.label_values)
        raise InputFault(
            f"{where}: holds {listed}, but the labels are {declared}; "
            "mend the mask, or write a dataset.json that names all labels"
        )
    return classes


def write_classes(
    classes: NDArray[np.integer], like: Path, out_dir: Path, name: str, label_values: Sequence[int]
) -> Path:
    """Write a mask (spatial, class indices) as `name` in the geometry and the file type of the image `like`.

    PNG, TIFF and BMP stay what they are; JPEG, which would blur a mask, becomes PNG, and so does a single DICOM
    file; NIfTI keeps its ending and its exact affine and codes; a DICOM series becomes .nii.gz on its own grid.
    Class i is written as `label_values[i]`, `IGNORED` as itself. Returns the path of the file. Raises InputFault
    where that is the image itself.
    """
    values = _written_values(classes, label_values)
    wanted = outline(like).shape
    if values.shape != wanted:
        raise ValueError(f"a mask of shape {values.shape} for {like.name}, which has {wanted}")
    if kind_of(like) == "volume":
        path = _beside(like, out_dir / f"{name}{ending_of(like)}")
        write_volume_like(values, like, path)
        return path
    affine = series_affine(like) if like.is_dir() else None
    if affine is not None:
        path = out_dir / f"{name}.nii.gz"
        write_volume(values, affine, path)
        return path
    ending = ending_of(like) if not like.is_dir() else ""
    path = _beside(like, out_dir / f"{name}{ending if ending in ('.tif', '.tiff', '.bmp') else '.png'}")
    if values.dtype.itemsize > (1 if ending == ".bmp" else 2):
        raise InputFault(
            f"{path}: label values up to {max(label_values)} do not fit the file; use values below 256"
        )
    write_picture(values, like, path)
    return path


def write_probabilities(probabilities: NDArray[np.floating], like: Path, out_dir: Path, name: str) -> Path:
    """Write class probabilities (K, *spatial) beside a mask; returns the path of the file.

    A picture's become `name.npz` with the key "probabilities" (nnU-Net's), float16; a volume's a four-axis NIfTI,
    `name_probabilities.nii.gz`, float32, with the image's affine. Raises InputFault where that is the image itself.
    """
    if len(outline(like).shape) == 2:
        path = out_dir / f"{name}.npz"
        with replaced(path) as temporary:
            np.savez_compressed(temporary, probabilities=probabilities.astype(np.float16))
        return path
    values = np.moveaxis(probabilities, 0, -1).astype(np.float32)
    path = _beside(like, out_dir / f"{name}{PROBABILITIES}{ending_of(like) or '.nii.gz'}")
    affine = series_affine(like) if like.is_dir() else None
    if affine is None:
        write_volume_like(values, like, path)
    else:
        write_volume(values, affine, path)
    return path


def _written_values(classes: NDArray[np.integer], label_values: Sequence[int]) -> NDArray[Any]:
    """The label value of each class index, in the smallest number type that holds them all."""
    lowest, highest = min(label_values), max(label_values)
    kind = next((k for k in (np.uint8, np.uint16) if lowest >= 0 and highest <= np.iinfo(k).max), np.int32)
    table = np.full(256, IGNORED, dtype=kind)
    table[: len(label_values)] = label_values
    present = int(classes.max(initial=0))
    if present >= len(label_values) and (present != IGNORED or IGNORED in label_values):
        raise ValueError(f"class {present}, but only {len(label_values)} label values")
    return table[classes]


def _beside(like: Path, path: Path) -> Path:
    """The path, if writing it does not destroy the image that it is made from."""
    if path.resolve() == like.resolve():
        raise InputFault(f"{path}: is the image itself; choose another folder for the results")
    return path
