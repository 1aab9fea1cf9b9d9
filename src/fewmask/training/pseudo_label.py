"""The pseudo-labels of one case: where its classifier looks, fused, and grown from seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from torch import Tensor

from fewmask.data.prepared_case import PreparedCase
from fewmask.errors import InputFault
from fewmask.methods.base import Look, Method
from fewmask.pseudo_label_config import CamMaps, OwnMaps, PseudoLabels
from fewmask.pseudo_labels.audit import Doubts, doubts_of
from fewmask.pseudo_labels.expansion import Expanded, expand
from fewmask.pseudo_labels.fusion import fused
from fewmask.pseudo_labels.seeds import THRESHOLDS, dice_of, least_variance_threshold


@dataclass(frozen=True)
class CaseLabels:
    """The pseudo-labels of a case's N slices at the prepared size, on the CPU.

    `shown` (N,) bool are the slices that got one: those tagged as showing the object, or, where nobody has tagged,
    those that the classifier finds positive; all else is 0. `labels` (N, S, S) in [0, 1] are soft, and `hard` is True
    where the object is. `thresholds` (N,) turned the fused maps into masks, of which `pixels` (N, 2) and `boxes` (N, 4)
    are the seeds as in `Seeds`, -1 where none was grown.
    """

    scores: Tensor
    shown: Tensor
    maps: Tensor
    fused: Tensor
    labels: Tensor
    hard: Tensor
    thresholds: Tensor
    pixels: Tensor
    boxes: Tensor
    doubts: tuple[Doubts, ...]


@dataclass(frozen=True)
class PseudoLabeller:
    """A trained classifier, the options, and the threshold that was chosen on validation (None: the options')."""

    method: Method
    options: PseudoLabels
    fabric: Fabric
    threshold: float | None = None

    def scores(self, images: Tensor) -> Tensor:
        """The classifier's score (B,) of prepared images (B, C, S, S): positive where it finds the object."""
        self.method.eval()
        with torch.no_grad(), self.fabric.autocast():
            scores = self.method.judge(images.to(self.fabric.device))
        if scores is None:
            raise InputFault("labelled_by: names a stage that learns no tags; mend the recipe")
        return scores.float().cpu()

    def look(self, images: Tensor) -> Look:
        """The same scores, and where the classifier looks: maps (B, M, S, S) in [0, 1], all on the CPU."""
        there = images.to(self.fabric.device)
        self.method.eval()
        with self.fabric.autocast():
            found = self._look(there, self.options.maps)
        if found is None:
            raise InputFault("labelled_by: names a stage that makes no such maps; mend the recipe")
        return Look(*(values.float().cpu() for values in found))

    def _look(self, images: Tensor, maps: CamMaps | OwnMaps) -> Look | None:
        if isinstance(maps, CamMaps):
            # The passes that make the maps have the scores by the way.
            return self.method.look(images, maps)
        with torch.no_grad():
            scores, own = self.method.judge(images), self.method.own_maps(images)
        return None if scores is None or own is None else Look(scores, own[:, None])

    def label(self, prepared: PreparedCase, tags: Sequence[float | None] | None) -> CaseLabels:
        """The pseudo-labels of one case; without `tags` the classifier says which slices show the object."""
        parts: list[CaseLabels] = []
        start = 0
        for images in prepared.chunks():
            own = None if tags is None else tags[start : start + len(images)]
            parts.append(self._chunk(images, own))
            start += len(images)
        return _joined(parts)

    def _chunk(self, images: Tensor, tags: Sequence[float | None] | None) -> CaseLabels:
        shown = self.scores(images) > 0 if tags is None else torch.tensor([tag == 1.0 for tag in tags])
        grey = grey_of(images)
        scores, maps = self._look_where(shown, images)
        whole = torch.where(shown[:, None, None], fused(maps, self.options.weighting), 0.0)
        thresholds = self._thresholds(grey, whole)
        grown = self._grown(grey, whole, thresholds)
        doubts = doubts_of(maps, whole, thresholds, shown, grown)
        labels = whole if grown is None else grown.label
        hard = _hard(whole, thresholds, grown)
        boxes = torch.full((len(images), 4), -1) if grown is None else grown.seeds.box
        pixels = torch.full((len(images), 2), -1) if grown is None else grown.seeds.pixel
        return CaseLabels(scores, shown, maps, whole, labels, hard, thresholds, pixels, boxes, tuple(doubts))

    def _look_where(self, shown: Tensor, images: Tensor) -> Look:
        """All scores, but maps of the slices that show the object alone: zeros for the others, which most are."""
        layers = len(self.options.maps.layers) if isinstance(self.options.maps, CamMaps) else 1
        scores = torch.zeros(len(images))
        maps = torch.zeros(len(images), layers, *images.shape[2:])
        if shown.any():
            scores[shown], maps[shown] = self.look(images[shown])
        if not shown.all():
            scores[~shown] = self.scores(images[~shown])
        return Look(scores, maps)

    def dice_of_grid(self, images: Tensor, masks: Tensor) -> Tensor:
        """How well the pseudo-masks at each of `THRESHOLDS` meet true ones: Dice (S, 19), see `dice_of`."""
        whole, grey = fused(self.look(images).maps, self.options.weighting), grey_of(images)
        columns: list[Tensor] = []
        for threshold in THRESHOLDS:
            thresholds = torch.full((len(images),), threshold)
            guesses = _hard(whole, thresholds, self._grown(grey, whole, thresholds))
            columns.append(dice_of(guesses, masks))
        return torch.stack(columns, 1)

    def _grown(self, grey: Tensor, maps: Tensor, thresholds: Tensor) -> Expanded | None:
        config = self.options.expansion
        return None if config is None else expand(grey, maps, thresholds, config)

    def _thresholds(self, grey: Tensor, maps: Tensor) -> Tensor:
        given = self.options.threshold if self.threshold is None else self.threshold
        if isinstance(given, float):
            return torch.full((len(maps),), given)
        return least_variance_threshold(grey, maps)


def _hard(maps: Tensor, thresholds: Tensor, grown: Expanded | None) -> Tensor:
    """Where a slice's object is, bool. An undecided label of one half, as far from both kinds of seed, is no object."""
    if grown is not None:
        return grown.label > 0.5
    return (maps > 0) & (maps >= thresholds[:, None, None])


def grey_of(images: Tensor) -> Tensor:
    """The slice itself (B, H, W): the mean of its channels, of which neighbours lie evenly around the middle one."""
    channels = images.shape[1]
    return images[:, channels // 2] if channels % 2 else images.mean(1)


def _joined(parts: Sequence[CaseLabels]) -> CaseLabels:
    """The labels of a case from those of its chunks."""
    return CaseLabels(
        torch.cat([part.scores for part in parts]),
        torch.cat([part.shown for part in parts]),
        torch.cat([part.maps for part in parts]),
        torch.cat([part.fused for part in parts]),
        torch.cat([part.labels for part in parts]),
        torch.cat([part.hard for part in parts]),
        torch.cat([part.thresholds for part in parts]),
        torch.cat([part.pixels for part in parts]),
        torch.cat([part.boxes for part in parts]),
        tuple(doubts for part in parts for doubts in part.doubts),
    )
