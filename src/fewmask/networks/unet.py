"""The U-Net: a segmenter that joins what it sees from afar with what it sees close by."""

from dataclasses import dataclass

from torch import Tensor, nn

from fewmask.errors import InputFault
from fewmask.networks.blocks import Norm, two_convolutions
from fewmask.networks.levels import LevelledNetwork


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


class UNet(LevelledNetwork):
    """An encoder that halves the image level by level, and a decoder that comes back with its maps at hand.

    Ronneberger et al. 2015. Differs: zero-padded convolutions, so that the masks are as large as the images,
    and a normalisation after each convolution (which makes a bias before it idle, so there is none).
    """

    def __init__(self, channels: int, classes: int, config: UNetConfig) -> None:
        def down(depth: int, inner: int, outer: int) -> nn.Module:
            return two_convolutions(inner, outer, config.norm, config.dropout)

        def up(inner: int, outer: int) -> nn.Module:
            return two_convolutions(inner, outer, config.norm)

        super().__init__(channels, classes, config.widths, config.norm, down, up)

    def halved(self, maps: Tensor) -> Tensor:
        """The largest of each 2 x 2 square."""
        return nn.functional.max_pool2d(maps, kernel_size=2)
