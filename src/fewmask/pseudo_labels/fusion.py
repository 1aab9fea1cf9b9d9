"""Several activation maps of one slice become one, in which each pixel listens to the maps that are sure of it."""

import torch
from torch import Tensor

from fewmask.errors import InputFault
from fewmask.pseudo_label_config import Weighting

EPSILON = 1e-6
"""Inside the entropy's logarithm, beside the entropy in the inverse weight, and beside the sum of the weights."""

LEAST_SPREAD = 1e-6
"""A map whose values lie no further apart is constant: what is left of its spread is rounding."""

SLACK = 1e-3
"""So far may a map leave [0, 1] by rounding and resizing; it is clipped."""


def entropy(maps: Tensor) -> Tensor:
    """How undecided each pixel of a map is, in nats: 0 where it is sure, ln 2 = 0.693 where the map is 0.5.

    Any shape, values in [0, 1]; the answer has the same shape. -p ln(p + 1e-6) - (1 - p) ln(1 - p + 1e-6), clipped at
    0, for the 1e-6 makes it -1e-6 where p is 0 or 1. Fu et al. 2023 (UM-CAM), Sec. 2.1.
    """
    share = _precise(maps).clamp(0.0, 1.0)
    inside, outside = share * (share + EPSILON).log(), (1.0 - share) * (1.0 - share + EPSILON).log()
    return (-inside - outside).clamp(min=0.0)


def weighted_mean(maps: Tensor, weighting: Weighting) -> Tensor:
    """The mean of each slice's maps at each pixel, before it is stretched to [0, 1].

    Maps (B, M, H, W) in [0, 1]; the answer is (B, H, W). Sum w A / (Sum w + 1e-6) over M with w = 1 / (entropy + 1e-6)
    ("inverse_entropy"), exp(-entropy) ("exponential") or 1 ("equal": Average-CAM). Fu et al. 2023 (UM-CAM), Eq. 4. An
    inverse entropy of a map that is exactly 0 or 1 is 10^6: it overrules all maps that are less sure. InputFault for
    maps of another shape, out of range or not finite.
    """
    _check(maps)
    precise = _precise(maps).clamp(0.0, 1.0)
    weights = _weights(precise, weighting)
    return (weights * precise).sum(1) / (weights.sum(1) + EPSILON)


def fused(maps: Tensor, weighting: Weighting) -> Tensor:
    """One map (B, H, W) in [0, 1] of the M maps (B, M, H, W) of each slice: `weighted_mean`, then `min_max`.

    A single map comes back stretched. Where the mean is constant it comes back as it is, so maps of zeros give zeros.
    """
    return min_max(weighted_mean(maps, weighting))


def min_max(maps: Tensor) -> Tensor:
    """Each slice's map (B, H, W) stretched so that its least value is 0 and its greatest 1.

    A constant map has no least and no greatest: it comes back as it is, clipped to [0, 1], and is never NaN.
    """
    precise = _precise(maps)
    low, high = precise.amin((1, 2), keepdim=True), precise.amax((1, 2), keepdim=True)
    spread = high - low
    constant = spread <= LEAST_SPREAD
    stretched = (precise - low) / torch.where(constant, 1.0, spread)
    return torch.where(constant, precise, stretched).clamp(0.0, 1.0)


def _weights(maps: Tensor, weighting: Weighting) -> Tensor:
    if weighting == "inverse_entropy":
        return 1.0 / (entropy(maps) + EPSILON)
    if weighting == "exponential":
        return (-entropy(maps)).exp()
    return torch.ones_like(maps)


def _precise(maps: Tensor) -> Tensor:
    """In half precision, 1 + 1e-6 is 1."""
    return maps.to(torch.promote_types(maps.dtype, torch.float32))


def _check(maps: Tensor) -> None:
    if maps.ndim != 4 or not maps.numel():
        raise InputFault(
            f"maps of shape {tuple(maps.shape)}: give (slices, maps a slice, rows, columns), each at least 1"
        )
    low, high = (float(bound) for bound in torch.aminmax(maps))
    # So written that NaN, which no comparison holds for, is refused too.
    if not (low >= -SLACK and high <= 1.0 + SLACK):
        raise InputFault(f"maps from {low:g} to {high:g}: must be finite and in [0, 1]; normalise them first")
