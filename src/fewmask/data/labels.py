"""Which value in the mask files means which class, where the folder does not say it, or says it wrongly."""

from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import Path

import numpy as np

from fewmask.data.listing import Labels
from fewmask.data.raster import read_label_values
from fewmask.errors import InputFault
from fewmask.shapes import IGNORED

_SAMPLED = 200
_LOOKED_AT = 5
_OPENED = 50
"""Empty masks tell nothing, so up to this many are opened to find a few with something in them."""

_MOST_CLASSES = 64

Settled = tuple[Labels | None, tuple[str, ...]]
NO_LABELS: Settled = (None, ())


def settled_labels(declared: Labels | None, masks: Sequence[Path]) -> Settled:
    """The labels to read masks by, and what a user should be told about them.

    Declared labels hold, but for one usual slip: masks of 0 and 255 of a single structure that is declared as 1.
    Undeclared ones are the values that occur in the first 200 masks. None where there is neither.
    """
    if declared is None:
        return _found(masks) if masks else NO_LABELS
    if declared.values != (0, 1) or declared.ignored_is_declared or not _black_and_white(masks):
        return declared, ()
    return _as_black_and_white(declared.classes)


def _black_and_white(masks: Sequence[Path]) -> bool:
    """Whether the first masks that are not empty hold 0 and 255 alone."""
    seen = 0
    for values in _readable(masks[:_OPENED]):
        if values == {0}:
            continue
        if values - {0, IGNORED}:
            return False
        seen += 1
        if seen == _LOOKED_AT:
            break
    return seen > 0


def _found(masks: Sequence[Path]) -> Settled:
    values: set[int] = set()
    for occurring in _readable(masks[:_SAMPLED]):
        values |= occurring
    if len(values) > _MOST_CLASSES:
        raise InputFault(
            f"{masks[0].parent}: the masks hold {len(values)} values, too many for classes (were they saved as JPEG?); "
            "save one value a class, as PNG"
        )
    labels, remarks = labels_of_values(values)
    if len(masks) > _SAMPLED:
        unsure = f"labels are the values in the first {_SAMPLED} of {len(masks)} masks"
        remarks = (*remarks, f"{unsure}; a dataset.json that names all labels makes them sure")
    return labels, remarks


def labels_of_values(values: Set[int]) -> tuple[Labels, tuple[str, ...]]:
    """The labels of masks that hold these values and that nothing declares, and what a user should be told.

    0 is background, the others are class_1, class_2, ... in the order of their values. 255 alone is a structure;
    beside other values it is ignored.
    """
    if values - {0} == {IGNORED}:
        return _as_black_and_white(("background", "class_1"))
    foreground = sorted(values - {0, IGNORED})
    names = ("background", *(f"class_{index}" for index in range(1, len(foreground) + 1)))
    remarks = ("masks hold 255 beside other values: 255 is ignored",) if IGNORED in values else ()
    return Labels(names, (0, *foreground)), remarks


def _as_black_and_white(classes: tuple[str, ...]) -> tuple[Labels, tuple[str, ...]]:
    return Labels(classes, (0, IGNORED), ignored_value=-1), (
        f"masks hold 0 and 255: 255 is read as {classes[1]}",
    )


def _readable(masks: Iterable[Path]) -> Iterator[set[int]]:
    """The values of each mask that can be read; a damaged one is reported when its case is read, not here."""
    fault: InputFault | None = None
    count = 0
    for path in masks:
        try:
            values = read_label_values(path).array
        except InputFault as error:
            fault = fault or error
            continue
        count += 1
        yield {int(value) for value in np.unique(values)}
    if fault is not None and count == 0:
        raise fault
