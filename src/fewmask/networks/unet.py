"""The U-Net: a segmenter that joins what it sees from afar with what it sees close by."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from fewmask.errors import InputFault
from fewmask.networks.blocks import Norm, two_convolutions
from fewmask.shapes import Images, Logits


@dataclass(frozen=True)
class UNetConfig:
    """The feature maps of each level from the finest to the coarsest, the normalisation, and the dropout.

    Dropout is the share of values that is silenced between the two convolutions of each encoder level.
    Widths (64, 128, 256, 512, 1024) give the U-Net of 19 layers of Wlodarczyk et al. 2020.
    """

    widths: tuple[int, ...] = (32, 64, 128, 256, 512)
    norm: Norm = "batch"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1:
            raise InputFault(
                f"U-Net widths={list(self.widths)}: give one positive number a level, e.g. [32, 64, 128]"
            )
        if not 0.0 <= self.dropout < 1.0:
            raise InputFault(f"U-Net dropout={self.dropout}: it must be at least 0 and below 1, e.g. 0.1")


class UNet(nn.Module):
    """An encoder that halves the image level by level, and a decoder that comes back with its maps at hand.

    Ronneberger et al. 2015. Differs: zero-padded convolutions, so that the masks are as large as the images,
    and a normalisation after each convolution (which makes a bias before it idle, so there is none). Weights
    are drawn as torch draws them.
    """

    def __init__(self, channels: int, classes: int, config: UNetConfig) -> None:
        super().__init__()
        widths, norm = config.widths, config.norm
        self.divisor = 2 ** (len(widths) - 1)
        """Rows and columns of an image must be multiples of this."""
        self.encoder = nn.ModuleList(
            two_convolutions(inner, outer, norm, config.dropout)
            for inner, outer in pairwise((channels, *widths))
        )
        self.rise = nn.ModuleList(
            nn.ConvTranspose2d(deep, shallow, kernel_size=2, stride=2)
            for deep, shallow in pairwise(widths[::-1])
        )
        self.decoder = nn.ModuleList(
            two_convolutions(2 * width, width, norm, 0.0) for width in widths[-2::-1]
        )
        self.head = nn.Conv2d(widths[0], classes, kernel_size=1)
        if norm == "batch":
            # The layout changes no value but a step's time: 0.8 of it on a CPU. Instance norm undoes the layout.
            self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, images: Images) -> Logits:
        """Class scores for every pixel. Raises ValueError where the size is not a multiple of `divisor`."""
        return self.decode(self.features(images))

    def features(self, images: Images) -> list[Tensor]:
        """The encoder's maps, finest first: level i is (B, widths[i], H / 2^i, W / 2^i), not negative."""
        rows, columns = images.shape[-2:]
        if rows % self.divisor or columns % self.divisor:
            raise ValueError(
                f"the U-Net takes sizes that are multiples of {self.divisor}, not {rows} x {columns}"
            )
        maps: list[Tensor] = []
        current = images
        for depth, level in enumerate(self.encoder):
            current = level(current if depth == 0 else nn.functional.max_pool2d(current, kernel_size=2))
            maps.append(current)
        return maps

    def decode(self, features: list[Tensor]) -> Logits:
        """Class scores from the maps that `features` gave."""
        current = features[-1]
        for rise, level, beside in zip(self.rise, self.decoder, features[-2::-1], strict=True):
            current = level(torch.cat([beside, rise(current)], dim=1))
        return self.head(current)
