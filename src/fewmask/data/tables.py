"""cases.csv and slices.csv: what a folder's layout cannot say about its cases."""

import csv
import io
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from fewmask.config import did_you_mean
from fewmask.data.case import Case
from fewmask.data.raster import outline
from fewmask.errors import InputFault

Row = dict[str, str]

_PARTS = {"train": "train", "val": "train", "validation": "train", "test": "test"}
_SHOWN = 3
_CHEAP = 500
"""Up to this many volumes, the last tagged slice is held against the volume's header."""


def read_table(path: Path, delimiter: str | None = None) -> list[Row]:
    """The rows of a CSV file, stripped, by column; a semicolon between columns is recognised."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise InputFault(f"{path}: cannot be read as text; save it as CSV in UTF-8") from None
    header = text.partition("\n")[0]
    separator = delimiter or (";" if ";" in header and "," not in header else ",")
    reader = csv.DictReader(io.StringIO(text), delimiter=separator, restval="", restkey="")
    names = [name.strip() for name in reader.fieldnames or ()]
    if len(set(names)) < len(names):
        raise InputFault(f"{path}: two columns have one name; rename one")
    rows: list[Row] = []
    for number, row in enumerate(reader, start=2):
        if row.get(""):
            raise InputFault(f"{path}: line {number} has more columns than the first line; mend it")
        rows.append({str(key).strip(): str(value).strip() for key, value in row.items() if key})
    return rows


def with_case_table(cases: Sequence[Case], folder: Path) -> tuple[list[Case], bool]:
    """The cases with the columns of `cases.csv`, and whether that table names patients.

    Raises InputFault for a row of an unknown case, two rows of one case, or a split that is none of train,
    val, validation and test.
    """
    path = folder / "cases.csv"
    rows = _rows_by_case(path, cases)
    described: list[Case] = []
    for case in cases:
        row = dict(rows.get(case.name, {}))
        row.pop("case", None)
        described.append(
            replace(
                case,
                patient=row.pop("patient", "") or case.patient,
                site=row.pop("site", "") or case.site,
                part=part_of(row.pop("split", ""), path) or case.part,
                columns={**case.columns, **row},
            )
        )
    return described, any("patient" in row for row in rows.values())


def part_of(split: str, path: Path) -> str:
    """The part that a word in a `split` column means; empty for an empty one."""
    if not split:
        return ""
    if split.lower() not in _PARTS:
        raise InputFault(f"{path}: split {split!r} is unknown; use train, val or test")
    return _PARTS[split.lower()]


def with_slice_table(cases: Sequence[Case], folder: Path) -> list[Case]:
    """The cases with the tags of `slices.csv`, by slice along the last axis, counted from 0.

    Raises InputFault for an unknown case, a slice given twice, or one beyond the volume.
    """
    path = folder / "slices.csv"
    known = {case.name: case for case in cases}
    tags: dict[str, dict[int, Row]] = defaultdict(dict)
    for row in read_table(path):
        if "case" not in row or "slice" not in row:
            raise InputFault(f"{path}: columns case and slice are needed; mend the first line")
        name, slice_ = row.pop("case"), row.pop("slice")
        if name not in known:
            raise InputFault(f"{path}: case {name!r} is not in the folder; {_hint(name, known)}")
        if not slice_.isdigit() or int(slice_) in tags[name]:
            raise InputFault(
                f"{path}: case {name}: slice {slice_!r} is no number or given twice; mend the row"
            )
        tags[name][int(slice_)] = row
    if len(tags) <= _CHEAP:
        for name, by_slice in tags.items():
            shape = outline(known[name].images[0]).shape
            depth = shape[2] if len(shape) == 3 else 1
            if max(by_slice) >= depth:
                raise InputFault(
                    f"{path}: case {name} has slices 0 to {depth - 1}, but {max(by_slice)} is tagged; mend it"
                )
    return [replace(case, slice_tags=dict(tags.get(case.name, {}))) for case in cases]


def _rows_by_case(path: Path, cases: Sequence[Case]) -> dict[str, Row]:
    known = {case.name for case in cases}
    rows: dict[str, Row] = {}
    for row in read_table(path):
        if "case" not in row:
            raise InputFault(f"{path}: there is no column case; mend the first line")
        name = row["case"]
        if name not in known:
            raise InputFault(f"{path}: case {name!r} is not in the folder; {_hint(name, known)}")
        if name in rows:
            raise InputFault(f"{path}: case {name} has two rows; remove one")
        rows[name] = row
    return rows


def _hint(name: str, known: Collection[str]) -> str:
    near = did_you_mean(name, known)
    # Where nothing is near, the list of all names would be no help and no single line.
    return near if near.startswith("did") else "remove the row or add the image"
