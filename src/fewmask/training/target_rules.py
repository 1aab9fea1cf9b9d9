"""What bare target images tell about a checkpoint. No mask of the target is looked at: there is none to look at."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fewmask.data.store import SliceStore
from fewmask.methods.base import Method
from fewmask.shapes import Images, Logits
from fewmask.training.perspectives import probabilities_seen
from fewmask.training.select import (
    chunks_of,
    class_counts,
    evenly_spaced,
    foreground_dice,
    looking,
    own_pixels,
)

TARGET_SLICES = 64
"""The label-free rules look at no more of the target's training slices than this, evenly spaced over its cases."""

NEIGHBOURS = 32
"""Pixels of each slice among which soft neighbourhood density looks for neighbours, evenly spaced."""

TEMPERATURE = 0.05
"""Of soft neighbourhood density, as in its paper."""


@dataclass(frozen=True)
class TargetSlices:
    """The target's bare training slices that a checkpoint may be chosen by; there is no mask to look at."""

    cohort: str
    store: SliceStore
    rows: np.ndarray

    def chunks(self, device: torch.device) -> Iterator[tuple[Images, Tensor]]:
        """Slices on the device, some at a time, and where each shows its own image and no padding."""
        for chunk in chunks_of(evenly_spaced(self.rows, TARGET_SLICES)):
            images = torch.from_numpy(self.store.images(chunk)).to(device)
            yield images, own_pixels(self.store, chunk, images.shape[-1])


def information(summed: Tensor, entropies: float, pixels: int) -> float:
    """How much predictions tell: the entropy of their mean less the mean of their entropies, in [0, ln K] nats.

    `summed` (K,) is the sum of the probabilities of all pixels, `entropies` that of their entropies. 0 where every
    pixel is predicted alike, be it undecidedly or all in one class; ln K where all are certain and the classes are
    equally large. No pixels tell 0. Shi and Sha 2012 (mutual information of input and label); Liang et al. 2020
    (SHOT), as a loss. Differs: over pixels of many slices instead of images of a batch, and it trains nothing.

    >>> round(information(torch.tensor([2.0, 2.0]), 0.0, 4), 6)  # ln 2
    0.693147
    """
    if not pixels:
        return 0.0
    return max(0.0, float(torch.special.entr(summed.double() / pixels).sum()) - entropies / pixels)


def target_information(method: Method, target: TargetSlices, device: torch.device) -> float:
    """`information` of the method's predictions over all own pixels of the target's slices together.

    The background is a class like any other, so a method that draws nothing tells 0. Padding does not count.
    """
    summed = torch.zeros(len(method.task.classes), dtype=torch.float64)
    entropies, pixels = 0.0, 0
    with looking(method, device):
        for images, own in target.chunks(device):
            probabilities = _probabilities(method.segment(images))[own]
            summed += probabilities.sum(0, dtype=torch.float64)
            entropies += float(torch.special.entr(probabilities).sum(dtype=torch.float64))
            pixels += len(probabilities)
    return information(summed, entropies, pixels)


def neighbourhood_density(probabilities: Tensor, temperature: float = TEMPERATURE) -> float:
    """How many neighbours each prediction has, as the mean entropy of its likeness to all others, in [0, ln(N - 1)].

    `probabilities` (N, K) in [0, 1]. Likeness is the cosine; the higher, the denser predictions lie together. Fewer
    than two predictions have no neighbours: 0. Saito et al. 2021, Eq. 1-3.

    >>> round(neighbourhood_density(torch.eye(2).repeat(3, 1)), 4)  # two dense neighbours each: ln 2
    0.6931
    """
    if len(probabilities) < 2:
        return 0.0
    units = functional.normalize(probabilities.double(), dim=1)
    total = 0.0
    for start in range(0, len(units), 512):
        likeness = units[start : start + 512] @ units.T / temperature
        # Nobody is a neighbour of their own.
        likeness[torch.arange(len(likeness)), torch.arange(len(likeness)) + start] = -math.inf
        total += float(torch.special.entr(likeness.softmax(1)).sum())
    return total / len(units)


def target_density(method: Method, target: TargetSlices, device: torch.device) -> float:
    """`neighbourhood_density` of the method's predictions at evenly spaced own pixels of the target's slices.

    Saito et al. 2021. Differs: pixels of many slices are neighbours of one another, where the paper's are features of
    whole images, or pixels of one.
    """
    parts: list[Tensor] = []
    with looking(method, device):
        for images, own in target.chunks(device):
            for probabilities, inside in zip(_probabilities(method.segment(images)), own, strict=True):
                pixels = probabilities[inside]
                parts.append(pixels[torch.from_numpy(evenly_spaced(np.arange(len(pixels)), NEIGHBOURS))])
    return neighbourhood_density(torch.cat(parts))


def target_agreement(method: Method, target: TargetSlices, device: torch.device) -> float | None:
    """Mean foreground Dice between the masks of a method's two heads on the target's slices; None with one head.

    Pooled over all own pixels of the slices; empty masks are as in `foreground_dice`.
    """

    def other_head(images: Images) -> tuple[Tensor, ...] | None:
        twice = method.segment_twice(images)
        return None if twice is None else (twice[1].argmax(1),)

    return _likeness(method, target, device, other_head)


def target_cycle(method: Method, target: TargetSlices, device: torch.device) -> float | None:
    """Mean foreground Dice between masks of the target's slices and masks of them once translated there and back.

    None for a method that does not translate both ways. Pooled as in `target_agreement`.
    """

    def returned(images: Images) -> tuple[Tensor, ...] | None:
        again = method.there_and_back(images)
        return None if again is None else (method.segment(again).argmax(1),)

    return _likeness(method, target, device, returned)


def target_ensemble(method: Method, target: TargetSlices, device: torch.device) -> float | None:
    """1 less the disagreement of an ensemble: mean foreground Dice between the method's masks and its own masks of
    the slices seen in several ways.

    Pooled as in `target_agreement`, then the mean over the ways (`fewmask.training.perspectives`). Differs from
    an ensemble of several trainings: one network, so a mistake that does not depend on the view is not seen.
    """

    def perspectives(images: Images) -> tuple[Tensor, ...]:
        return tuple(seen.argmax(1) for seen in probabilities_seen(images, method.segment))

    return _likeness(method, target, device, perspectives)


Others = Callable[[Images], tuple[Tensor, ...] | None]
"""Other masks (N, S, S) of images, one or several; None where the method has no others."""


def _likeness(method: Method, target: TargetSlices, device: torch.device, others: Others) -> float | None:
    """The mean over `others` of the pooled foreground Dice between the method's masks and those."""
    counts: list[Tensor] = []
    classes = len(method.task.classes)
    with looking(method, device):
        for images, own in target.chunks(device):
            masks = others(images)
            if masks is None:
                return None
            drawn = method.segment(images).argmax(1).cpu()[own]
            counts.append(torch.stack([class_counts(drawn, mask.cpu()[own], classes) for mask in masks]))
    return float(np.mean([foreground_dice(each) for each in torch.stack(counts).sum(0)]))


def _probabilities(logits: Logits) -> Tensor:
    """(N, S, S, K) float32 on the CPU."""
    return logits.float().softmax(1).movedim(1, -1).cpu()
