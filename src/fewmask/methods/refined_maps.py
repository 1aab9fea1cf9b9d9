"""A network that learns activation maps from the slices they were made of, and gives smoother ones (DRS's second).

Kim et al. 2021: over many slices, what is accidental in single maps averages out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewmask.data.batch import SoftlyLabelled
from fewmask.errors import InputFault
from fewmask.losses.tag_loss import map_regression
from fewmask.losses.turn import Ramp, Weights
from fewmask.methods.base import Adam, AnyOptimiser, Method, Move, Player, Schedule
from fewmask.networks.evidence import at_rest
from fewmask.networks.suppressed_vgg import NoSuppression, SuppressedVGG, SuppressedVGGConfig
from fewmask.recipe import Reads
from fewmask.shapes import Images, Logits, Masks, OutcomeLogits, SoftMasks, Task


@dataclass(frozen=True)
class RefinedMapsWeights(Weights):
    """The weight of the one term."""

    regression: float | Ramp = 1.0


@dataclass(frozen=True)
class RefinedMapsConfig:
    """Options of `RefinedMaps`. The rate falls to a tenth after each third of the training, as in the official run."""

    reads: ClassVar[Reads] = "soft"

    kind: Literal["refined_maps"] = "refined_maps"
    network: SuppressedVGGConfig = SuppressedVGGConfig(suppression=NoSuppression())
    weights: RefinedMapsWeights = RefinedMapsWeights()
    optimiser: AnyOptimiser = Adam(rate=1e-4, schedule=Schedule("stairs", hold=0.0, stairs=3, drop=0.1))

    def build(self, task: Task, segmenter: nn.Module | None) -> "RefinedMaps":
        """The method with a fresh network."""
        return RefinedMaps(self, task)


class RefinedMaps(Method):
    """One network, one player; it gives a map of the object, of its own strength.

    Kim et al. 2021 (DRS). Differs: what becomes of the refined map (its threshold, and the pixels that saliency
    contradicts) is the pseudo-labels' affair, and no saliency of photographs is asked; slices are stretched to [0, 1].
    """

    draws_masks: bool = False

    def __init__(self, config: RefinedMapsConfig, task: Task) -> None:
        super().__init__(task)
        self.weights = config.weights
        self.refiner = SuppressedVGG(task.channels, config.network)
        self.players = (Player("refiner", self.refiner, config.optimiser),)

    def training_step(self, batch: SoftlyLabelled, progress: float) -> Iterator[Move]:
        """One turn: the network learns the batch's maps; labels grown from seeds are not looked at."""
        yield self.weights.weigh(
            "refiner",
            progress,
            regression=lambda: map_regression(self._regressed(batch.images), batch.maps),
        )

    def judge(self, images: Images) -> OutcomeLogits:
        """The log-odds of each map's strongest place: positive where some pixel reaches one half."""
        strongest = self._regressed(images).amax((1, 2))
        return torch.logit(strongest.clamp(0.0, 1.0), eps=1e-6)

    def validate_judge(self, images: Images, masks: Masks | None) -> OutcomeLogits:
        """The same; masks are not looked at."""
        return self.judge(images)

    def own_maps(self, images: Images) -> SoftMasks:
        """The regressed map, cut off at 0 and 1, made at rest and without gradients.

        It is not divided by its greatest value: it has learnt how strong a map is, and on a slice without the object
        that would blow up what is left.
        """
        with at_rest(self):
            return self._regressed(images).clamp(0.0, 1.0)

    def load_imagenet(self, path: Path) -> int:
        """Start from a file of torchvision's `vgg16`; how many tensors were taken. Raises InputFault if it is none."""
        return self.refiner.load_imagenet(path)

    def segment(self, images: Images) -> Logits:
        """It gives maps and no masks. Raises InputFault."""
        raise InputFault("this stage refines maps and draws no masks; give a run whose last stage segments")

    def validate_segment(self, images: Images) -> Logits:
        """It gives maps and no masks. Raises InputFault."""
        return self.segment(images)

    def _regressed(self, images: Images) -> Tensor:
        """(B, H, W), unbounded: the network's scores, resized bilinearly."""
        scores = self.refiner.scores(images)
        precise = scores.to(torch.promote_types(scores.dtype, torch.float32))
        return functional.interpolate(precise, size=images.shape[-2:], mode="bilinear", align_corners=False)[
            :, 0
        ]
