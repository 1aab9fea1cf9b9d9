"""From a map to the few pixels that are surely the object or surely not: threshold, largest component, seeds."""

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from fewmask.errors import InputFault
from fewmask.shapes import IGNORED

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""Where a map may become a mask: 0.05, 0.10, ..., 0.95."""

UNSEPARATED = 2.0
"""The threshold of a map that no threshold divides: above every map, so the mask is empty."""

TOUCHING = np.ones((3, 3), dtype=np.bool_)
"""Pixels that share a side or a corner belong to one component."""


def least_variance_threshold(images: Tensor, maps: Tensor) -> Tensor:
    """For each slice the threshold that leaves the intensities inside and outside the mask most alike, (B,).

    Images (B, H, W) of raw intensities, maps (B, H, W) in [0, 1]. The t in `THRESHOLDS` of least
    (variance inside map >= t + variance outside) / 2, variances over all pixels of a side (divided by n). Fu et al.'s
    second paper (pr25). Only a t with pixels on both sides counts; where there is none, as for a constant map, the
    answer is `UNSEPARATED`. Equals take the lowest t, so a slice of constant intensity takes the lowest that divides
    its map. The thresholds have the maps' precision, so that `maps >= t` is the mask that was judged.
    """
    _check_pair(images, maps, "images")
    values = images.flatten(1).to(torch.float64)
    # From the least, not from the mean: a constant slice is then exactly 0 and its variances tie.
    values = values - values.amin(1, keepdim=True)
    moments = torch.stack([torch.ones_like(values), values, values.square()], 2)
    total = moments.sum(1)
    best = torch.full_like(total[:, 0], torch.inf)
    answer = maps.new_full((len(maps),), UNSEPARATED)
    for threshold in _grid(maps):
        chosen = (maps >= threshold).flatten(1)[:, None].to(torch.float64)
        inside = (chosen @ moments)[:, 0]
        outside = total - inside
        mean_variance = 0.5 * (_variance(inside) + _variance(outside))
        better = (inside[:, 0] > 0) & (outside[:, 0] > 0) & (mean_variance < best)
        best = torch.where(better, mean_variance, best)
        answer = torch.where(better, threshold, answer)
    return answer


def _variance(moments: Tensor) -> Tensor:
    """Of the count, sum and sum of squares (B, 3); of no pixel, 0."""
    count = moments[:, 0].clamp(min=1.0)
    return (moments[:, 2] / count - (moments[:, 1] / count).square()).clamp(min=0.0)


def dice_of(guesses: Tensor, masks: Tensor) -> Tensor:
    """How well guessed masks meet the true ones: Dice (S,), one a slice that shows the object.

    Guesses (N, H, W) bool, masks (N, H, W), bool or classes, of which all but 0 are the object. S of the N slices show
    it; the others are left out: an empty mask cannot tell a good threshold from a high one. `IGNORED` pixels do not
    count.
    """
    _check_pair(masks, guesses, "masks")
    counted = masks != IGNORED
    truth = (masks != 0) & counted
    shown = truth.flatten(1).any(1)
    guess, truth = (guesses & counted)[shown], truth[shown]
    overlap, area = (guess & truth).sum((1, 2)), guess.sum((1, 2)) + truth.sum((1, 2))
    return 2.0 * overlap.to(torch.float64) / area


def best_of_grid(dice: Tensor) -> float:
    """The threshold in `THRESHOLDS` that suits held-out masks best, from the Dice (S, 19) of S slices at each of them.

    The greatest mean over slices, each weighing the same, of equals the lowest: Fu et al. 2023 say only that the grid
    was searched. InputFault where there is no slice.
    """
    if not len(dice):
        raise InputFault(
            "threshold=validation: no held-out mask shows the object; add masks, or give a number, threshold=0.5"
        )
    means: list[float] = dice.mean(0).tolist()
    return THRESHOLDS[means.index(max(means))]


@dataclass(frozen=True)
class Components:
    """The connected pieces of each slice's mask.

    `largest` (B, H, W) bool holds only the largest piece, of equals the one that begins first in reading order.
    `count` (B,) int64 is how many pieces there are, `share` (B,) float32 the largest one's part of the mask's area;
    both are 0 for an empty mask.
    """

    largest: Tensor
    count: Tensor
    share: Tensor


def components(masks: Tensor) -> Components:
    """What pieces the masks (B, H, W) of slices fall into; pixels that touch at a corner are one piece.

    Each slice by itself, on the CPU. The answer lies where the masks lie.
    """
    _check_masks(masks)
    slices = masks.to(torch.bool).cpu().numpy()
    largest = np.zeros_like(slices)
    counts, shares = np.zeros(len(slices), dtype=np.int64), np.zeros(len(slices), dtype=np.float32)
    for index, one in enumerate(slices):
        pieces, counts[index] = cast(tuple[NDArray[np.int32], int], ndimage.label(one, TOUCHING))
        if counts[index]:
            areas = np.bincount(pieces.ravel())[1:]
            largest[index] = pieces == areas.argmax() + 1
            shares[index] = areas.max() / areas.sum()
    return Components(*(torch.from_numpy(array).to(masks.device) for array in (largest, counts, shares)))


def largest_component(masks: Tensor) -> Tensor:
    """Only the largest connected piece of each slice's mask, (B, H, W) bool; see `Components`.

    Where a slice shows several objects, all but the largest are lost: the expansion has one seed a slice.
    """
    return components(masks).largest


@dataclass(frozen=True)
class Seeds:
    """The pixels that a slice's pseudo-label grows from; places are (row, column), and -1 where a slice has none.

    `centroid` (B, 2) float64 is the mean place of the object's pixels; `pixel` (B, 2) int64 is the object's pixel
    nearest to it, of equals the first in reading order, so that the middle of a ring or a crescent, which is not the
    object, is never its seed. `box` (B, 4) int64 is the first row, first column, last row and last column of the
    bounding box with its margin, all four inside the image; `corners` (B, 4, 2) int64 are its corners, from the upper
    left, clockwise. `foreground` (B, H, W) bool holds the pixel, `background` (B, H, W) bool the corners; both are
    empty for an empty mask.
    """

    centroid: Tensor
    pixel: Tensor
    box: Tensor
    corners: Tensor
    foreground: Tensor
    background: Tensor

    @property
    def found(self) -> Tensor:
        """(B,) bool: which slices have seeds."""
        return self.box[:, 0] >= 0

    def inside_box(self) -> Tensor:
        """(B, H, W) bool: the pixels of each box, its edges included; none for a slice without seeds."""
        height, width = self.foreground.shape[1:]
        rows = torch.arange(height, device=self.box.device)[None, :, None]
        columns = torch.arange(width, device=self.box.device)[None, None, :]
        top, left, bottom, right = (edge[:, None, None] for edge in self.box.unbind(1))
        return (rows >= top) & (rows <= bottom) & (columns >= left) & (columns <= right)


def seeds_of(masks: Tensor, margin: int) -> Seeds:
    """The centre of each slice's object, and the corners of its bounding box with `margin` pixels around it.

    Masks (B, H, W) bool of one component each. A box is cut off at the image's edge; one that fills the image has its
    corners there. With a margin of 0, or at the edge, a corner may lie on the object. Fu et al. 2023, Sec. 2.2.
    Differs: the margin is the same on all sides (the official code leaves the lower right corner without); the
    centroid is the pixels' mean, not the outline polygon's; a centroid beside the object moves onto it (there: to the
    box's centre, and only from outside the box); intensity 0 at the centroid does not empty the label.
    """
    _check_masks(masks)
    if margin < 0:
        raise InputFault(f"expansion.margin={margin}: must be at least 0 pixels")
    masks = masks.to(torch.bool)
    found = masks.flatten(1).any(1)
    box = _boxes(masks, margin)
    top, left, bottom, right = box.unbind(1)
    corners = torch.stack([top, left, top, right, bottom, right, bottom, left], 1).reshape(-1, 4, 2)
    centroid, pixel = _centres(masks)
    absent = ~found
    box[absent], corners[absent], centroid[absent], pixel[absent] = -1, -1, -1.0, -1
    foreground, background = _marked(pixel[:, None], masks), _marked(corners, masks)
    return Seeds(centroid, pixel, box, corners, foreground, background)


def _boxes(masks: Tensor, margin: int) -> Tensor:
    """(B, 4): first row, first column, last row, last column; meaningless for an empty mask."""
    edges: list[Tensor] = []
    for occupied in (masks.any(2), masks.any(1)):
        length = occupied.shape[1]
        places = torch.arange(length, device=masks.device)
        first = torch.where(occupied, places, length).amin(1) - margin
        last = torch.where(occupied, places, -1).amax(1) + margin
        edges += [first.clamp(0, length - 1), last.clamp(0, length - 1)]
    return torch.stack([edges[0], edges[2], edges[1], edges[3]], 1)


def _centres(masks: Tensor) -> tuple[Tensor, Tensor]:
    """The mean place (B, 2) of each mask's pixels, and its own pixel (B, 2) nearest to that."""
    height, width = masks.shape[1:]
    rows = torch.arange(height, device=masks.device)
    columns = torch.arange(width, device=masks.device)
    count = masks.sum((1, 2)).clamp(min=1)
    row_sum, column_sum = (masks.sum(2) * rows).sum(1), (masks.sum(1) * columns).sum(1)
    # Distances times the count are whole numbers: equal ones tie exactly, on every device.
    down = (count[:, None] * rows - row_sum[:, None]).to(torch.float64).square()
    across = (count[:, None] * columns - column_sum[:, None]).to(torch.float64).square()
    distances = torch.where(masks, down[:, :, None] + across[:, None, :], torch.inf)
    nearest = distances.flatten(1).argmin(1)
    pixel = torch.stack([nearest // width, nearest % width], 1)
    return torch.stack([row_sum, column_sum], 1).to(torch.float64) / count[:, None], pixel


def _marked(places: Tensor, masks: Tensor) -> Tensor:
    """(B, H, W) bool: 1 at the places (B, P, 2) of each slice; places of -1 are left out."""
    marked = torch.zeros_like(masks)
    slices = torch.arange(len(masks), device=masks.device)[:, None].expand(places.shape[:2])
    real = places[..., 0] >= 0
    marked[slices[real], places[..., 0][real], places[..., 1][real]] = True
    return marked


def _grid(maps: Tensor) -> Tensor:
    return torch.tensor(THRESHOLDS, dtype=maps.dtype, device=maps.device)


def _check_masks(masks: Tensor) -> None:
    if masks.ndim != 3:
        raise InputFault(f"masks of shape {tuple(masks.shape)}: give (slices, rows, columns)")


def _check_pair(others: Tensor, maps: Tensor, named: str) -> None:
    if maps.ndim != 3 or maps.shape != others.shape:
        raise InputFault(
            f"maps of shape {tuple(maps.shape)} and {named} of shape {tuple(others.shape)}: "
            "give both as (slices, rows, columns) of the same size"
        )
