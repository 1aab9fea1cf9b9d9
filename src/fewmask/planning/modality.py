"""What kind of image a folder holds, guessed from the channels' names, a DICOM header, or air of -1,000."""

import re
from collections.abc import Sequence
from typing import Any, cast

import pydicom

from fewmask.data.case import Case
from fewmask.data.folder import dicom_files_in, is_dicom

_NAMES = {
    "CT": ("ct", "cect", "ncct", "cta", "hu"),
    "MR": ("mr", "mri", "flair", "adc", "dwi", "pd", "pdw", "bssfp", "lge"),
    "PET": ("pet", "pt", "suv"),
    "ultrasound": ("ultrasound", "us", "echo", "sonography", "tvus"),
    "X-ray": ("xray", "cxr", "cr", "dx", "dr", "radiograph", "mammography", "mg"),
    "OCT": ("oct", "opt"),
}
_COLOURS = ({"r", "g", "b"}, {"red", "green", "blue"})
_AIR = -500.0
"""A volume with values below it holds air in Hounsfield units."""


def modality_of(channels: Sequence[str], case: Case, volumes: bool, lowest: float) -> str:
    """CT, MR, PET, ultrasound, X-ray, OCT or colour, else "unknown"; `lowest` is the value of the darkest pixels."""
    names = [re.sub(r"[^a-z0-9]+", " ", name.lower().replace("x-ray", "xray")).split() for name in channels]
    if {word for words in names for word in words} in _COLOURS:
        return "colour"
    found = [_by_words(words) for words in names]
    known = found[0] if found and len(set(found)) == 1 else None
    if known is None:
        known = _by_header(case)
    if known is None and volumes and lowest < _AIR:
        known = "CT"
    return known or "unknown"


def names_a_contrast(channels: Sequence[str]) -> bool:
    """Whether channels' names say more than that they are channels, or of which kind: FLAIR does, MRI does not."""
    plain = {"image", "mri", "mr", "ct", "xray", "ultrasound", "us", "pet", "oct", "channel"}
    words = {re.sub(r"[^a-z]+", "", name.lower()) for name in channels}
    return not words <= plain


def _by_words(words: Sequence[str]) -> str | None:
    if any(re.match(r"t[12]", word) for word in words):
        return "MR"
    return next((kind for kind, names in _NAMES.items() if set(words) & set(names)), None)


def _by_header(case: Case) -> str | None:
    """The modality that a DICOM header names; None for other files."""
    path = case.images[0]
    files = dicom_files_in(path) if path.is_dir() else [path] if is_dicom(path) else []
    if not files:
        return None
    header = pydicom.dcmread(files[0], stop_before_pixels=True, specific_tags=["Modality"])
    return _by_words([str(cast(Any, header).get("Modality", "")).lower()])
