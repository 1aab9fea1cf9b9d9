"""A segmenter whose masks of the target shall be drawn like those of the source.

AdaptSegNet (Tsai et al. 2018): what an organ looks like changes from domain to domain, where it lies and how it is
shaped does not. So a critic judges the segmenter's maps of class probabilities, and the segmenter learns to draw
target images like source images.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from fewmask.data.batch import Adaptation
from fewmask.errors import InputFault
from fewmask.losses.adversarial import Adversarial, fool, tell_apart
from fewmask.losses.segmentation import DiceForm, cross_entropy, soft_dice
from fewmask.losses.turn import Ramp, Weights
from fewmask.methods.base import Adam, Method, Move, Player, Schedule
from fewmask.networks.output_critic import OutputCritic
from fewmask.networks.unet import UNet, UNetConfig
from fewmask.recipe import Reads
from fewmask.shapes import Images, Logits, Task


@dataclass(frozen=True)
class OutputAlignmentWeights(Weights):
    """Weights of the segmenter's terms. `adversarial` also opens the critic's turn."""

    cross_entropy: float | Ramp = 1.0
    dice: float | Ramp = 1.0
    adversarial: float | Ramp = 0.001


@dataclass(frozen=True)
class OutputAlignmentConfig:
    """Options of `OutputAlignment`. `critic_layers` counts the critic's halvings before its last."""

    reads: ClassVar[Reads] = "adaptation"

    kind: Literal["output_alignment"] = "output_alignment"
    network: UNetConfig = UNetConfig()
    critic_width: int = 64
    critic_layers: int = 4
    adversarial: Adversarial = "log"
    weights: OutputAlignmentWeights = OutputAlignmentWeights()
    dice: DiceForm = DiceForm()
    optimiser: Adam = Adam(rate=1e-3, weight_decay=1e-4, schedule=Schedule("cosine", 0.0))
    critic_optimiser: Adam = Adam(rate=1e-4, beta2=0.99, schedule=Schedule("linear", 0.0))

    def build(self, task: Task, segmenter: nn.Module | None) -> "OutputAlignment":
        """The method with fresh networks."""
        return OutputAlignment(self, task)


class OutputAlignment(Method):
    """A U-Net and a critic of its probabilities.

    Tsai et al. 2018, single level. Differs: the floor's U-Net, Dice beside the cross-entropy, and the floor's
    optimiser, where the paper has DeepLab and SGD at 2.5e-4; rates fall by a cosine and a line, not by a power of
    0.9; both domains pass the segmenter as one batch, so that its batch norms know both when it segments.
    """

    def __init__(self, config: OutputAlignmentConfig, task: Task) -> None:
        super().__init__(task)
        self.config = config
        self.weights = config.weights
        self.segmenter = UNet(task.channels, len(task.classes), config.network)
        self.output_critic = OutputCritic(len(task.classes), config.critic_width, config.critic_layers)
        if task.size < self.output_critic.smallest_size:
            raise InputFault(
                f"size={task.size}: the critic needs images of at least {self.output_critic.smallest_size} pixels; "
                "raise --set size, or lower --set critic_layers"
            )
        self.players = (
            Player("segmenter", self.segmenter, config.optimiser),
            Player("output_critic", self.output_critic, config.critic_optimiser),
        )

    def training_step(self, batch: Adaptation, progress: float) -> Iterator[Move]:
        """The segmenter's turn, then the critic's on the probabilities of that same turn, as published."""
        sources, masks = len(batch.source.images), batch.source.masks
        logits = self.segmenter(torch.cat([batch.source.images, batch.target.images]))

        @cache
        def probabilities() -> Tensor:
            return logits.softmax(1)

        yield self.weights.weigh(
            "segmenter",
            progress,
            cross_entropy=lambda: cross_entropy(logits[:sources], masks),
            dice=lambda: soft_dice(probabilities()[:sources], masks, self.config.dice),
            adversarial=lambda: fool(self.output_critic(probabilities()[sources:]), self.config.adversarial),
        )
        drawn = logits.detach().softmax(1)
        yield self.weights.gate(
            "output_critic",
            progress,
            adversarial=lambda: tell_apart(
                self.output_critic(drawn[:sources]),
                self.output_critic(drawn[sources:]),
                self.config.adversarial,
            ),
        )

    def segment(self, images: Images) -> Logits:
        """Class scores of the U-Net."""
        return self.segmenter(images)

    def validate_segment(self, images: Images) -> Logits:
        """The same on source images."""
        return self.segmenter(images)
