"""Rules that choose a checkpoint. None of them sees a target mask."""

from collections.abc import Sequence

import numpy as np
import torch

from fewmask.data.store import SliceStore
from fewmask.methods.base import Method
from fewmask.metrics.classification import auc
from fewmask.shapes import IGNORED

MOST_SLICES = 512
"""Validation looks at no more slices than this, evenly spaced over the held-out patients."""


@torch.no_grad()
def validation_dice(method: Method, store: SliceStore, rows: np.ndarray, device: torch.device) -> float:
    """Mean over foreground classes of the Dice pooled over all pixels of the held-out labelled slices, in [0, 1].

    Padding and ignored pixels do not count. A class that occurs neither in truth nor in prediction is left out; if
    none occurs the score is 0.
    """
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST_SLICES)).round().astype(int))]
    classes = len(method.task.classes)
    counts = torch.zeros(3, classes, dtype=torch.float64)
    training = method.training
    method.eval()
    for chunk in np.array_split(rows, max(1, len(rows) // 16)):
        predicted = method.validate_segment(torch.from_numpy(store.images(chunk)).to(device)).argmax(1).cpu()
        truth = torch.from_numpy(store.masks(chunk))
        seen = torch.zeros_like(truth, dtype=torch.bool)
        for own, mask, case in zip(seen, truth, store.cases_at(chunk), strict=True):
            frame = store.frame(case)
            own[frame] = mask[frame] != IGNORED
        for index, labels in enumerate((truth[seen], predicted[seen], truth[seen & (truth == predicted)])):
            counts[index] += torch.bincount(labels, minlength=classes)
    method.train(training)
    in_truth, in_prediction, in_both = counts[:, 1:]
    occurs = (in_truth + in_prediction) > 0
    dice = 2.0 * in_both[occurs] / (in_truth + in_prediction)[occurs]
    return float(dice.mean()) if len(dice) else 0.0


@torch.no_grad()
def validation_auc(
    method: Method, store: SliceStore, rows: np.ndarray, outcomes: Sequence[float], device: torch.device
) -> float:
    """The AUC over the held-out labelled cases, in [0, 1]; a case's score is the mean probability of its slices.

    Raises TypeError for a method that tells no outcome.
    """
    training = method.training
    method.eval()
    probabilities: list[torch.Tensor] = []
    for chunk in np.array_split(rows, max(1, len(rows) // 16)):
        images, masks = (torch.from_numpy(read(chunk)).to(device) for read in (store.images, store.masks))
        logits = method.validate_judge(images, masks)
        if logits is None:
            raise TypeError(f"{type(method).__name__} reads outcomes and tells none; give it validate_judge")
        probabilities.append(logits.double().sigmoid().cpu())
    method.train(training)
    _, owner = np.unique(store.cases_at(rows), return_inverse=True)
    slices = np.bincount(owner)
    scores = np.bincount(owner, weights=torch.cat(probabilities).numpy()) / slices
    area = auc(scores, np.bincount(owner, weights=outcomes) / slices > 0)
    return 0.5 if area is None else area
