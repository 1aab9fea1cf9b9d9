"""The clinical finding that a prognosis must beat, such as the length of the cervix, and which of its values alarm."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from fewmask.config import did_you_mean
from fewmask.data.case import Case, Cohort
from fewmask.data.outcomes import EMPTY, OutcomeRule, has_column, outcomes_of
from fewmask.errors import InputFault
from fewmask.evaluation.prognosis_record import Against, Held
from fewmask.metrics.classification import auc, auc_difference, delong
from fewmask.metrics.estimate import Estimate
from fewmask.metrics.prognosis import auc_estimate


@dataclass(frozen=True)
class Baseline:
    """A numeric column of cases.csv: its values by the case's name, and whether low ones or high ones are riskier.

    `direction` says how that is known.
    """

    column: str
    lower_is_riskier: bool
    direction: str
    values: Mapping[str, float]


def read_baseline(asked: str, cohort: Cohort, rule: OutcomeRule, judged: Collection[str]) -> Baseline:
    """The column that is asked for, as `cervical_length`, or with its direction: `cervical_length<`, lower is riskier.

    Else the direction is learnt on the training part's cases of other patients than the `judged` cases'. Raises
    InputFault for an unknown column, a cell that is no number, and where no such case can tell the direction.
    """
    column = asked.strip().rstrip("<>").strip()
    if not has_column(column, cohort.cases):
        known = {name for case in cohort.cases for name in case.columns}
        remedy = did_you_mean(column, known) if known else f"add it to {cohort.root / 'cases.csv'}"
        raise InputFault(f"baseline {column!r}: cases.csv has no such column; {remedy}")
    values = {
        case.name: value for case in cohort.cases if (value := _number(case, column, cohort)) is not None
    }
    if asked.strip().endswith(("<", ">")):
        lower = asked.strip().endswith("<")
        return Baseline(column, lower, f"{_riskier(column, lower)}, as was asked for", values)
    patients = {case.patient for case in cohort.cases if case.name in judged}
    others = [case for case in cohort.part("train") if case.patient not in patients and case.name in values]
    learnt = outcomes_of(rule, others)
    area = auc([values[name] for name in learnt], [outcome == 1.0 for outcome in learnt.values()])
    if area is None:
        raise InputFault(
            f"baseline {column!r}: {cohort.root} has no training cases of both outcomes that tell whether low or high "
            f'is riskier; say it, e.g. --baseline "{column}<" where low is'
        )
    lower = area < 0.5
    found = f"{len(learnt)} training cases, {int(sum(learnt.values()))} of them with the outcome"
    told = f"{_riskier(column, lower)}, as in {found}, where its AUC is {max(area, 1.0 - area):.2f}"
    return Baseline(column, lower, told, values)


def against(baseline: Baseline, rows: Sequence[Held]) -> Against | None:
    """Hold the probabilities against the baseline, on the rows that have both; None without both outcomes there."""
    both = [(row, row.baseline) for row in rows if row.baseline is not None and row.outcome is not None]
    sign = -1.0 if baseline.lower_is_riskier else 1.0
    clinical, told = [sign * value for _, value in both], [row.probability for row, _ in both]
    found, patients = [row.outcome == 1.0 for row, _ in both], [row.patient for row, _ in both]
    areas = auc_estimate(told, found, patients), auc_estimate(clinical, found, patients)
    if areas[0].value is None or areas[1].value is None:
        return None
    paired, test = auc_difference(clinical, told, found, patients), delong(clinical, told, found)
    difference = areas[0].value - areas[1].value
    return Against(
        column=baseline.column,
        lower_is_riskier=baseline.lower_is_riskier,
        direction=baseline.direction,
        n=len(both),
        with_outcome=sum(found),
        probability=areas[0],
        baseline=areas[1],
        difference=Estimate(difference, paired.interval if paired else None, areas[0].left_out),
        bootstrap_p=paired.p if paired else None,
        delong_p=test.p if test else None,
    )


def _number(case: Case, column: str, cohort: Cohort) -> float | None:
    cell = case.columns.get(column, "").strip()
    if cell.casefold() in EMPTY:
        return None
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputFault(
            f"{cohort.root}: case {case.name} has {column} {cell!r}, which is no number; mend cases.csv, or leave the "
            "cell empty"
        )
    return number


def _riskier(column: str, lower: bool) -> str:
    return f"{'lower' if lower else 'higher'} {column} is riskier"
