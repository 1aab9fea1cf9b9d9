"""What SIFA's networks share: zero borders, a block that is rectified after its sum, weights of bounded size."""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from fewmask.networks.blocks import Norm
from fewmask.networks.norm import SharedBatchNorm2d

When = Literal["always", "training", "off"]
"""When a dropout silences values: at any time, only while the network is trained, or never."""


class TimedDropout(nn.Module):
    """Silences a share `rate` of the values, and raises the others to make up for it."""

    def __init__(self, rate: float, when: When = "training") -> None:
        super().__init__()
        self.rate = rate
        self.when = when

    def forward(self, features: Tensor) -> Tensor:
        """Values of the same shape."""
        active = self.when == "always" or (self.when == "training" and self.training)
        return functional.dropout(features, self.rate) if active and self.rate > 0.0 else features


def normalisation(width: int, norm: Norm) -> nn.Module:
    """A norm with a scale and an offset for each feature."""
    return SharedBatchNorm2d(width) if norm == "batch" else nn.InstanceNorm2d(width, eps=1e-6, affine=True)


class RectifiedBlock(nn.Module):
    """Two 3x3 convolutions whose result is added to what came in, and the sum is rectified.

    Where features grow in number, what came in is padded with zeros, half of them before it and half after. Chen et
    al. 2020 (SIFA); the dropout lies between each convolution and its norm.
    """

    def __init__(
        self,
        inner: int,
        outer: int,
        norm: Norm,
        dropout: TimedDropout,
        *,
        dilation: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.before = (outer - inner) // 2
        self.after = outer - inner - self.before

        def convolution(channels: int) -> nn.Conv2d:
            return nn.Conv2d(channels, outer, kernel_size=3, padding=dilation, dilation=dilation, bias=bias)

        self.change = nn.Sequential(
            convolution(inner),
            dropout,
            normalisation(outer, norm),
            nn.ReLU(inplace=True),
            convolution(outer),
            dropout,
            normalisation(outer, norm),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Features of the same size, (B, outer, h, w), none negative."""
        same = functional.pad(features, (0, 0, 0, 0, self.before, self.after))
        return functional.relu(same + self.change(features))


def doubling(inner: int, outer: int) -> list[nn.Module]:
    """A transposed convolution to exactly twice the size, normed and rectified.

    It has a bias although the norm takes it away again: SIFA's has, and the published parameter counts include it.
    """
    rise = nn.ConvTranspose2d(inner, outer, kernel_size=3, stride=2, padding=1, output_padding=1)
    return [rise, normalisation(outer, "instance"), nn.ReLU(inplace=True)]


def draw_truncated_normal(network: nn.Module, deviation: float) -> None:
    """Draw every convolution's weights anew from N(0, deviation^2) cut off at two deviations; biases become 0."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.trunc_normal_(layer.weight, 0.0, deviation, -2.0 * deviation, 2.0 * deviation)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
