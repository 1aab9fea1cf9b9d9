"""What every classifier that learns from tags is shown, and how its scores of places become a map of evidence."""

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewmask.shapes import Images, SoftMasks

LEAST_CONTRAST = 1e-6
"""A slice whose values differ by less is not stretched to the full range: what is in it is rounding."""


def entry_channels(channels: int) -> int:
    """The channels of a classifier's first layer: three where the images are grey, so that ImageNet weights fit."""
    return 3 if channels == 1 else channels


def stretched(images: Images) -> Tensor:
    """Each slice stretched to [0, 1] by its own least and greatest value over all channels; grey is repeated as three.

    A slice of constant intensity becomes 0. Fu et al. 2023 (UM-CAM) prepare slices so, without ImageNet's mean and
    deviation. Every classifier from tags has this rule, the comparators' too, although their papers have ImageNet's.
    """
    lowest = images.amin((1, 2, 3), keepdim=True)
    span = images.amax((1, 2, 3), keepdim=True) - lowest
    unit = (images - lowest) / span.clamp_min(LEAST_CONTRAST)
    return unit.expand(-1, 3, -1, -1) if images.shape[1] == 1 else unit


def slice_scores(scores: Tensor) -> Tensor:
    """The score of each slice (B,): the mean of its places' (B, 1, h, w), in single precision at least."""
    return scores.mean((1, 2, 3), dtype=torch.promote_types(scores.dtype, torch.float32))


def evidence_maps(scores: Tensor, rows: int, columns: int) -> SoftMasks:
    """Maps of scores (B, 1, h, w) as evidence: negatives are 0, the strongest place 1, resized bilinearly.

    A map without a positive score is 0 everywhere.
    """
    positive = scores.to(torch.promote_types(scores.dtype, torch.float32)).relu()
    resized = functional.interpolate(
        of_the_strongest(positive), size=(rows, columns), mode="bilinear", align_corners=False
    )
    # Interpolation rounds: the last bit may lie beyond 1.
    return resized[:, 0].clamp(0.0, 1.0)


def of_the_strongest(positive: Tensor) -> Tensor:
    """Maps (..., H, W) that are not negative, as shares of their greatest values; 0 stays 0."""
    return positive / (positive.amax((-2, -1), keepdim=True) + 1e-7)


@contextmanager
def at_rest(network: nn.Module) -> Generator[None]:
    """A while in which a network neither learns nor keeps gradients; afterwards it is in the mode it was in."""
    mode = network.training
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        network.train(mode)
