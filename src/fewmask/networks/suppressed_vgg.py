"""A classifier whose strongest features are held down, so that it must look at more of the object.

Kim et al. 2021 (DRS): a network that may look at the most telling part alone will, and its activation map shows that
part alone. Where every feature is capped at a share of its own maximum, neighbouring regions count as much.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fewmask.errors import InputFault
from fewmask.networks.evidence import entry_channels, slice_scores, stretched
from fewmask.networks.initial import calibrate, draw_kaiming
from fewmask.networks.pretrained import load_weights
from fewmask.networks.vgg import BLOCKS
from fewmask.shapes import Images

STRIDE = 8
"""How many pixels of the image a side of one feature covers."""

EXTRA = (512, 512, 512)
"""The features of the three convolutions that DRS adds."""


@dataclass(frozen=True)
class NoSuppression:
    """Plain rectifiers: the network that DRS refines its maps with, and the ablation of its suppression."""

    kind: Literal["none"] = "none"

    def build(self, width: int) -> nn.Module:
        """The rectifier of so many features."""
        return nn.ReLU()


@dataclass(frozen=True)
class FixedSuppression:
    """Every feature is capped at `delta` of its maximum over the slice; 1 caps nothing."""

    kind: Literal["fixed"] = "fixed"
    delta: float = 0.55

    def __post_init__(self) -> None:
        if not 0.0 < self.delta <= 1.0:
            raise InputFault(f"suppression delta={self.delta:g}: must be above 0 and at most 1, e.g. 0.55")

    def build(self, width: int) -> nn.Module:
        """The rectifier of so many features."""
        return FixedSuppressor(self.delta)


@dataclass(frozen=True)
class LearntSuppression:
    """The share at which a feature is capped is learnt, and differs from slice to slice."""

    kind: Literal["learnt"] = "learnt"

    def build(self, width: int) -> nn.Module:
        """The rectifier of so many features."""
        return LearntSuppressor(width)


Suppression = Annotated[NoSuppression | FixedSuppression | LearntSuppression, Field(discriminator="kind")]


class FixedSuppressor(nn.Module):
    """min(ReLU(x), delta max ReLU(x)), the maximum being over the pixels of a feature. Kim et al. 2021."""

    def __init__(self, delta: float) -> None:
        super().__init__()
        self.delta = delta

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, C, H, W), none negative."""
        rectified = features.relu()
        return torch.minimum(rectified, self.delta * rectified.amax((2, 3), keepdim=True))


class LearntSuppressor(nn.Module):
    """As `FixedSuppressor`, with delta_c = sigmoid(FC(GAP(ReLU(x)))) and no bias. Kim et al. 2021."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.control = nn.Linear(width, width, bias=False)

    def deltas(self, rectified: Tensor) -> Tensor:
        """(B, C, 1, 1) in (0, 1): the share of its maximum at which each rectified feature is capped."""
        return self.control(rectified.mean((2, 3))).sigmoid()[:, :, None, None]

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, C, H, W), none negative."""
        rectified = features.relu()
        return torch.minimum(rectified, self.deltas(rectified) * rectified.amax((2, 3), keepdim=True))


@dataclass(frozen=True)
class SuppressedVGGConfig:
    """The suppression, and `width`, the factor on every number of features: 1 is the paper's, 0.25 a quarter."""

    width: float = 1.0
    suppression: Suppression = FixedSuppression()

    def __post_init__(self) -> None:
        if not 0.0 < self.width <= 4.0:
            raise InputFault(f"VGG width={self.width:g}: a factor above 0 and at most 4, e.g. 0.25")


class SuppressedVGG(nn.Module):
    """The convolutions of VGG-16, three more, and a 1x1 convolution that scores every place of the slice.

    The fourth pooling has stride 1 and the fifth block's convolutions have dilation 2 (the "D1" of DRS), so a place is
    8 pixels wide. `features` has torchvision's names (`features.0.weight`, ...); the suppressors stand where its
    rectifiers do. 21,794,625 parameters with three channels; a learnt suppression adds 2,596,864.
    Differs: one score, not one a class. Where no file is given, weights start as He et al. 2015 draw them, calibrated
    with the caps in place: else what reaches the head is too faint to train on.
    """

    def __init__(self, channels: int, config: SuppressedVGGConfig) -> None:
        super().__init__()
        inner = entry_channels(channels)
        layers: list[nn.Module] = []
        for number, block in enumerate(BLOCKS):
            for features in block:
                outer = _scaled(features, config.width)
                layers += _layer(inner, outer, 2 if number == len(BLOCKS) - 1 else 1, config.suppression)
                inner = outer
            if number < 3:
                layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
            elif number == 3:
                layers.append(nn.MaxPool2d(kernel_size=3, stride=1, padding=1))
        self.features = nn.Sequential(*layers)
        added: list[nn.Module] = []
        for features in EXTRA:
            outer = _scaled(features, config.width)
            added += _layer(inner, outer, 1, config.suppression)
            inner = outer
        self.extra = nn.Sequential(*added)
        self.head = nn.Conv2d(inner, 1, kernel_size=1)
        draw_kaiming(self, slope=0.0)
        for layer in self.modules():
            if isinstance(layer, LearntSuppressor):
                # So close to 0 that every share starts near one half, as in the authors' code.
                nn.init.normal_(layer.control.weight, 0.0, 0.01)
        calibrate([*self.features, *self.extra], entry_channels(channels))

    def scores(self, images: Images) -> Tensor:
        """How strongly each place speaks for the object: (B, 1, H // 8, W // 8), unbounded.

        Raises ValueError where a side is less than 8.
        """
        if min(images.shape[-2:]) < STRIDE:
            raise ValueError(f"this network takes sides of at least {STRIDE} pixels, not {images.shape[-2:]}")
        return self.head(self.extra(self.features(stretched(images))))

    def forward(self, images: Images) -> Tensor:
        """The score of each slice (B,), the mean over its places; positive where the object shows."""
        return slice_scores(self.scores(images))

    def load_imagenet(self, path: Path) -> int:
        """Start from a file of torchvision's `vgg16`; how many tensors were taken (26).

        Raises InputFault, with the network as it was, where the file cannot be read or does not fit.
        """
        suppressors = tuple(
            f"features.{number}."
            for number, layer in enumerate(self.features)
            if not isinstance(layer, nn.Conv2d)
        )
        return load_weights(self, path, "vgg16", ignored=("extra.", "head.", *suppressors))


def _layer(inner: int, outer: int, dilation: int, suppression: Suppression) -> list[nn.Module]:
    """A 3x3 convolution and the rectifier behind it."""
    convolution = nn.Conv2d(inner, outer, kernel_size=3, padding=dilation, dilation=dilation)
    return [convolution, suppression.build(outer)]


def _scaled(features: int, width: float) -> int:
    return max(1, round(features * width))
