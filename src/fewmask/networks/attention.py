"""Attention networks: they say, pixel by pixel, how far a translator may re-draw an image.

Every one takes (B, C, H, W) in [-1, 1] and gives (B, 1, H, W) in (0, 1); 1 hands the pixel to the translator, 0
keeps it. Fresh weights give about 0.5 everywhere.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from fewmask.errors import InputFault
from fewmask.networks.initial import draw_normal
from fewmask.networks.translator import ResidualBlock
from fewmask.shapes import Images

DecoderKernels = Literal["true", "literal"]
"""AGGAN's decoder as its text has it (3x3, 3x3, 7x7), or as its code ran (all 1x1)."""


@dataclass(frozen=True)
class NoAttention:
    """The translator re-draws the whole image: CycleGAN."""

    kind: Literal["none"] = "none"

    def build(self, channels: int) -> "Everywhere":
        """The part that attends to every pixel."""
        return Everywhere()


@dataclass(frozen=True)
class ResidualAttention:
    """Options of `MaskBranch`: MSL's attention as the paper names it. `depth` is the number of max-pools."""

    kind: Literal["residual"] = "residual"
    width: int = 32
    depth: Literal[2, 3] = 2

    def __post_init__(self) -> None:
        _check_width(self.kind, self.width)

    def build(self, channels: int) -> "MaskBranch":
        """A fresh network for images of so many channels."""
        return MaskBranch(channels, self.width, self.depth)


@dataclass(frozen=True)
class AgganAttention:
    """Options of `AttentionDecoder`: AGGAN's attention, with the kernels that it meant or those that it ran with."""

    kind: Literal["aggan"] = "aggan"
    kernels: DecoderKernels = "true"
    width: int = 32

    def __post_init__(self) -> None:
        _check_width(self.kind, self.width)

    def build(self, channels: int) -> "AttentionDecoder":
        """A fresh network for images of so many channels."""
        return AttentionDecoder(channels, self.width, self.kernels)


class Everywhere(nn.Module):
    """Attention that is 1 at every pixel, and has nothing to learn."""

    def forward(self, images: Images) -> Tensor:
        """(B, 1, H, W) of ones."""
        return torch.ones_like(images[:, :1])


class MaskBranch(nn.Module):
    """Looks at the image coarser and coarser, then comes back, adding at each scale what it saw on the way down.

    The mask branch of Wang et al. 2017 (residual attention network, Fig. 2 and Sec. 3.1), which MSL names as its
    attention network: max-pools and residual units down, bilinear steps and residual units up, a residual unit as
    skip at every scale in between (one for `depth` 2), two 1x1 convolutions, a sigmoid. Differs: it stands
    alone, without a trunk to weigh, so it starts with a 7x7 convolution of stride 2 of its own and ends with a
    bilinear step to the image's size; instance norm and units that normalise after the convolution
    (`ResidualBlock`) instead of batch norm before it, as the method trains on single images; the width is the
    same at all scales. Weights are drawn from N(0, 0.02^2).
    """

    def __init__(self, channels: int, width: int, depth: int) -> None:
        super().__init__()
        self.divisor = 2 ** (depth + 1)
        """Rows and columns of an image must be multiples of this."""
        self.smallest_size = 2 * self.divisor
        """The smallest side of an image, in pixels: below, the coarsest map cannot be normalised or reflected."""
        self.stem = nn.Sequential(*_halving_stem(channels, width))
        self.down = nn.ModuleList(ResidualBlock(width) for _ in range(depth))
        self.bottom = ResidualBlock(width)
        self.skip = nn.ModuleList(ResidualBlock(width) for _ in range(depth - 1))
        self.up = nn.ModuleList(ResidualBlock(width) for _ in range(depth - 1))
        self.decide = nn.Sequential(
            nn.Conv2d(width, width, kernel_size=1, bias=False),
            *_normalised(width),
            nn.Conv2d(width, 1, kernel_size=1),
        )
        draw_normal(self)

    def forward(self, images: Images) -> Tensor:
        """(B, 1, H, W) in (0, 1). Raises ValueError for sizes that do not fit `divisor` and `smallest_size`."""
        _check_size(images, self.divisor, self.smallest_size)
        current = self.stem(images)
        finer: list[Tensor] = []
        for unit in self.down:
            current = unit(nn.functional.max_pool2d(current, kernel_size=2))
            finer.append(current)
        current = self.bottom(finer.pop())
        for skip, up in zip(self.skip, self.up, strict=True):
            current = up(_doubled(current) + skip(finer.pop()))
        # The last convolution is linear, so it may come before the last bilinear step, at a quarter of the cost.
        return torch.sigmoid(_doubled(self.decide(_doubled(current))))


class AttentionDecoder(nn.Module):
    """Looks at the image at a quarter of its size, changes that once, and brings it back to size in two steps.

    Mejjati et al. 2018 (AGGAN), in the released code's order: 7x7 and 3x3 convolutions of stride 2 (`width` and
    twice as many maps), a residual block, twice a nearest-neighbour doubling with a convolution, a last
    convolution, a sigmoid. The released code passes the decoder's arguments in the wrong places, which makes its
    kernels 1x1: that is `kernels="literal"`, whose map is constant on blocks of 4x4 pixels; `"true"` has 3x3, 3x3
    and 7x7. Differs: one map instead of three equal ones, and no bias before an instance norm (see
    `ResNetTranslator`). Weights are drawn from N(0, 0.02^2).
    """

    def __init__(self, channels: int, width: int, kernels: DecoderKernels) -> None:
        super().__init__()
        self.divisor = 4
        """Rows and columns of an image must be multiples of this."""
        self.smallest_size = 2 * self.divisor
        """The smallest side of an image, in pixels: below, the coarsest map cannot be normalised or reflected."""
        first, second, last = (3, 3, 7) if kernels == "true" else (1, 1, 1)
        self.encoder = nn.Sequential(
            *_halving_stem(channels, width),
            nn.Conv2d(width, 2 * width, kernel_size=3, stride=2, padding=1, bias=False),
            *_normalised(2 * width),
            ResidualBlock(2 * width),
        )
        self.decoder = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="nearest"),
            *_same_size(2 * width, 2 * width, first, bias=False),
            *_normalised(2 * width),
            nn.Upsample(scale_factor=2, mode="nearest"),
            *_same_size(2 * width, width, second, bias=False),
            *_normalised(width),
            *_same_size(width, 1, last, bias=True),
        )
        draw_normal(self)

    def forward(self, images: Images) -> Tensor:
        """(B, 1, H, W) in (0, 1). Raises ValueError for sizes that do not fit `divisor` and `smallest_size`."""
        _check_size(images, self.divisor, self.smallest_size)
        return torch.sigmoid(self.decoder(self.encoder(images)))


def _check_width(kind: str, width: int) -> None:
    if width < 1:
        raise InputFault(f"attention {kind}: width={width}; give a positive number, e.g. 32")


def _check_size(images: Images, divisor: int, smallest: int) -> None:
    rows, columns = images.shape[-2:]
    if rows % divisor or columns % divisor or min(rows, columns) < smallest:
        raise ValueError(
            f"this attention network takes sizes that are multiples of {divisor} from {smallest} up, "
            f"not {rows} x {columns}"
        )


def _normalised(width: int) -> tuple[nn.Module, nn.Module]:
    return nn.InstanceNorm2d(width), nn.ReLU(inplace=True)


def _halving_stem(channels: int, width: int) -> tuple[nn.Module, ...]:
    """A 7x7 convolution to half the size."""
    convolution = nn.Conv2d(channels, width, kernel_size=7, stride=2, bias=False)
    return nn.ReflectionPad2d(3), convolution, *_normalised(width)


def _same_size(inner: int, outer: int, kernel: int, bias: bool) -> tuple[nn.Module, ...]:
    """A convolution of an odd kernel that keeps the size, with reflected borders."""
    convolution = nn.Conv2d(inner, outer, kernel_size=kernel, bias=bias)
    return (nn.ReflectionPad2d(kernel // 2), convolution) if kernel > 1 else (convolution,)


def _doubled(features: Tensor) -> Tensor:
    """Twice the size, bilinearly."""
    return nn.functional.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
