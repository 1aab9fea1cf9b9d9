"""How good the masks of one `segment` are likely to be, estimated case by case as they are drawn."""

from pathlib import Path

import numpy as np
import torch

from fewmask.data.prepared_case import PreparedCase
from fewmask.evaluation.estimated_dice import MEAN, TABLE, Estimate, write_estimates
from fewmask.evaluation.largest_component import largest_components
from fewmask.evaluation.trained import Trained, View, Which
from fewmask.metrics.agreement import Classes
from fewmask.shapes import Images, Logits
from fewmask.training.accuracy import Accuracy, NotEstimated, estimated, kept_accuracy
from fewmask.training.drawings import Drawings


class Estimates:
    """Watches one `segment` over all its cases; does nothing where accuracy cannot be estimated."""

    def __init__(
        self, trained: Trained, out: Path, accuracy: Accuracy | NotEstimated, largest_component: bool
    ) -> None:
        self.trained = trained
        self.out = out
        self.accuracy = accuracy
        self.largest_component = largest_component
        self.rows: list[Estimate] = []

    @property
    def told(self) -> str:
        """The name of the table, or why there is none."""
        if isinstance(self.accuracy, NotEstimated):
            return f"not estimated: {self.accuracy.not_estimated}"
        return TABLE

    def watch(self, prepared: PreparedCase) -> "Estimating":
        """Begin with a case."""
        return Estimating(self, prepared)

    def write(self) -> None:
        """Write the table over all cases."""
        if self.rows:
            write_estimates(self.out, self.rows)


class Estimating:
    """One case: how it was drawn until now. Drawings are compared on the prepared squares, without their padding."""

    def __init__(self, estimates: Estimates, prepared: PreparedCase) -> None:
        self.estimates = estimates
        self.prepared = prepared
        self.drawings = Drawings(len(estimates.trained.method.task.classes))

    @torch.no_grad()
    def see(self, images: Images, view: View) -> None:
        """Take in what the run made of prepared images (n, C, S, S), and look at them from other perspectives."""
        if isinstance(self.estimates.accuracy, NotEstimated):
            return
        inside = torch.zeros(len(images), *images.shape[2:], dtype=torch.bool)
        self.prepared.inner(inside)[:] = True
        there = images.to(self.estimates.trained.fabric.device)
        self.drawings.add(there, view.probabilities, inside.numpy(), self._segment)

    def close(self) -> None:
        """Estimate how good the case's mask is."""
        accuracy, case = self.estimates.accuracy, self.prepared.case
        if isinstance(accuracy, NotEstimated):
            return
        signs = self.drawings.signs(self._finish)
        classes, whole = estimated(accuracy, signs)
        agreements = [None if np.isnan(value) else float(value) for value in signs.agreement]
        for entry, agreement, own in zip(accuracy.classes, agreements, classes, strict=True):
            self.estimates.rows.append(Estimate(case.name, case.patient, entry.name, agreement, *own))
        if len(classes) > 1:
            known = [agreement for agreement in agreements if agreement is not None]
            agreement = float(np.mean(known)) if known else None
            self.estimates.rows.append(Estimate(case.name, case.patient, MEAN, agreement, *whole))

    def _segment(self, images: Images) -> Logits:
        with self.estimates.trained.fabric.autocast():
            return self.estimates.trained.method.segment(images)

    def _finish(self, classes: Classes) -> Classes:
        """What is done to a case's classes before they are its mask."""
        if not self.estimates.largest_component:
            return classes
        return largest_components(classes, self.drawings.class_count)


def estimates_of(
    trained: Trained, out: Path, which: Which, wanted: bool, largest_component: bool
) -> Estimates:
    """What estimates the masks of a run, or says why nothing does."""
    accuracy = kept_accuracy(trained.run)
    if not wanted:
        accuracy = NotEstimated("it was not asked for (--no-estimate)")
    elif which != "chosen" and isinstance(accuracy, Accuracy):
        accuracy = NotEstimated("estimates are made for the checkpoint that the run chose")
    return Estimates(trained, out, accuracy, largest_component)


def no_estimates(trained: Trained, out: Path, why: str) -> Estimates:
    """What says why nothing is estimated."""
    return Estimates(trained, out, NotEstimated(why), largest_component=False)
