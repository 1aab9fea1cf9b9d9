"""Masks in one modality, bare images in another: images and features are aligned at once, around one shared encoder.

SIFA (Chen et al. 2019, version 1; Chen et al. 2020, version 2). A translator draws source images in the target's
look, and a segmenter learns on those, under the source's masks. Its encoder, with a decoder, also draws target images
in the source's look. Critics of images keep both translations true to their domains, critics of class scores make
target images be segmented as plausibly as translated ones, and the source's critic has a second map that asks which
domain an image in the source's look came from.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Literal

from torch import Tensor, nn

from fewmask.data.batch import Adaptation
from fewmask.data.replay import Replay
from fewmask.losses.adversarial import fool, tell_apart
from fewmask.losses.segmentation import DiceForm, class_weighted_cross_entropy, soft_dice
from fewmask.losses.translation import cycle_consistency
from fewmask.losses.turn import Ramp, Turn, Weights
from fewmask.losses.weight_size import weight_size
from fewmask.methods.base import Adam, Method, Move, Player, Schedule
from fewmask.networks.critic import patch_remark
from fewmask.networks.padded_critic import PaddedCritic
from fewmask.networks.residual_translator import ResidualTranslator
from fewmask.networks.shared_encoder import ImageDecoder, SegmentationHead, SharedEncoder
from fewmask.networks.there_and_back import Ensemble, ForwardPass
from fewmask.networks.zero_padded import When
from fewmask.recipe import Reads
from fewmask.shapes import Images, Logits, Masks, Task, Verdicts

BATCH_DICE = DiceForm(above=0.0, below=1e-7)
"""The Dice of SIFA's code: squared probabilities, background counted, an absent class costs its share."""

STEADY = Schedule(hold=1.0)


@dataclass(frozen=True)
class SIFAWeights(Weights):
    """Weights of the terms of all turns; those that make an opponent's work also open its critic's turn.

    `cycle` and `source_adversarial` make the decoder's loss; `redrawing` times all of it is a term of the segmenter,
    whose encoder draws with the decoder. `auxiliary_source_adversarial` belongs to the source critic's second map,
    the other `auxiliary_` terms to the second head (version 2 alone).
    """

    cross_entropy: float | Ramp = 1.0
    dice: float | Ramp = 1.0
    auxiliary_cross_entropy: float | Ramp = 0.1
    auxiliary_dice: float | Ramp = 0.1
    weight_size: float | Ramp = 1e-4
    cycle: float | Ramp = 10.0
    target_adversarial: float | Ramp = 1.0
    source_adversarial: float | Ramp = 1.0
    redrawing: float | Ramp = 0.1
    prediction_adversarial: float | Ramp = 0.1
    auxiliary_prediction_adversarial: float | Ramp = 0.01
    auxiliary_source_adversarial: float | Ramp = 0.1


LEARNS_BY = {
    "translator": ("cycle", "target_adversarial"),
    "target_critic": ("target_adversarial",),
    "decoder": ("cycle", "source_adversarial"),
    "source_critic": ("source_adversarial", "auxiliary_source_adversarial"),
    "prediction_critic": ("prediction_adversarial",),
    "auxiliary_prediction_critic": ("auxiliary_prediction_adversarial",),
}
"""The terms of each player but the segmenter; one whose terms are all switched off does not play."""

TAUGHT_BY_MASKS = ("auxiliary_cross_entropy", "auxiliary_dice")
"""The terms that teach the second head what the masks say."""


@dataclass(frozen=True)
class SIFAConfig:
    """Options of `SIFA`; the defaults are version 2's.

    Widths are the features of each network's first or last layer at the image's size. `tiles` repeats an image's
    channels at the entry of encoder and translator. `replay` counts batches. In the order "faithful" each turn makes
    its own forward pass with the weights as they are then; in "one_forward" all players learn from one pass, and move
    together: cheaper, and another algorithm.
    """

    reads: ClassVar[Reads] = "adaptation"

    kind: Literal["sifa"] = "sifa"
    encoder_width: int = 16
    translator_width: int = 32
    translator_blocks: int = 9
    decoder_width: int = 32
    critic_width: int = 64
    critic_layers: int = 3
    tiles: int = 1
    encoder_dropout: float = 0.0
    decoder_dropout: When = "training"
    replay: int = 50
    order: Literal["faithful", "one_forward"] = "faithful"
    dice: DiceForm = BATCH_DICE
    weights: SIFAWeights = SIFAWeights()
    optimiser: Adam = Adam(rate=2e-4, beta1=0.5, schedule=STEADY)
    segmenter_optimiser: Adam = Adam(rate=2e-4, schedule=STEADY)

    def build(self, task: Task, segmenter: nn.Module | None) -> "SIFA":
        """The method with fresh networks; it needs no segmenter of an earlier stage."""
        return SIFA(self, task)


class SIFA(Method):
    """A translator, an encoder with a decoder and two heads, and a critic for each thing that shall look real."""

    def __init__(self, config: SIFAConfig, task: Task) -> None:
        super().__init__(task)
        self.config = config
        self.weights = config.weights
        channels, classes, drop = task.channels, len(task.classes), config.encoder_dropout
        self.translator = ResidualTranslator(
            channels, config.translator_width, config.translator_blocks, config.tiles
        )
        self.encoder = SharedEncoder(channels, config.encoder_width, drop, config.tiles)
        self.head = SegmentationHead(self.encoder.width, classes, drop)
        self.auxiliary_head = SegmentationHead(self.encoder.width, classes, drop)
        self.decoder = ImageDecoder(
            self.encoder.width, channels, config.decoder_width, config.decoder_dropout
        )
        self.target_critic = self._critic(channels)
        self.source_critic = self._critic(channels, maps=2)
        self.prediction_critic = self._critic(classes)
        self.auxiliary_prediction_critic = self._critic(classes)
        self.replay_target = Replay(config.replay, whole_batches=True)
        self.replay_source = Replay(config.replay, whole_batches=True)
        self._ensemble = Ensemble(
            self.translator, self.encoder, self.decoder, self.head, self.auxiliary_head, self.source_critic
        )
        self._seats = self._seated()
        self.players = tuple(player for player in self._seats if self._plays(player.name))
        self.remarks = patch_remark(self.target_critic.field_of_view, task.size)

    def _critic(self, channels: int, maps: int = 1) -> PaddedCritic:
        return PaddedCritic(channels, self.config.critic_width, self.config.critic_layers, maps)

    def _seated(self) -> tuple[Player, ...]:
        """Every player, in playing order, whether its terms are switched on or not."""
        segmenter = nn.ModuleList([self.encoder, self.head])
        if self._opened(*TAUGHT_BY_MASKS, "auxiliary_prediction_adversarial"):
            segmenter.append(self.auxiliary_head)
        return (
            Player("translator", self.translator, self.config.optimiser),
            Player("target_critic", self.target_critic, self.config.optimiser),
            Player("segmenter", segmenter, self.config.segmenter_optimiser),
            Player("decoder", self.decoder, self.config.optimiser),
            Player("source_critic", self.source_critic, self.config.optimiser),
            Player("prediction_critic", self.prediction_critic, self.config.optimiser),
            Player("auxiliary_prediction_critic", self.auxiliary_prediction_critic, self.config.optimiser),
        )

    def _opened(self, *terms: str) -> bool:
        """Whether any of the terms has a weight at the end of the training, when every ramp has risen."""
        return any(self.weights.value(term, 1.0) != 0.0 for term in terms)

    def _plays(self, player: str) -> bool:
        """Whether a player has a term to learn by."""
        return player not in LEARNS_BY or self._opened(*LEARNS_BY[player])

    def player(self, name: str) -> Player:
        """The player of that name, which may have no term to learn by."""
        return next(player for player in self._seats if player.name == name)

    def training_step(self, batch: Adaptation, progress: float) -> Iterator[Move]:
        """Translator, target's critic, segmenter, decoder, source's critic, the critics of predictions."""
        masks = batch.source.masks
        turns: tuple[tuple[str, Callable[[ForwardPass, float], Turn]], ...] = (
            ("translator", self._translator_turn),
            ("", self._target_critic_turn),
            ("segmenter", lambda drawn, progress: self._segmenter_turn(drawn, masks, progress)),
            ("decoder", self._decoder_turn),
            ("", self._source_critic_turn),
            ("", self._prediction_critic_turn),
            ("", self._auxiliary_prediction_critic_turn),
        )
        if self.config.order == "one_forward":
            drawn = self._pass(batch, None)
            together = tuple(turn(drawn, progress) for _, turn in turns)
            yield tuple(turn for turn in together if turn.terms)
            return
        for learner, turn in turns:
            played = turn(self._pass(batch, learner), progress)
            if played.terms:
                yield played

    def _pass(self, batch: Adaptation, learner: str | None) -> ForwardPass:
        return ForwardPass(self._ensemble, batch.source.images, batch.target.images, learner)

    def _translator_turn(self, drawn: ForwardPass, progress: float) -> Turn:
        """Source images shall look like the target's, and come back as they were."""
        return self.weights.weigh(
            "translator",
            progress,
            cycle=lambda: _cycle(drawn),
            target_adversarial=lambda: fool(self.target_critic(drawn.translated)),
        )

    def _segmenter_turn(self, drawn: ForwardPass, masks: Masks, progress: float) -> Turn:
        """Translated images are segmented by their masks, target images as plausibly; the encoder learns to draw."""
        dice = self.config.dice
        return self.weights.weigh(
            "segmenter",
            progress,
            cross_entropy=lambda: class_weighted_cross_entropy(drawn.translated_logits, masks),
            dice=lambda: soft_dice(drawn.translated_logits.softmax(1), masks, dice),
            auxiliary_cross_entropy=lambda: class_weighted_cross_entropy(
                drawn.translated_auxiliary_logits, masks
            ),
            auxiliary_dice=lambda: soft_dice(drawn.translated_auxiliary_logits.softmax(1), masks, dice),
            weight_size=lambda: weight_size(self.player("segmenter").parameters),
            redrawing=lambda: self._decoder_turn(drawn, progress).loss.to(masks.device),
            prediction_adversarial=lambda: fool(self.prediction_critic(drawn.target_logits)),
            auxiliary_prediction_adversarial=lambda: fool(
                self.auxiliary_prediction_critic(drawn.target_auxiliary_logits)
            ),
            auxiliary_source_adversarial=lambda: fool(_origin(drawn.verdicts)),
        )

    def _decoder_turn(self, drawn: ForwardPass, progress: float) -> Turn:
        """Target images shall look like the source's, and images of both domains come back as they were."""
        return self.weights.weigh(
            "decoder",
            progress,
            cycle=lambda: _cycle(drawn),
            source_adversarial=lambda: fool(_realness(drawn.verdicts)),
        )

    # A critic's gate asks for the weight at the end (1.0): it learns from the first step on, however late a ramp
    # lets the others listen to it.

    def _target_critic_turn(self, drawn: ForwardPass, progress: float) -> Turn:
        """Target images are real, source images in the target's look, earlier ones among them, are not."""
        return self.weights.gate(
            "target_critic",
            1.0,
            target_adversarial=lambda: tell_apart(
                self.target_critic(drawn.target), self.target_critic(self.replay_target(drawn.translated))
            ),
        )

    def _source_critic_turn(self, drawn: ForwardPass, progress: float) -> Turn:
        """Source images are real, target images in the source's look are not.

        Its second map takes source images that were there and back for real: both are drawn by the decoder, and only
        where they came from tells them apart.
        """

        @cache
        def fakes() -> Tensor:
            return self.source_critic(self.replay_source(drawn.as_source))

        return self.weights.gate(
            "source_critic",
            1.0,
            source_adversarial=lambda: tell_apart(
                _realness(self.source_critic(drawn.source)), _realness(fakes())
            ),
            auxiliary_source_adversarial=lambda: tell_apart(
                _origin(self.source_critic(drawn.returned_source.detach())), _origin(fakes())
            ),
        )

    def _prediction_critic_turn(self, drawn: ForwardPass, progress: float) -> Turn:
        """Class scores of translated images, which masks have taught, are real; those of target images are not."""
        critic = self.prediction_critic
        return self.weights.gate(
            "prediction_critic",
            1.0,
            prediction_adversarial=lambda: tell_apart(
                critic(drawn.translated_logits.detach()), critic(drawn.target_logits.detach())
            ),
        )

    def _auxiliary_prediction_critic_turn(self, drawn: ForwardPass, progress: float) -> Turn:
        """The same for the second head."""
        critic = self.auxiliary_prediction_critic
        return self.weights.gate(
            "auxiliary_prediction_critic",
            1.0,
            auxiliary_prediction_adversarial=lambda: tell_apart(
                critic(drawn.translated_auxiliary_logits.detach()),
                critic(drawn.target_auxiliary_logits.detach()),
            ),
        )

    def segment(self, images: Images) -> Logits:
        """Class scores of target images, seen as they are."""
        return self.head(self.encoder(images).last)

    def segment_twice(self, images: Images) -> tuple[Logits, Logits] | None:
        """What the two heads say of target images; None where no mask teaches the second one (version 1)."""
        if not self._opened(*TAUGHT_BY_MASKS):
            return None
        taps = self.encoder(images)
        return self.head(taps.last), self.auxiliary_head(taps.earlier)

    def there_and_back(self, images: Images) -> Images | None:
        """Target images drawn in the source's look and back; None where nothing teaches either way."""
        if not (self._plays("translator") and self._opened("redrawing")):
            return None
        return self.translator(self.decoder(self.encoder(images).last, images))

    def validate_segment(self, images: Images) -> Logits:
        """Class scores of source images once they are drawn in the target's look."""
        return self.segment(self.translator(images))

    def restyle(self, images: Images) -> Images:
        """Source images in the target's look."""
        return self.translator(images)


def _cycle(drawn: ForwardPass) -> Tensor:
    """What images of both domains lost on their ways there and back."""
    of_source = cycle_consistency(drawn.source, drawn.returned_source)
    return of_source + cycle_consistency(drawn.target, drawn.returned_target)


def _realness(maps: Tensor) -> Verdicts:
    """The source critic's first map: is it a source image?"""
    return maps[:, :1]


def _origin(maps: Tensor) -> Verdicts:
    """The source critic's second map: did what is drawn in the source's look come from the source?"""
    return maps[:, 1:]
