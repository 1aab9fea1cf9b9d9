"""What SIFA's networks make of a batch: both translations, the ways back, and the class scores."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from fewmask.networks.padded_critic import PaddedCritic
from fewmask.networks.residual_translator import ResidualTranslator
from fewmask.networks.shared_encoder import ImageDecoder, SegmentationHead, SharedEncoder, Taps
from fewmask.shapes import Images, Logits


@dataclass(frozen=True)
class Ensemble:
    """The networks that play together: encoder and decoder translate to the source, encoder and head segment."""

    translator: ResidualTranslator
    encoder: SharedEncoder
    decoder: ImageDecoder
    head: SegmentationHead
    auxiliary_head: SegmentationHead
    source_critic: PaddedCritic


class ForwardPass:
    """One forward pass over a batch, each part of it made when it is first asked for.

    `learner` is the player whose turn it is: "translator", "segmenter" (encoder and heads) or "decoder". What its
    weights cannot change is made without a memory of how: with "" everything, with None nothing.
    """

    def __init__(self, networks: Ensemble, source: Images, target: Images, learner: str | None) -> None:
        self.networks = networks
        self.source = source
        self.target = target
        self.learner = learner

    def _moved_by(self, *players: str) -> AbstractContextManager[object]:
        """Remember how a part is made where one of the players that it depends on is learning."""
        learning = self.learner is None or self.learner in players
        return torch.set_grad_enabled(learning and torch.is_grad_enabled())

    @cached_property
    def translated(self) -> Images:
        """Source images in the target's look."""
        with self._moved_by("translator"):
            return self.networks.translator(self.source)

    @cached_property
    def translated_taps(self) -> Taps:
        """The features of source images in the target's look."""
        with self._moved_by("translator", "segmenter"):
            return self.networks.encoder(self.translated)

    @cached_property
    def target_taps(self) -> Taps:
        """The features of target images."""
        with self._moved_by("segmenter"):
            return self.networks.encoder(self.target)

    @cached_property
    def as_source(self) -> Images:
        """Target images in the source's look."""
        with self._moved_by("segmenter", "decoder"):
            return self.networks.decoder(self.target_taps.last, self.target)

    @cached_property
    def returned_source(self) -> Images:
        """Source images that were there and back."""
        with self._moved_by("translator", "segmenter", "decoder"):
            return self.networks.decoder(self.translated_taps.last, self.translated)

    @cached_property
    def returned_target(self) -> Images:
        """Target images that were there and back."""
        with self._moved_by("translator", "segmenter", "decoder"):
            return self.networks.translator(self.as_source)

    @cached_property
    def verdicts(self) -> Tensor:
        """All maps of the source's critic on target images in the source's look."""
        with self._moved_by("segmenter", "decoder"):
            return self.networks.source_critic(self.as_source)

    @cached_property
    def translated_logits(self) -> Logits:
        """Class scores of source images in the target's look."""
        with self._moved_by("segmenter"):
            return self.networks.head(self.translated_taps.last)

    @cached_property
    def target_logits(self) -> Logits:
        """Class scores of target images."""
        with self._moved_by("segmenter"):
            return self.networks.head(self.target_taps.last)

    @cached_property
    def translated_auxiliary_logits(self) -> Logits:
        """What the second head says of source images in the target's look."""
        with self._moved_by("segmenter"):
            return self.networks.auxiliary_head(self.translated_taps.earlier)

    @cached_property
    def target_auxiliary_logits(self) -> Logits:
        """What the second head says of target images."""
        with self._moved_by("segmenter"):
            return self.networks.auxiliary_head(self.target_taps.earlier)
