"""A classifier that learns from tags which slices show an object, and can be asked where it looked.

Fu et al. 2023 (UM-CAM), Sec. 2.1: VGG-16 whose last three layers are one convolution, trained with cross-entropy.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import nn

from fewmask.data.batch import Tagged
from fewmask.errors import InputFault
from fewmask.losses.classification import binary_cross_entropy
from fewmask.losses.tag_loss import balancing_weight
from fewmask.losses.turn import Ramp, Weights
from fewmask.methods.base import SGD, AnyOptimiser, Look, Method, Move, Player, Schedule
from fewmask.networks.vgg import LAYERS, TagVGG, VGGConfig
from fewmask.pseudo_label_config import CamMaps
from fewmask.pseudo_labels.activation_map import maps_of
from fewmask.recipe import Reads
from fewmask.shapes import Images, Logits, Masks, OutcomeLogits, Task


@dataclass(frozen=True)
class TagWeights(Weights):
    """The weight of the classifier's one term."""

    cross_entropy: float | Ramp = 1.0


@dataclass(frozen=True)
class TagConfig:
    """Options of `TagClassifier`.

    `balanced` gives the rarer kind of slice as much weight in all as the other has. The rate, momentum and weight
    decay are those of the authors' code; the paper's momentum, 0.99, looks swapped with its segmenter's.
    Differs: the paper's cross-entropy is not balanced; its augmentation is flips, 30 degrees, crops of 224 and gamma.
    """

    reads: ClassVar[Reads] = "tagged"

    kind: Literal["tags"] = "tags"
    network: VGGConfig = VGGConfig()
    balanced: bool = True
    weights: TagWeights = TagWeights()
    optimiser: AnyOptimiser = SGD(
        rate=1e-3, momentum=0.9, nesterov=True, weight_decay=5e-4, schedule=Schedule(hold=1.0)
    )

    def build(self, task: Task, segmenter: nn.Module | None) -> "TagClassifier":
        """The method with a fresh network."""
        return TagClassifier(self, task)


class TagClassifier(Method):
    """One network, one player; it gives a score for a slice, and maps of where it looked."""

    draws_masks: bool = False
    looks_at: tuple[str, ...] = LAYERS

    def __init__(self, config: TagConfig, task: Task) -> None:
        super().__init__(task)
        self.weights = config.weights
        self.positive_weight = balancing_weight(task.prevalence) if config.balanced else 1.0
        if config.balanced and task.prevalence is not None:
            self.remarks = (
                f"a slice that shows it weighs {self.positive_weight:.3g} times one that does not",
            )
        self.classifier = TagVGG(task.channels, config.network)
        self.players = (Player("classifier", self.classifier, config.optimiser),)

    def training_step(self, batch: Tagged, progress: float) -> Iterator[Move]:
        """One turn: the classifier learns the batch's tags."""
        logits = self.judge(batch.images)
        yield self.weights.weigh(
            "classifier",
            progress,
            cross_entropy=lambda: binary_cross_entropy(logits, batch.tags, self.positive_weight),
        )

    def judge(self, images: Images) -> OutcomeLogits:
        """By how much each slice's score for showing the object exceeds that for not: positive where it does.

        The cross-entropy of two scores' softmax is the binary one of their difference.
        """
        return _margin(self.classifier(images))

    def validate_judge(self, images: Images, masks: Masks) -> OutcomeLogits:
        """The same; masks are not looked at."""
        return self.judge(images)

    def look(self, images: Images, maps: CamMaps) -> Look:
        """Class activation maps of the object's own score, each in [0, 1], at the layers that `maps` names."""
        found = maps_of(self.classifier, images, maps.cam, maps.layers, _object_score)
        return Look(_margin(found.output).detach(), found.normalised)

    def load_imagenet(self, path: Path) -> int:
        """Start from a file of torchvision's `vgg16`; how many tensors were taken. Raises InputFault if it is none."""
        return self.classifier.load_imagenet(path)

    def segment(self, images: Images) -> Logits:
        """A classifier has no masks to give. Raises InputFault."""
        raise InputFault("this stage learns tags and draws no masks; give a run whose last stage segments")

    def validate_segment(self, images: Images) -> Logits:
        """A classifier has no masks to give. Raises InputFault."""
        return self.segment(images)


def _margin(logits: torch.Tensor) -> torch.Tensor:
    return logits[:, 1] - logits[:, 0]


def _object_score(logits: torch.Tensor) -> torch.Tensor:
    """The score before the softmax of showing the object."""
    return logits[:, 1]
