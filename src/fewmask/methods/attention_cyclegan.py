"""Unpaired translation between two hospitals, then the frozen source segmenter on translated target images.

CycleGAN (Zhu et al. 2017): two translators, two critics, a least-squares game, a cycle and an identity term.
A translator may be given an attention part, which says where it re-draws the image; CycleGAN has none and re-draws
everything. Methods that attend (AGGAN, MSL) are other parts and weights of this file.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from fewmask.data.batch import Adaptation
from fewmask.data.replay import Replay
from fewmask.errors import InputFault
from fewmask.losses.adversarial import fool, tell_apart
from fewmask.losses.translation import cycle_consistency, identity
from fewmask.losses.turn import Ramp, Weights
from fewmask.methods.base import Adam, Method, Move, Player, Schedule
from fewmask.networks.critic import PatchCritic
from fewmask.networks.translator import ResNetTranslator
from fewmask.recipe import Reads
from fewmask.shapes import Images, Logits, Task


@dataclass(frozen=True)
class TranslationWeights(Weights):
    """Weights of the translators' terms. `adversarial` also opens the critics' turns."""

    adversarial: float | Ramp = 1.0
    cycle: float | Ramp = 10.0
    identity: float | Ramp = 5.0


@dataclass(frozen=True)
class NoAttention:
    """The translator re-draws the whole image."""

    kind: Literal["none"] = "none"

    def build(self, channels: int) -> "Everywhere":
        """The part that attends to every pixel."""
        return Everywhere()


class Everywhere(nn.Module):
    """Attention that is 1 at every pixel."""

    def forward(self, images: Images) -> Tensor:
        """(B, 1, H, W) of ones."""
        return torch.ones_like(images[:, :1])


@dataclass(frozen=True)
class AttentionCycleGANConfig:
    """Options of `AttentionCycleGAN`."""

    reads: ClassVar[Reads] = "adaptation"

    kind: Literal["attention_cyclegan"] = "attention_cyclegan"
    translator_width: int = 64
    translator_blocks: int = 9
    critic_width: int = 64
    critic_layers: int = 3
    replay: int = 50
    attention: NoAttention = NoAttention()
    weights: TranslationWeights = TranslationWeights()
    optimiser: Adam = Adam(rate=2e-4, beta1=0.5, schedule=Schedule("linear", 0.5))

    def build(self, task: Task, segmenter: nn.Module | None) -> "AttentionCycleGAN":
        """The method with fresh translators and critics around a trained segmenter of the source."""
        if segmenter is None:
            raise InputFault(
                "recipe: attention_cyclegan needs `segmenter:`, the name of an earlier stage that trains one"
            )
        return AttentionCycleGAN(self, task, segmenter)


class Translation(NamedTuple):
    """A re-drawn image and where it was re-drawn: (B, C, H, W) in [-1, 1], (B, 1, H, W) in [0, 1]."""

    image: Images
    attention: Tensor


class AttendedTranslator(nn.Module):
    """Re-draws an image where its attention is high and keeps it elsewhere: a * G(x) + (1 - a) * x (MSL, Eq. 4)."""

    def __init__(self, translator: nn.Module, attention: nn.Module) -> None:
        super().__init__()
        self.translator = translator
        self.attention = attention

    def forward(self, images: Images) -> Translation:
        """The composite, and the attention that made it."""
        attention = self.attention(images)
        return Translation(attention * self.translator(images) + (1.0 - attention) * images, attention)


class AttentionCycleGAN(Method):
    """Two attended translators and two critics around a frozen segmenter of the source."""

    def __init__(self, config: AttentionCycleGANConfig, task: Task, segmenter: nn.Module) -> None:
        super().__init__(task)
        self.weights = config.weights
        self.to_target = self._translator(config)
        self.to_source = self._translator(config)
        self.source_critic = PatchCritic(task.channels, config.critic_width, config.critic_layers)
        self.target_critic = PatchCritic(task.channels, config.critic_width, config.critic_layers)
        if task.size < self.source_critic.smallest_size:
            raise InputFault(
                f"size={task.size}: the critics need images of at least {self.source_critic.smallest_size} pixels; "
                "raise --set size, or lower --set critic_layers"
            )
        self.replay_source = Replay(config.replay)
        self.replay_target = Replay(config.replay)
        self.segmenter = segmenter.eval().requires_grad_(False)
        translators = nn.ModuleList([self.to_target, self.to_source])
        self.players = (
            Player("translators", translators, config.optimiser),
            Player("source_critic", self.source_critic, config.optimiser),
            Player("target_critic", self.target_critic, config.optimiser),
        )

    def _translator(self, config: AttentionCycleGANConfig) -> AttendedTranslator:
        channels = self.task.channels
        network = ResNetTranslator(channels, channels, config.translator_width, config.translator_blocks)
        return AttendedTranslator(network, config.attention.build(channels))

    def train(self, mode: bool = True) -> "AttentionCycleGAN":
        """Training mode for the players only: the segmenter stays frozen, its batch norms too."""
        super().train(mode)
        self.segmenter.eval()
        return self

    def training_step(self, batch: Adaptation, progress: float) -> Iterator[Move]:
        """The translators' turn, then each critic's, on the translations that the translators' turn was judged by."""
        source, target = batch.source.images, batch.target.images
        as_target, as_source = self.to_target(source), self.to_source(target)
        yield self.weights.weigh(
            "translators",
            progress,
            adversarial=lambda: (
                fool(self.target_critic(as_target.image)) + fool(self.source_critic(as_source.image))
            ),
            cycle=lambda: (
                cycle_consistency(source, self.to_source(as_target.image).image)
                + cycle_consistency(target, self.to_target(as_source.image).image)
            ),
            identity=lambda: (
                identity(target, self.to_target(target).image)
                + identity(source, self.to_source(source).image)
            ),
        )
        yield self.weights.gate(
            "source_critic",
            progress,
            adversarial=lambda: tell_apart(
                self.source_critic(source), self.source_critic(self.replay_source(as_source.image))
            ),
        )
        yield self.weights.gate(
            "target_critic",
            progress,
            adversarial=lambda: tell_apart(
                self.target_critic(target), self.target_critic(self.replay_target(as_target.image))
            ),
        )

    def translate(self, images: Images) -> Images:
        """Target images as the source hospital would have taken them."""
        return self.to_source(images).image

    def segment(self, images: Images) -> Logits:
        """The frozen source segmenter on translated target images."""
        return self.segmenter(self.translate(images))

    def validate_segment(self, images: Images) -> Logits:
        """The frozen segmenter on source images."""
        return self.segmenter(images)
