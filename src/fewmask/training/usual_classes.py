"""What is usual for the source's classes: their sizes and colours, kept for the days without the source's images."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fewmask.config import from_mapping, to_mapping
from fewmask.data.store import SliceStore, load_store
from fewmask.errors import InputFault
from fewmask.files import read_json, write_json
from fewmask.metrics.class_shares import (
    ClassShares,
    UsualClasses,
    class_shares,
    content_box,
    usual_classes,
)
from fewmask.metrics.colour_separation import mean_over_slices, pairs_of, told_apart
from fewmask.training.material import Material, class_names
from fewmask.training.run import Run

FILE = "usual_classes.json"

BLACK = -1.0 + 1.0 / 255.0
"""Prepared values below this are black, as padding is: half a grey level of an 8-bit picture."""

MOST_SLICES = 512
"""Colours are looked at in no more slices than this, evenly spaced over the source; sizes in all."""

SLICES_AT_ONCE = 32


def keep_usual_classes(run: Run, material: Material) -> None:
    """Write what is usual in the source into the folder of a run that adapts to a target; else do nothing."""
    if "source" not in material.stores or "target" not in material.stores:
        return
    usual = usual_classes_of(material.stores["source"], len(material.task.classes))
    if usual is not None:
        write_json(run.folder / FILE, to_mapping(usual))


def read_usual_classes(run: Run) -> UsualClasses | None:
    """What a run kept, else what its slice store still tells; None where the run is old and the store is gone."""
    path = run.folder / FILE
    if path.exists():
        usual = from_mapping(UsualClasses, read_json(path), str(path))
        if len(usual.area) != len(class_names(run)):
            raise InputFault(f"{path}: is of other classes than the run; remove it")
        return usual
    store = read_json(run.material)["roles"].get("source", {}).get("store")
    if store is None:
        return None
    try:
        return usual_classes_of(load_store(Path(store)), len(class_names(run)))
    except (OSError, ValueError):
        # The cache has been cleared, or lies on another machine.
        return None


def usual_classes_of(store: SliceStore, class_count: int) -> UsualClasses | None:
    """What is usual over all cases of a labelled store, training and validation; None for an empty one."""
    shares: list[ClassShares] = []
    apart: list[tuple[float | None, ...]] = []
    stride = -(-store.row_count // MOST_SLICES)
    for case in store.cases:
        rows = store.rows_of([case])
        if not len(rows):
            continue
        frame = store.frame(case)
        masks, seen = _read(store, rows, frame)
        of_case = class_shares(masks, seen, class_count)
        if of_case is None:
            continue
        shares.append(of_case)
        chosen = np.flatnonzero(rows % stride == 0)
        if len(chosen):
            images = store.images(rows[chosen])[:, :, *frame]
            apart.append(told_apart_in(images, masks[chosen], seen, class_count))
    return usual_classes(shares, apart or [(None,) * len(pairs_of(class_count))])


def _read(
    store: SliceStore, rows: NDArray[np.int64], frame: tuple[slice, slice]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The masks of a case without padding, and where any slice is not black; a few slices are in memory as images."""
    masks: list[NDArray[np.uint8]] = []
    seen: list[NDArray[np.bool_]] = []
    for start in range(0, len(rows), SLICES_AT_ONCE):
        chunk = rows[start : start + SLICES_AT_ONCE]
        masks.append(store.masks(chunk)[:, *frame].astype(np.uint8))
        seen.append(np.asarray((store.images(chunk)[:, :, *frame] > BLACK).any(axis=(0, 1))))
    return np.concatenate(masks), np.logical_or.reduce(seen)


def told_apart_in(
    images: NDArray[np.floating], classes: NDArray[np.integer], seen: NDArray[np.bool_], class_count: int
) -> tuple[float | None, ...]:
    """How surely colours tell classes apart in slices (N, C, H, W), (N, H, W) of one image, without its padding."""
    box = content_box(seen)
    assert box is not None  # only images with some content are looked at
    slices = zip(images[:, :, *box], classes[:, *box], strict=True)
    return mean_over_slices([told_apart(image, mask, class_count) for image, mask in slices])
