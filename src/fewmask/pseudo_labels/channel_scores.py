"""How much each channel of a layer counts for a classifier's score, found by trying instead of by gradients."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Rest = Callable[[Tensor, Tensor], Tensor]
"""`rest(rows, maps)`: the scores (n,) of those rows (n,) of a batch, had the layer had these maps (n, K, h, w)."""


def shown_alone(
    judge: Callable[[Tensor], Tensor], images: Tensor, maps: Tensor, hidden: float, at_once: int
) -> Tensor:
    """Each channel's share, (B, K), by how high the image scores when seen through the channel's map alone.

    Wang et al. 2020 (Score-CAM): softmax over k of f(x H_k), H_k being the map at the image's size, stretched to
    [0, 1]. `judge` gives the scores (n,) of images (n, C, H, W). A constant map shows nothing, where its stretching
    would divide 0 by 0. Where a map is 0 the image becomes `hidden`: hidden + H_k (x - hidden).
    The score of a baseline image, which the paper subtracts, cancels in the softmax.
    """
    count, channels = maps.shape[:2]
    scores: list[Tensor] = []
    for chunk in torch.arange(count * channels, device=maps.device).split(at_once):
        rows = chunk // channels
        veil = _stretched(maps[rows, chunk % channels][:, None], images)
        scores.append(judge(hidden + veil * (images[rows] - hidden)))
    return torch.cat(scores).view(count, channels).softmax(1)


def silenced(rest: Rest, maps: Tensor, at_once: int) -> Tensor:
    """The share of the score, (B, K), that is lost when a channel's map is set to 0.

    Ramaswamy & Desai 2020 (Ablation-CAM), Eq. 4: (f - f_k) / f. A score of exactly 0 is taken as 1.
    """
    count, channels = maps.shape[:2]
    # A copy, as the chunks below are: the rest may change its maps in place.
    whole = rest(torch.arange(count, device=maps.device), maps.clone())
    scores: list[Tensor] = []
    for chunk in torch.arange(count * channels, device=maps.device).split(at_once):
        rows = chunk // channels
        copies = maps[rows]
        copies[torch.arange(len(chunk), device=maps.device), chunk % channels] = 0.0
        scores.append(rest(rows, copies))
    lost = whole[:, None] - torch.cat(scores).view(count, channels)
    return lost / torch.where(whole == 0.0, 1.0, whole)[:, None]


def _stretched(maps: Tensor, images: Tensor) -> Tensor:
    """Maps (n, 1, h, w) at the images' size, from 0 at their least value to 1 at their greatest; constant ones 0."""
    size = images.shape[-2:]
    drawn = functional.interpolate(maps.to(images.dtype), size=size, mode="bilinear", align_corners=False)
    lowest, highest = drawn.amin((2, 3), keepdim=True), drawn.amax((2, 3), keepdim=True)
    span = highest - lowest
    # Interpolation rounds: what is left of a constant map must not be stretched.
    varied = span > 8 * torch.finfo(drawn.dtype).eps * torch.maximum(highest.abs(), lowest.abs())
    return torch.where(varied, (drawn - lowest) / torch.where(varied, span, 1.0), 0.0)
