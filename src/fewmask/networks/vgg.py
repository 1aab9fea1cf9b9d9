"""VGG-16 that tells from tags what a slice shows, and whose layers can be asked where it looked."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from fewmask.config import did_you_mean
from fewmask.errors import InputFault
from fewmask.networks.evidence import entry_channels, stretched
from fewmask.networks.initial import calibrate, draw_kaiming
from fewmask.networks.pretrained import load_weights
from fewmask.shapes import Images

BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""The feature maps of each convolution at width 1, block by block. Simonyan & Zisserman 2015, Table 1, column D."""

HEAD = "head"

LAYERS = (*(f"block{number + 1}" for number in range(len(BLOCKS))), HEAD)
"""The names of the layers that can be looked at: the last rectified maps of each block, and the last convolution's."""


@dataclass(frozen=True)
class VGGConfig:
    """`width` is a factor on the feature maps of each convolution, 64 to 512.

    `dilated` keeps an eighth of the image's size to the end: the last pool but one does not halve, the last one is
    left out, and the convolutions behind look two pixels apart. Otherwise it is the plain VGG-16, which ends at a
    thirty-second. `dropout` is the share of values that is silenced behind each convolution of the last block.
    """

    width: float = 1.0
    dilated: bool = True
    dropout: float = 0.5

    def __post_init__(self) -> None:
        if not 1 / 64 <= self.width <= 8:
            raise InputFault(f"vgg width={self.width}: it must be from 1/64 to 8, e.g. 1 or 0.25")
        if not 0.0 <= self.dropout < 1.0:
            raise InputFault(f"vgg dropout={self.dropout}: it must be at least 0 and below 1, e.g. 0.5")


class TagVGG(nn.Module):
    """VGG-16 with its last three layers replaced by one 1x1 convolution, whose maps' means are the scores.

    Fu et al. 2023 (UM-CAM), Sec. 2.1; the dilated form and the dropout are those of the authors' code. 14,715,714
    parameters at width 1 with 1 or 3 channels. A grey image is repeated to three channels; any other number but 3
    needs a first convolution of its own, which no ImageNet weights fit. Every image is stretched to [0, 1], all its
    channels alike, as in the authors' code, which takes no mean and deviation of ImageNet; a constant one becomes 0.

    The state dict has torchvision's names, `features.0.weight` to `features.28.bias`. Differs: in the authors' code
    the dropouts shift these numbers, so that most of block 5 silently misses its ImageNet weights.
    Weights are drawn as He et al. 2015 (Eq. 10) do for rectifiers, and calibrated, see `calibrate`: the network has no
    norms, and would stay at chance for hundreds of steps where no ImageNet weights are at hand.
    """

    def __init__(self, channels: int, config: VGGConfig, outputs: int = 2) -> None:
        super().__init__()
        self.smallest_size = 8 if config.dilated else 32
        """The smallest side of an image, in pixels."""
        widths = [tuple(max(1, round(config.width * wide)) for wide in block) for block in BLOCKS]
        self.features = nn.Sequential(*_layers(entry_channels(channels), widths, config.dilated))
        self.silence = nn.Dropout(config.dropout)
        self.head = nn.Conv2d(widths[-1][-1], outputs, kernel_size=1)
        # Views on the same layers with the dropouts in between: as a tuple they are not registered a second time, so
        # that they change no name in the state dict.
        self.blocks = _blocks(self.features, self.silence)
        self.end = nn.Sequential(self.silence, nn.Identity() if config.dilated else nn.MaxPool2d(2))
        draw_kaiming(self, slope=0.0)
        calibrate(self.features, entry_channels(channels))
        # The layout changes no value but a step's time.
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, images: Images) -> Tensor:
        """Scores before the softmax, (B, outputs). Raises ValueError for sides below `smallest_size`."""
        if min(images.shape[-2:]) < self.smallest_size:
            raise ValueError(
                f"this network takes sizes from {self.smallest_size} up, not {tuple(images.shape[-2:])}"
            )
        return self._onwards(0, stretched(images))

    def layer(self, name: str) -> nn.Module:
        """The layer of a name of `LAYERS`: the block that ends with its last rectifier, or the 1x1 convolution."""
        _require_known(name)
        return self.head if name == HEAD else self.blocks[LAYERS.index(name)]

    def after(self, name: str, maps: Tensor) -> Tensor:
        """The scores, (B, outputs), that a layer's maps lead to; B need not be that of any image seen before."""
        _require_known(name)
        return _means(maps) if name == HEAD else self._onwards(LAYERS.index(name) + 1, maps)

    def load_imagenet(self, path: Path) -> int:
        """Take the convolutions' weights from a file of torchvision's `vgg16`; how many tensors were taken (26).

        The file's `classifier` is left aside, and the head stays as it is. Raises InputFault, with the network as it
        was, where the file cannot be read, or its weights are not all there or do not fit: they fit width 1 and
        images of 1 or 3 channels.
        """
        return load_weights(self, path, "vgg16", ignored=(f"{HEAD}.",))

    def _onwards(self, first: int, maps: Tensor) -> Tensor:
        for block in self.blocks[first:]:
            maps = block(maps)
        return _means(self.head(self.end(maps)))


def _layers(channels: int, widths: list[tuple[int, ...]], dilated: bool) -> list[nn.Module]:
    """Torchvision's layers in its order, so that each has its number there."""
    layers: list[nn.Module] = []
    inner = channels
    for number, block in enumerate(widths):
        apart = 2 if dilated and number == 4 else 1
        for outer in block:
            layers += [
                nn.Conv2d(inner, outer, kernel_size=3, padding=apart, dilation=apart),
                nn.ReLU(inplace=True),
            ]
            inner = outer
        if number == 3 and dilated:
            layers.append(nn.MaxPool2d(3, stride=1, padding=1))
        elif number < 4:
            layers.append(nn.MaxPool2d(2))
    return layers


def _blocks(features: nn.Sequential, silence: nn.Module) -> tuple[nn.Sequential, ...]:
    """Each block from the pool before it to its last rectifier; the last block has dropouts between convolutions."""
    layers = iter(features)
    blocks: list[nn.Sequential] = []
    for number, block in enumerate(BLOCKS):
        parts = [next(layers)] if number else []
        for place in range(len(block)):
            silenced = [silence] if number == 4 and place else []
            parts += [*silenced, next(layers), next(layers)]
        blocks.append(nn.Sequential(*parts))
    return tuple(blocks)


def _means(maps: Tensor) -> Tensor:
    """Each map's mean, in single precision at least: half a precision would hide what one channel in 512 does."""
    return maps.mean((2, 3), dtype=torch.promote_types(maps.dtype, torch.float32))


def _require_known(name: str) -> None:
    if name not in LAYERS:
        raise InputFault(f"the classifier has no layer {name!r}; {did_you_mean(name, LAYERS)}")
