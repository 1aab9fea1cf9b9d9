"""Annotation files, each recognised by what is in it."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

from fewmask.data.folder import files_in, folders_in
from fewmask.data.outlines.coco import read_coco
from fewmask.data.outlines.entries import read_annotations
from fewmask.data.outlines.labelme import read_labelme
from fewmask.data.outlines.shape import Outline
from fewmask.data.outlines.table import read_outline_table
from fewmask.data.outlines.via import is_via, read_via
from fewmask.errors import InputFault

_OTHERS = ("dataset.json", "conversion.json", "cases.csv", "slices.csv", "manifest.csv", "agreement.csv")
"""Files of a dataset that are no annotations."""


class _Read(NamedTuple):
    one_image: bool
    outlines: tuple[Outline, ...]


def read_outlines(path: Path, label: str | None = None) -> tuple[Outline, ...]:
    """All outlines of a file (CSV, or JSON of LabelMe, COCO or VIA 2) or of a folder of such files.

    The sub-folders of a folder are annotators, and so are several files that each hold many images (all but LabelMe's),
    where the files themselves name none. `label` is what an outline is that has none. Raises InputFault, one line, for
    a file that is absent, damaged, of another kind or without outlines, and for an entry that encloses nothing.
    """
    if not path.exists():
        raise InputFault(f"{path}: no such file; check the path of the outlines")
    outlines = _of_folder(path, label, None) if path.is_dir() else _of_file(path, label).outlines
    if not outlines:
        raise InputFault(f"{path}: holds no outlines; give the file or folder that the annotation tool wrote")
    return outlines


def _of_folder(folder: Path, label: str | None, annotator: str | None) -> tuple[Outline, ...]:
    paths = [path for path in files_in(folder) if path.suffix.lower() in (".json", ".csv")]
    read = {path: _of_file(path, label) for path in paths if path.name.lower() not in _OTHERS}
    several = sum(not file.one_image for file in read.values()) > 1
    outlines: list[Outline] = []
    for path, file in read.items():
        own = path.stem if several and not file.one_image else None
        outlines += _by(file.outlines, annotator or own)
    for inner in folders_in(folder):
        outlines += _of_folder(inner, label, annotator or inner.name)
    return tuple(outlines)


def _by(outlines: tuple[Outline, ...], annotator: str | None) -> list[Outline]:
    return [replace(outline, annotator=outline.annotator or annotator) for outline in outlines]


def _of_file(path: Path, label: str | None) -> _Read:
    content = read_annotations(path)
    if content is None:
        return _Read(False, read_outline_table(path, label))
    if isinstance(content, dict):
        keyed = cast(dict[str, Any], content)
        if "shapes" in keyed:
            return _Read(True, read_labelme(path, keyed))
        if "annotations" in keyed and "images" in keyed:
            return _Read(False, read_coco(path, keyed))
        if is_via(keyed):
            return _Read(False, read_via(path, keyed, label))
    raise InputFault(
        f"{path}: is not LabelMe's, COCO's or VIA 2's JSON; export the annotations as one of them"
    )
