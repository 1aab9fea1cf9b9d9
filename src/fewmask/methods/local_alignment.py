"""GLUA's second stage (reconstructed): a segmenter whose features are aligned where the two domains still differ.

A critic judges, place by place, from which domain the encoder's features come. Its verdicts become a mask that
stresses the places which it recognises, and the encoder learns to make target features pass for the source's. GLUA
(Su et al. 2022) is known from its abstract alone; the design is the project's reconstruction. Without the mask it is
the plain alignment of features by a critic.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from fewmask.data.batch import Adaptation
from fewmask.errors import InputFault
from fewmask.losses.feature_gap import GapMeasure, local_mask, pass_for_source, recognise
from fewmask.losses.focal import focal
from fewmask.losses.segmentation import DiceForm, cross_entropy, soft_dice
from fewmask.losses.turn import Ramp, Turn, Weights
from fewmask.methods.base import Adam, AnyOptimiser, Method, Move, Player, Schedule
from fewmask.networks.feature_critic import FeatureCritic
from fewmask.networks.residual_unet import ResidualUNet, ResidualUNetConfig
from fewmask.recipe import Reads
from fewmask.shapes import Images, Logits, Task, Verdicts

LocalMask = Literal["symmetric", "literal", "entropy", "none"]
"""How the critic's verdicts become a mask, see `GapMeasure`; none stresses no place."""


@dataclass(frozen=True)
class LocalAlignmentWeights(Weights):
    """Weights of the segmenter's terms; `recognise` opens the feature critic's turn, however small it is.

    The critic also rests while nothing listens to it: without a mask, as long as `adversarial` is 0. With
    `cross_entropy=1, focal=0` the masks are learnt by SIFA's loss instead of DAR-UNet's.
    """

    focal: float | Ramp = 10.0
    cross_entropy: float | Ramp = 0.0
    dice: float | Ramp = 1.0
    adversarial: float | Ramp = 0.01
    recognise: float | Ramp = 1.0


@dataclass(frozen=True)
class LocalAlignmentConfig:
    """Options of `LocalAlignment`.

    `level` is the encoder's level that is judged, and masked on its way to the decoder: 0 is the finest, -1 the
    coarsest. `domains`: source and target go through the encoder one after the other, each normalised by itself, as in
    SIFA's code; or together, as one batch.
    """

    reads: ClassVar[Reads] = "adaptation"

    kind: Literal["local_alignment"] = "local_alignment"
    network: ResidualUNetConfig = ResidualUNetConfig()
    critic_width: int = 128
    mask: LocalMask = "symmetric"
    level: int = -1
    domains: Literal["apart", "together"] = "apart"
    weights: LocalAlignmentWeights = LocalAlignmentWeights()
    dice: DiceForm = DiceForm()
    optimiser: AnyOptimiser = Adam(rate=5e-4, weight_decay=1e-4, schedule=Schedule("cosine", 0.0))
    critic_optimiser: Adam = Adam(rate=2e-4, beta1=0.5, schedule=Schedule(hold=1.0))

    def build(self, task: Task, segmenter: nn.Module | None) -> "LocalAlignment":
        """The method with fresh networks."""
        return LocalAlignment(self, task)


class LocalAlignment(Method):
    """A residual U-Net, a critic of its features, and the mask between its encoder and its decoder.

    The encoder's batch norms follow both domains. Together in one batch, the two halves can part ways within it: what
    is normal lies between them, and no loss holds the target's half near the source's but the critic's small one.
    Differs from DAR-UNet's second stage (Yao et al. 2022), whose constants the reconstruction borrows: AdamW, where
    the optimiser may be AdaBelief too; the rate falls to 0, not to 5e-7; one output, no deep supervision. Without a
    mask the critic keeps the targets of the symmetric one, so that an ablation changes the mask alone.
    """

    def __init__(self, config: LocalAlignmentConfig, task: Task) -> None:
        super().__init__(task)
        self.config = config
        self.weights = config.weights
        self.measure: GapMeasure = "symmetric" if config.mask == "none" else config.mask
        self.level = _level(config, task)
        self.segmenter = ResidualUNet(task.channels, len(task.classes), config.network)
        self.feature_critic = FeatureCritic(config.network.widths[self.level], config.critic_width)
        self.players = (
            Player("segmenter", self.segmenter, config.optimiser),
            Player("feature_critic", self.feature_critic, config.critic_optimiser),
        )

    def training_step(self, batch: Adaptation, progress: float) -> Iterator[Move]:
        """The critic's turn on the features as they are, then the segmenter's under the mask of the newer critic."""
        sources, masks = len(batch.source.images), batch.source.masks
        maps, judged = self._seen(batch)
        if self.config.mask != "none" or self.weights.value("adversarial", progress) != 0.0:
            yield self._critic_turn(judged.detach(), sources, progress)

        @cache
        def verdicts() -> Verdicts:
            return self.feature_critic(judged)

        logits = self._decode_masked(maps, lambda: verdicts()[: len(maps[0])])[:sources]
        yield self.weights.weigh(
            "segmenter",
            progress,
            focal=lambda: focal(logits, masks),
            cross_entropy=lambda: cross_entropy(logits, masks),
            dice=lambda: soft_dice(logits.softmax(1), masks, self.config.dice),
            adversarial=lambda: pass_for_source(verdicts()[sources:], self.measure),
        )

    def _seen(self, batch: Adaptation) -> tuple[list[Tensor], Tensor]:
        """The maps that are decoded, and the judged maps of both domains, the source's first.

        Together, the target's half is decoded too, for the decoder's batch norms alone: no loss reads it.
        """
        if self.config.domains == "together":
            maps = self.segmenter.features(torch.cat([batch.source.images, batch.target.images]))
            return maps, maps[self.level]
        maps = self.segmenter.features(batch.source.images)
        of_target = self.segmenter.features(batch.target.images)[self.level]
        return maps, torch.cat([maps[self.level], of_target])

    def _critic_turn(self, features: Tensor, sources: int, progress: float) -> Turn:
        """The feature critic learns to tell the first `sources` images' features from the others'."""

        def told_apart() -> Tensor:
            verdicts = self.feature_critic(features)
            return recognise(verdicts[:sources], verdicts[sources:], self.measure)

        return self.weights.gate("feature_critic", progress, recognise=told_apart)

    def _decode_masked(self, maps: list[Tensor], verdicts: Callable[[], Verdicts]) -> Logits:
        """Class scores from the encoder's maps, of which the judged one becomes (1 + M) f, M without a gradient."""
        if self.config.mask == "none":
            return self.segmenter.decode(maps)
        judged = maps[self.level]
        # Under autocast the mask is in single precision; its product need not be.
        stressed = (1.0 + local_mask(verdicts(), self.measure)).to(judged.dtype) * judged
        return self.segmenter.decode([*maps[: self.level], stressed, *maps[self.level + 1 :]])

    def segment(self, images: Images) -> Logits:
        """Class scores under the critic's mask, which so belongs to the segmenter after training too."""
        maps = self.segmenter.features(images)
        return self._decode_masked(maps, lambda: self.feature_critic(maps[self.level]))

    def validate_segment(self, images: Images) -> Logits:
        """The same on source images; those of a restyled stage are not restyled here."""
        return self.segment(images)


def _level(config: LocalAlignmentConfig, task: Task) -> int:
    """The judged level, counted from the finest. Raises InputFault where it does not exist or images are too small."""
    levels = len(config.network.widths)
    if not -levels <= config.level < levels:
        raise InputFault(
            f"level={config.level}: the encoder has the levels 0 to {levels - 1}; -1 is the last"
        )
    coarsest = 2 ** (levels - 1)
    if task.size < 2 * coarsest or task.size % coarsest:
        raise InputFault(
            f"size={task.size}: a network of {levels} levels needs a multiple of {coarsest} from {2 * coarsest} "
            "pixels on; change --set size, or give fewer widths with --set network.widths"
        )
    return config.level % levels
