"""The frame of every U-Net: an encoder that halves the image level by level, and a decoder with its maps at hand."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from fewmask.networks.blocks import Norm
from fewmask.shapes import Images, Logits


class LevelledNetwork(nn.Module, ABC):
    """`down(depth, inner, outer)` makes the encoder's level at a depth, `up(inner, outer)` a level of the decoder.

    `features` and `decode` are apart, so that a caller can change the maps in between. Ronneberger et al. 2015.
    Weights are drawn as torch draws them.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        widths: tuple[int, ...],
        norm: Norm,
        down: Callable[[int, int, int], nn.Module],
        up: Callable[[int, int], nn.Module],
    ) -> None:
        super().__init__()
        self.divisor = 2 ** (len(widths) - 1)
        """Rows and columns of an image must be multiples of this."""
        self.widths = widths
        """How many maps each level of the encoder gives."""
        self.encoder = nn.ModuleList(
            down(depth, inner, outer) for depth, (inner, outer) in enumerate(pairwise((channels, *widths)))
        )
        self.rise = nn.ModuleList(
            nn.ConvTranspose2d(deep, shallow, kernel_size=2, stride=2)
            for deep, shallow in pairwise(widths[::-1])
        )
        self.decoder = nn.ModuleList(up(2 * width, width) for width in widths[-2::-1])
        self.head = nn.Conv2d(widths[0], classes, kernel_size=1)
        if norm == "batch":
            # The layout changes no value but a step's time: 0.8 of it on a CPU. Instance norm undoes the layout.
            self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    @abstractmethod
    def halved(self, maps: Tensor) -> Tensor:
        """What the next level of the encoder is given of a level's maps."""

    def forward(self, images: Images) -> Logits:
        """Class scores for every pixel. Raises ValueError where the size is not a multiple of `divisor`."""
        return self.decode(self.features(images))

    def features(self, images: Images) -> list[Tensor]:
        """The encoder's maps, finest first: level i is (B, widths[i], H / 2^i, W / 2^i), not negative."""
        rows, columns = images.shape[-2:]
        if rows % self.divisor or columns % self.divisor:
            raise ValueError(
                f"this network takes sizes that are multiples of {self.divisor}, not {rows} x {columns}"
            )
        maps: list[Tensor] = []
        current = images
        for depth, level in enumerate(self.encoder):
            current = level(current if depth == 0 else self.halved(current))
            maps.append(current)
        return maps

    def decode(self, features: list[Tensor]) -> Logits:
        """Class scores from maps of the shapes that `features` gives."""
        current = features[-1]
        for rise, level, beside in zip(self.rise, self.decoder, features[-2::-1], strict=True):
            current = level(torch.cat([beside, rise(current)], dim=1))
        return self.head(current)
