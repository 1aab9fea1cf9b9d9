"""One number for a whole image."""

from dataclasses import dataclass
from itertools import pairwise

from torch import nn

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
    """

    def __init__(self, channels: int, config: ClassifierConfig) -> None:
        super().__init__()
        pairs = list(pairwise((channels, *config.widths)))
        self.encoder = nn.ModuleList(two_convolutions(inner, outer, config.norm) for inner, outer in pairs)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.widths[-1], 1)

    def forward(self, images: Images) -> OutcomeLogits:
        """The outcome's score of each image."""
        maps = images
        for depth, level in enumerate(self.encoder):
            maps = level(maps if depth == 0 else nn.functional.max_pool2d(maps, kernel_size=2))
        return self.head(self.dropout(maps.mean((2, 3))))[:, 0]
