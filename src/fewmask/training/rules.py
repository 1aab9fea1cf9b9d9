"""The rules that may choose a checkpoint, and what each looks at. None of them sees a target mask."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
import torch

from fewmask.data.store import SliceStore
from fewmask.errors import InputFault
from fewmask.methods.base import Method
from fewmask.recipe import Stage
from fewmask.training.select import looking, validation_auc, validation_dice, validation_tags
from fewmask.training.target_rules import (
    TargetSlices,
    target_agreement,
    target_cycle,
    target_density,
    target_ensemble,
    target_information,
)

Rule = Literal["validation", "information", "agreement", "density", "cycle", "ensemble"]

Measure = Literal["Dice", "AUC", "F1", "mean of Dice and AUC"]


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
class RuleScores:
    """What each rule says of one checkpoint, more being better; None where it was not asked, or cannot tell.

    `validation` (Dice or AUC), `agreement`, `cycle` and `ensemble` (Dice) lie in [0, 1], `information` in [0, ln K] and
    `density` in [0, ln N] nats.
    """

    validation: float | None = None
    information: float | None = None
    agreement: float | None = None
    density: float | None = None
    cycle: float | None = None
    ensemble: float | None = None

    def of(self, rule: Rule) -> float | None:
        """The score that a rule chooses by."""
        return getattr(self, rule)


RULES: tuple[str, ...] = tuple(field.name for field in fields(RuleScores))

TARGET_RULES: tuple[tuple[Rule, Callable[[Method, TargetSlices, torch.device], float | None]], ...] = (
    ("information", target_information),
    ("agreement", target_agreement),
    ("density", target_density),
    ("cycle", target_cycle),
    ("ensemble", target_ensemble),
)
"""The rules that look at bare target images."""

IN_WORDS: dict[Rule, str] = {
    "information": "most information (entropy of the mean prediction less mean entropy)",
    "agreement": "best agreement (Dice) of both heads",
    "density": "densest soft neighbourhoods of predictions",
    "cycle": "best agreement (Dice) of masks before and after a translation there and back",
    "ensemble": "best agreement (Dice) of masks from several perspectives",
}
"""What each of them takes, for a run's page."""


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
    told = {rule: tell(method, target, device) for rule, tell in TARGET_RULES if rule in wanted}
    return replace(scores, **told)


def require_rule(stage: Stage, method: Method) -> None:
    """Raise InputFault where the rule that shall choose cannot tell anything about the method.

    `method` may be on the meta device: it is asked with an image that has no pixels in memory.
    """
    judged = stage.method.reads in ("outcomes", "partly", "tagged")
    if stage.choose == "last" or (stage.choose == "validation" and judged):
        return
    if not method.draws_masks:
        raise InputFault(
            f"stage {stage.name}: choose={stage.choose} judges the masks that a method draws and this one draws none; "
            f"take --set {stage.name}.choose=last"
        )
    if stage.choose in ("agreement", "cycle") and not _answers(method, stage.choose):
        needed = "two heads" if stage.choose == "agreement" else "translators both ways"
        raise InputFault(
            f"stage {stage.name}: choose={stage.choose} needs a method with {needed} and this one has none; "
            f"take --set {stage.name}.choose=ensemble, or last"
        )


def _answers(method: Method, rule: str) -> bool:
    """Whether a method can be asked for what the rule compares."""
    ask = method.segment_twice if rule == "agreement" else method.there_and_back
    device, size = next(method.parameters()).device, method.task.size
    with looking(method, device):
        return ask(torch.zeros(1, method.task.channels, size, size, device=device)) is not None
