"""One case read once: everything about it that a check reports."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewmask.data.case import Case, Cohort
from fewmask.data.duplicates import fingerprint
from fewmask.data.findings import Evidence
from fewmask.data.gap import style
from fewmask.data.geometry import Raster, laid_on, misfit
from fewmask.data.raster import read_case, read_label_values
from fewmask.data.sampling import sampled
from fewmask.errors import InputFault

UNREADABLE = (InputFault, OSError, ValueError)
"""What reading a bad file raises."""


@dataclass(frozen=True, eq=False)
class Inspected:
    """One readable case.

    `counts` are the pixels by value of its mask, None without a mask that fits the image; `intensities` holds
    each channel's 0.5th, 50th and 99.5th percentile; `faults` are reasons, without the case's name.
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

    @property
    def flat(self) -> bool:
        """Whether no channel has any contrast."""
        return all(low >= high for low, _, high in self.intensities)


def inspect_case(cohort: Cohort, case: Case) -> Inspected:
    """Read a case and its mask. A mask that cannot be used is among the faults; a bad image raises."""
    raster = read_case(case)
    labels, faults = _fitting_mask(case, raster)
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
    )


def one_line(error: Exception) -> str:
    """The message of an error without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


def background_value(cohort: Cohort) -> int:
    """The value of background in the mask files; 0 where the cohort declares none."""
    return cohort.label_values[0] if cohort.label_values else 0


def _fitting_mask(case: Case, image: Raster) -> tuple[NDArray[np.generic] | None, tuple[str, ...]]:
    """The mask's values on the image's grid, and what is wrong with it."""
    if case.mask is None:
        return None, ()
    try:
        mask = laid_on(read_label_values(case.mask), image)
    except UNREADABLE as error:
        return None, (one_line(error),)
    reason = misfit(mask, image)
    return (mask.array[0], ()) if reason is None else (None, (reason,))


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
        f"label value {value:g} is not declared; add it to dataset.json (or write one that names all labels), "
        "or mend the mask"
        for value in strange
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
    """Over a sample of the pixels."""
    pixels = np.nan_to_num(sampled(raster.array).astype(np.float64))
    low, middle, high = np.percentile(pixels, (0.5, 50.0, 99.5), axis=1)
    return tuple((float(a), float(b), float(c)) for a, b, c in zip(low, middle, high, strict=True))
