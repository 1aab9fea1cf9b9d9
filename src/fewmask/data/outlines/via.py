"""The VGG Image Annotator's JSON (2.x): its annotations, or a project that holds them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pydantic import TypeAdapter

from fewmask.data.outlines.entries import as_promised
from fewmask.data.outlines.shape import Outline, Shape, ellipse, polygon, rectangle
from fewmask.errors import InputFault

_PROJECT = "_via_img_metadata"
_LABEL, _ANNOTATOR = "label", "annotator"


@dataclass(frozen=True)
class _Region:
    shape_attributes: dict[str, Any]
    region_attributes: dict[str, Any]


@dataclass(frozen=True)
class _Image:
    filename: str
    regions: list[_Region] | dict[str, _Region]


@dataclass(frozen=True)
class _Polygon:
    all_points_x: list[float]
    all_points_y: list[float]


@dataclass(frozen=True)
class _Rectangle:
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class _Circle:
    cx: float
    cy: float
    r: float


@dataclass(frozen=True)
class _Ellipse:
    cx: float
    cy: float
    rx: float
    ry: float
    theta: float = 0.0


_IMAGES = TypeAdapter(dict[str, _Image])
_POLYGON, _RECTANGLE = TypeAdapter(_Polygon), TypeAdapter(_Rectangle)
_CIRCLE, _ELLIPSE = TypeAdapter(_Circle), TypeAdapter(_Ellipse)


def is_via(content: Mapping[str, Any]) -> bool:
    """Whether a JSON object is one of VIA's."""
    entries = [cast(Mapping[str, Any], entry) for entry in content.values() if isinstance(entry, dict)]
    listed = len(entries) == len(content) > 0 and all("regions" in entry for entry in entries)
    return _PROJECT in content or listed


def read_via(path: Path, content: Mapping[str, Any], label: str | None) -> tuple[Outline, ...]:
    """The polygons, ellipses, circles and rectangles of a file.

    What a region is stands in its attribute `label`, or in its only one but `annotator`; else it is `label`. Raises
    InputFault where neither says it, and for points and open lines.
    """
    images = as_promised(_IMAGES, content.get(_PROJECT, content), str(path))
    outlines: list[Outline] = []
    for image in images.values():
        regions = image.regions.values() if isinstance(image.regions, dict) else image.regions
        for number, region in enumerate(regions, start=1):
            where = f"{path}: {image.filename}, region {number}"
            told = {
                name: text
                for name, text in region.region_attributes.items()
                if isinstance(text, str) and text
            }
            annotator = told.pop(_ANNOTATOR, None)
            named = told.get(_LABEL, next(iter(told.values())) if len(told) == 1 else label)
            if named is None:
                raise InputFault(
                    f"{where}: no attribute says what it is; fill in one that is called {_LABEL}"
                )
            outlines.append(
                Outline(image.filename, named, annotator, _shape(region.shape_attributes, where), where)
            )
    return tuple(outlines)


def _shape(attributes: Mapping[str, Any], where: str) -> Shape:
    kind = attributes.get("name")
    if kind == "polygon":
        drawn = as_promised(_POLYGON, attributes, where)
        if len(drawn.all_points_x) != len(drawn.all_points_y):
            raise InputFault(f"{where}: its points have unlike numbers of x and y; export the file anew")
        return polygon([list(zip(drawn.all_points_x, drawn.all_points_y, strict=True))], where)
    if kind == "rect":
        box = as_promised(_RECTANGLE, attributes, where)
        return rectangle(box.x, box.y, box.x + box.width, box.y + box.height, where)
    if kind == "circle":
        circle = as_promised(_CIRCLE, attributes, where)
        return ellipse((circle.cx, circle.cy), (circle.r, circle.r), 0.0, where)
    if kind == "ellipse":
        oval = as_promised(_ELLIPSE, attributes, where)
        return ellipse((oval.cx, oval.cy), (oval.rx, oval.ry), oval.theta, where)
    raise InputFault(
        f"{where}: is a {kind}, which is no closed outline; draw a polygon, an ellipse, a circle or a rect"
    )
