"""DeepLabv3: a segmenter that looks at each place with convolutions of several reaches at once."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from fewmask.errors import InputFault
from fewmask.networks.fcn import FullyConvolutional
from fewmask.networks.norm import NormOfMeans, SharedBatchNorm2d


@dataclass(frozen=True)
class DeepLabv3Config:
    """`width` is the factor on every number of maps, 1 being torchvision's; `rates` are the pyramid's dilations.

    Rates are counted in places of 8 pixels. Where one is no less than the maps' height and width, as 36 is for images
    of 256 pixels, nothing but the middle of its 3x3 convolution sees the image.
    """

    width: float = 1.0
    rates: tuple[int, ...] = (12, 24, 36)
    kind: Literal["deeplabv3"] = "deeplabv3"

    def __post_init__(self) -> None:
        if not 0.0 < self.width <= 4.0:
            raise InputFault(f"DeepLabv3 width={self.width:g}: a factor above 0 and at most 4, e.g. 0.25")
        if not self.rates or min(self.rates) < 1:
            raise InputFault(
                f"DeepLabv3 rates={list(self.rates)}: give positive whole numbers, e.g. [12, 24, 36]"
            )


class DeepLabv3(FullyConvolutional):
    """A fully convolutional network whose classifier is an atrous spatial pyramid, a 3x3 and a 1x1 convolution.

    Chen et al. 2017, Fig. 5, at an eighth of the size, in the form of torchvision's `deeplabv3_resnet50`: 39,638,869
    parameters at width 1 with 1 or 3 channels and 21 outputs. Differs, as torchvision does: no multi-grid in the last
    stage; the 3x3 convolution and the dropout are added. And there is no auxiliary classifier, which its trained
    network has.
    """

    def __init__(self, channels: int, outputs: int, config: DeepLabv3Config) -> None:
        width = max(1, round(256 * config.width))

        def classifier(inner: int) -> nn.Sequential:
            return nn.Sequential(
                AtrousPyramid(inner, width, config.rates),
                nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False),
                SharedBatchNorm2d(width),
                nn.ReLU(inplace=True),
                nn.Conv2d(width, outputs, kernel_size=1),
            )

        super().__init__(channels, outputs, config.width, classifier)


class AtrousPyramid(nn.Module):
    """A 1x1 convolution, 3x3 convolutions dilated by each rate, and the maps' means, joined by a 1x1 convolution.

    Chen et al. 2017, Sec. 3.3 (ASPP). Each is normalised and rectified; half of what is joined is silenced in training.
    """

    def __init__(self, inner: int, width: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        means = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(inner, width, kernel_size=1, bias=False),
            NormOfMeans(width),
            nn.ReLU(),
        )
        self.convs = nn.ModuleList(
            [_normed(inner, width), *(_normed(inner, width, rate) for rate in rates), means]
        )
        self.project = _normed(len(self.convs) * width, width).append(nn.Dropout(0.5))

    def forward(self, maps: Tensor) -> Tensor:
        """(B, inner, h, w) to (B, width, h, w), not negative."""
        *near, means = (branch(maps) for branch in self.convs)
        return self.project(torch.cat([*near, means.expand_as(near[0])], dim=1))


def _normed(inner: int, outer: int, rate: int | None = None) -> nn.Sequential:
    """A 1x1 convolution, or a 3x3 one dilated by a rate, normalised and rectified."""
    if rate is None:
        layer = nn.Conv2d(inner, outer, kernel_size=1, bias=False)
    else:
        layer = nn.Conv2d(inner, outer, kernel_size=3, padding=rate, dilation=rate, bias=False)
    return nn.Sequential(layer, SharedBatchNorm2d(outer), nn.ReLU())
