"""A CSV file that lists images, masks and patients, for data that follow no layout."""

from pathlib import Path

from fewmask.data.case import Case
from fewmask.data.folder import stem_of
from fewmask.data.listing import Listing, unique
from fewmask.data.tables import Row, part_of, read_table
from fewmask.errors import InputFault

_CHANNEL = "image_"


def read_manifest(path: Path, masks: bool) -> Listing:
    """The rows of a manifest: `image` (or `image_0`, `image_1`, ... or `image_T1`, ...), `mask`, `case`, `patient`,
    `site`, `split`; other columns are kept. Paths are relative to the manifest.
    """
    rows = read_table(path)
    if not rows:
        raise InputFault(f"{path}: lists no cases; add a row per image")
    columns = [name for name in rows[0] if name == "image" or name.startswith(_CHANNEL)]
    if not columns:
        raise InputFault(f"{path}: there is no column image (or image_0, image_1, ...); add it")
    cases = [_case(path, row, columns, masks) for row in rows]
    names = [name.removeprefix(_CHANNEL) for name in columns]
    channels = (
        tuple(f"channel_{name}" if name.isdigit() else name for name in names) if len(names) > 1 else None
    )
    return Listing("manifest", unique(cases, path), channels, patients_known="patient" in rows[0])


def _case(path: Path, row: Row, columns: list[str], masks: bool) -> Case:
    row = dict(row)
    images = tuple(_existing(path, row.pop(column), "image") for column in columns)
    mask = row.pop("mask", "")
    name = row.pop("case", "") or stem_of(images[0])
    if "/" in name or "\\" in name or name in (".", ".."):
        raise InputFault(f"{path}: case {name!r} cannot be a file's name; leave slashes and dots out")
    return Case(
        name,
        images,
        _existing(path, mask, "mask") if masks and mask else None,
        patient=row.pop("patient", ""),
        site=row.pop("site", "") or None,
        part=part_of(row.pop("split", ""), path) or "train",
        columns=row,
    )


def _existing(path: Path, listed: str, what: str) -> Path:
    if not listed:
        raise InputFault(f"{path}: a row has no {what}; fill the column in or remove the row")
    found = path.parent / listed
    if not found.exists():
        raise InputFault(f"{found}: {path.name} lists this {what}, but it does not exist; mend the path")
    return found
