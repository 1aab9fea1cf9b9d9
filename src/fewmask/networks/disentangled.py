"""What is in an image and how it looks, taken apart and put together again: content and style.

Huang et al. 2018 (MUNIT) as the DAR-UNet repository has it (Yao et al. 2022, stage 1): one content encoder for both
domains, a style encoder for each, one decoder whose instance norms are set by the style. Convolutions before an
instance norm keep their bias, as the published parameter counts require, though it is idle there. How borders are
padded is not told; here they are reflected. Weights are Kaiming-normal (fan in, for a leaky rectifier of 0.2).
"""

import math
from itertools import pairwise

from torch import Tensor, nn

from fewmask.networks.initial import draw_kaiming
from fewmask.shapes import Images

SLOPE = 0.2
"""What a leaky rectifier leaves of negative values."""

SMALLEST_NORMALISED = 2
"""Sides of maps, in pixels, below which an instance norm has nothing to compare."""


class ContentEncoder(nn.Module):
    """What is where: an image at a quarter of its size, (B, 4 * width, H / 4, W / 4)."""

    def __init__(self, channels: int, width: int = 32, blocks: int = 4) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_convolved(channels, width, kernel=7, stride=1),
            *_convolved(width, 2 * width, kernel=4, stride=2),
            *_convolved(2 * width, 4 * width, kernel=4, stride=2),
            *(PreactivatedBlock(4 * width) for _ in range(blocks)),
        )
        draw_kaiming(self, SLOPE)

    def forward(self, images: Images) -> Tensor:
        """The content. Raises ValueError where the size is not a multiple of 4."""
        rows, columns = images.shape[-2:]
        if rows % 4 or columns % 4:
            raise ValueError(
                f"the content encoder takes sizes that are multiples of 4, not {rows} x {columns}"
            )
        return self.layers(images)


class StyleEncoder(nn.Module):
    """How an image looks, wherever it shows what: a code (B, length).

    Three convolutions follow the content's resolution; images so small that the last of them would leave less than
    2 x 2 pixels, which nothing can be normalised over, get fewer (below 64 pixels).
    """

    def __init__(self, channels: int, size: int, width: int = 32, length: int = 8) -> None:
        super().__init__()
        further = min(3, _halvings(size // 4))
        self.layers = nn.Sequential(
            *_convolved(channels, width, kernel=7, stride=1),
            *_convolved(width, 2 * width, kernel=4, stride=2),
            *_convolved(2 * width, 4 * width, kernel=4, stride=2),
            *(
                layer
                for _ in range(further)
                for layer in _convolved(4 * width, 4 * width, kernel=4, stride=2)
            ),
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(4 * width, length, kernel_size=1),
            nn.Flatten(),
        )
        draw_kaiming(self, SLOPE)

    def forward(self, images: Images) -> Tensor:
        """The style of each image."""
        return self.layers(images)


class StyledDecoder(nn.Module):
    """Draws a content in a style: adaptive instance norms take their scales and offsets from it.

    Huang & Belongie 2017 (AdaIN), Eq. 8; the scale is 1 more than what the style's perceptron gives.
    """

    def __init__(self, channels: int, width: int = 32, blocks: int = 4, style_length: int = 8) -> None:
        super().__init__()
        inner = 4 * width
        self.blocks = nn.ModuleList(StyledBlock(inner) for _ in range(blocks))
        self.rise = nn.ModuleList([_same_size(inner, 2 * width, 5), _same_size(2 * width, width, 5)])
        self.draw = nn.Sequential(_same_size(width, channels, 7), nn.Tanh())
        self.widths = (*[inner] * (2 * blocks), inner, 2 * width, width)
        """The feature maps of each adaptive norm, in the order of their use."""
        self.perceptron = nn.Sequential(
            nn.Linear(style_length, inner),
            nn.ReLU(inplace=True),
            nn.Linear(inner, 2 * inner),
            nn.ReLU(inplace=True),
            nn.Linear(2 * inner, 2 * sum(self.widths)),
        )
        draw_kaiming(self, SLOPE)

    def forward(self, content: Tensor, styles: Tensor) -> Images:
        """The images, four times as large as their content, in [-1, 1]; one style for each."""
        parts = self.perceptron(styles).split([2 * width for width in self.widths], dim=1)
        manners = iter(parts)
        features = content
        for block in self.blocks:
            features = block(features, next(manners), next(manners))
        features = styled(features, next(manners))
        for convolution in self.rise:
            larger = nn.functional.interpolate(features, scale_factor=2, mode="nearest")
            features = styled(convolution(larger), next(manners))
        return self.draw(features)


class PreactivatedBlock(nn.Module):
    """(x + f(x)) / sqrt(2): norms and rectifiers come before the convolutions, and the sum keeps its variance."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.change = nn.Sequential(
            *_normalised(width), _same_size(width, width, 3), *_normalised(width), _same_size(width, width, 3)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Features of the same shape."""
        return (features + self.change(features)) / math.sqrt(2.0)


class StyledBlock(nn.Module):
    """The same block with adaptive norms."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _same_size(width, width, 3)
        self.second = _same_size(width, width, 3)

    def forward(self, features: Tensor, first_manner: Tensor, second_manner: Tensor) -> Tensor:
        """Features of the same shape, each norm in its manner."""
        changed = self.first(styled(features, first_manner))
        return (features + self.second(styled(changed, second_manner))) / math.sqrt(2.0)


class Disentangler(nn.Module):
    """All that takes two domains' images apart and puts them together."""

    def __init__(self, channels: int, size: int, width: int = 32, blocks: int = 4, length: int = 8) -> None:
        super().__init__()
        self.style_length = length
        self.content_encoder = ContentEncoder(channels, width, blocks)
        self.source_style_encoder = StyleEncoder(channels, size, width, length)
        self.target_style_encoder = StyleEncoder(channels, size, width, length)
        self.decoder = StyledDecoder(channels, width, blocks, length)


def styled(features: Tensor, manner: Tensor) -> Tensor:
    """Features (B, C, h, w) normalised, scaled and shifted by a manner (B, 2 C), then rectified."""
    scale, offset = manner[:, :, None, None].chunk(2, dim=1)
    return nn.functional.leaky_relu(nn.functional.instance_norm(features) * (scale + 1.0) + offset, SLOPE)


def _halvings(side: int) -> int:
    """How often a side can be halved and still leave something to normalise.

    >>> _halvings(16), _halvings(8), _halvings(2)
    (3, 2, 0)
    """
    return max(0, (side // SMALLEST_NORMALISED).bit_length() - 1)


def _convolved(inner: int, outer: int, kernel: int, stride: int) -> tuple[nn.Module, ...]:
    """A convolution to the size divided by `stride`, normalised and rectified."""
    border = (kernel - 1) // 2
    convolution = nn.Conv2d(inner, outer, kernel, stride, border, padding_mode="reflect")
    return convolution, *_normalised(outer)


def _same_size(inner: int, outer: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(inner, outer, kernel, padding=kernel // 2, padding_mode="reflect")


def _normalised(width: int) -> tuple[nn.Module, nn.Module]:
    return nn.InstanceNorm2d(width, affine=True), nn.LeakyReLU(SLOPE)


class ScaledCritic(nn.Module):
    """Judges an image at three scales at once, each half as large as the one before it.

    A critic is a 4x4 convolution of stride 2, four more of them with an instance norm, and a 1x1 convolution. Scales
    so small that the last norm would see less than 2 x 2 pixels get fewer layers (below 64 pixels a side).
    """

    def __init__(self, channels: int, size: int, width: int = 32, scales: int = 3) -> None:
        super().__init__()
        smallest = size // 2 ** (scales - 1)
        if smallest < 2 * SMALLEST_NORMALISED:
            raise ValueError(
                f"{scales} scales need images of {2**scales * SMALLEST_NORMALISED} pixels or more"
            )
        # Means over pixels that exist, as in MUNIT: zeros beyond the border would be grey.
        self.shrink = nn.AvgPool2d(kernel_size=3, stride=2, padding=1, count_include_pad=False)
        self.critics = nn.ModuleList(
            _patch_critic(channels, width, min(4, _halvings(size // 2**scale) - 1)) for scale in range(scales)
        )
        draw_kaiming(self, SLOPE)

    def forward(self, images: Images) -> list[Tensor]:
        """Unbounded verdicts, (B, 1, h, w) at each scale, the finest first."""
        verdicts: list[Tensor] = []
        for number, critic in enumerate(self.critics):
            images = self.shrink(images) if number else images
            verdicts.append(critic(images))
        return verdicts


def _patch_critic(channels: int, width: int, layers: int) -> nn.Sequential:
    widths = [width * min(2**depth, 8) for depth in range(layers + 1)]
    parts: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(SLOPE)]
    for inner, outer in pairwise(widths):
        parts += [nn.Conv2d(inner, outer, 4, 2, 1), *_normalised(outer)]
    return nn.Sequential(*parts, nn.Conv2d(widths[-1], 1, kernel_size=1))


class ContentCritic(nn.Module):
    """Judges from which domain a content comes, which should not be told.

    7x7 convolutions of stride 2 without padding, each with an instance norm, and a 3x3 one. The published four fit
    images of 512 pixels alone; here as many are taken, four at most, as leave the 3 x 3 pixels that the last needs:
    three at 256, two at 128, one at 64. Below that the one has a border of three pixels.
    """

    def __init__(self, size: int, width: int = 128) -> None:
        super().__init__()
        layers = valid_layers(size)
        border = 0 if layers else 3
        parts: list[nn.Module] = []
        for _ in range(max(1, layers)):
            parts += [nn.Conv2d(width, width, 7, 2, border), *_normalised(width)]
        self.judge = nn.Sequential(*parts, nn.Conv2d(width, 1, kernel_size=3))
        draw_kaiming(self, SLOPE)

    def forward(self, content: Tensor) -> Tensor:
        """Unbounded verdicts, (B, 1, h, w), near 1 where the content seems to be the source's."""
        return self.judge(content)


def valid_layers(size: int) -> int:
    """How many 7x7 convolutions of stride 2 without padding the content of an image of `size` pixels takes, up to 4.

    >>> [valid_layers(size) for size in (512, 256, 128, 64, 32)]
    [4, 3, 2, 1, 0]
    """
    side, layers = size // 4, 0
    while layers < 4 and (side - 7) // 2 + 1 >= 3:
        side, layers = (side - 7) // 2 + 1, layers + 1
    return layers
