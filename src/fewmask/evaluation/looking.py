"""Where the classifier of a run looks in an image: the stage that is asked, at which layers, and its map of a case."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fewmask.data.prepared_case import PreparedCase
from fewmask.errors import InputFault
from fewmask.evaluation.trained import Trained, load_trained
from fewmask.methods.base import Look
from fewmask.pseudo_label_config import Cam, CamMaps, Weighting
from fewmask.pseudo_labels.fusion import fused
from fewmask.recipe import Stage


@dataclass(frozen=True)
class CaseMap:
    """Where a classifier looks in a case's N slices, in their prepared order and on their own grid.

    `heat` (N, H, W) is in [0, 1], each slice's in shares of its own peak; all zero where nothing raises the score.
    `probability` is the case's; `shown` is the slice with the highest score.
    """

    heat: NDArray[np.float32]
    probability: float
    shown: int


@dataclass(frozen=True)
class Looking:
    """A trained classifier, the stage that it is, and the maps that it is asked for.

    Maps of several layers are fused by `weighting`, as the run's pseudo-labels are.
    """

    trained: Trained
    stage: Stage
    maps: CamMaps
    weighting: Weighting = "exponential"

    @property
    def learns_tags(self) -> bool:
        """Whether it tells what a slice shows, and not what becomes of a patient."""
        return self.stage.method.reads == "tagged"

    def map_of(self, prepared: PreparedCase) -> CaseMap:
        """The map of a case.

        An outcome's probability is the mean of the slices', as `segment` tells it; that an object is shown, the
        highest of them. A volume's slices in which a classifier of tags finds nothing have no map, as in pseudo-labels.
        """
        looks = [self.look(images) for images in prepared.chunks()]
        scores = torch.cat([look.scores for look in looks])
        own = torch.cat([prepared.on_own_grid(self._one_map(look.maps))[:, 0] for look in looks])
        probabilities = scores.double().sigmoid()
        if self.learns_tags and not prepared.is_picture:
            own[scores <= 0] = 0.0
        probability = probabilities.max() if self.learns_tags else probabilities.mean()
        return CaseMap(own.numpy(), float(probability), int(scores.argmax()))

    def look(self, images: Tensor) -> Look:
        """The scores (B,) of prepared images (B, C, S, S) and their maps (B, M, S, S) in [0, 1], on the CPU."""
        trained = self.trained
        with trained.fabric.autocast():
            found = trained.method.look(images.to(trained.fabric.device), self.maps)
        assert found is not None  # the method names layers that it can be asked about
        return Look(*(values.float().cpu() for values in found))

    def _one_map(self, maps: Tensor) -> Tensor:
        return maps if maps.shape[1] == 1 else fused(maps, self.weighting)[:, None]


def load_looking(last: Trained, layer: str | None, cam: Cam, device: str = "auto") -> Looking:
    """The last stage of a run that can say where it looks; `last` is the run's last stage.

    By default it is asked about the layers whose maps the run's pseudo-labels are made of, else about the deepest.
    Raises InputFault for a run without such a stage, and for a layer that its network does not have.
    """
    found = next(
        ((trained, stage) for trained, stage in _stages(last, device) if trained.method.looks_at), None
    )
    if found is None:
        raise InputFault(
            f"{last.run.folder}: recipe {last.recipe.name} has no classifier that could say where it looks; give a run "
            "of `fewmask train` joint, diagnosis or umcam"
        )
    trained, stage = found
    known = trained.method.looks_at
    if layer is not None and layer not in known:
        raise InputFault(f"--layer {layer}: the network has no such layer; name one of {', '.join(known)}")
    labelled = [other.pseudo_labels for other in last.recipe.stages if other.labelled_by == stage.name]
    usual = labelled[-1] if labelled else None
    if layer is None and usual is not None and isinstance(usual.maps, CamMaps):
        return Looking(trained, stage, CamMaps(cam=cam, layers=usual.maps.layers), usual.weighting)
    return Looking(trained, stage, CamMaps(cam=cam, layers=(layer or known[-1],)))


def _stages(last: Trained, device: str) -> Iterator[tuple[Trained, Stage]]:
    """The stages of a run from the last on, each loaded when it is asked for."""
    stages = last.recipe.stages
    yield last, stages[-1]
    for stage in stages[-2::-1]:
        yield load_trained(last.run.folder, "chosen", device, stage.name), stage
