"""COCO's JSON: one file for many images, with polygons or runs of pixels."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from fewmask.data.outlines.entries import as_promised
from fewmask.data.outlines.run_length import raster
from fewmask.data.outlines.shape import Outline, Shape, polygon
from fewmask.errors import InputFault

_Id = int | str


@dataclass(frozen=True)
class _Image:
    id: _Id
    file_name: str
    height: int | None = None
    width: int | None = None


@dataclass(frozen=True)
class _Category:
    id: _Id
    name: str


@dataclass(frozen=True)
class _Runs:
    size: tuple[int, int]
    counts: list[int] | str


@dataclass(frozen=True)
class _Annotation:
    image_id: _Id
    category_id: _Id
    segmentation: list[list[float]] | _Runs
    annotator: str | None = None


@dataclass(frozen=True)
class _File:
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


_FILE = TypeAdapter(_File)


def read_coco(path: Path, content: Any) -> tuple[Outline, ...]:
    """The annotations of a file; the rings of one are parts of one object, so that they have no holes.

    A key `annotator`, which is not COCO's own, is read. Raises InputFault for an annotation without an outline or of an
    image or a category that the file does not list, and for runs that do not fill the image.
    """
    file = as_promised(_FILE, content, str(path))
    images = {image.id: image for image in file.images}
    names = {category.id: category.name for category in file.categories}
    return tuple(
        _outline(annotation, images, names, f"{path}: annotation {number}")
        for number, annotation in enumerate(file.annotations, start=1)
    )


def _outline(
    annotation: _Annotation, images: Mapping[_Id, _Image], names: Mapping[_Id, str], place: str
) -> Outline:
    image, label = images.get(annotation.image_id), names.get(annotation.category_id)
    if image is None:
        raise InputFault(f"{place}: image_id {annotation.image_id} is not among the images; add it there")
    where = f"{place}, {image.file_name}"
    if label is None:
        raise InputFault(
            f"{where}: category_id {annotation.category_id} is not declared; add it to categories"
        )
    size = None if image.height is None or image.width is None else (image.height, image.width)
    shape = _shape(annotation.segmentation, where)
    return Outline(image.file_name, label, annotation.annotator, shape, where, size)


def _shape(segmentation: list[list[float]] | _Runs, where: str) -> Shape:
    if isinstance(segmentation, _Runs):
        return raster(segmentation.size, segmentation.counts, where)
    if not segmentation:
        raise InputFault(f"{where}: is a box without an outline; draw one or remove the annotation")
    for number, ring in enumerate(segmentation, start=1):
        if len(ring) % 2:
            raise InputFault(f"{where}: ring {number} has {len(ring)} numbers; give x and y of each point")
    return polygon([np.reshape(ring, (-1, 2)).tolist() for ring in segmentation], where)
