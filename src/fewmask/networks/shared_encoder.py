"""SIFA's other half: one encoder, whose features a decoder makes an image of and heads make class scores of.

The encoder with the decoder translates target images into the source's look; the encoder with a head segments.
Because it serves both, each teaches it for the other.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewmask.networks.zero_padded import (
    RectifiedBlock,
    TimedDropout,
    When,
    doubling,
    draw_truncated_normal,
    normalisation,
)
from fewmask.shapes import Images, Logits

REDUCTION = 8
"""How many pixels of the image a side of one feature covers."""


class Taps(NamedTuple):
    """The encoder's last features, and those from four layers of blocks earlier; (B, 32 width, H / 8, W / 8) each."""

    last: Tensor
    earlier: Tensor


class SharedEncoder(nn.Module):
    """Residual blocks between three halvings, two dilated blocks and two convolutions.

    Chen et al. 2019 and 2020 (SIFA), after a dilated residual network: no biases, batch norm, weights from N(0,
    0.01^2) cut off at two deviations. `width` is 16 in the paper: 27,517,424 parameters for one channel. `tiles`
    repeats the image's channels at the entry, as SIFA's first version does with a single slice (3).
    """

    def __init__(self, channels: int, width: int = 16, dropout: float = 0.0, tiles: int = 1) -> None:
        super().__init__()
        self.tiles = tiles
        self.width = 32 * width
        """How many features each tap has."""
        silence = TimedDropout(dropout)

        def block(inner: int, outer: int, dilation: int = 1) -> RectifiedBlock:
            return RectifiedBlock(inner * width, outer * width, "batch", silence, dilation=dilation)

        self.body = nn.Sequential(
            *_convolution(channels * tiles, width, 7, silence),
            block(1, 1),
            nn.MaxPool2d(2),
            block(1, 2),
            nn.MaxPool2d(2),
            block(2, 4),
            block(4, 4),
            nn.MaxPool2d(2),
            block(4, 8),
            block(8, 8),
            block(8, 16),
            *(block(16, 16) for _ in range(3)),
            block(16, 32),
            block(32, 32),
        )
        self.end = nn.Sequential(
            block(32, 32, dilation=2),
            block(32, 32, dilation=2),
            *_convolution(self.width, self.width, 3, silence),
            *_convolution(self.width, self.width, 3, silence),
        )
        draw_truncated_normal(self, 0.01)

    def forward(self, images: Images) -> Taps:
        """Features, none negative. Raises ValueError where a side is no multiple of 8."""
        rows, columns = images.shape[-2:]
        if rows % REDUCTION or columns % REDUCTION:
            raise ValueError(f"the encoder takes sizes that are multiples of 8, not {rows} x {columns}")
        earlier = self.body(images.repeat(1, self.tiles, 1, 1))
        return Taps(self.end(earlier), earlier)


class ImageDecoder(nn.Module):
    """Draws an image from the encoder's last features, on top of the image that they were taken from.

    Chen et al. 2019 and 2020 (SIFA): tanh(image + change). `width` is 32 in the paper: 1,902,848 parameters from 512
    features to one channel, which include the biases of the transposed convolutions. A quarter of the values in its
    blocks is silenced while it is trained. Differs: SIFA's code does so at test, too (`dropout="always"`). Weights are
    drawn like the translator's.
    """

    def __init__(self, features: int, channels: int, width: int = 32, dropout: When = "training") -> None:
        super().__init__()
        silence = TimedDropout(0.25, dropout)
        self.change = nn.Sequential(
            nn.Conv2d(features, 4 * width, kernel_size=3, padding=1, bias=False),
            normalisation(4 * width, "instance"),
            nn.ReLU(inplace=True),
            *(RectifiedBlock(4 * width, 4 * width, "instance", silence) for _ in range(4)),
            *doubling(4 * width, 2 * width),
            *doubling(2 * width, 2 * width),
            *doubling(2 * width, width),
            nn.Conv2d(width, channels, kernel_size=7, padding=3, bias=False),
        )
        draw_truncated_normal(self, 0.02)

    def forward(self, features: Tensor, images: Images) -> Images:
        """The re-drawn images, as large as the given ones."""
        return torch.tanh(images + self.change(features))


class SegmentationHead(nn.Module):
    """Class scores from one tap of the encoder: a 1x1 convolution without a bias, drawn out to the image's size.

    Chen et al. 2019 and 2020 (SIFA): 2,560 parameters from 512 features to five classes. The dropout comes after the
    convolution, as everywhere in the encoder.
    """

    def __init__(self, features: int, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.scores = nn.Conv2d(features, classes, kernel_size=1, bias=False)
        self.silence = TimedDropout(dropout)
        draw_truncated_normal(self, 0.01)

    def forward(self, features: Tensor) -> Logits:
        """Class scores for every pixel, bilinear between the features' centres."""
        scores = self.silence(self.scores(features))
        return functional.interpolate(
            scores, scale_factor=float(REDUCTION), mode="bilinear", align_corners=False
        )


def _convolution(inner: int, outer: int, side: int, silence: TimedDropout) -> list[nn.Module]:
    return [
        nn.Conv2d(inner, outer, kernel_size=side, padding=side // 2, bias=False),
        silence,
        normalisation(outer, "batch"),
        nn.ReLU(inplace=True),
    ]
