"""The fully convolutional network on ResNet-50, and the frame that it shares with DeepLabv3."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from fewmask.errors import InputFault
from fewmask.networks.norm import SharedBatchNorm2d
from fewmask.networks.pretrained import read_weights, take_weights
from fewmask.networks.resnet import ResNet50, ResNetConfig
from fewmask.shapes import Images, Logits

LAST = "classifier.4."
"""Where both networks have the convolution that gives the scores."""


@dataclass(frozen=True)
class FCNConfig:
    """`width` is the factor on every number of maps, 1 being torchvision's."""

    width: float = 1.0
    kind: Literal["fcn"] = "fcn"

    def __post_init__(self) -> None:
        if not 0.0 < self.width <= 4.0:
            raise InputFault(f"FCN width={self.width:g}: a factor above 0 and at most 4, e.g. 0.25")


class FullyConvolutional(nn.Module):
    """A ResNet-50 that keeps an eighth of the image's size, and a classifier of each place, drawn out to the image.

    `classifier` makes five layers from the number of the backbone's maps; the last gives the `outputs` scores. The
    state dict has the names of torchvision's segmentation networks, `backbone.conv1.weight` to `classifier.4.bias`,
    and `backbone.frozen`. Images are stretched as `ResNet50` does. Differs: no auxiliary classifier at stage 3.
    """

    def __init__(
        self, channels: int, outputs: int, width: float, classifier: Callable[[int], nn.Sequential]
    ) -> None:
        super().__init__()
        self.outputs = outputs
        self.divisor = 8
        """Rows and columns of an image must be multiples of this."""
        self.backbone = ResNet50(channels, ResNetConfig(width, (2, 2, 2, 2)), dilated=(False, True, True))
        self.widths = self.backbone.widths
        """How many maps each level of the encoder gives."""
        self.encoder = self.backbone.levels
        self.classifier = classifier(self.backbone.width)
        # The layout changes no value but a step's time.
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, images: Images) -> Logits:
        """Class scores for every pixel. Raises ValueError where the size is not a multiple of `divisor`."""
        return self.decode(self.features(images))

    def features(self, images: Images) -> list[Tensor]:
        """The encoder's maps, finest first, none negative: a half, a quarter and three times an eighth of the size."""
        rows, columns = images.shape[-2:]
        if rows % self.divisor or columns % self.divisor:
            raise ValueError(
                f"this network takes sizes that are multiples of {self.divisor}, not {rows} x {columns}"
            )
        return self.backbone.features(images)

    def halved(self, maps: Tensor) -> Tensor:
        """All of it: the next level strides where it has to."""
        return maps

    def decode(self, features: list[Tensor]) -> Logits:
        """Class scores from maps of the shapes that `features` gives; only the deepest are looked at."""
        rows, columns = features[0].shape[-2:]
        return nn.functional.interpolate(
            self.classifier(features[-1]), size=(2 * rows, 2 * columns), mode="bilinear", align_corners=False
        )

    def load_imagenet(self, path: Path) -> int:
        """Start from a file of torchvision's network of this kind, or of its `resnet50`; how many tensors were taken.

        Of a `resnet50` the backbone is taken. Of a whole network the last convolution is left aside where it gives
        another number of scores, the auxiliary classifier always. The backbone's norms then keep the file's
        statistics, the classifier's go on learning theirs. Raises InputFault, with the network as it was, where the
        file cannot be read or does not fit.
        """
        weights = read_weights(path, "segmentation network of this kind, or of its resnet50")
        ignored = ["backbone.frozen"]
        if not any(name.startswith("backbone.") for name in weights):
            weights = {f"backbone.{name}": tensor for name, tensor in weights.items()}
            ignored.append("classifier.")
        elif f"{LAST}bias" in weights and weights[f"{LAST}bias"].shape != (self.outputs,):
            ignored.append(LAST)
        try:
            taken = take_weights(self, weights, tuple(ignored))
        except InputFault as fault:
            raise InputFault(f"{path}: {fault}") from None
        self.backbone.frozen.fill_(True)
        self.train(self.training)
        return taken


class FCN(FullyConvolutional):
    """A fully convolutional network whose classifier is one 3x3 and one 1x1 convolution.

    Long et al. 2015, in the form of torchvision's `fcn_resnet50`: 32,957,013 parameters at width 1 with 1 or 3
    channels and 21 outputs. Differs: a ResNet-50 at an eighth of the size takes the place of VGG-16 and of the paper's
    joining of scores at three sizes; no auxiliary classifier, which torchvision's trained network has.
    """

    def __init__(self, channels: int, outputs: int, config: FCNConfig) -> None:
        def classifier(inner: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(inner, inner // 4, kernel_size=3, padding=1, bias=False),
                SharedBatchNorm2d(inner // 4),
                nn.ReLU(inplace=True),
                nn.Dropout(0.1),
                nn.Conv2d(inner // 4, outputs, kernel_size=1),
            )

        super().__init__(channels, outputs, config.width, classifier)
