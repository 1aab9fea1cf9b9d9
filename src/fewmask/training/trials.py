"""Held-out cases segmented as they are and made worse, so that masks are good and bad, and their signs with them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from fewmask.console import Progress, silent
from fewmask.data.degrade import DEGRADATIONS, degraded
from fewmask.data.store import SliceStore
from fewmask.methods.base import Method
from fewmask.metrics.agreement import ByClass, Classes, dice_by_class, share_by_class
from fewmask.shapes import IGNORED, Images, Logits
from fewmask.training.drawings import Drawings, Signs
from fewmask.training.select import chunks_of, evenly_spaced, looking, own_pixels

MOST_CASES, SLICES_OF_A_CASE = 24, 16
"""No more held-out cases are tried, and of a volume no more slices, each evenly spaced."""

SLICES, LEAST_COPIES = 512, 3
"""About so many slices are drawn, degraded ones among them; of each case at least so many copies."""

SLICES_OF_A_MASK = 64
"""The usual size of a class is taken from no more slices of a training case."""


@dataclass(frozen=True)
class HeldOut:
    """The labelled cases that a run may be tried on, whose they are, and those whose masks show what is usual.

    `as_target`: a method that re-draws labelled images in the target's look does so first, and segments them as if they
    came from there.
    """

    store: SliceStore
    cases: tuple[str, ...]
    patients: Mapping[str, str]
    training: tuple[str, ...]
    as_target: bool


class Trial(NamedTuple):
    """One copy of one case: what the drawing says of itself, how good it is, and which classes the case has."""

    case: str
    patient: str
    signs: Signs
    dice: ByClass
    present: NDArray[np.bool_]


def tried(
    method: Method, held_out: HeldOut, device: torch.device, progress: Progress = silent
) -> list[Trial]:
    """Segment held-out cases, in as many degraded copies as `SLICES` allow for."""
    chosen = evenly_spaced(np.arange(len(held_out.cases)), MOST_CASES)
    cases = [held_out.cases[place] for place in chosen]
    rows = [evenly_spaced(held_out.store.rows_of([case]), SLICES_OF_A_CASE) for case in cases]
    copies = min(max(SLICES // max(1, sum(map(len, rows))), LEAST_COPIES), len(DEGRADATIONS) + 1)
    trials: list[Trial] = []
    with looking(method, device), progress("calibrating estimates of accuracy", len(cases)) as done:
        for number, (case, own) in enumerate(zip(cases, rows, strict=True)):
            trials += _tried_case(method, held_out, case, own, _copies_of(number, copies), device)
            done()
    return trials


def _copies_of(number: int, copies: int) -> list[int]:
    """The degradations of a case, after the plain copy; the next case goes on where this one ends."""
    first = number * (copies - 1)
    return [place % len(DEGRADATIONS) for place in range(first, first + copies - 1)]


def _tried_case(
    method: Method,
    held_out: HeldOut,
    case: str,
    rows: NDArray[np.int64],
    ways: list[int],
    device: torch.device,
) -> list[Trial]:
    store, class_count = held_out.store, len(method.task.classes)
    truth, counts = _counted_masks(store, rows)
    if not counts.any():
        return []
    images, segment = _as_segmented(
        method, torch.from_numpy(store.images(rows)).to(device), held_out.as_target
    )
    trials: list[Trial] = []
    for copy in [images, *(degraded(images, DEGRADATIONS[way], seed=way) for way in ways)]:
        drawings = Drawings(class_count)
        for part in chunks_of(np.arange(len(rows))):
            probabilities = segment(copy[part]).float().softmax(1)
            drawings.add(copy[part], probabilities, counts[part], segment)
        dice = dice_by_class(drawings.plain, truth, class_count)
        present = np.isin(np.arange(1, class_count), truth)
        trials.append(Trial(case, held_out.patients[case], drawings.signs(), dice, present))
    return trials


def _counted_masks(store: SliceStore, rows: NDArray[np.int64]) -> tuple[Classes, NDArray[np.bool_]]:
    """(N, S, S) the true classes, 0 where a pixel does not count, and which count: no padding, nothing ignored."""
    masks = store.masks(rows)
    counts = own_pixels(store, rows, masks.shape[-1]).numpy() & (masks != IGNORED)
    return np.where(counts, masks, 0).astype(np.uint8), counts


def _as_segmented(
    method: Method, images: Images, as_target: bool
) -> tuple[Images, Callable[[Images], Logits]]:
    """Images as the method's segmenter sees them, and what segments them.

    They are re-drawn before they are degraded: a translator might mend them.
    """
    redrawn = method.restyle(images) if as_target else None
    return (images, method.validate_segment) if redrawn is None else (redrawn, method.segment)


def usual_shares(held_out: HeldOut, class_count: int) -> NDArray[np.float64]:
    """(2, K - 1): the least and the greatest share of an image that each class takes in a training mask that has it."""
    store = held_out.store
    shares: list[ByClass] = []
    for case in held_out.training:
        rows = evenly_spaced(store.rows_of([case]), SLICES_OF_A_MASK)
        classes, counts = _counted_masks(store, rows)
        shares.append(share_by_class(classes, int(counts.sum()), class_count))
    # Of a class that no training mask has every size is usual.
    by_class = [
        [share for share in own if np.isfinite(share)] or [1e-9, 1.0] for own in zip(*shares, strict=True)
    ]
    return np.array([[min(own) for own in by_class], [max(own) for own in by_class]])
