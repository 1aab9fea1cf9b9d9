"""Unpaired translation between two hospitals, then the frozen source segmenter on translated target images.

CycleGAN (Zhu et al. 2017): two translators, two critics, a least-squares game, a cycle and an identity term. AGGAN
(Mejjati et al. 2018) gives each translator an attention, which says where it re-draws the image. MSL (Zhang et al.
2020) ties that attention to classes, and asks that what stood out before the translation stands out after it. They
are one method with other parts and weights.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fewmask.config import did_you_mean
from fewmask.data.batch import Adaptation
from fewmask.data.replay import Replay
from fewmask.errors import InputFault
from fewmask.losses.adversarial import Adversarial, fool, tell_apart
from fewmask.losses.attention import (
    attended_map,
    counted_map,
    source_attention_consistency,
    target_attention_consistency,
)
from fewmask.losses.saliency import ColourSpace, saliency, saliency_consistency
from fewmask.losses.translation import cycle_consistency, identity
from fewmask.losses.turn import Ramp, Turn, Weights
from fewmask.methods.base import Adam, Method, Move, Player, Schedule, Segmentation
from fewmask.networks.attended import AttendedTranslator, Translation
from fewmask.networks.attention import AgganAttention, NoAttention, ResidualAttention
from fewmask.networks.critic import PatchCritic, patch_remark
from fewmask.networks.translator import ResNetTranslator
from fewmask.recipe import Reads
from fewmask.shapes import Images, Logits, Task, Verdicts

Attention = Annotated[NoAttention | AgganAttention | ResidualAttention, Field(discriminator="kind")]

View = Literal["image", "salient", "attended"]
"""What a critic is shown: the image, only what stands out in it, or only where it is attended; the rest is grey."""


@dataclass(frozen=True)
class TranslationWeights(Weights):
    """Weights of the translators' terms. `adversarial` also opens the critics' turns."""

    adversarial: float | Ramp = 1.0
    cycle: float | Ramp = 10.0
    identity: float | Ramp = 5.0
    attention_source: float | Ramp = 0.0
    attention_target: float | Ramp = 0.0
    saliency_source: float | Ramp = 0.0
    saliency_target: float | Ramp = 0.0


@dataclass(frozen=True)
class Phase:
    """From the share `start` of the training on, in [0, 1), critics see `view`."""

    start: float
    view: View


@dataclass(frozen=True)
class AttentionCycleGANConfig:
    """Options of `AttentionCycleGAN`.

    `attended` names the classes that may be re-drawn; None is all of them. From the share `attention_frozen` of the
    training on the attention learns no more, and from `critic_norms_end` on the critics leave out their instance
    norms (AGGAN has both). Thresholds are on maps in [0, 1]. Without `cycle_moves_attention` the cycle term teaches
    the translators alone: it is cheapest where nothing is re-drawn, and pulls the attention off small regions.
    """

    reads: ClassVar[Reads] = "adaptation"

    kind: Literal["attention_cyclegan"] = "attention_cyclegan"
    translator_width: int = 64
    translator_blocks: int = 9
    critic_width: int = 64
    critic_layers: int = 3
    replay: int = 50
    attention: Attention = NoAttention()
    attended: tuple[str, ...] | None = None
    phases: tuple[Phase, ...] = (Phase(0.0, "image"),)
    attention_frozen: float = 1.0
    critic_norms_end: float = 1.0
    cycle_moves_attention: bool = True
    attention_threshold: float = 0.2
    saliency_threshold: float = 0.7
    saliency_space: ColourSpace = "lab"
    adversarial: Adversarial = "least_squares"
    weights: TranslationWeights = TranslationWeights()
    optimiser: Adam = Adam(rate=2e-4, beta1=0.5, schedule=Schedule("linear", 0.5))

    def build(self, task: Task, segmenter: nn.Module | None) -> "AttentionCycleGAN":
        """The method with fresh translators and critics around a trained segmenter of the source."""
        if segmenter is None:
            raise InputFault(
                "recipe: attention_cyclegan needs `segmenter:`, the name of an earlier stage that trains one"
            )
        return AttentionCycleGAN(self, task, segmenter)


class AttentionCycleGAN(Method):
    """Two attended translators and two critics around a frozen segmenter of the source."""

    def __init__(self, config: AttentionCycleGANConfig, task: Task, segmenter: nn.Module) -> None:
        super().__init__(task)
        self.config = config
        self.weights = config.weights
        self.attended = _attended_classes(config.attended, task)
        # Neighbouring slices in three channels are no colours.
        self.saliency_space = config.saliency_space if task.neighbours == 1 else "rgb"
        if not isinstance(config.attention, NoAttention):
            self.attention_threshold = config.attention_threshold
            chosen = "as chosen" if config.attended else "all; choose with --set attended=[...]"
            self.kept_classes = tuple(sorted({*range(len(task.classes))} - {*self.attended}))
            names = ", ".join(task.classes[index] for index in self.attended)
            self.remarks = (f"classes that may be re-drawn: {names} ({chosen})",)
        self.to_target = _translator(config, task.channels)
        self.to_source = _translator(config, task.channels)
        self.source_critic = PatchCritic(task.channels, config.critic_width, config.critic_layers)
        self.target_critic = PatchCritic(task.channels, config.critic_width, config.critic_layers)
        self.remarks += _judged_size(task, self.source_critic)
        self.replay_source = Replay(config.replay)
        self.replay_target = Replay(config.replay)
        self.segmenter = segmenter.eval().requires_grad_(False)
        translators = nn.ModuleList([self.to_target, self.to_source])
        self.players = (
            Player("translators", translators, config.optimiser),
            Player("source_critic", self.source_critic, config.optimiser),
            Player("target_critic", self.target_critic, config.optimiser),
        )

    def train(self, mode: bool = True) -> "AttentionCycleGAN":
        """Training mode for the players only: the segmenter stays frozen, its batch norms too."""
        super().train(mode)
        self.segmenter.eval()
        return self

    def training_step(self, batch: Adaptation, progress: float) -> Iterator[Move]:
        """The translators' turn, then each critic's, on the translations that the translators' turn was judged by."""
        source, target = batch.source.images, batch.target.images
        learn = progress < self.config.attention_frozen
        as_target, as_source = self.to_target(source, learn), self.to_source(target, learn)

        @cache
        def source_again() -> Translation:
            return self._again(self.to_source, source, as_target, learn)

        @cache
        def target_again() -> Translation:
            return self._again(self.to_target, target, as_source, learn)

        yield self.weights.weigh(
            "translators",
            progress,
            adversarial=lambda: (
                fool(self._judged(self.target_critic, as_target, progress), self.config.adversarial)
                + fool(self._judged(self.source_critic, as_source, progress), self.config.adversarial)
            ),
            cycle=lambda: (
                cycle_consistency(source, source_again().image)
                + cycle_consistency(target, target_again().image)
            ),
            identity=lambda: (
                identity(target, self.to_target(target, learn).image)
                + identity(source, self.to_source(source, learn).image)
            ),
            attention_source=lambda: source_attention_consistency(
                as_target.attention,
                source_again().attention,
                attended_map(batch.source.masks, self.attended),
                counted_map(batch.source.masks),
            ),
            attention_target=lambda: target_attention_consistency(
                as_source.attention, target_again().attention
            ),
            saliency_source=lambda: self._saliency_change(source, as_target),
            saliency_target=lambda: self._saliency_change(target, as_source),
        )
        real_source, real_target = (
            Translation(source, as_target.attention),
            Translation(target, as_source.attention),
        )
        yield self._critic_turn("source_critic", real_source, as_source, progress)
        yield self._critic_turn("target_critic", real_target, as_target, progress)

    def _again(
        self, translator: AttendedTranslator, images: Images, first: Translation, learn: bool
    ) -> Translation:
        """A translation on its way back, and where that way looks."""
        if self.config.cycle_moves_attention:
            return translator(first.image, learn)
        back = translator(first.held(images), learn_attention=False)
        attention = translator.attention(first.image)
        return Translation(back.image, attention if learn else attention.detach())

    def _critic_turn(self, name: str, real: Translation, fake: Translation, progress: float) -> Turn:
        """A critic learns to tell a domain's own images from translations, earlier ones among them."""
        critic, replay = (self.source_critic, self.replay_source)
        if name == "target_critic":
            critic, replay = self.target_critic, self.replay_target
        return self.weights.gate(
            name,
            progress,
            adversarial=lambda: tell_apart(
                self._judged(critic, real, progress),
                self._judged(critic, _replayed(replay, fake), progress),
                self.config.adversarial,
            ),
        )

    def _judged(self, critic: PatchCritic, translation: Translation, progress: float) -> Verdicts:
        """A critic's verdicts on what it is shown of an image in this phase."""
        return critic(self._shown(translation, progress), progress < self.config.critic_norms_end)

    def _shown(self, translation: Translation, progress: float) -> Images:
        """What the critics see of an image in this phase; the map that hides the rest has no gradient."""
        view = [phase.view for phase in self.config.phases if phase.start <= progress][-1]
        if view == "image":
            return translation.image
        if view == "salient":
            stands_out = saliency(translation.image.detach(), self.saliency_space)
            return translation.image * (stands_out > self.config.saliency_threshold)
        return translation.image * self._where(translation)

    def _where(self, translation: Translation) -> Tensor:
        """1 where the attention exceeds its threshold, else 0, without a gradient."""
        attention = translation.attention.detach()
        return (attention > self.config.attention_threshold).to(attention.dtype)

    def _saliency_change(self, images: Images, translation: Translation) -> Tensor:
        space = self.saliency_space
        return saliency_consistency(
            saliency(images, space),
            saliency(translation.image, space),
            self._where(translation),
            self.config.saliency_threshold,
        )

    def translate(self, images: Images) -> Translation:
        """Target images as the source hospital would have taken them."""
        return self.to_source(images)

    def restyle(self, images: Images) -> Images:
        """Source images as the target hospital would have taken them."""
        return self.to_target(images).image

    def there_and_back(self, images: Images) -> Images:
        """Target images as the source hospital would have taken them, and as the target then would have taken those."""
        return self.to_target(self.to_source(images).image).image

    def segment(self, images: Images) -> Logits:
        """The frozen source segmenter on translated target images."""
        return self.segment_with_translation(images).logits

    def segment_with_translation(self, images: Images) -> Segmentation:
        """The same, with the translation that the segmenter saw."""
        translation = self.translate(images)
        return Segmentation(self.segmenter(translation.image), translation)

    def validate_segment(self, images: Images) -> Logits:
        """The frozen segmenter on source images."""
        return self.segmenter(images)


def _replayed(replay: Replay, translation: Translation) -> Translation:
    """An earlier translation with the attention that made it, or this one."""
    pairs = replay(torch.cat([translation.image, translation.attention], dim=1))
    return Translation(pairs[:, :-1], pairs[:, -1:])


def _translator(config: AttentionCycleGANConfig, channels: int) -> AttendedTranslator:
    network = ResNetTranslator(channels, channels, config.translator_width, config.translator_blocks)
    return AttendedTranslator(network, config.attention.build(channels))


def _attended_classes(names: tuple[str, ...] | None, task: Task) -> tuple[int, ...]:
    if names is None:
        return tuple(range(len(task.classes)))
    for name in names:
        if name not in task.classes:
            raise InputFault(
                f"attended: the source has no class {name!r}; {did_you_mean(name, task.classes)} "
                f"(--set attended=[{task.classes[0]}])"
            )
    return tuple(task.classes.index(name) for name in names)


def _judged_size(task: Task, critic: PatchCritic) -> tuple[str, ...]:
    """What to say about critics whose patches are as large as the images. Raises InputFault for images too small."""
    if task.size < critic.smallest_size:
        raise InputFault(
            f"size={task.size}: the critics need images of at least {critic.smallest_size} pixels; "
            "raise --set size, or lower --set critic_layers"
        )
    return patch_remark(critic.field_of_view, task.size)
