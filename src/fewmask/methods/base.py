"""What the loop asks of a method, and nothing more."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import nn

from fewmask.losses.saliency import ColourSpace
from fewmask.losses.turn import Turn
from fewmask.networks.attended import Translation
from fewmask.shapes import Images, Logits, Masks, OutcomeLogits, Task

Move = Turn | tuple[Turn, ...]
"""One turn, or several that are played simultaneously: all gradients first, then all steps."""


@dataclass(frozen=True)
class Schedule:
    """The learning rate's factor over the training: constant until `hold` (a share in [0, 1]), then falling to 0."""

    shape: Literal["linear", "cosine"] = "linear"
    hold: float = 0.5

    def factor(self, progress: float) -> float:
        """1 at the start, near 0 at the end.

        >>> Schedule("linear", 0.5).factor(0.75)
        0.5
        """
        if progress <= self.hold:
            return 1.0
        fallen = (progress - self.hold) / (1.0 - self.hold)
        return 1.0 - fallen if self.shape == "linear" else 0.5 * (1.0 + math.cos(math.pi * fallen))


@dataclass(frozen=True)
class Adam:
    """Adam's constants; decoupled weight decay (AdamW) where `weight_decay` is not 0."""

    rate: float = 2e-4
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.0
    schedule: Schedule = Schedule()


class Player:
    """Networks that are updated together by one optimiser."""

    def __init__(self, name: str, networks: nn.Module, config: Adam) -> None:
        self.name = name
        self.networks = networks
        self.parameters = list(networks.parameters())
        self.config = config
        self.optimiser = torch.optim.AdamW(
            self.parameters, config.rate, (config.beta1, config.beta2), weight_decay=config.weight_decay
        )

    def step(self, progress: float) -> None:
        """Take one optimiser step at the rate that the schedule gives for this share of the training."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.rate * self.config.schedule.factor(progress)
        self.optimiser.step()


class Segmentation(NamedTuple):
    """Class scores, and the translation that they were made from, or None where there is none."""

    logits: Logits
    translation: Translation | None


class Method(nn.Module, ABC):
    """A paper: its networks, its players, one training step, and one way to segment.

    Everything that must survive a restart is in `state_dict` (networks, replay buffers) or in a player's
    optimiser; randomness is drawn from torch's global generator, which the loop seeds anew at every step.
    """

    players: tuple[Player, ...]

    draws_masks: ClassVar[bool] = True
    """Whether it segments. A method that only judges whole images says False, and its `segment` raises InputFault."""

    remarks: tuple[str, ...] = ()
    """What a user should be told about how the method took its options."""

    kept_classes: tuple[int, ...] = ()
    """Classes whose pixels a translation shall leave as they are."""

    attention_threshold: float | None = None
    """Attention in [0, 1] up to which a translation leaves a pixel alone; None where it re-draws the whole image."""

    saliency_space: ColourSpace = "lab"
    """The colours in which it is judged what stands out in an image."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task

    @abstractmethod
    def training_step(self, batch: Any, progress: float) -> Iterator[Move]:
        """Yield one move after another; the loop plays each before it asks for the next.

        `progress` is the share of the training that is done, in [0, 1).
        """

    @abstractmethod
    def segment(self, images: Images) -> Logits:
        """Class scores for prepared images of the domain that the method was trained to segment."""

    @abstractmethod
    def validate_segment(self, images: Images) -> Logits:
        """Class scores for prepared images of the labelled cohort: what validation on held-out patients uses."""

    def translate(self, images: Images) -> Translation | None:
        """Images to be segmented as the method re-draws them first, and where; None where it does not re-draw."""
        return None

    def segment_with_translation(self, images: Images) -> Segmentation:
        """What `segment` and `translate` give; a method that segments its translation makes it only once."""
        return Segmentation(self.segment(images), self.translate(images))

    def restyle(self, images: Images) -> Images | None:
        """Labelled images as the other domain would have taken them, or None where the method re-draws none."""
        return None

    def judge(self, images: Images) -> OutcomeLogits | None:
        """The outcome's score of prepared images, or None where the method tells no outcome."""
        return None

    def validate_judge(self, images: Images, masks: Masks) -> OutcomeLogits | None:
        """The outcome's score of labelled images: what validation on held-out patients uses. None as for `judge`."""
        return None

    def player(self, name: str) -> Player:
        """The player of that name."""
        return next(player for player in self.players if player.name == name)
