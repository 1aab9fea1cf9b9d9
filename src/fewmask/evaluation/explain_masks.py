"""The masks that maps are held against: the run's own, or those of a folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from fewmask.data.case import Cohort
from fewmask.data.geometry import laid_on, misfit
from fewmask.data.layouts import find_labels
from fewmask.data.prepared_case import PreparedCase
from fewmask.data.raster import classes_of, read_label_values
from fewmask.errors import InputFault
from fewmask.evaluation.explain_record import OWN_MASKS
from fewmask.evaluation.pseudo_masks import Gate, load_gate
from fewmask.evaluation.tags_gallery import as_slices
from fewmask.evaluation.trained import Trained, view_of
from fewmask.evaluation.truth import holds_class_numbers, of_last_segment, truth_cohort, with_classes
from fewmask.shapes import IGNORED


class Masks(Protocol):
    """Where the organ is in each case: any class but the background."""

    @property
    def whose(self) -> str:
        """Where they are from, in words that follow "the masks are"."""
        ...

    @property
    def structures(self) -> tuple[str, ...]:
        """What they outline; empty where nothing names it."""
        ...

    def of(self, prepared: PreparedCase) -> NDArray[np.bool_] | None:
        """A case's mask (N, H, W) on its slices' own grid, in their prepared order; None where there is none."""
        ...


@dataclass(frozen=True)
class OwnMasks:
    """What the last stage of a run segments, as `segment` writes it: with a `gate`, not in slices found empty."""

    trained: Trained
    gate: Gate | None

    @property
    def whose(self) -> str:
        """The run's."""
        return OWN_MASKS

    @property
    def structures(self) -> tuple[str, ...]:
        """The run's classes."""
        return self.trained.method.task.classes[1:]

    def of(self, prepared: PreparedCase) -> NDArray[np.bool_]:
        """Segment a case."""
        parts: list[torch.Tensor] = []
        for images in prepared.chunks():
            own = prepared.on_own_grid(view_of(self.trained, images).probabilities).argmax(1) > 0
            parts.append(own if self.gate is None else own & self.gate.open_for(images)[:, None, None])
        return torch.cat(parts).numpy()


@dataclass(frozen=True)
class FolderMasks:
    """Masks in files by case; `cohort` tells what their values mean, None where they are class numbers."""

    folder: Path
    files: Mapping[str, Path]
    cohort: Cohort | None

    @property
    def whose(self) -> str:
        """The folder's."""
        return f"those in {self.folder.name}"

    @property
    def structures(self) -> tuple[str, ...]:
        """The classes that are declared beside the masks, or found in them."""
        return () if self.cohort is None else self.cohort.classes[1:]

    def of(self, prepared: PreparedCase) -> NDArray[np.bool_] | None:
        """Read a case's mask. Raises InputFault where it does not fit the image."""
        path = self.files.get(prepared.case.name)
        if path is None:
            return None
        mask = laid_on(read_label_values(path), prepared.original)
        reason = misfit(mask, prepared.original)
        if reason is not None:
            raise InputFault(f"{path}: {reason}")
        return as_slices(self._inside(mask.array, path), prepared)[:, 0]

    def _inside(self, values: NDArray[Any], path: Path) -> NDArray[np.bool_]:
        if self.cohort is None:
            return values != 0
        classes = classes_of(values, self.cohort, str(path))
        return (classes != 0) & (classes != IGNORED)


def masks_of(last: Trained, folder: Path | None, names: Sequence[str], device: str = "auto") -> Masks | None:
    """The masks of a folder, or without one those of the run's last stage; None where that draws none.

    A folder is one of masks (`labelsTs`, or what `segment` wrote) or a dataset. Raises InputFault where it has no mask
    of any of the cases' `names`.
    """
    if folder is not None:
        return _in_folder(folder, names)
    if not last.method.draws_masks:
        return None
    gated = last.recipe.stages[-1].only_positive
    return OwnMasks(last, load_gate(last.run.folder, device) if gated else None)


def _in_folder(folder: Path, names: Sequence[str]) -> FolderMasks:
    if not folder.is_dir():
        raise InputFault(f"{folder}: no such folder; give a folder of masks")
    cohort = None if holds_class_numbers(folder) else with_classes(truth_cohort(folder))
    if cohort is None:
        files = of_last_segment(folder, find_labels(folder))
    else:
        files = {case.name: case.mask for case in cohort.cases if case.mask is not None}
    if files.keys().isdisjoint(names):
        raise InputFault(
            f"{folder}: no mask is named as one of the images (first: {names[0]}); give the folder of their masks, or "
            "leave --masks out"
        )
    return FolderMasks(folder, files, cohort)
