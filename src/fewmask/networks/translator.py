"""The translator: it re-draws an image of one domain in the manner of another."""

from torch import Tensor, nn

from fewmask.networks.initial import draw_normal
from fewmask.shapes import Images


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions whose result is added to what came in; nothing is rectified after the sum.

    He et al. 2016 as Zhu et al. 2017 (CycleGAN) use it: reflected borders, instance norm without scale and
    offset.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.change = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, kernel_size=3, bias=False),
            nn.InstanceNorm2d(width),
            nn.ReLU(inplace=True),
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, kernel_size=3, bias=False),
            nn.InstanceNorm2d(width),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Features of the same shape, (B, width, h, w), with h and w at least 2."""
        return features + self.change(features)


class ResNetTranslator(nn.Module):
    """Halves the image twice, changes it in residual blocks, and brings it back to its size in [-1, 1].

    Johnson et al. 2016 as Zhu et al. 2017 (CycleGAN, appendix 7.2) use it: nine blocks for images of 256
    pixels or more. Differs: no bias before an instance norm, which would take it away again while Adam
    amplifies the rounding noise in its gradient. Weights are drawn from N(0, 0.02^2).
    """

    def __init__(self, channels_in: int, channels_out: int, width: int = 64, blocks: int = 9) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.ReflectionPad2d(3),
            nn.Conv2d(channels_in, width, kernel_size=7, bias=False),
            *_normalised(width),
            nn.Conv2d(width, 2 * width, kernel_size=3, stride=2, padding=1, bias=False),
            *_normalised(2 * width),
            nn.Conv2d(2 * width, 4 * width, kernel_size=3, stride=2, padding=1, bias=False),
            *_normalised(4 * width),
        )
        self.blocks = nn.Sequential(*(ResidualBlock(4 * width) for _ in range(blocks)))
        self.decoder = nn.Sequential(
            _doubling(4 * width, 2 * width),
            *_normalised(2 * width),
            _doubling(2 * width, width),
            *_normalised(width),
            nn.ReflectionPad2d(3),
            nn.Conv2d(width, channels_out, kernel_size=7),
            nn.Tanh(),
        )
        draw_normal(self)

    def forward(self, images: Images) -> Images:
        """The re-drawn images, as large as the given ones.

        Raises ValueError where the size is not a multiple of 4.
        """
        rows, columns = images.shape[-2:]
        if rows % 4 or columns % 4:
            raise ValueError(f"the translator takes sizes that are multiples of 4, not {rows} x {columns}")
        return self.decoder(self.blocks(self.encoder(images)))


def _normalised(width: int) -> tuple[nn.Module, nn.Module]:
    return nn.InstanceNorm2d(width), nn.ReLU(inplace=True)


def _doubling(inner: int, outer: int) -> nn.ConvTranspose2d:
    """A transposed convolution to exactly twice the size."""
    return nn.ConvTranspose2d(inner, outer, kernel_size=3, stride=2, padding=1, output_padding=1, bias=False)
