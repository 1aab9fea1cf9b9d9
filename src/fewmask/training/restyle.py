"""Between two stages: the labelled source, re-drawn in the target's look by a translator that is trained."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric

from fewmask.console import Progress
from fewmask.data.store import SliceStore, derive_store, load_store
from fewmask.errors import InputFault
from fewmask.methods.base import Method
from fewmask.training.material import Material


def restyled(
    material: Material, folder: Path, build: Callable[[], Method], fabric: Fabric, progress: Progress
) -> Material:
    """The material with the source's images as `build()`'s translator re-draws them, kept in `folder`.

    The first process draws them, the others wait. Masks stay as they are: a translation that moves a rim leaves the
    outline behind. Raises InputFault where the method re-draws nothing.
    """
    origin = material.stores["source"]
    if fabric.is_global_zero:
        _redraw_all(origin, folder, build().to(fabric.device).eval(), fabric, progress)
    fabric.barrier()
    return replace(material, stores={**material.stores, "source": load_store(folder)})


def _redraw_all(origin: SliceStore, folder: Path, method: Method, fabric: Fabric, progress: Progress) -> None:
    @torch.no_grad()
    def redraw(images: np.ndarray) -> np.ndarray:
        with fabric.autocast():
            drawn = method.restyle(torch.from_numpy(images).to(fabric.device))
        if drawn is None:
            raise InputFault(
                "recipe: `restyled_by` names a stage that re-draws no images; name a translating one"
            )
        return drawn.float().cpu().numpy()

    with progress("re-drawing the source", -(-origin.row_count // 8)) as stored:
        derive_store(folder, origin, redraw, stored)
