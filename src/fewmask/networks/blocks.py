"""Layers that several networks are made of."""

from typing import Literal

from torch import nn

from fewmask.networks.norm import SharedBatchNorm2d

Norm = Literal["batch", "instance"]


def two_convolutions(inner: int, outer: int, norm: Norm = "batch", dropout: float = 0.0) -> nn.Sequential:
    """Two 3x3 convolutions, each normalised and rectified; `dropout` silences values between them."""
    return nn.Sequential(
        nn.Conv2d(inner, outer, kernel_size=3, padding=1, bias=False),
        normalisation(outer, norm),
        nn.ReLU(inplace=True),
        nn.Dropout(dropout) if dropout else nn.Identity(),
        nn.Conv2d(outer, outer, kernel_size=3, padding=1, bias=False),
        normalisation(outer, norm),
        nn.ReLU(inplace=True),
    )


def normalisation(width: int, norm: Norm) -> nn.Module:
    """A norm with a scale and an offset for each feature."""
    return SharedBatchNorm2d(width) if norm == "batch" else nn.InstanceNorm2d(width, affine=True)
