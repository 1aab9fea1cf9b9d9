"""A classifier that tells an outcome from an image: whole, or with only some classes left in it.

Zhang et al. 2020 (MSL), Sec. 3.4, learn fetal and maternal inflammatory response at stage 2 or 3 from the source's
photographs, and show the target's "only occupied by cord and disk to remove distractions". They give neither network
nor loss; here both are the usual ones.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn

from fewmask.config import did_you_mean
from fewmask.data.batch import Diagnosed
from fewmask.errors import InputFault
from fewmask.losses.classification import binary_cross_entropy
from fewmask.losses.tag_loss import balancing_weight
from fewmask.losses.turn import Ramp, Weights
from fewmask.methods.base import Adam, Look, Method, Move, Player, Schedule
from fewmask.networks.classifier import Classifier, ClassifierConfig
from fewmask.pseudo_label_config import CamMaps
from fewmask.pseudo_labels.activation_map import maps_of
from fewmask.recipe import Reads
from fewmask.shapes import Images, Logits, Masks, OutcomeLogits, Task

HIDDEN = 0.0
"""What a hidden pixel becomes: mid grey, the middle of [-1, 1], as where critics are shown a part of an image."""


@dataclass(frozen=True)
class OutcomeWeights(Weights):
    """The weight of the classifier's one term."""

    cross_entropy: float | Ramp = 1.0


@dataclass(frozen=True)
class OutcomeConfig:
    """Options of `OutcomeClassifier`.

    `kept` names the classes whose pixels stay visible in training; None shows whole images, as the paper does.
    `balanced` gives the rarer outcome as much weight in all as the other has.
    """

    reads: ClassVar[Reads] = "outcomes"

    kind: Literal["outcome"] = "outcome"
    network: ClassifierConfig = ClassifierConfig()
    kept: tuple[str, ...] | None = None
    balanced: bool = True
    weights: OutcomeWeights = OutcomeWeights()
    optimiser: Adam = Adam(rate=1e-3, weight_decay=1e-4, schedule=Schedule("cosine", 0.0))

    def build(self, task: Task, segmenter: nn.Module | None) -> "OutcomeClassifier":
        """The method with a fresh network."""
        return OutcomeClassifier(self, task)


class OutcomeClassifier(Method):
    """One network, one player; it gives a probability for an image and no masks."""

    draws_masks: bool = False

    def __init__(self, config: OutcomeConfig, task: Task) -> None:
        super().__init__(task)
        self.weights = config.weights
        self.visible = None if config.kept is None else class_numbers(config.kept, task.classes)
        self.positive_weight = balancing_weight(task.prevalence) if config.balanced else 1.0
        if config.balanced and task.prevalence is not None:
            self.remarks = (f"an image with the outcome weighs {self.positive_weight:.3g} times one without",)
        self.classifier = Classifier(task.channels, config.network)
        self.looks_at = self.classifier.layer_names
        self.players = (Player("classifier", self.classifier, config.optimiser),)

    def training_step(self, batch: Diagnosed, progress: float) -> Iterator[Move]:
        """One turn: the classifier learns the batch's outcomes."""
        logits = self.validate_judge(batch.images, batch.masks)
        yield self.weights.weigh(
            "classifier",
            progress,
            cross_entropy=lambda: binary_cross_entropy(logits, batch.outcomes, self.positive_weight),
        )

    def judge(self, images: Images) -> OutcomeLogits:
        """The outcome's score of each image as it is given."""
        return self.classifier(images)

    def validate_judge(self, images: Images, masks: Masks) -> OutcomeLogits:
        """The outcome's score of labelled images, of which the classifier sees what it is trained to see."""
        return self.classifier(images if self.visible is None else keep_only(images, masks, self.visible))

    def look(self, images: Images, maps: CamMaps) -> Look:
        """Class activation maps of the outcome's score at levels of the encoder, "level1" being the finest.

        Images are looked at as they are given, whole, as `judge` does.
        """
        found = maps_of(self.classifier, images, maps.cam, maps.layers, _outcome)
        return Look(found.output.detach(), found.normalised)

    def segment(self, images: Images) -> Logits:
        """A classifier has no masks to give. Raises InputFault."""
        raise InputFault("this run tells an outcome and draws no masks; use `fewmask diagnose`")

    def validate_segment(self, images: Images) -> Logits:
        """A classifier has no masks to give. Raises InputFault."""
        return self.segment(images)


def _outcome(logits: OutcomeLogits) -> OutcomeLogits:
    return logits


def keep_only(images: Images, masks: Masks, visible: Sequence[int]) -> Images:
    """The images with every pixel hidden whose class is not among the visible ones; ignored pixels are hidden."""
    shown = torch.isin(masks, torch.tensor(visible, device=masks.device))
    return torch.where(shown[:, None], images, HIDDEN)


def class_numbers(names: Sequence[str], classes: Sequence[str]) -> tuple[int, ...]:
    """The numbers of named classes. Raises InputFault for a name that no class has, and for none at all."""
    if not names:
        raise InputFault(f"no class is kept; name some of {', '.join(classes)}")
    for name in names:
        if name not in classes:
            raise InputFault(f"kept: there is no class {name!r}; {did_you_mean(name, classes)}")
    return tuple(classes.index(name) for name in names)
