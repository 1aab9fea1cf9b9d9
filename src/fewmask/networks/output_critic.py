"""The output critic: it judges whether a map of class probabilities is drawn like those of the source."""

from itertools import pairwise

from torch import nn

from fewmask.errors import InputFault
from fewmask.shapes import Probabilities, Verdicts


class OutputCritic(nn.Module):
    """Convolutions of 4x4 and stride 2 throughout: 64, 128, 256, 512 and one verdict, leaky ReLU of 0.2, no norm.

    Tsai et al. 2018 (AdaptSegNet), section 4.1; `layers` counts the convolutions before the last. Differs: verdicts
    are judged where they stand, not enlarged to the size of the image. Weights are drawn as torch draws them.
    """

    def __init__(self, classes: int, width: int = 64, layers: int = 4) -> None:
        super().__init__()
        if layers < 1 or width < 1:
            raise InputFault(
                f"critic_layers={layers}, critic_width={width}: the output critic needs at least one of each"
            )
        self.smallest_size = 2 ** (layers + 1)
        """The smallest side, in pixels, of a map that still gets a verdict: 32 for four layers."""
        widths = [width * min(2**depth, 8) for depth in range(layers)]
        stages: list[nn.Module] = []
        for inner, outer in pairwise([classes, *widths]):
            stages += [_halving(inner, outer), nn.LeakyReLU(0.2, inplace=True)]
        self.judge = nn.Sequential(*stages, _halving(widths[-1], 1))

    def forward(self, probabilities: Probabilities) -> Verdicts:
        """Unbounded verdicts, (B, 1, H / 2^(layers + 1), W / 2^(layers + 1)) rounded down; high is source.

        Raises ValueError for maps below `smallest_size`.
        """
        if min(probabilities.shape[-2:]) < self.smallest_size:
            size = tuple(probabilities.shape[-2:])
            raise ValueError(f"this critic needs maps of {self.smallest_size} pixels or more, not {size}")
        return self.judge(probabilities)


def _halving(inner: int, outer: int) -> nn.Conv2d:
    return nn.Conv2d(inner, outer, kernel_size=4, stride=2, padding=1)
