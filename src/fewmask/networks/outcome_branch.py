"""An outcome told from the maps of a segmenter's encoder."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from fewmask.errors import InputFault
from fewmask.shapes import OutcomeLogits

Tap = Literal["bottleneck", "enc4", "all_levels"]
"""Whose maps the branch is given: the deepest level's, those of the level before it, or all levels'."""


@dataclass(frozen=True)
class BranchConfig:
    """What the branch looks at, and the values of each hidden layer; with none, one linear layer gives the score.

    `dropout` is the share of the first hidden layer's values that is silenced. Wlodarczyk et al. 2020 name the
    contracting path and fully connected layers; where they tap it, the sizes and the dropout are our choice.
    """

    tap: Tap = "bottleneck"
    widths: tuple[int, ...] = (256, 64)
    dropout: float = 0.5

    def __post_init__(self) -> None:
        if min(self.widths, default=1) < 1:
            raise InputFault(
                f"outcome branch widths={list(self.widths)}: give a positive number a layer, e.g. [256, 64]"
            )
        if not 0.0 <= self.dropout < 1.0:
            raise InputFault(
                f"outcome branch dropout={self.dropout:g}: it must be at least 0 and below 1, e.g. 0.5"
            )


class OutcomeBranch(nn.Module):
    """The mean of each tapped map over the image, fully connected layers, and one score.

    Wlodarczyk et al. 2020, Sec. 2. `level_widths` are the numbers of maps of the encoder's levels, finest
    first. 262,144 + 256 + 16,384 + 64 + 64 + 1 = 278,913 parameters behind a U-Net's 1024 deepest maps.
    """

    def __init__(self, level_widths: Sequence[int], config: BranchConfig) -> None:
        super().__init__()
        count = len(level_widths)
        if config.tap == "enc4" and count < 2:
            raise InputFault("outcome branch tap=enc4: this network has one level; choose tap=bottleneck")
        self.taps = {"bottleneck": (-1,), "enc4": (-2,), "all_levels": tuple(range(-count, 0))}[config.tap]
        """The places of the tapped levels, counted from the deepest, which is -1."""
        inner = sum(level_widths[place] for place in self.taps)
        layers: list[nn.Module] = []
        for depth, (before, behind) in enumerate(pairwise((inner, *config.widths))):
            layers += [nn.Linear(before, behind), nn.ReLU()]
            if depth == 0:
                layers.append(nn.Dropout(config.dropout))
        self.layers = nn.Sequential(*layers, nn.Linear((inner, *config.widths)[-1], 1))

    def forward(self, features: Sequence[Tensor]) -> OutcomeLogits:
        """The outcome's score of each image, from its encoder's maps, finest first; untapped finer ones may lack."""
        tapped = [features[place] for place in self.taps]
        # Single precision at least: half a precision would hide what one pixel in a thousand does.
        means = [maps.mean((2, 3), dtype=torch.promote_types(maps.dtype, torch.float32)) for maps in tapped]
        return self.layers(torch.cat(means, dim=1))[:, 0]
