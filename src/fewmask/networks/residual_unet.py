"""A U-Net of residual units: the segmenter of GLUA's second stage."""

from dataclasses import dataclass

from torch import Tensor, nn

from fewmask.errors import InputFault
from fewmask.networks.blocks import Norm, normalisation
from fewmask.networks.levels import LevelledNetwork


@dataclass(frozen=True)
class ResidualUNetConfig:
    """The feature maps of each level from the finest to the coarsest, and the normalisation.

    Widths (16, 32, 64, 128, 256) are those of DAR-UNet (Yao et al. 2022); their 256 are what GLUA's feature critic
    was written for.
    """

    widths: tuple[int, ...] = (16, 32, 64, 128, 256)
    norm: Norm = "batch"

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1:
            raise InputFault(
                f"residual U-Net widths={list(self.widths)}: give one positive number a level, "
                "e.g. [16, 32, 64]"
            )


class ResidualUNet(LevelledNetwork):
    """A U-Net of residual units, whose first convolutions halve the image.

    Zhang et al. 2018 (ResUNet). Differs: one unit a level at five levels, activations after the sum (He et al. 2016),
    learned upsampling; DAR-UNet's network of these widths is 3D, and of its inside only the widths are known here.
    """

    def __init__(self, channels: int, classes: int, config: ResidualUNetConfig) -> None:
        def down(depth: int, inner: int, outer: int) -> nn.Module:
            return ResidualUnit(inner, outer, config.norm, stride=1 if depth == 0 else 2)

        def up(inner: int, outer: int) -> nn.Module:
            return ResidualUnit(inner, outer, config.norm)

        super().__init__(channels, classes, config.widths, config.norm, down, up)

    def halved(self, maps: Tensor) -> Tensor:
        """All of it: the next unit strides."""
        return maps


class ResidualUnit(nn.Module):
    """Two 3x3 convolutions, each normalised, added to their input; He et al. 2016, Eq. 1 and 2.

    Where the width changes, the shortcut is a normalised 1x1 convolution, after the mean of each `stride` x `stride`
    square where there is a stride. Differs: the paper's strided 1x1 convolution drops three of four values.
    """

    def __init__(self, inner: int, outer: int, norm: Norm, stride: int = 1) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(inner, outer, kernel_size=3, stride=stride, padding=1, bias=False),
            normalisation(outer, norm),
            nn.ReLU(inplace=True),
            nn.Conv2d(outer, outer, kernel_size=3, padding=1, bias=False),
            normalisation(outer, norm),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inner != outer:
            # Not strided for a second reason: the backward pass of a strided 1x1 convolution of 4 maps in this layout
            # writes beyond its memory on a CPU (torch 2.13, malloc aborts).
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(stride) if stride != 1 else nn.Identity(),
                nn.Conv2d(inner, outer, kernel_size=1, bias=False),
                normalisation(outer, norm),
            )

    def forward(self, maps: Tensor) -> Tensor:
        """(B, inner, h, w) to (B, outer, h / stride, w / stride), not negative."""
        return nn.functional.relu(self.branch(maps) + self.shortcut(maps))
