"""One network that outlines an organ and tells an outcome from the same look at it.

Wlodarczyk et al. 2020: a U-Net whose contracting path also feeds fully connected layers. Without the outcome's term it
is the plain segmenter of their Table 1; without the masks' terms it is a classifier.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Tag
from torch import nn

from fewmask.config import kind_or
from fewmask.data.batch import PartlyLabelled
from fewmask.errors import InputFault
from fewmask.losses.classification import known_cross_entropy
from fewmask.losses.segmentation import DiceForm, cross_entropy, soft_dice
from fewmask.losses.tag_loss import balancing_weight
from fewmask.losses.turn import Ramp, Weights
from fewmask.methods.base import AnyOptimiser, CoupledAdam, Look, Method, Move, Player, Segmentation
from fewmask.networks.deeplab import DeepLabv3, DeepLabv3Config
from fewmask.networks.fcn import FCN, FCNConfig
from fewmask.networks.outcome_branch import BranchConfig, OutcomeBranch
from fewmask.networks.two_answers import TwoAnswers
from fewmask.networks.unet import UNet, UNetConfig
from fewmask.pseudo_label_config import CamMaps
from fewmask.pseudo_labels.activation_map import maps_of
from fewmask.recipe import Reads
from fewmask.shapes import Images, Logits, Masks, OutcomeLogits, Task

AnyBody = Annotated[
    Annotated[UNetConfig, Tag("unet")]
    | Annotated[FCNConfig, Tag("fcn")]
    | Annotated[DeepLabv3Config, Tag("deeplabv3")],
    Discriminator(kind_or("unet")),
]
"""The type of a config's field that takes any of the three networks of Table 1."""


@dataclass(frozen=True)
class JointWeights(Weights):
    """Weights of the two terms of the masks (the paper's alpha and 1 - alpha) and of the outcome's (its beta)."""

    cross_entropy: float | Ramp = 0.5
    dice: float | Ramp = 0.5
    outcome: float | Ramp = 0.8


@dataclass(frozen=True)
class JointConfig:
    """Options of `Joint`. What has no term whose weight is not 0, the outcome or the masks, is not learnt.

    With `balance` the rarer outcome's training images are drawn, each time augmented in another way, until both
    outcomes are equally many. `positive_weight` is what an image with the outcome weighs against one without; `auto`
    gives both outcomes the same weight in all: negatives / positives of the training images, or 1 with `balance`.
    """

    reads: ClassVar[Reads] = "partly"

    kind: Literal["joint"] = "joint"
    network: AnyBody = UNetConfig((64, 128, 256, 512, 1024))
    branch: BranchConfig = BranchConfig()
    balance: bool = True
    positive_weight: float | Literal["auto"] = "auto"
    weights: JointWeights = JointWeights()
    dice: DiceForm = DiceForm(background=False, above=0.0, below=1e-7)
    optimiser: AnyOptimiser = CoupledAdam(rate=1e-4, weight_decay=5e-4)

    def __post_init__(self) -> None:
        if self.positive_weight != "auto" and self.positive_weight <= 0.0:
            raise InputFault(f"positive_weight={self.positive_weight:g}: must be above 0, e.g. 9, or auto")

    @property
    def learns_outcome(self) -> bool:
        """Whether an outcome is told."""
        return self.weights.outcome != 0.0

    @property
    def learns_masks(self) -> bool:
        """Whether masks are drawn."""
        return self.weights.cross_entropy != 0.0 or self.weights.dice != 0.0

    def build(self, task: Task, segmenter: nn.Module | None) -> "Joint":
        """The method with a fresh network."""
        return Joint(self, task)


class Joint(Method):
    """One network, one player, and up to three terms; an image counts only in those whose label it has."""

    def __init__(self, config: JointConfig, task: Task) -> None:
        super().__init__(task)
        self.weights = config.weights
        self.dice = config.dice
        self.draws_masks, self.tells_outcome = config.learns_masks, config.learns_outcome
        self.positive_weight = _positive_weight(config, task)
        if config.learns_outcome and self.positive_weight != 1.0:
            self.remarks = (f"an image with the outcome weighs {self.positive_weight:.3g} times one without",)
        body = _body(config.network, task)
        branch = OutcomeBranch(body.widths, config.branch)
        self.segmenter = TwoAnswers(body, branch)
        if self.tells_outcome:
            # No level behind the deepest that the branch is given leads to the outcome.
            self.looks_at = self.segmenter.layer_names[: len(body.widths) + 1 + max(branch.taps)]
        self.players = (Player("network", self.segmenter, config.optimiser),)

    def training_step(self, batch: PartlyLabelled, progress: float) -> Iterator[Move]:
        """One turn: the network learns both answers at once. Eq. 1: L = alpha BCE + (1 - alpha) Dice + beta BCE_w.

        Differs: the BCE has its minus sign, which Eq. 2 lacks; with several classes it is the cross-entropy.
        """
        features = self.segmenter.body.features(batch.images)
        # Masks that no term asks for are not drawn, and both of theirs share one drawing.
        drawn = cache(lambda: self.segmenter.drawn(features))
        yield self.weights.weigh(
            "network",
            progress,
            cross_entropy=lambda: cross_entropy(drawn(), batch.masks),
            dice=lambda: soft_dice(drawn().softmax(1), batch.masks, self.dice),
            outcome=lambda: known_cross_entropy(
                self.segmenter.told(features), batch.outcomes, batch.has_outcome, self.positive_weight
            ),
        )

    def segment(self, images: Images) -> Logits:
        """Class scores of the network. Raises InputFault where it was trained to draw no masks."""
        return self.segment_with_translation(images).logits

    def segment_with_translation(self, images: Images) -> Segmentation:
        """Both answers from one pass."""
        if not self.draws_masks:
            raise InputFault("this run tells an outcome and draws no masks")
        logits, outcome = self.segmenter(images)
        return Segmentation(logits, None, outcome if self.tells_outcome else None)

    def validate_segment(self, images: Images) -> Logits:
        """The same: training and segmentation share one domain."""
        return self.segment(images)

    def judge(self, images: Images) -> OutcomeLogits | None:
        """The outcome's score of each image, or None where it was not learnt."""
        return self.segmenter.judge(images) if self.tells_outcome else None

    def validate_judge(self, images: Images, masks: Masks) -> OutcomeLogits | None:
        """The same; masks are not looked at."""
        return self.judge(images)

    def look(self, images: Images, maps: CamMaps) -> Look | None:
        """Class activation maps of the outcome's score at levels of the encoder, "level1" being the finest."""
        if not self.tells_outcome:
            return None
        found = maps_of(self.segmenter, images, maps.cam, maps.layers, _outcome_of)
        return Look(_outcome_of(found.output).detach(), found.normalised)

    def load_imagenet(self, path: Path) -> int:
        """Start FCN or DeepLabv3 from a file of torchvision's network, or its ResNet-50; how many tensors were taken.

        Raises InputFault where it does not fit, and for the U-Net.
        """
        body = self.segmenter.body
        return body.load_imagenet(path) if isinstance(body, FCN | DeepLabv3) else super().load_imagenet(path)


def _outcome_of(answers: Any) -> OutcomeLogits:
    return answers.outcome


def _positive_weight(config: JointConfig, task: Task) -> float:
    if config.positive_weight != "auto":
        return config.positive_weight
    return 1.0 if config.balance else balancing_weight(task.prevalence)


def _body(config: UNetConfig | FCNConfig | DeepLabv3Config, task: Task) -> UNet | FCN | DeepLabv3:
    """The network that a config describes, with a score for each class but the background."""
    outputs = len(task.classes) - 1
    match config:
        case FCNConfig():
            return FCN(task.channels, outputs, config)
        case DeepLabv3Config():
            return DeepLabv3(task.channels, outputs, config)
        case UNetConfig():
            return UNet(task.channels, outputs, config)
