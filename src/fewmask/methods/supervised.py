"""A U-Net trained on masks: the floor ("no adaptation") and the ceiling ("the target's own masks").

Ronneberger et al. 2015. Differs: batch norm, padded convolutions, Dice beside the cross-entropy, as is usual today.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Discriminator, Tag
from torch import nn

from fewmask.config import kind_or
from fewmask.data.batch import Labelled
from fewmask.losses.segmentation import DiceForm, cross_entropy, soft_dice
from fewmask.losses.turn import Ramp, Weights
from fewmask.methods.base import Adam, Method, Move, Player, Schedule
from fewmask.networks.umcam_unet import LeakyUNet, LeakyUNetConfig
from fewmask.networks.unet import UNet, UNetConfig
from fewmask.recipe import Reads
from fewmask.shapes import Images, Logits, Task

AnyUNet = Annotated[
    Annotated[UNetConfig, Tag("unet")] | Annotated[LeakyUNetConfig, Tag("leaky_unet")],
    Discriminator(kind_or("unet")),
]
"""The type of a config's field that takes either."""


@dataclass(frozen=True)
class SupervisedWeights(Weights):
    """Weights of the two terms of the segmenter's loss."""

    cross_entropy: float | Ramp = 1.0
    dice: float | Ramp = 1.0


@dataclass(frozen=True)
class SupervisedConfig:
    """Options of `Supervised`. `dice` chooses among the published forms of the soft Dice, see `DiceForm`."""

    reads: ClassVar[Reads] = "labelled"

    kind: Literal["supervised"] = "supervised"
    network: AnyUNet = UNetConfig()
    weights: SupervisedWeights = SupervisedWeights()
    dice: DiceForm = DiceForm()
    optimiser: Adam = Adam(rate=1e-3, weight_decay=1e-4, schedule=Schedule("cosine", 0.0))

    def build(self, task: Task, segmenter: nn.Module | None) -> "Supervised":
        """The method with a fresh network."""
        return Supervised(self, task)


class Supervised(Method):
    """One network, one player."""

    def __init__(self, config: SupervisedConfig, task: Task) -> None:
        super().__init__(task)
        self.weights = config.weights
        self.dice = config.dice
        self.segmenter = _network(config.network, task)
        self.players = (Player("segmenter", self.segmenter, config.optimiser),)

    def training_step(self, batch: Labelled, progress: float) -> Iterator[Move]:
        """One turn: the segmenter learns the batch's masks."""
        logits = self.segmenter(batch.images)
        yield self.weights.weigh(
            "segmenter",
            progress,
            cross_entropy=lambda: cross_entropy(logits, batch.masks),
            dice=lambda: soft_dice(logits.softmax(1), batch.masks, self.dice),
        )

    def segment(self, images: Images) -> Logits:
        """Class scores of the U-Net."""
        return self.segmenter(images)

    def validate_segment(self, images: Images) -> Logits:
        """The same: training and segmentation share one domain."""
        return self.segmenter(images)


def _network(config: UNetConfig | LeakyUNetConfig, task: Task) -> UNet | LeakyUNet:
    """The network that a config describes."""
    if isinstance(config, LeakyUNetConfig):
        return LeakyUNet(task.channels, len(task.classes), config)
    return UNet(task.channels, len(task.classes), config)
