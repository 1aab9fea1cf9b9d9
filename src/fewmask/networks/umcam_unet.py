"""The small U-Net that learns from pseudo-labels: leaky rectifiers, and more dropout the deeper it gets."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from fewmask.errors import InputFault
from fewmask.networks.levels import LevelledNetwork
from fewmask.networks.norm import SharedBatchNorm2d

SLOPE = 0.01
"""What is left of a negative value behind a leaky rectifier."""


@dataclass(frozen=True)
class LeakyUNetConfig:
    """The feature maps of each level from the finest to the coarsest, and the dropout of each.

    Dropout is the share of values that is silenced between the two convolutions of an encoder level. A network with
    fewer levels than `dropouts` takes the first ones. Widths (8, 16, 32, 64, 128) are half the paper's.
    """

    widths: tuple[int, ...] = (16, 32, 64, 128, 256)
    dropouts: tuple[float, ...] = (0.05, 0.1, 0.2, 0.3, 0.5)
    kind: Literal["leaky_unet"] = "leaky_unet"

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1:
            raise InputFault(
                f"leaky U-Net widths={list(self.widths)}: give one positive number a level, e.g. [8, 16, 32]"
            )
        if len(self.dropouts) < len(self.widths):
            raise InputFault(
                f"leaky U-Net dropouts={list(self.dropouts)}: give one for each of the {len(self.widths)} levels"
            )
        if not all(0.0 <= rate < 1.0 for rate in self.dropouts):
            raise InputFault(
                f"leaky U-Net dropouts={list(self.dropouts)}: each must be at least 0 and below 1, e.g. 0.1"
            )


class LeakyUNet(LevelledNetwork):
    """A U-Net of leaky rectifiers whose last convolution looks at 3x3 pixels.

    Wang et al. 2023 (PyMIC), as Fu et al. 2023 and 2025 (UM-CAM) use it: 1,944,034 parameters at the default widths,
    one channel and two classes. The convolutions have biases although the norms take them away again: the published
    count includes them. Sizes must be multiples of 2 for each level but the first: of 16 with five levels.
    """

    def __init__(self, channels: int, classes: int, config: LeakyUNetConfig) -> None:
        def down(depth: int, inner: int, outer: int) -> nn.Module:
            return two_leaky_convolutions(inner, outer, config.dropouts[depth])

        super().__init__(channels, classes, config.widths, "batch", down, two_leaky_convolutions)
        self.head = nn.Conv2d(config.widths[0], classes, kernel_size=3, padding=1)
        self.head.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def halved(self, maps: Tensor) -> Tensor:
        """The largest of each 2 x 2 square."""
        return nn.functional.max_pool2d(maps, kernel_size=2)


def two_leaky_convolutions(inner: int, outer: int, dropout: float = 0.0) -> nn.Sequential:
    """Two 3x3 convolutions, each normed and leakily rectified; `dropout` silences values between them."""
    return nn.Sequential(
        nn.Conv2d(inner, outer, kernel_size=3, padding=1),
        SharedBatchNorm2d(outer),
        nn.LeakyReLU(SLOPE, inplace=True),
        nn.Dropout(dropout) if dropout else nn.Identity(),
        nn.Conv2d(outer, outer, kernel_size=3, padding=1),
        SharedBatchNorm2d(outer),
        nn.LeakyReLU(SLOPE, inplace=True),
    )
