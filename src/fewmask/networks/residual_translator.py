"""SIFA's translator: it draws what an image of one domain lacks to look like one of the other, on top of the image."""

import torch
from torch import nn

from fewmask.networks.zero_padded import (
    RectifiedBlock,
    TimedDropout,
    doubling,
    draw_truncated_normal,
    normalisation,
)
from fewmask.shapes import Images


class ResidualTranslator(nn.Module):
    """Halves the image twice, changes it in residual blocks, comes back to its size, and adds the result to the image.

    Chen et al. 2019 and 2020 (SIFA): tanh(image + change). Without that sum anatomy drifts. `tiles` repeats the
    image's channels at the entry, as SIFA's first version does with a single slice (3). `width` is 32 in the paper:
    2,849,537 parameters for one channel, which include a bias before each instance norm. Differs: where a size is
    halved or doubled, the odd row and column of the zero border lies on the other side.
    """

    def __init__(self, channels: int, width: int = 32, blocks: int = 9, tiles: int = 1) -> None:
        super().__init__()
        self.tiles = tiles
        still = TimedDropout(0.0, "off")
        layers: list[nn.Module] = [
            nn.Conv2d(channels * tiles, width, kernel_size=7, padding=3),
            *_normalised(width),
            nn.Conv2d(width, 2 * width, kernel_size=3, stride=2, padding=1),
            *_normalised(2 * width),
            nn.Conv2d(2 * width, 4 * width, kernel_size=3, stride=2, padding=1),
            *_normalised(4 * width),
            *(RectifiedBlock(4 * width, 4 * width, "instance", still, bias=True) for _ in range(blocks)),
            *doubling(4 * width, 2 * width),
            *doubling(2 * width, width),
            nn.Conv2d(width, channels, kernel_size=7, padding=3),
        ]
        self.change = nn.Sequential(*layers)
        draw_truncated_normal(self, 0.02)

    def forward(self, images: Images) -> Images:
        """The re-drawn images, as large as the given ones. Raises ValueError where a side is no multiple of 4."""
        rows, columns = images.shape[-2:]
        if rows % 4 or columns % 4:
            raise ValueError(f"the translator takes sizes that are multiples of 4, not {rows} x {columns}")
        return torch.tanh(images + self.change(images.repeat(1, self.tiles, 1, 1)))


def _normalised(width: int) -> tuple[nn.Module, nn.Module]:
    return normalisation(width, "instance"), nn.ReLU(inplace=True)
