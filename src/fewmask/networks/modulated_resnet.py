"""Two classifiers side by side: one that looks where the object is most telling, one whose features are evened out.

Qin et al. 2022 (AMR): the spotlight branch is a plain class activation map; in the compensation branch a gate in every
block weakens features that are unusually strong or weak, so that its map shows what the spotlight leaves out.
"""

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from fewmask.networks.norm import SharedBatchNorm2d
from fewmask.networks.resnet import Gate, ResNet50, ResNetConfig, no_gate
from fewmask.ranks import sum_over_ranks
from fewmask.shapes import Images

REDUCTION = 16
"""The channel gate squeezes so many features into one."""

MOMENTUM = 0.1
"""The share that a batch has in the running statistics, once there have been enough of them."""

EPSILON = 1e-5
"""Added to the variance: values that are all alike would divide by 0."""


def gaussian_projection(values: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """exp(-(v - mean)^2 / (2 deviation^2)) / (sqrt(2 pi) deviation): greatest for a usual value, small for extremes."""
    distance = (values - mean) / deviation
    return torch.exp(-0.5 * distance.square()) / (math.sqrt(2.0 * math.pi) * deviation)


class GaussianProjection(nn.Module):
    """`gaussian_projection` by the mean and deviation of all values that it is given, which carry no gradient.

    Qin et al. 2022. In training they are those of the whole batch, of all processes. Differs: at rest they are
    running means, as a batch norm has, since a slice's map must not depend on which slices are beside it; the authors'
    code takes the batch at hand. 1e-5 is added to the variance.
    """

    mean: Tensor
    variance: Tensor
    batches: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("variance", torch.ones(()))
        self.register_buffer("batches", torch.tensor(0))

    def forward(self, values: Tensor) -> Tensor:
        """A factor for each value, above 0, of the values' shape."""
        precise = values.to(torch.promote_types(values.dtype, torch.float32))
        mean, variance = self.mean, self.variance
        if self.training:
            mean, variance = _moments(precise.detach())
            self._remember(mean, variance)
        return gaussian_projection(precise, mean, (variance + EPSILON).sqrt()).to(values.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics towards those of this batch: a plain mean of the first ten."""
        self.batches.add_(1)
        share = (1.0 / self.batches).clamp(min=MOMENTUM).to(self.mean.dtype)
        self.mean.lerp_(mean.to(self.mean.dtype), share)
        self.variance.lerp_(variance.to(self.variance.dtype), share)


def _moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and the variance of all values, of all processes."""
    count = sum_over_ranks(values.new_tensor(float(values.numel())))
    mean = sum_over_ranks(values.sum()) / count
    return mean, sum_over_ranks((values - mean).square().sum()) / count


class Modulation(nn.Module):
    """The gate of a block (AMM): first a factor for each feature, then one for each place.

    Qin et al. 2022. Features' logits come from their means through two linear layers, places' from the
    greatest and the mean feature through a 7x7 convolution and a norm. Both pass `GaussianProjection`.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        squeezed = max(1, width // REDUCTION)
        self.squeeze = nn.Linear(width, squeezed)
        self.excite = nn.Linear(squeezed, width)
        self.usual_feature = GaussianProjection()
        self.place = nn.Conv2d(2, 1, kernel_size=7, padding=3, bias=False)
        self.norm = SharedBatchNorm2d(1)
        self.usual_place = GaussianProjection()

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, C, H, W), each value times its two factors."""
        logits = self.excite(self.squeeze(features.mean((2, 3))).relu())
        features = features * self.usual_feature(logits)[:, :, None, None]
        pooled = torch.cat([features.amax(1, keepdim=True), features.mean(1, keepdim=True)], dim=1)
        return features * self.usual_place(self.norm(self.place(pooled)))


class MapClassifier(nn.Module):
    """ResNet-50 and a 1x1 convolution without bias, whose map's mean is the slice's score: a plain CAM.

    Zhou et al. 2016: the map of the class is the features weighed by the classifier.
    """

    def __init__(self, channels: int, config: ResNetConfig, gate: Gate = no_gate) -> None:
        super().__init__()
        self.trunk = ResNet50(channels, config, gate)
        self.head = nn.Conv2d(self.trunk.width, 1, kernel_size=1, bias=False)

    def forward(self, images: Images) -> Tensor:
        """How strongly each place speaks for the object: (B, 1, h, w), unbounded; their mean is the slice's score."""
        return self.head(self.trunk(images))


class ModulatedPair(nn.Module):
    """The spotlight and the compensation branch, which share no weights.

    Qin et al. 2022. At width 1 with three channels: 23,510,080 parameters in the spotlight branch; the gates add
    2,532,592 to the compensation branch. Differs: one score, not one a class.
    """

    def __init__(self, channels: int, config: ResNetConfig) -> None:
        super().__init__()
        self.spotlight = MapClassifier(channels, config)
        self.compensation = MapClassifier(channels, config, Modulation)

    def load_imagenet(self, path: Path) -> int:
        """Start both branches from a file of torchvision's `resnet50`; how many tensors each took.

        Raises InputFault, with the networks as they were, where the file cannot be read or does not fit.
        """
        self.spotlight.trunk.load_imagenet(path)
        return self.compensation.trunk.load_imagenet(path)
