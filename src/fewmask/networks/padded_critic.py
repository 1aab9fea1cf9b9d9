"""SIFA's critic: verdicts on patches that may reach beyond the image's border."""

from torch import Tensor, nn

from fewmask.networks.critic import patch_side
from fewmask.networks.zero_padded import draw_truncated_normal, normalisation


class PaddedCritic(nn.Module):
    """4x4 convolutions, each behind a border of two zeros: `layers` of stride 2 and two of stride 1.

    Chen et al. 2019 and 2020 (SIFA): no biases, instance norm with scale and offset but on the first and the last.
    `maps` is how many questions it answers; the source's critic of SIFA has two. `width` is 64 in the paper: 2,763,520
    parameters for one channel, 2,771,712 with two maps, 2,767,616 for the scores of five classes.
    """

    def __init__(self, channels: int, width: int = 64, layers: int = 3, maps: int = 1) -> None:
        super().__init__()
        self.layers = layers
        stages: list[nn.Module] = [_convolution(channels, width, stride=2), nn.LeakyReLU(0.2, inplace=True)]
        inner = width
        for depth in range(1, layers + 1):
            outer = width * min(2**depth, 8)
            stages += [
                _convolution(inner, outer, stride=2 if depth < layers else 1),
                normalisation(outer, "instance"),
                nn.LeakyReLU(0.2, inplace=True),
            ]
            inner = outer
        self.judge = nn.Sequential(*stages, _convolution(inner, maps, stride=1))
        draw_truncated_normal(self, 0.02)

    @property
    def field_of_view(self) -> int:
        """The side, in pixels, of the patch that decides one verdict.

        >>> PaddedCritic(1, layers=3).field_of_view
        70
        """
        return patch_side(self.layers)

    def forward(self, judged: Tensor) -> Tensor:
        """Unbounded verdicts, (B, maps, h, w): 35 x 35 of them for 256 x 256 pixels and three layers."""
        return self.judge(judged)


def _convolution(inner: int, outer: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(inner, outer, kernel_size=4, stride=stride, padding=2, bias=False)
