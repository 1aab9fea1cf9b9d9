"""What a store is found again by: a hash over the files' bytes and the preparation, wherever they lie."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fewmask.config import to_mapping
from fewmask.data.case import Case, Cohort
from fewmask.data.folder import dicom_files_in
from fewmask.data.preparation import Preparation

FORMAT = 3
"""Raised whenever the same images would be stored otherwise, so that an old store is never taken for a new one."""


def content_key(cohort: Cohort, cases: Sequence[Case], preparation: Preparation, labelled: bool) -> str:
    """A hash over the files' bytes and the preparation: equal content is found again wherever it lies."""
    digest = hashlib.blake2b(digest_size=16)
    settings = [FORMAT, labelled, _deciding(preparation)]
    if labelled:
        settings += [cohort.label_values, cohort.ignored_value]
    digest.update(json.dumps(settings, sort_keys=True).encode())
    for case in cases:
        digest.update(case.name.encode())
        digest.update(image_key((*case.images, *((case.mask,) if labelled and case.mask else ()))).encode())
    return digest.hexdigest()


def _deciding(preparation: Preparation) -> dict[str, Any]:
    """What of a preparation decides a store's bytes.

    What came later is left out where it changes nothing, so that stores of earlier versions are found again.
    """
    mapping: dict[str, Any] = to_mapping(preparation)
    del mapping["neighbours"]
    if not preparation.axis_is_chosen:
        del mapping["axis_is_chosen"]
    for rule in mapping["intensity"]:
        if not rule["clip_top_percent"]:
            del rule["clip_top_percent"]
    return mapping


def image_key(paths: Sequence[Path]) -> str:
    """A hash of the bytes of files, or of the DICOM files in a folder."""
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        for file in dicom_files_in(path) if path.is_dir() else (path,):
            with file.open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "blake2b").digest())
    return digest.hexdigest()
