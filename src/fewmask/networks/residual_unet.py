"""A U-Net of residual units: the segmenter of GLUA's second stage."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from fewmask.errors import InputFault
from fewmask.networks.blocks import Norm
from fewmask.networks.norm import SharedBatchNorm2d
from fewmask.shapes import Images, Logits


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


class ResidualUNet(nn.Module):
    """An encoder that halves the image level by level and a decoder that comes back, both of residual units.

    `features` and `decode` are apart, so that a caller can change the maps in between.
    Zhang et al. 2018 (ResUNet). Differs: one unit a level at five levels, activations after the sum (He et al. 2016),
    learned upsampling; DAR-UNet's network of these widths is 3D, and of its inside only the widths are known here.
    Weights are drawn as torch draws them.
    """

    def __init__(self, channels: int, classes: int, config: ResidualUNetConfig) -> None:
        super().__init__()
        widths, norm = config.widths, config.norm
        self.divisor = 2 ** (len(widths) - 1)
        """Rows and columns of an image must be multiples of this."""
        self.encoder = nn.ModuleList(
            ResidualUnit(inner, outer, norm, stride=1 if depth == 0 else 2)
            for depth, (inner, outer) in enumerate(pairwise((channels, *widths)))
        )
        self.rise = nn.ModuleList(
            nn.ConvTranspose2d(deep, shallow, kernel_size=2, stride=2)
            for deep, shallow in pairwise(widths[::-1])
        )
        self.decoder = nn.ModuleList(ResidualUnit(2 * width, width, norm) for width in widths[-2::-1])
        self.head = nn.Conv2d(widths[0], classes, kernel_size=1)
        if norm == "batch":
            # As in the U-Net: faster on a CPU, and no value changes. Instance norm undoes the layout.
            self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, images: Images) -> Logits:
        """Class scores for every pixel. Raises ValueError where the size is not a multiple of `divisor`."""
        return self.decode(self.features(images))

    def features(self, images: Images) -> list[Tensor]:
        """The encoder's maps, finest first: level i is (B, widths[i], H / 2^i, W / 2^i), not negative."""
        rows, columns = images.shape[-2:]
        if rows % self.divisor or columns % self.divisor:
            raise ValueError(
                f"the residual U-Net takes sizes that are multiples of {self.divisor}, not {rows} x {columns}"
            )
        maps: list[Tensor] = []
        current = images
        for level in self.encoder:
            current = level(current)
            maps.append(current)
        return maps

    def decode(self, features: list[Tensor]) -> Logits:
        """Class scores from maps of the shapes that `features` gives."""
        current = features[-1]
        for rise, level, beside in zip(self.rise, self.decoder, features[-2::-1], strict=True):
            current = level(torch.cat([beside, rise(current)], dim=1))
        return self.head(current)


class ResidualUnit(nn.Module):
    """Two 3x3 convolutions, each normalised, added to their input; He et al. 2016, Eq. 1 and 2.

    Where the width changes, the shortcut is a normalised 1x1 convolution, after the mean of each `stride` x `stride`
    square where there is a stride. Differs: the paper's strided 1x1 convolution drops three of four values.
    """

    def __init__(self, inner: int, outer: int, norm: Norm, stride: int = 1) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(inner, outer, kernel_size=3, stride=stride, padding=1, bias=False),
            _normalisation(outer, norm),
            nn.ReLU(inplace=True),
            nn.Conv2d(outer, outer, kernel_size=3, padding=1, bias=False),
            _normalisation(outer, norm),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inner != outer:
            # Not strided for a second reason: the backward pass of a strided 1x1 convolution of 4 maps in this layout
            # writes beyond its memory on a CPU (torch 2.13, malloc aborts).
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(stride) if stride != 1 else nn.Identity(),
                nn.Conv2d(inner, outer, kernel_size=1, bias=False),
                _normalisation(outer, norm),
            )

    def forward(self, maps: Tensor) -> Tensor:
        """(B, inner, h, w) to (B, outer, h / stride, w / stride), not negative."""
        return nn.functional.relu(self.branch(maps) + self.shortcut(maps))


def _normalisation(width: int, norm: Norm) -> nn.Module:
    return SharedBatchNorm2d(width) if norm == "batch" else nn.InstanceNorm2d(width, affine=True)
