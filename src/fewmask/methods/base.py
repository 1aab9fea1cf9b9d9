"""What the loop asks of a method, and nothing more."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Discriminator, Tag
from torch import nn

from fewmask.config import kind_or
from fewmask.errors import InputFault
from fewmask.losses.saliency import ColourSpace
from fewmask.losses.turn import Turn
from fewmask.networks.attended import Translation
from fewmask.pseudo_label_config import CamMaps
from fewmask.shapes import ActivationMaps, Images, Logits, Masks, OutcomeLogits, SoftMasks, Task

Move = Turn | tuple[Turn, ...]
"""One turn, or several that are played simultaneously: all gradients first, then all steps."""


class Look(NamedTuple):
    """A classifier's score of each image, as `Method.judge` gives it, and where it looked, without gradients."""

    scores: OutcomeLogits
    maps: ActivationMaps


@dataclass(frozen=True)
class Schedule:
    """The learning rate's factor over the training: constant until `hold` (a share in [0, 1]), then falling.

    "linear" and "cosine" fall to 0. "stairs" divides what is left into `stairs` equal parts, and each has `drop` times
    the factor of the one before. "poly" is the linear fall to the power of `power`.
    """

    shape: Literal["linear", "cosine", "stairs", "poly"] = "linear"
    hold: float = 0.5
    stairs: int = 10
    drop: float = 0.9
    power: float = 0.9

    def factor(self, progress: float) -> float:
        """1 at the start, and the least at the end.

        >>> Schedule("linear", 0.5).factor(0.75)
        0.5
        >>> [round(Schedule("stairs", hold=0.0).factor(epoch / 20), 3) for epoch in (0, 1, 2, 3, 4, 19)]
        [1.0, 1.0, 0.9, 0.9, 0.81, 0.387]
        >>> Schedule("poly", hold=0.0, power=2.0).factor(0.5)
        0.25
        """
        if progress <= self.hold:
            return 1.0
        fallen = (progress - self.hold) / (1.0 - self.hold)
        if self.shape == "stairs":
            # Shares such as 0.29 times 100 fall short of the stair that they stand on by a rounding error.
            return self.drop ** math.floor(fallen * self.stairs + 1e-9)
        if self.shape == "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * fallen))
        return (1.0 - fallen) ** (self.power if self.shape == "poly" else 1.0)


@dataclass(frozen=True)
class Adam:
    """Adam's constants; decoupled weight decay (AdamW) where `weight_decay` is not 0."""

    rate: float = 2e-4
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.0
    schedule: Schedule = Schedule()

    def build(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """A fresh optimiser of the parameters."""
        betas = (self.beta1, self.beta2)
        return torch.optim.AdamW(parameters, self.rate, betas, weight_decay=self.weight_decay)


@dataclass(frozen=True)
class CoupledAdam:
    """Adam's constants as torch's own Adam takes them: weight decay is added to the gradient. The rate is constant.

    Kingma & Ba 2015, Alg. 1.
    """

    kind: Literal["coupled_adam"] = "coupled_adam"
    rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.0
    schedule: Schedule = Schedule(hold=1.0)

    def build(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """A fresh optimiser of the parameters."""
        betas = (self.beta1, self.beta2)
        return torch.optim.Adam(parameters, self.rate, betas, weight_decay=self.weight_decay)


@dataclass(frozen=True)
class AdaBelief:
    """AdaBelief's constants: Adam whose step is long where the gradient is as expected (Zhuang et al. 2020).

    `rectify` shortens the first steps as RAdam does (Liu et al. 2020, Alg. 2); weight decay is decoupled. The rate is
    constant unless a schedule is given.
    """

    kind: Literal["adabelief"] = "adabelief"
    rate: float = 1e-4
    beta1: float = 0.5
    beta2: float = 0.9
    epsilon: float = 1e-16
    rectify: bool = True
    weight_decay: float = 0.0
    schedule: Schedule = Schedule(hold=1.0)

    def build(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """A fresh optimiser of the parameters."""
        # Imported where it is needed: it takes half a second.
        from pytorch_optimizer import AdaBelief as Optimiser

        return Optimiser(
            parameters,
            lr=self.rate,
            betas=(self.beta1, self.beta2),
            weight_decay=self.weight_decay,
            weight_decouple=True,
            rectify=self.rectify,
            eps=self.epsilon,
        )


@dataclass(frozen=True)
class SGD:
    """The constants of stochastic gradient descent with momentum; `nesterov` looks ahead along the momentum.

    Weight decay is added to the gradient, as is usual with it. The rate is constant unless a schedule is given.
    Sutskever et al. 2013, Eq. 1-4. Differs: torch's form, in which the rate multiplies the momentum when it steps.
    """

    kind: Literal["sgd"] = "sgd"
    rate: float = 1e-2
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    schedule: Schedule = Schedule(hold=1.0)

    def __post_init__(self) -> None:
        if self.nesterov and self.momentum <= 0.0:
            raise InputFault(f"SGD momentum={self.momentum:g}: nesterov needs one above 0, e.g. 0.9")

    def build(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """A fresh optimiser of the parameters."""
        return torch.optim.SGD(
            parameters,
            lr=self.rate,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
        )


AnyOptimiser = Annotated[
    Annotated[Adam, Tag("adam")]
    | Annotated[CoupledAdam, Tag("coupled_adam")]
    | Annotated[AdaBelief, Tag("adabelief")]
    | Annotated[SGD, Tag("sgd")],
    Discriminator(kind_or("adam")),
]
"""The type of a config's field that takes any of them."""


class Player:
    """Networks that are updated together by one optimiser."""

    def __init__(self, name: str, networks: nn.Module, config: Adam | CoupledAdam | AdaBelief | SGD) -> None:
        self.name = name
        self.networks = networks
        self.parameters = list(networks.parameters())
        self.config = config
        self.optimiser = config.build(self.parameters)

    def step(self, progress: float) -> None:
        """Take one optimiser step at the rate that the schedule gives for this share of the training."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.rate * self.config.schedule.factor(progress)
        self.optimiser.step()


class Segmentation(NamedTuple):
    """Class scores, and the translation that they were made from and the outcome's score where there is one."""

    logits: Logits
    translation: Translation | None
    outcome: OutcomeLogits | None = None


class Method(nn.Module, ABC):
    """A paper: its networks, its players, one training step, and one way to segment.

    Everything that must survive a restart is in `state_dict` (networks, replay buffers) or in a player's
    optimiser; randomness is drawn from torch's global generator, which the loop seeds anew at every step.
    """

    players: tuple[Player, ...]

    draws_masks: bool = True
    """Whether it segments. A method that only judges whole images says False, and its `segment` raises InputFault."""

    copies: int = 1
    """How many times, each in another way, a method that re-draws images does so with each source case."""

    remarks: tuple[str, ...] = ()
    """What a user should be told about how the method took its options."""

    kept_classes: tuple[int, ...] = ()
    """Classes whose pixels a translation shall leave as they are."""

    looks_at: tuple[str, ...] = ()
    """The layers that `look` can be asked about, the deepest last; empty where the method is no such classifier."""

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

    def segment_twice(self, images: Images) -> tuple[Logits, Logits] | None:
        """What two heads say of the images that `segment` takes, the one that segments first; None with one head."""
        return None

    def translate(self, images: Images) -> Translation | None:
        """Images to be segmented as the method re-draws them first, and where; None where it does not re-draw."""
        return None

    def segment_with_translation(self, images: Images) -> Segmentation:
        """What `segment` and `translate` give; a method that segments its translation makes it only once."""
        return Segmentation(self.segment(images), self.translate(images))

    def restyle(self, images: Images) -> Images | None:
        """Labelled images as the other domain would have taken them, or None where the method re-draws none."""
        return None

    def there_and_back(self, images: Images) -> Images | None:
        """Images that `segment` takes, drawn as the other domain's and then as their own again; None where the method
        does not translate both ways."""
        return None

    def learn_styles(self, target_volumes: Iterable[Images]) -> None:
        """Look at the target's training images, one case after the other, before any image is restyled by `restyle_as`.

        Does nothing where a method needs no such look. What is learnt here is not part of the state.
        """

    def restyle_as(self, images: Images, cases: Sequence[int], copies: Sequence[int]) -> Images | None:
        """What `restyle` gives; a method that makes several copies of a case draws each in its own way.

        `cases` has the number of each image's case and `copies` that of its copy, in 0..copies-1.
        """
        return self.restyle(images)

    def samples(self, batch: Any) -> tuple[Images, ...]:
        """Images that, side by side, show how a training goes that draws no masks; empty where it has none to show."""
        return ()

    def judge(self, images: Images) -> OutcomeLogits | None:
        """The outcome's score of prepared images, or None where the method tells no outcome."""
        return None

    def validate_judge(self, images: Images, masks: Masks) -> OutcomeLogits | None:
        """The outcome's score of labelled images: what validation on held-out patients uses. None as for `judge`."""
        return None

    def load_imagenet(self, path: Path) -> int:
        """Start from ImageNet weights in a file of torchvision's; how many tensors were taken.

        Raises InputFault where the method takes none.
        """
        raise InputFault(f"{path}: this method has no network that ImageNet weights fit; leave --weights out")

    def look(self, images: Images, maps: CamMaps) -> Look | None:
        """Where a classifier looks, at several of its layers; None where the method is no such classifier."""
        return None

    def own_maps(self, images: Images) -> SoftMasks | None:
        """The map of the tagged object that the method is trained to make; None where it makes none."""
        return None

    def player(self, name: str) -> Player:
        """The player of that name."""
        return next(player for player in self.players if player.name == name)
