"""How well a method does on held-out labelled images: the scores that need masks, and never a target's."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fewmask.data.store import SliceStore
from fewmask.methods.base import Method
from fewmask.metrics.classification import auc
from fewmask.shapes import IGNORED, Images, Logits

MOST_SLICES = 512
"""Validation looks at no more slices than this, evenly spaced over the held-out patients."""

SLICES_AT_ONCE = 16


@contextmanager
def looking(method: Method, device: torch.device) -> Generator[None]:
    """Evaluation mode without gradients; afterwards the method's mode and torch's generators are as they were."""
    training = method.training
    generators = [device] if device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(generators):
        method.eval()
        try:
            yield
        finally:
            method.train(training)


def evenly_spaced(rows: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the rows, the first and the last among them.

    >>> evenly_spaced(np.arange(10, 20), 4).tolist()
    [10, 13, 16, 19]
    """
    places = np.linspace(0, len(rows) - 1, min(len(rows), most)).round().astype(int)
    return rows[np.unique(places)]


def chunks_of(rows: np.ndarray) -> list[np.ndarray]:
    """The rows in parts that fit into memory as images."""
    return np.array_split(rows, max(1, len(rows) // SLICES_AT_ONCE))


def own_pixels(store: SliceStore, rows: np.ndarray, size: int) -> Tensor:
    """(N, S, S) bool: True where a slice shows its own image and no padding."""
    seen = torch.zeros(len(rows), size, size, dtype=torch.bool)
    for own, case in zip(seen, store.cases_at(rows), strict=True):
        own[store.frame(case)] = True
    return seen


def class_counts(one: Tensor, other: Tensor, classes: int) -> Tensor:
    """(3, K) float64: how many pixels one labelling, the other, and both together give to each class.

    >>> class_counts(torch.tensor([0, 1, 1]), torch.tensor([0, 1, 0]), 2).tolist()
    [[1.0, 2.0], [2.0, 1.0], [1.0, 1.0]]
    """
    parts = (one, other, one[one == other])
    return torch.stack([torch.bincount(labels.flatten(), minlength=classes).double() for labels in parts])


def foreground_dice(counts: Tensor) -> float:
    """Mean over foreground classes of the Dice of pooled `class_counts`, in [0, 1].

    A class that occurs in neither labelling is left out; if none occurs the score is 0: two empty masks agree on
    nothing.
    """
    in_one, in_other, in_both = counts[:, 1:]
    occurs = (in_one + in_other) > 0
    dice = 2.0 * in_both[occurs] / (in_one + in_other)[occurs]
    return float(dice.mean()) if len(dice) else 0.0


def validation_dice(
    method: Method, store: SliceStore, rows: np.ndarray, device: torch.device, *, as_target: bool = False
) -> float:
    """Mean over foreground classes of the Dice pooled over all pixels of the held-out labelled slices, in [0, 1].

    Padding and ignored pixels do not count, and empty masks are as in `foreground_dice`. With `as_target` a method
    that re-draws labelled images in the target's look does so first, and segments them as if they came from there.
    """
    classes = len(method.task.classes)
    counts = torch.zeros(3, classes, dtype=torch.float64)
    with looking(method, device):
        for chunk in chunks_of(evenly_spaced(rows, MOST_SLICES)):
            truth = torch.from_numpy(store.masks(chunk))
            images = torch.from_numpy(store.images(chunk)).to(device)
            logits = _segmented_as_target(method, images) if as_target else method.validate_segment(images)
            predicted = logits.argmax(1).cpu()
            seen = own_pixels(store, chunk, truth.shape[-1]) & (truth != IGNORED)
            counts += class_counts(truth[seen], predicted[seen], classes)
    return foreground_dice(counts)


def _segmented_as_target(method: Method, images: Images) -> Logits:
    # A frozen segmenter scores the same on bare source images at every step; on re-drawn ones it judges the drawing.
    redrawn = method.restyle(images)
    return method.validate_segment(images) if redrawn is None else method.segment(redrawn)


@dataclass(frozen=True)
class TagScores:
    """How well a classifier tells tags, over slices, each in [0, 1].

    `f1` takes slices with a positive score for positive ones, and is 0 where it finds none of them.
    """

    f1: float
    auc: float


def validation_tags(
    method: Method, store: SliceStore, rows: np.ndarray, tags: Sequence[float], device: torch.device
) -> TagScores:
    """F1 and AUC over held-out tagged slices, of which both kinds must be there."""
    with looking(method, device):
        parts = [method.judge(torch.from_numpy(store.images(chunk)).to(device)) for chunk in chunks_of(rows)]
    scores = torch.cat([part for part in parts if part is not None]).double().cpu().numpy()
    shown = np.asarray(tags) > 0
    found = scores > 0
    f1 = 2.0 * float((found & shown).sum()) / max(1, int(found.sum() + shown.sum()))
    area = auc(scores, shown)
    assert area is not None
    return TagScores(f1, area)


def case_probabilities(
    method: Method, store: SliceStore, rows: np.ndarray, device: torch.device
) -> tuple[list[str], np.ndarray]:
    """The labelled cases of these rows, sorted by name, and the probability of the outcome in each, in [0, 1].

    It is the mean over a case's slices. Raises TypeError for a method that tells no outcome.
    """
    if len(rows) == 0:
        return [], np.zeros(0)
    probabilities: list[torch.Tensor] = []
    with looking(method, device):
        for chunk in chunks_of(rows):
            images, masks = (torch.from_numpy(read(chunk)).to(device) for read in (store.images, store.masks))
            logits = method.validate_judge(images, masks)
            if logits is None:
                raise TypeError(
                    f"{type(method).__name__} reads outcomes and tells none; give it validate_judge"
                )
            probabilities.append(logits.double().sigmoid().cpu())
    cases, owner = np.unique(store.cases_at(rows), return_inverse=True)
    return cases.tolist(), np.bincount(owner, weights=torch.cat(probabilities).numpy()) / np.bincount(owner)


def validation_auc(
    method: Method, store: SliceStore, rows: np.ndarray, outcomes: Sequence[float], device: torch.device
) -> float:
    """The AUC over the held-out labelled cases, in [0, 1]; 0.5 where they have one outcome."""
    cases, scores = case_probabilities(method, store, rows, device)
    known = dict(zip(store.cases_at(rows), outcomes, strict=True))
    area = auc(scores, np.array([known[case] > 0 for case in cases], dtype=bool))
    return 0.5 if area is None else area
