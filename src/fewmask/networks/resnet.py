"""The trunk of ResNet-50 under torchvision's names, with a place for a gate in every block."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from fewmask.errors import InputFault
from fewmask.networks.evidence import entry_channels, stretched
from fewmask.networks.norm import SharedBatchNorm2d
from fewmask.networks.pretrained import load_weights
from fewmask.shapes import Images

STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))
"""The inner features and the number of bottlenecks of each stage of ResNet-50."""

EXPANSION = 4
"""A bottleneck gives so many times its inner features."""

Gate = Callable[[int], nn.Module]
"""Makes the module that the features of a block's last norm pass, given their number."""


@dataclass(frozen=True)
class ResNetConfig:
    """`width` is the factor on every number of features, 1 being ResNet-50's.

    `strides` are those of the first convolution and of stages 2 to 4; a max-pool halves once more in between.
    (2, 2, 2, 1) is AMR's, 16 pixels a place; (2, 2, 1, 1), 8 pixels a place, suits slices of about 100 pixels.
    """

    width: float = 1.0
    strides: tuple[int, int, int, int] = (2, 2, 2, 1)

    def __post_init__(self) -> None:
        if not 0.0 < self.width <= 4.0:
            raise InputFault(f"ResNet width={self.width:g}: a factor above 0 and at most 4, e.g. 0.25")
        if not set(self.strides) <= {1, 2}:
            raise InputFault(f"ResNet strides={list(self.strides)}: each is 1 or 2, e.g. [2, 2, 2, 1]")


def no_gate(width: int) -> nn.Module:
    """The gate of a plain ResNet: none."""
    return nn.Identity()


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, each normalised, a gate, and the sum with what came in.

    He et al. 2016, Fig. 5. Differs, as torchvision does: the stride is the 3x3 convolution's, as is the dilation.
    """

    def __init__(self, inner: int, features: int, stride: int, gate: Gate, dilation: int = 1) -> None:
        super().__init__()
        outer = EXPANSION * features
        self.conv1 = nn.Conv2d(inner, features, kernel_size=1, bias=False)
        self.bn1 = SharedBatchNorm2d(features)
        self.conv2 = nn.Conv2d(
            features, features, kernel_size=3, stride=stride, padding=dilation, dilation=dilation, bias=False
        )
        self.bn2 = SharedBatchNorm2d(features)
        self.conv3 = nn.Conv2d(features, outer, kernel_size=1, bias=False)
        self.bn3 = SharedBatchNorm2d(outer)
        self.gate = gate(outer)
        self.downsample = nn.Sequential()
        if stride != 1 or inner != outer:
            self.downsample.append(nn.Conv2d(inner, outer, kernel_size=1, stride=stride, bias=False))
            self.downsample.append(SharedBatchNorm2d(outer))

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, C, H, W), none negative."""
        current = self.bn1(self.conv1(features)).relu()
        current = self.bn2(self.conv2(current)).relu()
        return (self.gate(self.bn3(self.conv3(current))) + self.downsample(features)).relu()


class ResNet50(nn.Module):
    """ResNet-50 without its last linear layer: 23,508,032 parameters at width 1 with three channels and no gate.

    He et al. 2016. The norms learn from the batch; once weights are taken from a file they keep that file's
    statistics for good, as AMR does with ImageNet's, because a batch of slices would spoil them. That is part of the
    state.

    `dilated` says which of stages 2 to 4 keep the size of their maps: where such a stage would stride, the blocks
    behind its first, and all later stages, look that many times further apart. Chen et al. 2017 (DeepLabv3), Sec. 3.1,
    in torchvision's form.
    """

    frozen: Tensor

    def __init__(
        self,
        channels: int,
        config: ResNetConfig,
        gate: Gate = no_gate,
        dilated: tuple[bool, bool, bool] = (False, False, False),
    ) -> None:
        super().__init__()
        inner = max(1, round(64 * config.width))
        entry, *others = config.strides
        seen = entry_channels(channels)
        self.conv1 = nn.Conv2d(seen, inner, kernel_size=7, stride=entry, padding=3, bias=False)
        self.bn1 = SharedBatchNorm2d(inner)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        widths = [inner]
        stages: list[nn.Sequential] = []
        dilation = 1
        for (features, count), stride, kept in zip(STAGES, (1, *others), (False, *dilated), strict=True):
            middle = max(1, round(features * config.width))
            blocks = [Bottleneck(inner, middle, 1 if kept else stride, gate, dilation)]
            inner = EXPANSION * middle
            dilation *= stride if kept else 1
            blocks += [Bottleneck(inner, middle, 1, gate, dilation) for _ in range(count - 1)]
            stages.append(nn.Sequential(*blocks))
            widths.append(inner)
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.widths = tuple(widths)
        """How many maps each level gives, see `features`."""
        self.width = inner
        """How many features it gives: those of the last level."""
        # Views on the same layers: as a tuple they are not registered a second time, and change no name in the state.
        self.levels = (
            nn.Sequential(self.conv1, self.bn1, self.relu),
            nn.Sequential(self.maxpool, self.layer1),
            self.layer2,
            self.layer3,
            self.layer4,
        )
        self.register_buffer("frozen", torch.tensor(False))
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        # The layout changes no value but a step's time: 0.75 of it on a CPU.
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, images: Images) -> Tensor:
        """Features (B, `width`, h, w), none negative, each place as wide as the strides say."""
        return self.features(images)[-1]

    def features(self, images: Images) -> list[Tensor]:
        """The maps of the first convolution and of each stage, none negative: level i has `widths[i]` of them.

        With strides of 2 they are a half, a quarter, an eighth, ... as high and wide as the images.
        """
        maps: list[Tensor] = []
        current = stretched(images)
        for level in self.levels:
            current = level(current)
            maps.append(current)
        return maps

    def own_norms(self) -> list[SharedBatchNorm2d]:
        """The norms that torchvision's network has too: all but those inside gates."""
        return [
            layer
            for name, layer in self.named_modules()
            if isinstance(layer, SharedBatchNorm2d) and "gate" not in name.split(".")
        ]

    def train(self, mode: bool = True) -> "ResNet50":
        """As every network; norms whose statistics came from a file stay at rest."""
        super().train(mode)
        if bool(self.frozen):
            for norm in self.own_norms():
                norm.eval()
        return self

    def load_imagenet(self, path: Path) -> int:
        """Start from a file of torchvision's `resnet50`, and keep its norms' statistics; how many tensors were taken.

        Raises InputFault, with the network as it was, where the file cannot be read or does not fit.
        """
        gates = [f"{name}." for name, _ in self.named_modules() if name.split(".")[-1] == "gate"]
        taken = load_weights(self, path, "resnet50", ignored=("frozen", *gates))
        self.frozen.fill_(True)
        self.train(self.training)
        return taken
