"""The outcomes that a run learns: read from the tables of its labelled cohorts, and kept with the run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from fewmask.config import STRICT, from_mapping, to_mapping
from fewmask.data.case import Case, Cohort
from fewmask.data.outcomes import OutcomeRule, outcome_rule, outcomes_of, require_both, require_one_outcome
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

    Raises InputFault where the recipe names an outcome that no stage reads, or reads one that it does not name, and
    for a patient with two outcomes.
    """
    if recipe.outcome is None:
        if recipe.learns_outcome:
            raise InputFault(
                f'recipe {recipe.name}: learns an outcome; give --outcome COLUMN, or e.g. --outcome "COLUMN>=2"'
            )
        return None
    if not recipe.learns_outcome:
        raise InputFault(
            f"recipe {recipe.name}: reads no outcome; leave --outcome {recipe.outcome} out, or train `joint`"
        )
    parts = {role: cohort.part("train") for role, cohort in cohorts.items() if role != "target"}
    rule = outcome_rule(recipe.outcome, [case for cases in parts.values() for case in cases])
    if recipe.split.unit == "patient":
        for role, cases in parts.items():
            require_one_outcome(rule, cases, cohorts[role].root)
    return LearntOutcomes(rule, {role: outcomes_of(rule, cases) for role, cases in parts.items()})


def with_answers_only(
    cohorts: Mapping[str, Cohort], learnt: LearntOutcomes | None, *, partly: bool
) -> dict[str, Cohort]:
    """The labelled cohorts without the training images that teach nothing; each says how many there are.

    Those are the ones whose outcome is not known, or, where images may be `partly` labelled, those that have no mask
    either.
    """
    if learnt is None:
        return dict(cohorts)
    return {
        role: cohort if role == "target" else _answered(cohort, learnt.of(role), learnt.rule, partly)
        for role, cohort in cohorts.items()
    }


def _answered(cohort: Cohort, known: Mapping[str, float], rule: OutcomeRule, partly: bool) -> Cohort:
    cases = tuple(
        case
        for case in cohort.cases
        if case.part == "test" or case.name in known or (partly and case.mask is not None)
    )
    remarks = cohort.remarks
    if rule.other is not None:
        remarks = (*remarks, f"outcome {rule.column}: {rule.value} is 1, {rule.other} is 0")
    if partly:
        remarks = (*remarks, *_partly_in_words(cases, known, rule.column))
    silent = len(cohort.cases) - len(cases)
    if silent:
        lacking = f"neither a mask nor {rule.column}" if partly else f"no {rule.column}"
        remarks = (*remarks, f"{silent} training images have {lacking} and are left out; add one to use them")
    return replace(cohort, cases=cases, remarks=remarks)


def _partly_in_words(cases: tuple[Case, ...], known: Mapping[str, float], column: str) -> tuple[str, ...]:
    """How many of the training images have but one of the two labels."""
    training = [case for case in cases if case.part == "train"]
    bare = sum(case.mask is None for case in training)
    unknown = sum(case.name not in known for case in training)
    told = (
        (bare, f"{bare} training images have no mask: they teach {column} alone"),
        (unknown, f"{unknown} training images have no {column}: they teach the masks alone"),
    )
    return tuple(words for count, words in told if count)


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
