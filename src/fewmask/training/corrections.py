"""Masks that a person has drawn or mended, which take the place of pseudo-labels."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fewmask.config import did_you_mean
from fewmask.data.case import Cohort
from fewmask.data.geometry import Raster
from fewmask.data.layouts import find_labels
from fewmask.data.orientation import canonical
from fewmask.data.preparation import place_masks, slices_of
from fewmask.data.prepared_case import PreparedCase
from fewmask.data.raster import read_classes
from fewmask.errors import InputFault
from fewmask.shapes import IGNORED
from fewmask.training.pseudo_label import CaseLabels


@dataclass(frozen=True)
class Corrected:
    """A case's pseudo-labels with a person's in their place, where there are any.

    `maps` and `labels` (N, S, S) in [0, 1] are what a segmenter learns, `hard` (N, S, S) is 1 where the object is.
    `slices` (N,) bool are the corrected ones, and `mask` (*spatial) is the person's own file as classes, or None.
    """

    maps: Tensor
    labels: Tensor
    hard: Tensor
    slices: NDArray[np.bool_]
    mask: NDArray[np.uint8] | None


@dataclass(frozen=True)
class Corrections:
    """The mask file of each corrected case. Values are those of the pseudo-labels: 0, 1 and, to leave alone, 2."""

    cohort: Cohort
    files: Mapping[str, Path]

    @classmethod
    def read(cls, folder: Path | None, cohort: Cohort) -> "Corrections":
        """The masks in a folder. Raises InputFault for one that no training case of the cohort has the name of."""
        files = {} if folder is None else find_labels(folder)
        names = {case.name for case in cohort.part("train")}
        if folder is not None and not files:
            raise InputFault(f"{folder}: holds no masks; put mended files of the run's labelsTr there")
        for name in files:
            if name not in names:
                raise InputFault(
                    f"{files[name]}: corrects no training case of {cohort.root}; {did_you_mean(name, names)}"
                )
        as_labelled = replace(cohort, classes=("background", "object"), label_values=(0, 1), ignored_value=2)
        return cls(as_labelled, files)

    @property
    def names(self) -> tuple[str, ...]:
        """The corrected cases."""
        return tuple(sorted(self.files))

    def onto(self, labels: CaseLabels, prepared: PreparedCase) -> Corrected:
        """The labels of a case with its correction in their place, slice by slice.

        A slice in which the person left a pixel at 2 keeps its pseudo-label.
        """
        hard = labels.hard
        path = self.files.get(prepared.case.name)
        if path is None:
            nothing = np.zeros(len(labels.labels), dtype=np.bool_)
            return Corrected(labels.fused, labels.labels, hard.float(), nothing, None)
        classes = read_classes(self.cohort, replace(prepared.case, mask=path))
        original = prepared.original
        lying = canonical(Raster(classes[None], original.spacing, original.unit, original.affine))
        slices = slices_of(lying.array, prepared.preparation)[:, 0]
        decided = ~(slices == IGNORED).any(axis=(1, 2))
        masks = place_masks(slices, prepared.place, prepared.preparation.size)
        drawn = torch.from_numpy(decided)[:, None, None]
        truth = (masks == 1).float()
        return Corrected(
            torch.where(drawn, truth, labels.fused),
            torch.where(drawn, truth, labels.labels),
            torch.where(drawn, truth, hard.float()),
            decided,
            classes,
        )
