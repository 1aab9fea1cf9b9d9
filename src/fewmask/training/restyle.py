"""Between two stages: the labelled source, re-drawn in the target's look by a method that is trained.

What is drawn lies on disk twice: as a store, which the next stage learns from, and as a dataset folder for people.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from fewmask.console import Progress
from fewmask.data.case import Cohort
from fewmask.data.store import SliceStore, derive_store, load_store
from fewmask.data.stylised_cohort import FOLDER, Stylised, write_stylised
from fewmask.errors import InputFault
from fewmask.files import require_free
from fewmask.methods.base import Method
from fewmask.training.material import Material

AT_ONCE = 8
"""Slices that are re-drawn together."""


def restyled(
    material: Material,
    folder: Path,
    build: Callable[[], Method],
    read: Callable[[], Mapping[str, Cohort]],
    fabric: Fabric,
    progress: Progress,
) -> Material:
    """The material with the source's images as `build()`'s method re-draws them, kept in `folder`/restyled.

    A method that makes several copies of a case gives each its own look; the store holds them one after another, and
    the same patients train and validate. `folder`/stylised holds the same as an nnU-Net folder; `read` gives the
    cohorts, which know patients and voxels. The first process does all of it, the others wait. Masks stay as they are:
    a translation that moves a rim leaves the outline behind. Raises InputFault where the method re-draws nothing.
    """
    if fabric.is_global_zero:
        store = _redrawn(material, folder / "restyled", build, fabric, progress)
        _keep_as_folder(material, store, folder / "stylised" / FOLDER, read, progress)
    fabric.barrier()
    return replace(material, stores={**material.stores, "source": load_store(folder / "restyled")})


def _redrawn(
    material: Material, folder: Path, build: Callable[[], Method], fabric: Fabric, progress: Progress
) -> SliceStore:
    """The re-drawn store, which may be there already."""
    origin = material.stores["source"]
    method = build().to(fabric.device).eval()
    rows = origin.row_count * method.copies
    needed = rows * (2 * int(np.prod(origin.image_shape)) + int(np.prod(origin.image_shape[1:])))
    if not folder.exists():
        require_free(folder.parent, 2.0 * needed, "re-drawn images", "or lower --set size")

    @cache
    def learn_styles() -> None:
        _learn_styles(material, method, fabric)

    @torch.no_grad()
    def redraw(images: np.ndarray, cases: np.ndarray, copies: np.ndarray) -> np.ndarray:
        learn_styles()
        with fabric.autocast():
            shown = torch.from_numpy(images).to(fabric.device)
            drawn = method.restyle_as(shown, cases.tolist(), copies.tolist())
        if drawn is None:
            raise InputFault(
                "recipe: `restyled_by` names a stage that re-draws no images; name a translating one"
            )
        return drawn.float().cpu().numpy()

    with progress("re-drawing the source", -(-rows // AT_ONCE)) as stored:
        return derive_store(folder, origin, redraw, stored, method.copies, AT_ONCE)


def _learn_styles(material: Material, method: Method, fabric: Fabric) -> None:
    """Show a method the target's training images, case by case."""
    store = material.stores["target"]

    def volumes() -> Iterator[Tensor]:
        for case in material.splits["target"].train:
            yield torch.from_numpy(store.images(store.rows_of([case]))).to(fabric.device)

    with fabric.autocast():
        method.learn_styles(volumes())


def _keep_as_folder(
    material: Material,
    store: SliceStore,
    folder: Path,
    read: Callable[[], Mapping[str, Cohort]],
    progress: Progress,
) -> None:
    if folder.exists():
        return
    cohorts = read()
    stylised = Stylised(
        store,
        store.row_count // material.stores["source"].row_count,
        cohorts["source"],
        material.preparations["source"],
        material.task.classes,
        material.preparations["target"].intensity,
        cohorts["target"].channels,
    )
    with progress("writing the re-drawn source", len(store.cases)) as written:
        write_stylised(stylised, folder, written)
