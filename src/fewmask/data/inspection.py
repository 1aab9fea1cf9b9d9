"""One case read once: everything about it that a check reports."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewmask.data.case import Case, Cohort
from fewmask.data.duplicates import fingerprint
from fewmask.data.findings import Evidence
from fewmask.data.gap import style
from fewmask.data.raster import Raster, read_case, read_label_values
from fewmask.errors import InputFault

UNREADABLE = (InputFault, OSError, ValueError)
"""What reading a bad file raises."""


@dataclass(frozen=True, eq=False)
class Inspected:
    """One readable case.

    `counts` are the pixels by value of its mask, None without a mask that fits the image; `intensities` holds
    each channel's 0.5th, 50th and 99.5th percentile; `faults` are reasons, without the case's name. `aligned`
    is False where image and mask say that they lie in different places.
    """

    case: Case
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    unit: str
    number_type: str
    intensities: tuple[tuple[float, float, float], ...]
    evidence: Evidence
    counts: Mapping[float, int] | None
    faults: tuple[str, ...]
    aligned: bool

    @property
    def flat(self) -> bool:
        """Whether no channel has any contrast."""
        return all(low >= high for low, _, high in self.intensities)


def inspect_case(cohort: Cohort, case: Case) -> Inspected:
    """Read a case and its mask. A mask that cannot be used is among the faults; a bad image raises."""
    raster = read_case(case)
    labels, aligned, faults = _fitting_mask(case, raster)
    counts = None if labels is None else _counts(labels)
    labelled = None if labels is None else _labelled(cohort, labels)
    reasons = (*faults, *_image_faults(cohort, raster), *_undeclared(cohort, counts or {}))
    return Inspected(
        case,
        tuple(raster.array.shape[1:]),
        tuple(raster.spacing),
        raster.unit,
        str(raster.array.dtype),
        _intensities(raster),
        Evidence(case.name, fingerprint(raster.array), style(raster.array, raster.spacing, labelled)),
        counts,
        reasons,
        aligned,
    )


def one_line(error: Exception) -> str:
    """The message of an error without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


def background_value(cohort: Cohort) -> int:
    """The value of background in the mask files; 0 where the cohort declares none."""
    return cohort.label_values[0] if cohort.label_values else 0


def _fitting_mask(case: Case, image: Raster) -> tuple[NDArray[np.generic] | None, bool, tuple[str, ...]]:
    """The mask's values on the image's grid, whether both lie in the same place, and what is wrong with it."""
    if case.mask is None:
        return None, True, ()
    try:
        mask = read_label_values(case.mask)
    except UNREADABLE as error:
        return None, True, (one_line(error),)
    labels = mask.array[0]
    if len(image.shape) == 2 and labels.ndim == 3 and labels.shape[2] == 1:
        # A flat NIfTI mask of a picture is (x, y, 1), the picture (rows, columns).
        labels = labels[:, :, 0].T
    if labels.shape != image.shape:
        sizes = [" x ".join(map(str, shape)) for shape in (labels.shape, image.shape)]
        return (
            None,
            True,
            (f"a mask of {sizes[0]} on an image of {sizes[1]}; draw it on the image's own grid",),
        )
    return labels, _aligned(image, mask), ()


def _aligned(image: Raster, mask: Raster) -> bool:
    if image.affine is None or mask.affine is None:
        return True
    # A thousandth of a millimetre is rounding in a header; a tenth is a shift that nobody sees.
    return bool(np.allclose(image.affine, mask.affine, rtol=0.0, atol=0.1))


def _counts(labels: NDArray[np.generic]) -> dict[float, int]:
    values, numbers = np.unique(labels, return_counts=True)
    return {float(value): int(number) for value, number in zip(values, numbers, strict=True)}


def _labelled(cohort: Cohort, labels: NDArray[np.generic]) -> NDArray[np.bool_]:
    return (labels != background_value(cohort)) & (labels != cohort.ignored_value)


def _undeclared(cohort: Cohort, counts: Mapping[float, int]) -> tuple[str, ...]:
    if not cohort.label_values:
        return ()
    strange = sorted(set(counts) - {float(value) for value in (*cohort.label_values, cohort.ignored_value)})
    return tuple(
        f"label value {value:g} is not declared; add it to dataset.json or mend the mask" for value in strange
    )


def _image_faults(cohort: Cohort, image: Raster) -> tuple[str, ...]:
    faults: list[str] = []
    found, declared = image.array.shape[0], len(cohort.channels)
    if found != declared:
        faults.append(f"channels: {found} instead of {declared}; mend dataset.json or the image")
    if image.array.dtype.kind == "f" and not np.isfinite(image.array).all():
        faults.append("NaN or infinite values in the image; export it again")
    return tuple(faults)


def _intensities(raster: Raster) -> tuple[tuple[float, float, float], ...]:
    """Over about 100,000 evenly spaced pixels a channel."""
    pixels = raster.array.reshape(raster.array.shape[0], -1)
    pixels = np.nan_to_num(pixels[:, :: max(1, pixels.shape[1] // 100_000)].astype(np.float64))
    low, middle, high = np.percentile(pixels, (0.5, 50.0, 99.5), axis=1)
    return tuple((float(a), float(b), float(c)) for a, b, c in zip(low, middle, high, strict=True))
