"""What catches the eye must go on catching it: frequency-tuned saliency, and MSL's loss on it.

Saliency here is how far a pixel's colour is from the image's mean colour (Achanta et al. 2009). It is computed
with plain arithmetic on channels, without constant tensors, so that a captured CUDA graph can hold it.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from fewmask.ranks import sum_over_ranks
from fewmask.shapes import Images

ColourSpace = Literal["lab", "rgb"]
"""CIELab, in which distances are near to what the eye sees (Achanta et al. 2009), or the image's own channels."""

_XYZ_FROM_RGB = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
"""Linear sRGB to XYZ. White is the sum of each row, D65, so that greys have no colour but for rounding."""

_BEND = 6 / 29
"""Below its cube, CIELab replaces the cube root, whose slope has no bound at 0, by a straight line."""

_FAINTEST = {"lab": 1e-2, "rgb": 1e-5}
"""Largest colour distances up to this are rounding: a single pixel that is one grey level off makes 5e-2 and 5e-4."""


def lab(images: Images) -> Tensor:
    """Images in [-1, 1], read as sRGB, in CIELab under D65: L in [0, 100], a and b about [-110, 110].

    (B, 1, H, W) is grey, R = G = B; (B, 3, H, W) is colour; the result is (B, 3, H, W). Values beyond the range
    are clamped to it. Smooth in black too. IEC 61966-2-1 for sRGB, CIE 1976 for L*a*b*. Raises ValueError for
    other numbers of channels.
    """
    if images.shape[1] not in (1, 3):
        raise ValueError(f"Lab needs images of 1 or 3 channels, not {images.shape[1]}")
    encoded = _unit(images)
    # The two branches meet at 0.04045; neither has an infinite slope, so `where` passes no NaN backwards.
    linear = torch.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    red, green, blue = linear.expand(-1, 3, -1, -1).unbind(1)
    x, y, z = (_bent_root((r * red + g * green + b * blue) / (r + g + b)) for r, g, b in _XYZ_FROM_RGB)
    return torch.stack([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)], dim=1)


def colour_distance(images: Images, space: ColourSpace = "lab") -> Tensor:
    """How far each pixel's smoothed colour is from the image's mean colour: (B, 1, H, W), not negative.

    ||I_blur(i, j) - I_mean||, MSL (Zhang et al. 2020), Eq. 6, after Achanta et al. 2009: the mean is that of
    the image before smoothing, in the same space; smoothing is the binomial [1, 4, 6, 4, 1] / 16 in both
    directions, borders reflected. In Lab's units, or in shares of the range. Differs: 1e-12 under the root, which
    keeps the gradient finite where both colours agree. "rgb" takes any number of channels; images have at
    least 3 pixels a side.
    """
    colours = lab(images) if space == "lab" else _unit(images)
    apart = _smoothed(colours) - colours.mean((2, 3), keepdim=True)
    return (apart.square().sum(1, keepdim=True) + 1e-12).sqrt()


def saliency(images: Images, space: ColourSpace = "lab") -> Tensor:
    """How much each pixel stands out, (B, 1, H, W) in [0, 1]: `colour_distance` over its maximum in the image.

    The most salient pixel of every image has 1. The maximum is a constant for the gradient: else a translator
    could raise every other pixel by dimming that one. An image of one colour is 0 everywhere, with gradients
    of 0.
    """
    distance = colour_distance(images, space)
    peak = distance.detach().amax((2, 3), keepdim=True)
    faintest = _FAINTEST[space]
    return torch.where(peak > faintest, distance / peak.clamp(min=faintest), 0.0)


def saliency_consistency(
    original_saliency: Tensor,
    translated_saliency: Tensor,
    attended: Tensor,
    threshold: float = 0.7,
    doubled: bool = False,
) -> Tensor:
    """1 minus the overlap of what stood out before the translation and what stands out after it, in [0, 1].

    1 - Sum T S / (Sum T + Sum S), MSL (Zhang et al. 2020), Eq. 7; T is 1 where the original's saliency exceeds
    `threshold`, S the translation's saliency, both times `attended`, which is 1 where the loss looks and 0
    elsewhere; all three are (B, 1, H, W). T has no gradient. As printed it lacks the 2 of a Dice and
    is 0.5 when perfect; `doubled` puts it in, for 0 when perfect and twice the gradient.

    Sums run over the batch and over all processes, as in `fewmask.losses.segmentation`. Where nothing salient
    is attended, before or after, the loss is 0; where only the translation has something, it is 1; both without
    gradient. The threshold of T is not in the paper: 0.7 is that of its second phase.

    Saliency has no sign, so what this loss can see of two regions that exchange their colours it owes to the
    rest of the image: in "rgb", an image of two colours alone may exchange them for nothing.
    """
    precise = torch.promote_types(translated_saliency.dtype, torch.float32)
    where = attended.to(precise)
    before = (original_saliency > threshold).to(precise) * where
    after = translated_saliency.to(precise) * where
    overlap, area = sum_over_ranks(torch.stack([(before * after).sum(), before.sum() + after.sum()]))
    score = (2.0 if doubled else 1.0) * overlap / torch.where(area > 0, area, 1.0)
    return torch.where(area > 0, 1.0 - score, 0.0)


def _unit(images: Images) -> Tensor:
    """Images in [0, 1], in single precision or better."""
    precise = images.to(torch.promote_types(images.dtype, torch.float32))
    return ((precise + 1.0) / 2.0).clamp(0.0, 1.0)


def _bent_root(share: Tensor) -> Tensor:
    """CIELab's cube root with a straight start."""
    corner = _BEND**3
    root = share.clamp(min=corner) ** (1.0 / 3.0)
    return torch.where(share > corner, root, share / (3.0 * _BEND**2) + 4.0 / 29.0)


def _smoothed(colours: Tensor) -> Tensor:
    """Colours after the binomial [1, 4, 6, 4, 1] / 16 along columns and rows."""
    padded = functional.pad(colours, (2, 2, 2, 2), mode="reflect")
    return _binomial(_binomial(padded, dim=2), dim=3)


def _binomial(padded: Tensor, dim: int) -> Tensor:
    size = padded.shape[dim] - 4
    first, second, middle, fourth, fifth = (padded.narrow(dim, start, size) for start in range(5))
    return (first + fifth + 4.0 * (second + fourth) + 6.0 * middle) / 16.0
