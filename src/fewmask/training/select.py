"""Rules that choose a checkpoint. None of them sees a target mask."""

import numpy as np
import torch

from fewmask.data.store import SliceStore
from fewmask.methods.base import Method
from fewmask.shapes import IGNORED

MOST_SLICES = 512
"""Validation looks at no more slices than this, evenly spaced over the held-out patients."""


@torch.no_grad()
def validation_dice(method: Method, store: SliceStore, rows: np.ndarray, device: torch.device) -> float:
    """Mean over foreground classes of the Dice pooled over all pixels of the held-out labelled slices, in [0, 1].

    A class that occurs neither in truth nor in prediction is left out; if none occurs the score is 0.
    """
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST_SLICES)).round().astype(int))]
    classes = len(method.task.classes)
    counts = torch.zeros(3, classes, dtype=torch.float64)
    training = method.training
    method.eval()
    for chunk in np.array_split(rows, max(1, len(rows) // 16)):
        predicted = method.validate_segment(torch.from_numpy(store.images(chunk)).to(device)).argmax(1).cpu()
        truth = torch.from_numpy(store.masks(chunk))
        seen = truth != IGNORED
        for index, labels in enumerate((truth[seen], predicted[seen], truth[seen & (truth == predicted)])):
            counts[index] += torch.bincount(labels, minlength=classes)
    method.train(training)
    in_truth, in_prediction, in_both = counts[:, 1:]
    occurs = (in_truth + in_prediction) > 0
    dice = 2.0 * in_both[occurs] / (in_truth + in_prediction)[occurs]
    return float(dice.mean()) if len(dice) else 0.0
