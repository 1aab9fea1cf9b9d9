"""Outlines in a table, a row an object: its points in one column, or four control points in columns of their own.

The second is what Włodarczyk et al. 2020 were given: an examination and four control points.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fewmask.config import did_you_mean
from fewmask.data.outlines.bezier import bezier_path
from fewmask.data.outlines.shape import Outline, Shape, ellipse, polygon
from fewmask.data.tables import Row, read_table
from fewmask.errors import InputFault

_KINDS = ("polygon", "bezier", "ellipse")


def read_outline_table(path: Path, label: str | None) -> tuple[Outline, ...]:
    """The rows of a CSV file with the columns `image`, `label`, `annotator` (optional), `kind` and `points`.

    `points` are "x y; x y; ..."; of an ellipse "x y; rx ry; degrees", its centre, radii and (optional) angle from the
    x axis clockwise. Instead of `points` there may be the columns x1, y1, x2, y2, .... A row without a kind is a
    polygon, in columns of numbers a Bezier path. `label` is what rows without one are. Raises InputFault, one line, for
    whatever is missing or no number.
    """
    rows = [{name.lower(): cell for name, cell in row.items()} for row in read_table(path)]
    if rows and "image" not in rows[0]:
        raise InputFault(f"{path}: there is no column image; mend the first line")
    if rows and label is None and "label" not in rows[0]:
        raise InputFault(
            f"{path}: there is no column label; add it, or declare the one label that all rows have"
        )
    if rows and not {"points", "x1"} & rows[0].keys():
        raise InputFault(f"{path}: there is no column points (or x1, y1, ...); mend the first line")
    return tuple(_outline(row, f"{path}: row {number}", label) for number, row in enumerate(rows, start=2))


def _outline(row: Row, place: str, label: str | None) -> Outline:
    if not row["image"]:
        raise InputFault(f"{place}: names no image; fill the column in or remove the row")
    where = f"{place}: {row['image']}"
    named = row.get("label") or label
    if not named:
        raise InputFault(f"{where}: has no label; fill the column in")
    return Outline(row["image"], named, row.get("annotator") or None, _shape(row, where), where)


def _shape(row: Row, where: str) -> Shape:
    points = _listed(row["points"], where) if row.get("points") else _in_columns(row, where)
    kind = row.get("kind", "").lower() or ("polygon" if row.get("points") else "bezier")
    if kind == "polygon":
        return polygon([points], where)
    if kind == "bezier":
        return bezier_path(points, where)
    if kind != "ellipse":
        raise InputFault(f"{where}: unknown kind {kind!r}; {did_you_mean(kind, _KINDS)}")
    if [len(point) for point in points] not in ([2, 2], [2, 2, 1]):
        raise InputFault(f"{where}: not an ellipse; give its points as x y; rx ry; degrees")
    return ellipse(points[0], points[1], np.radians(points[2][0]) if len(points) == 3 else 0.0, where)


def _listed(text: str, where: str) -> list[list[float]]:
    """The numbers in "x y; x y"; a comma may stand between x and y."""
    parts = [part.replace(",", " ").split() for part in text.split(";")]
    return [_numbers(part, number, where) for number, part in enumerate(parts, start=1) if part]


def _in_columns(row: Row, where: str) -> list[list[float]]:
    """The points of x1, y1, x2, y2, ... up to the last column that is filled in."""
    count = sum(name[:1] == "x" and name[1:].isdigit() for name in row)
    cells = [[row.get(f"{axis}{number}", "") for axis in "xy"] for number in range(1, count + 1)]
    while cells and not any(cells[-1]):
        cells.pop()
    return [_numbers(pair, number, where) for number, pair in enumerate(cells, start=1)]


def _numbers(texts: Sequence[str], number: int, where: str) -> list[float]:
    try:
        return [float(text) for text in texts]
    except ValueError:
        raise InputFault(f"{where}: point {number} ({' '.join(texts)}) is no number; mend it") from None
