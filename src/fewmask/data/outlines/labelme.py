"""LabelMe's JSON: a file an image."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import dist
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from fewmask.data.outlines.entries import as_promised
from fewmask.data.outlines.shape import Outline, Shape, ellipse, polygon, rectangle
from fewmask.errors import InputFault


@dataclass(frozen=True)
class _Shape:
    label: str
    points: list[list[float]]
    shape_type: str = "polygon"


@dataclass(frozen=True)
class _File:
    image: Annotated[str, Field(alias="imagePath")]
    shapes: list[_Shape]
    height: Annotated[int | None, Field(alias="imageHeight")] = None
    width: Annotated[int | None, Field(alias="imageWidth")] = None


_FILE = TypeAdapter(_File)


def read_labelme(path: Path, content: Any) -> tuple[Outline, ...]:
    """The polygons, rectangles and circles of a file. Raises InputFault for other shapes."""
    file = as_promised(_FILE, content, str(path))
    size = None if file.height is None or file.width is None else (file.height, file.width)
    outlines: list[Outline] = []
    for number, drawn in enumerate(file.shapes, start=1):
        where = f"{path}: {file.image}, shape {number}"
        shape = _shape(drawn.shape_type, drawn.points, where)
        outlines.append(Outline(file.image, drawn.label, None, shape, where, size))
    return tuple(outlines)


def _shape(kind: str, points: Sequence[Sequence[float]], where: str) -> Shape:
    # Some editors of these files write a rectangle's four corners.
    if kind == "polygon" or (kind == "rectangle" and len(points) == 4):
        return polygon([points], where)
    if kind not in ("rectangle", "circle"):
        raise InputFault(
            f"{where}: is a {kind}, which is no closed outline; draw a polygon, a rectangle or a circle"
        )
    if [len(point) for point in points] != [2, 2]:
        raise InputFault(f"{where}: {len(points)} points make no {kind}; give 2")
    if kind == "rectangle":
        (left, top), (right, bottom) = points
        return rectangle(left, top, right, bottom, where)
    radius = dist(*points)
    return ellipse(points[0], (radius, radius), 0.0, where)
