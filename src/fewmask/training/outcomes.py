"""The outcomes that a run learns: read from the tables of its labelled cohorts, and kept with the run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from fewmask.config import STRICT, from_mapping, to_mapping
from fewmask.data.case import Cohort
from fewmask.data.outcomes import OutcomeRule, outcome_rule, outcomes_of, require_both
from fewmask.data.split import Split
from fewmask.errors import InputFault
from fewmask.files import read_json, write_json
from fewmask.recipe import Recipe
from fewmask.training.run import Run

FILE = "learnt_outcomes.json"


@dataclass(frozen=True)
class LearntOutcomes:
    """The rule, and what it gives for each case that has an outcome, by the cohort's role and the case's name."""

    __pydantic_config__: ClassVar[Any] = STRICT

    rule: OutcomeRule
    by_role: Mapping[str, Mapping[str, float]]

    def of(self, role: str) -> Mapping[str, float]:
        """The outcomes of one cohort's cases."""
        return self.by_role.get(role, {})

    def prevalence(self, splits: Mapping[str, Split]) -> float:
        """The share of training cases that have the outcome."""
        learnt = self._training(splits)
        return sum(learnt.values()) / len(learnt)

    def require_both(self, splits: Mapping[str, Split]) -> None:
        """Raise InputFault where all training cases have one outcome."""
        remedy = (
            f"move the threshold, or add cases to {' and '.join(split.cohort for split in splits.values())}"
        )
        require_both(self.rule, self._training(splits), "training cases", remedy)

    def _training(self, splits: Mapping[str, Split]) -> dict[str, float]:
        return {
            f"{role}/{name}": outcomes[name]
            for role, outcomes in self.by_role.items()
            for name in splits[role].train
            if name in outcomes
        }


def read_outcomes(recipe: Recipe, cohorts: Mapping[str, Cohort]) -> LearntOutcomes | None:
    """The outcomes of the labelled cohorts' training parts; None for a recipe that learns none.

    Raises InputFault where the recipe names an outcome that no stage reads, or reads one that it does not name.
    """
    reading = any(stage.method.reads == "outcomes" for stage in recipe.stages)
    if recipe.outcome is None:
        if reading:
            raise InputFault(
                f'recipe {recipe.name}: learns an outcome; give --outcome COLUMN, or e.g. --outcome "COLUMN>=2"'
            )
        return None
    if not reading:
        raise InputFault(
            f"recipe {recipe.name}: reads no outcome; leave --outcome {recipe.outcome} out, or train `diagnosis`"
        )
    parts = {role: cohort.part("train") for role, cohort in cohorts.items() if role != "target"}
    rule = outcome_rule(recipe.outcome, [case for cases in parts.values() for case in cases])
    return LearntOutcomes(rule, {role: outcomes_of(rule, cases) for role, cases in parts.items()})


def with_outcomes_only(cohorts: Mapping[str, Cohort], learnt: LearntOutcomes | None) -> dict[str, Cohort]:
    """The labelled cohorts without the training images whose outcome is not known; each says how many there are."""
    if learnt is None:
        return dict(cohorts)
    return {
        role: cohort if role == "target" else _known_only(cohort, learnt.of(role), learnt.rule)
        for role, cohort in cohorts.items()
    }


def _known_only(cohort: Cohort, known: Mapping[str, float], rule: OutcomeRule) -> Cohort:
    cases = tuple(case for case in cohort.cases if case.part == "test" or case.name in known)
    unknown = len(cohort.cases) - len(cases)
    remarks = cohort.remarks
    if rule.other is not None:
        remarks = (*remarks, f"outcome {rule.column}: {rule.value} is 1, {rule.other} is 0")
    if unknown:
        remarks = (*remarks, f"{unknown} training images have no {rule.column} and are left out")
    return replace(cohort, cases=cases, remarks=remarks)


def keep_outcomes(run: Run, learnt: LearntOutcomes | None, tell: Callable[[str], None]) -> None:
    """Write the outcomes into the run folder. Raises InputFault where a run that goes on began with others."""
    if learnt is None:
        return
    if run.material.exists() and kept_outcomes(run) != learnt:
        raise InputFault(
            f"{learnt.rule}: the outcomes in cases.csv have changed since the run began; train into another --out"
        )
    write_json(run.folder / FILE, to_mapping(learnt))
    for role, outcomes in learnt.by_role.items():
        tell(f"{role}: {learnt.rule} holds for {int(sum(outcomes.values()))} of {len(outcomes)} cases")


def kept_outcomes(run: Run) -> LearntOutcomes | None:
    """What a run learns, or None where it learns no outcome."""
    path = run.folder / FILE
    return from_mapping(LearntOutcomes, read_json(path), str(path)) if path.exists() else None
