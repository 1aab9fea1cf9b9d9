"""GLUA (reconstructed), stage 1: the source's images are re-drawn in the looks that the target's images have.

Su et al. 2022 (GLUA, "Mind the Gap") is known from its abstract; its feature-disentangling style transfer is read from
the sister code of the same authors, DAR-UNet (Yao et al. 2022): content and style encoders as in Huang et al. 2018
(MUNIT), a style taken from a real image instead of drawn at random, and a critic that keeps the content free of its
domain (Lee et al. 2018, DRIT).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fewmask.data.batch import Adaptation
from fewmask.data.style_bank import StyleBank, middle, style_bank
from fewmask.errors import InputFault
from fewmask.losses.disentanglement import (
    difference,
    fool_scales,
    swap_contents,
    tell_apart_scales,
    tell_contents_apart,
)
from fewmask.losses.turn import Ramp, Weights
from fewmask.methods.base import AdaBelief, AnyOptimiser, Method, Move, Player
from fewmask.networks.disentangled import ContentCritic, Disentangler, ScaledCritic
from fewmask.recipe import Reads
from fewmask.shapes import Images, Logits, Task

SMALLEST = 32
"""Pixels of a side below which the critics' coarsest scale sees nothing."""

AT_ONCE = 8
"""Slices that are looked at together when a target's styles are learnt."""


@dataclass(frozen=True)
class StyleTransferWeights(Weights):
    """Weights of the generators' terms; `adversarial` and `content_adversarial` also open the critics' turn."""

    reconstruction: float | Ramp = 10.0
    cycle: float | Ramp = 10.0
    content: float | Ramp = 1.0
    style: float | Ramp = 1.0
    adversarial: float | Ramp = 1.0
    content_adversarial: float | Ramp = 1.0


@dataclass(frozen=True)
class StyleTransferConfig:
    """Options of `StyleTransfer`.

    `styles`: translations learn in the style of the real image beside them in the batch, or in one from N(0, 1).
    `average_decay` is how much of the averaged networks, which re-draw the source, stays from step to step.
    `style_groups` is how many looks of the target are told apart, and how often each source case is re-drawn.
    """

    reads: ClassVar[Reads] = "adaptation"
    leaves_out_blank: ClassVar[bool] = True
    """A slice of one intensity has neither content nor style, and a norm over it has no gradient but NaN."""

    kind: Literal["style_transfer"] = "style_transfer"
    width: int = 32
    blocks: int = 4
    style_length: int = 8
    critic_width: int = 32
    critic_scales: int = 3
    styles: Literal["exemplar", "normal"] = "exemplar"
    average_decay: float = 0.999
    style_groups: int = 6
    style_seed: int = 9
    weights: StyleTransferWeights = StyleTransferWeights()
    optimiser: AnyOptimiser = AdaBelief(rate=1e-4)
    critic_optimiser: AnyOptimiser = AdaBelief(rate=2e-4)

    def __post_init__(self) -> None:
        sizes = ("width", "blocks", "style_length", "critic_width", "critic_scales", "style_groups")
        for name in sizes:
            if getattr(self, name) < 1:
                raise InputFault(f"style_transfer: {name}={getattr(self, name)}; give 1 or more")
        if not 0.0 <= self.average_decay < 1.0:
            raise InputFault(
                f"style_transfer: average_decay={self.average_decay} must be at least 0 and below 1, e.g. 0.999"
            )

    def build(self, task: Task, segmenter: nn.Module | None) -> "StyleTransfer":
        """The method with fresh networks."""
        return StyleTransfer(self, task)


class StyleTransfer(Method):
    """Encoders and a decoder against critics of both domains' images and of the content; it draws no masks.

    One forward pass serves both turns: the critics learn first, and the generators are then judged by them.
    """

    draws_masks: bool = False

    def __init__(self, config: StyleTransferConfig, task: Task) -> None:
        super().__init__(task)
        smallest = max(SMALLEST, 2 ** (config.critic_scales + 1))
        if task.size < smallest:
            raise InputFault(
                f"size={task.size}: style_transfer needs images of {smallest} pixels or more; raise --set size"
            )
        self.config = config
        self.weights = config.weights
        self.copies = config.style_groups
        shape = (task.channels, task.size)
        self.generators = Disentangler(*shape, config.width, config.blocks, config.style_length)
        self.source_critic = ScaledCritic(*shape, config.critic_width, config.critic_scales)
        self.target_critic = ScaledCritic(*shape, config.critic_width, config.critic_scales)
        self.content_critic = ContentCritic(task.size, 4 * config.width)
        self.average = AveragedModel(
            self.generators, multi_avg_fn=get_ema_multi_avg_fn(config.average_decay)
        ).requires_grad_(False)
        critics = nn.ModuleList([self.source_critic, self.target_critic, self.content_critic])
        self.players = (
            Player("critics", critics, config.critic_optimiser),
            Player("generators", self.generators, config.optimiser),
        )
        self.bank: StyleBank | None = None

    def training_step(self, batch: Adaptation, progress: float) -> Iterator[Move]:
        """The critics' turn, then the generators', on one forward pass; at last the averages follow."""
        seen = _Pass(self.generators, batch.source.images, batch.target.images, self.config.styles)
        yield self.weights.gate(
            "critics",
            progress,
            adversarial=lambda: (
                tell_apart_scales(
                    self.source_critic(seen.source), self.source_critic(seen.as_source.detach())
                )
                + tell_apart_scales(
                    self.target_critic(seen.target), self.target_critic(seen.as_target.detach())
                )
            ),
            content_adversarial=lambda: tell_contents_apart(
                self.content_critic(seen.source_content.detach()),
                self.content_critic(seen.target_content.detach()),
            ),
        )
        yield self.weights.weigh(
            "generators",
            progress,
            reconstruction=seen.reconstruction,
            cycle=seen.cycle,
            content=seen.content,
            style=seen.style,
            adversarial=lambda: (
                fool_scales(self.source_critic(seen.as_source))
                + fool_scales(self.target_critic(seen.as_target))
            ),
            content_adversarial=lambda: swap_contents(
                self.content_critic(seen.source_content), self.content_critic(seen.target_content)
            ),
        )
        self.average.update_parameters(self.generators)

    @property
    def _averaged(self) -> Disentangler:
        averaged = self.average.module
        assert isinstance(averaged, Disentangler)
        return averaged

    @torch.no_grad()
    def learn_styles(self, target_volumes: Iterable[Images]) -> None:
        """Gather the target's styles, from the middle four sixths of each volume's slices, in `style_groups` groups."""
        codes = [
            self._averaged.target_style_encoder(part).float().cpu().numpy()
            for volume in target_volumes
            for part in volume[middle(len(volume))].split(AT_ONCE)
        ]
        self.bank = style_bank(np.concatenate(codes), self.config.style_groups, self.config.style_seed)

    def restyle(self, images: Images) -> Images:
        """Source images in one style of the target. Raises ValueError before `learn_styles`."""
        return self.restyle_as(images, [0] * len(images), [0] * len(images))

    def restyle_as(self, images: Images, cases: Sequence[int], copies: Sequence[int]) -> Images:
        """Source images, each in the style that was drawn for its case from the group of its copy."""
        if self.bank is None:
            raise ValueError("the target's styles are not known yet; call learn_styles first")
        drawn = np.stack([self.bank.draw(case, copy) for case, copy in zip(cases, copies, strict=True)])
        styles = torch.from_numpy(drawn).to(images)
        return self._averaged.decoder(self._averaged.content_encoder(images), styles)

    def samples(self, batch: Adaptation) -> tuple[Images, ...]:
        """Source images, the same in the style of the target images beside them, and those."""
        source, target = batch.source.images, batch.target.images
        averaged = self._averaged
        styles = averaged.target_style_encoder(target)
        return source, averaged.decoder(averaged.content_encoder(source), styles), target

    def segment(self, images: Images) -> Logits:
        """A style transfer has no masks to give. Raises InputFault."""
        raise InputFault(
            "this stage re-draws images and draws no masks; let a later stage learn on them (restyled_by)"
        )

    def validate_segment(self, images: Images) -> Logits:
        """A style transfer has no masks to give. Raises InputFault."""
        return self.segment(images)


class _Pass:
    """One forward pass of the generators over a pair of batches; each part is made once, when first asked for."""

    def __init__(self, networks: Disentangler, source: Images, target: Images, styles: str) -> None:
        self.networks, self.source, self.target = networks, source, target
        self.normal = None
        if styles == "normal":
            shape = (len(source), networks.style_length)
            self.normal = (torch.randn(shape).to(source), torch.randn(shape).to(target))

    @cached_property
    def source_content(self) -> Tensor:
        return self.networks.content_encoder(self.source)

    @cached_property
    def target_content(self) -> Tensor:
        return self.networks.content_encoder(self.target)

    @cached_property
    def own_source_style(self) -> Tensor:
        return self.networks.source_style_encoder(self.source)

    @cached_property
    def own_target_style(self) -> Tensor:
        return self.networks.target_style_encoder(self.target)

    @property
    def source_style(self) -> Tensor:
        """The style that target images are given."""
        return self.own_source_style if self.normal is None else self.normal[0]

    @property
    def target_style(self) -> Tensor:
        """The style that source images are given."""
        return self.own_target_style if self.normal is None else self.normal[1]

    @cached_property
    def as_target(self) -> Images:
        return self.networks.decoder(self.source_content, self.target_style)

    @cached_property
    def as_source(self) -> Images:
        return self.networks.decoder(self.target_content, self.source_style)

    @cached_property
    def source_content_again(self) -> Tensor:
        return self.networks.content_encoder(self.as_target)

    @cached_property
    def target_content_again(self) -> Tensor:
        return self.networks.content_encoder(self.as_source)

    def reconstruction(self) -> Tensor:
        """Each image, drawn from its own content and style."""
        decoder = self.networks.decoder
        return difference(self.source, decoder(self.source_content, self.own_source_style)) + difference(
            self.target, decoder(self.target_content, self.own_target_style)
        )

    def cycle(self) -> Tensor:
        """Each image, drawn from its translation's content and its own style."""
        decoder = self.networks.decoder
        return difference(
            self.source, decoder(self.source_content_again, self.own_source_style)
        ) + difference(self.target, decoder(self.target_content_again, self.own_target_style))

    def content(self) -> Tensor:
        """Each content, found again in the translation."""
        return difference(self.source_content, self.source_content_again) + difference(
            self.target_content, self.target_content_again
        )

    def style(self) -> Tensor:
        """Each style that was given, found again in the translation."""
        source_again = self.networks.source_style_encoder(self.as_source)
        target_again = self.networks.target_style_encoder(self.as_target)
        return difference(self.source_style, source_again) + difference(self.target_style, target_again)
