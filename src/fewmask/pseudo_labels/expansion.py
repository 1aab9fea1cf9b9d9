"""Geodesic expansion of seeds (GSE): a label spreads from sure pixels as far as the image looks the same."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from fewmask.errors import InputFault
from fewmask.pseudo_label_config import Cost, Expansion
from fewmask.pseudo_labels.fusion import min_max
from fewmask.pseudo_labels.geodesic import geodesic_distance
from fewmask.pseudo_labels.seeds import Seeds, largest_component, seeds_of


class Distance(Protocol):
    """What `fewmask.pseudo_labels.geodesic.geodesic_distance` promises: images (B, H, W) and bool seeds (B, H, W) to
    distances (B, H, W), inf throughout a slice without a seed."""

    def __call__(
        self, images: Tensor, seeds: Tensor, cost: Cost = ..., *, mix: float = ..., sweeps: int | None = ...
    ) -> Tensor: ...


@dataclass(frozen=True)
class Expanded:
    """A batch of pseudo-labels and what they were made from.

    `label` (B, H, W) in [0, 1] is the seed-derived pseudo-label: above 0.5 where the object is likelier than not.
    `foreground` and `background` (B, H, W) in [0, 1] are exp(-ratio x distance) from the seeds of each kind: 1 at a
    seed, 0 far from all. `mask` (B, H, W) bool is the map's largest component above its threshold, whose `seeds` these
    are. Where a mask is empty there are no seeds, and label, foreground and background are 0.
    """

    label: Tensor
    foreground: Tensor
    background: Tensor
    seeds: Seeds
    mask: Tensor


def expand(
    images: Tensor,
    maps: Tensor,
    thresholds: Tensor,
    config: Expansion,
    *,
    distance: Distance = geodesic_distance,
) -> Expanded:
    """Pseudo-labels of a batch of slices, from its images and its fused maps.

    Images (B, H, W) float of any scale, maps (B, H, W) in [0, 1], thresholds (B,): the mask is map >= threshold, its
    largest component gives the seeds, and distances are taken in the `standardised` slices. The form "share" is
    `share_of_nearness`, "fused" is `fused_with_map`. A slice of constant intensity has nothing to go by and gets 0.5
    throughout at the gradient cost. Fu et al. 2023 (UM-CAM), Sec. 2.2. InputFault for shapes that do not fit, and for
    images that are not finite.
    """
    _check(images, maps, thresholds)
    mask = largest_component(maps >= thresholds[:, None, None])
    seeds = seeds_of(mask, config.margin)
    near, far = _distances(standardised(images), seeds, config, distance)
    if config.form == "share":
        label = share_of_nearness(near, far, config.ratio)
    else:
        label = fused_with_map(near, far, maps, config.ratio)
    label = torch.where(seeds.found[:, None, None], label, 0.0)
    return Expanded(label, (-config.ratio * near).exp(), (-config.ratio * far).exp(), seeds, mask)


def standardised(images: Tensor) -> Tensor:
    """Each slice (B, H, W) with its own mean, over all of its pixels, at 0 and standard deviation (by n) at 1.

    A slice of constant intensity becomes zeros.
    """
    precise = images.to(torch.promote_types(images.dtype, torch.float32))
    # From the least first: a constant slice is then exactly 0, whatever its intensity rounds to.
    shifted = precise - precise.amin((1, 2), keepdim=True)
    centred = shifted - shifted.mean((1, 2), keepdim=True)
    deviation = centred.square().mean((1, 2), keepdim=True).sqrt()
    return centred / torch.where(deviation > 0, deviation, 1.0)


def share_of_nearness(near: Tensor, far: Tensor, ratio: float) -> Tensor:
    """F / (F + B) with F = exp(-ratio x near) and B = exp(-ratio x far): the object's share of what reaches a pixel.

    `near` and `far` (B, H, W) are the distances from the seeds of the object and of the background. The answer, in
    [0, 1], is above 0.5 exactly where the object's seed is nearer, and 0.5 where both are equally near. Taken as the
    sigmoid of ratio x (far - near), which is the same and has no 0 / 0 where both F and B underflow. Where neither
    kind has a seed it is 0. The project's reading: our copy of the paper, which has lost its formulas, names the two
    maps and not how they become one label.
    """
    share = torch.sigmoid(ratio * (far - near))
    return torch.where(near.isinf() & far.isinf(), 0.0, share)


def fused_with_map(near: Tensor, far: Tensor, maps: Tensor, ratio: float) -> Tensor:
    """The seeds' verdict near a seed, the map's far from all, stretched to [0, 1]; shapes (B, H, W).

    With P_f = exp(-ratio x near) and P_b = 1 - exp(-ratio x far), the verdict P is P_b where P_b < 0.5, P_f where
    P_f > 0.5, that of the nearer seed where both hold, and 0.5 where neither does. Its weight is
    w = max(0, 2 exp(-ratio x min(near, far)) - 1), and the label w P + (1 - w) map, then `min_max`. Fu et al.'s second
    paper (pr25). Differs: where both hold and both seeds are equally near, P is 0.5, for neither is.
    """
    object_side, other_side = (-ratio * near).exp(), 1.0 - (-ratio * far).exp()
    claimed, refused = object_side > 0.5, other_side < 0.5
    verdict = torch.full_like(object_side, 0.5)
    verdict = torch.where(refused & ~(claimed & (near <= far)), other_side, verdict)
    verdict = torch.where(claimed & ~(refused & (far <= near)), object_side, verdict)
    weight = (2.0 * (-ratio * torch.minimum(near, far)).exp() - 1.0).clamp(min=0.0)
    return min_max(weight * verdict + (1.0 - weight) * maps)


def _distances(images: Tensor, seeds: Seeds, config: Expansion, distance: Distance) -> tuple[Tensor, Tensor]:
    """From the object's seed and from the background's, float32 (B, H, W); inf throughout a slice without seeds."""
    near = torch.full(images.shape, torch.inf, device=images.device)
    far = near.clone()
    found = seeds.found
    if not bool(found.any()):
        return near, far
    # Both kinds in one batch: a device sweeps twice as many slices in little more time.
    starts = torch.cat([seeds.foreground[found], seeds.background[found]])
    some = images[found].repeat(2, 1, 1)
    both = distance(some, starts, config.cost, mix=config.mix, sweeps=config.sweeps)
    near[found], far[found] = (part.to(near.dtype) for part in both.chunk(2))
    return near, far


def _check(images: Tensor, maps: Tensor, thresholds: Tensor) -> None:
    if images.ndim != 3 or images.shape != maps.shape or thresholds.shape != images.shape[:1]:
        raise InputFault(
            f"images of shape {tuple(images.shape)}, maps of shape {tuple(maps.shape)} and thresholds of shape "
            f"{tuple(thresholds.shape)}: give two of (slices, rows, columns) and one of (slices,)"
        )
    # So written that NaN is found too, in one pass.
    if not bool((images.abs() < torch.inf).all()):
        raise InputFault(
            "images hold NaN or inf: prepare the slices again, or leave out those that are broken"
        )
