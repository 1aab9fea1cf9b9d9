"""One number for a whole image."""

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from fewmask.config import did_you_mean
from fewmask.errors import InputFault
from fewmask.networks.blocks import Norm, two_convolutions
from fewmask.shapes import Images, OutcomeLogits


@dataclass(frozen=True)
class ClassifierConfig:
    """The feature maps of each level from the finest to the coarsest, the normalisation, and the dropout.

    Dropout is the share of the pooled features that is silenced before the last layer.
    """

    widths: tuple[int, ...] = (32, 64, 128, 256, 512)
    norm: Norm = "batch"
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1:
            raise InputFault(
                f"classifier widths={list(self.widths)}: give one positive number a level, e.g. [32, 64, 128]"
            )
        if not 0.0 <= self.dropout < 1.0:
            raise InputFault(
                f"classifier dropout={self.dropout}: it must be at least 0 and below 1, e.g. 0.2"
            )


class Classifier(nn.Module):
    """The contracting path of a U-Net, the mean of each map over the image, dropout, and one linear layer.

    Takes images of any size that can be halved `len(widths) - 1` times; an odd row or column is cut off on the way.
    It names its layers for class activation maps: "level1" to "levelN", the encoder's from the finest to the deepest.
    """

    def __init__(self, channels: int, config: ClassifierConfig) -> None:
        super().__init__()
        pairs = list(pairwise((channels, *config.widths)))
        self.encoder = nn.ModuleList(two_convolutions(inner, outer, config.norm) for inner, outer in pairs)
        self.layer_names = tuple(f"level{number + 1}" for number in range(len(config.widths)))
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.widths[-1], 1)

    def forward(self, images: Images) -> OutcomeLogits:
        """The outcome's score of each image."""
        return self._onwards(0, images)

    def layer(self, name: str) -> nn.Module:
        """The level of the encoder of that name. Raises InputFault for another."""
        return self.encoder[self._place(name)]

    def after(self, name: str, maps: Tensor) -> OutcomeLogits:
        """The score that a level's maps (n, C, h, w) lead to, for any n."""
        return self._onwards(self._place(name) + 1, maps)

    def _onwards(self, first: int, maps: Tensor) -> OutcomeLogits:
        for depth in range(first, len(self.encoder)):
            maps = self.encoder[depth](maps if depth == 0 else nn.functional.max_pool2d(maps, kernel_size=2))
        return self.head(self.dropout(maps.mean((2, 3))))[:, 0]

    def _place(self, name: str) -> int:
        if name not in self.layer_names:
            raise InputFault(f"the classifier has no layer {name!r}; {did_you_mean(name, self.layer_names)}")
        return self.layer_names.index(name)
