"""The rules that may choose a checkpoint, and what each looks at. None of them sees a target mask."""

from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from fewmask.data.store import SliceStore
from fewmask.errors import InputFault
from fewmask.methods.base import Method
from fewmask.recipe import Stage
from fewmask.training.select import (
    chunks_of,
    class_counts,
    evenly_spaced,
    foreground_dice,
    looking,
    own_pixels,
    validation_auc,
    validation_dice,
    validation_tags,
)

Rule = Literal["validation", "information", "agreement"]

Measure = Literal["Dice", "AUC", "F1", "mean of Dice and AUC"]

TARGET_SLICES = 64
"""The label-free rules look at no more of the target's training slices than this, evenly spaced over its cases."""


@dataclass(frozen=True)
class Validation:
    """The held-out slices of a cohort that a checkpoint may be chosen by, and the measure of how well it does.

    `findings` has an outcome ("AUC"; NaN where it is not known) or a tag ("F1") for each row; for "Dice" the store has
    masks, of which some may be ignored throughout.
    `as_target`: the method re-draws them in the target's look first, if it can.
    """

    cohort: str
    store: SliceStore
    rows: np.ndarray
    measure: Measure = "Dice"
    findings: tuple[float, ...] | None = None
    as_target: bool = False

    def score(self, method: Method, device: torch.device) -> float:
        """The method's score on the slices, in [0, 1]."""
        if self.measure == "F1":
            assert self.findings is not None
            return validation_tags(method, self.store, self.rows, self.findings, device).f1
        if self.measure == "AUC":
            return self._area(method, device)
        dice = validation_dice(method, self.store, self.rows, device, as_target=self.as_target)
        return dice if self.measure == "Dice" else (dice + self._area(method, device)) / 2.0

    def _area(self, method: Method, device: torch.device) -> float:
        outcomes = np.array(self.findings, dtype=np.float64)
        known = ~np.isnan(outcomes)
        return validation_auc(method, self.store, self.rows[known], outcomes[known].tolist(), device)


@dataclass(frozen=True)
class TargetSlices:
    """The target's bare training slices that a checkpoint may be chosen by; there is no mask to look at."""

    cohort: str
    store: SliceStore
    rows: np.ndarray


@dataclass(frozen=True)
class RuleScores:
    """What each rule says of one checkpoint, more being better; None where it was not asked, or cannot tell.

    `validation` (Dice or AUC) and `agreement` (Dice) lie in [0, 1], `information` in [0, ln K] nats.
    """

    validation: float | None = None
    information: float | None = None
    agreement: float | None = None

    def of(self, rule: Rule) -> float | None:
        """The score that a rule chooses by."""
        return {
            "validation": self.validation,
            "information": self.information,
            "agreement": self.agreement,
        }[rule]


RULES: tuple[str, ...] = tuple(field.name for field in fields(RuleScores))


def scores_of(
    method: Method,
    stage: Stage,
    validation: Validation | None,
    target: TargetSlices | None,
    device: torch.device,
) -> RuleScores:
    """What the stage's own rule says of the method as it is now, or all rules where candidates are kept.

    Costs nothing that was not asked for. A rule that cannot tell scores None: validation of a method that draws no
    masks, agreement of one with a single head, and both label-free rules without a target.
    """
    wanted = RULES if stage.keep_candidates else (stage.choose,)
    scores = RuleScores()
    if "validation" in wanted and validation is not None:
        judges = method.draws_masks or validation.findings is not None
        scores = RuleScores(validation=validation.score(method, device) if judges else None)
    if target is None or not method.draws_masks:
        return scores
    return RuleScores(
        validation=scores.validation,
        information=target_information(method, target, device) if "information" in wanted else None,
        agreement=target_agreement(method, target, device) if "agreement" in wanted else None,
    )


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
        for chunk in chunks_of(evenly_spaced(target.rows, TARGET_SLICES)):
            logits = method.segment(torch.from_numpy(target.store.images(chunk)).to(device))
            probabilities = logits.float().softmax(1).movedim(1, -1).cpu()
            seen = probabilities[own_pixels(target.store, chunk, logits.shape[-1])]
            summed += seen.sum(0, dtype=torch.float64)
            entropies += float(torch.special.entr(seen).sum(dtype=torch.float64))
            pixels += len(seen)
    return information(summed, entropies, pixels)


def target_agreement(method: Method, target: TargetSlices, device: torch.device) -> float | None:
    """Mean foreground Dice between the masks of a method's two heads on the target's slices; None with one head.

    Pooled over all own pixels of the slices; empty masks are as in `foreground_dice`.
    """
    classes = len(method.task.classes)
    counts = torch.zeros(3, classes, dtype=torch.float64)
    with looking(method, device):
        for chunk in chunks_of(evenly_spaced(target.rows, TARGET_SLICES)):
            twice = method.segment_twice(torch.from_numpy(target.store.images(chunk)).to(device))
            if twice is None:
                return None
            one, other = (logits.argmax(1).cpu() for logits in twice)
            seen = own_pixels(target.store, chunk, one.shape[-1])
            counts += class_counts(one[seen], other[seen], classes)
    return foreground_dice(counts)


def require_rule(stage: Stage, method: Method) -> None:
    """Raise InputFault where the rule that shall choose cannot tell anything about the method.

    `method` may be on the meta device: it is asked for two heads with an image that has no pixels in memory.
    """
    judged = stage.method.reads in ("outcomes", "partly", "tagged")
    if stage.choose == "last" or (stage.choose == "validation" and judged):
        return
    if not method.draws_masks:
        raise InputFault(
            f"stage {stage.name}: choose={stage.choose} judges the masks that a method draws and this one draws none; "
            f"take --set {stage.name}.choose=last"
        )
    if stage.choose == "agreement" and not _has_two_heads(method):
        raise InputFault(
            f"stage {stage.name}: choose=agreement needs a method with two heads and this one has one; "
            f"take --set {stage.name}.choose=information, or last"
        )


def _has_two_heads(method: Method) -> bool:
    if type(method).segment_twice is Method.segment_twice:
        return False
    device = next(method.parameters()).device
    size = method.task.size
    with looking(method, device):
        return (
            method.segment_twice(torch.zeros(1, method.task.channels, size, size, device=device)) is not None
        )
