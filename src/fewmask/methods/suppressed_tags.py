"""A classifier from tags that may not rest on the most telling part of the object alone (DRS).

Kim et al. 2021: features are capped at a share of their maximum, so the activation map spreads over the object. The
network that refines its maps is `fewmask.methods.refined_maps`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import nn
from torch.nn import functional

from fewmask.data.batch import Tagged
from fewmask.errors import InputFault
from fewmask.losses.classification import binary_cross_entropy
from fewmask.losses.tag_loss import balancing_weight
from fewmask.losses.turn import Ramp, Weights
from fewmask.methods.base import SGD, AnyOptimiser, Method, Move, Player, Schedule
from fewmask.networks.evidence import at_rest, evidence_maps
from fewmask.networks.suppressed_vgg import STRIDE, SuppressedVGG, SuppressedVGGConfig
from fewmask.recipe import Reads
from fewmask.shapes import Images, Logits, Masks, OutcomeLogits, SoftMasks, Task

PAPERS_SCALES = (0.8, 1.0, 1.2)
"""256, 320 and 384 pixels where it trains at 320: the sizes at which the paper looks for maps."""


@dataclass(frozen=True)
class SuppressedTagsWeights(Weights):
    """The weight of the classifier's one term."""

    soft_margin: float | Ramp = 1.0


@dataclass(frozen=True)
class SuppressedTagsConfig:
    """Options of `SuppressedTags`.

    `scales` are the sizes, as factors of the image's own, at which a map is made; of each pixel the greatest counts.
    `PAPERS_SCALES` are the paper's. `balanced` gives the rarer kind of slice as much weight in all as the other has.
    """

    reads: ClassVar[Reads] = "tagged"

    kind: Literal["suppressed_tags"] = "suppressed_tags"
    network: SuppressedVGGConfig = SuppressedVGGConfig()
    scales: tuple[float, ...] = (1.0,)
    balanced: bool = True
    weights: SuppressedTagsWeights = SuppressedTagsWeights()
    optimiser: AnyOptimiser = SGD(
        rate=1e-3,
        momentum=0.9,
        nesterov=True,
        weight_decay=5e-4,
        schedule=Schedule("stairs", hold=0.0, stairs=3, drop=0.1),
    )

    def __post_init__(self) -> None:
        if not self.scales or min(self.scales) <= 0.0 or max(self.scales) > 4.0:
            raise InputFault(
                f"scales={list(self.scales)}: factors of the size, above 0 and at most 4, e.g. [0.8, 1, 1.2]"
            )

    def build(self, task: Task, segmenter: nn.Module | None) -> "SuppressedTags":
        """The method with a fresh network."""
        return SuppressedTags(self, task)


class SuppressedTags(Method):
    """One network, one player; it gives a score for a slice, and a map of the object.

    Kim et al. 2021 (DRS). Differs: one rate for all weights, where the authors' code has twice as much for biases and
    ten times as much for layers without ImageNet weights, of which there are none here unless a file is given; both
    kinds of slice are balanced; slices are stretched to [0, 1], as for every classifier from tags.
    """

    draws_masks: bool = False

    def __init__(self, config: SuppressedTagsConfig, task: Task) -> None:
        super().__init__(task)
        self.weights = config.weights
        self.scales = config.scales
        self.positive_weight = balancing_weight(task.prevalence) if config.balanced else 1.0
        if self.positive_weight != 1.0:
            self.remarks = (
                f"a slice that shows it weighs {self.positive_weight:.3g} times one that does not",
            )
        self.classifier = SuppressedVGG(task.channels, config.network)
        self.players = (Player("classifier", self.classifier, config.optimiser),)

    def training_step(self, batch: Tagged, progress: float) -> Iterator[Move]:
        """One turn: the classifier learns the batch's tags.

        The multi-label soft margin loss of the paper is, for one class, the binary cross-entropy.
        """
        yield self.weights.weigh(
            "classifier",
            progress,
            soft_margin=lambda: binary_cross_entropy(
                self.classifier(batch.images), batch.tags, self.positive_weight
            ),
        )

    def judge(self, images: Images) -> OutcomeLogits:
        """The score of each slice: positive where it shows the object."""
        return self.classifier(images)

    def validate_judge(self, images: Images, masks: Masks | None) -> OutcomeLogits:
        """The same; masks are not looked at."""
        return self.judge(images)

    def own_maps(self, images: Images) -> SoftMasks:
        """Where the object is, by each slice's positive scores: of several scales the greatest.

        Whether the slice shows the object at all, `judge` says. Made at rest and without gradients.
        """
        rows, columns = images.shape[-2:]
        with at_rest(self):
            looks = [
                evidence_maps(self.classifier.scores(_rescaled(images, scale)), rows, columns)
                for scale in self.scales
            ]
        return torch.stack(looks).amax(0)

    def load_imagenet(self, path: Path) -> int:
        """Start from a file of torchvision's `vgg16`; how many tensors were taken. Raises InputFault if it is none."""
        return self.classifier.load_imagenet(path)

    def segment(self, images: Images) -> Logits:
        """A classifier has no masks to give. Raises InputFault."""
        raise InputFault("this stage learns tags and draws no masks; give a run whose last stage segments")

    def validate_segment(self, images: Images) -> Logits:
        """A classifier has no masks to give. Raises InputFault."""
        return self.segment(images)


def _rescaled(images: Images, scale: float) -> Images:
    """Images of about `scale` times their size, each side a multiple of the network's stride; 1 leaves them alone."""
    if scale == 1.0:
        return images
    sides = [max(STRIDE, round(side * scale / STRIDE) * STRIDE) for side in images.shape[-2:]]
    return functional.interpolate(images, size=sides, mode="bilinear", align_corners=False)
