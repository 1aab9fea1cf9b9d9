"""Hold what was told about an outcome against what was found: per case, per patient, and beside a clinical finding."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fewmask.data.case import Cohort
from fewmask.data.layouts import read_cohort, read_pair
from fewmask.data.listing import MASK_FOLDERS
from fewmask.data.outcomes import OutcomeRule, has_column, outcome_rule, outcomes_of, require_both
from fewmask.data.plain import is_pair
from fewmask.errors import InputFault
from fewmask.evaluation.clinical_baseline import Baseline, against, read_baseline
from fewmask.evaluation.prognosis_figures import write_figures
from fewmask.evaluation.prognosis_record import (
    FixedRate,
    Held,
    Level,
    Prognosis,
    Unit,
    forget_prognosis,
    write_prognosis,
)
from fewmask.evaluation.prognosis_words import remarks_of
from fewmask.evaluation.told_outcomes import Told, ToldCase, read_told
from fewmask.metrics.calibration import calibration_curve, calibration_figures
from fewmask.metrics.prognosis import (
    FALSE_POSITIVE_RATE,
    auc_estimate,
    decision_figures,
    decisions,
    point_within,
    sensitivity_within,
)
from fewmask.training.outcomes import kept_outcomes
from fewmask.training.run import Run

NOT_CHOSEN = 0.5
"""The threshold where no validation case could choose one."""


def evaluate_prognosis(
    predictions: Path,
    truth: Path,
    out: Path,
    *,
    baseline: str | None = None,
    fixed_false_positive_rate: float = FALSE_POSITIVE_RATE,
    per_patient: bool = True,
) -> Prognosis:
    """Score what `segment` told in `predictions`, and write it into `out`: see `score_prognosis`, `write_scored`."""
    prognosis, rows = score_prognosis(
        predictions,
        truth,
        baseline=baseline,
        fixed_false_positive_rate=fixed_false_positive_rate,
        per_patient=per_patient,
    )
    write_scored(out, prognosis, rows)
    return prognosis


def score_prognosis(
    predictions: Path,
    truth: Path,
    *,
    baseline: str | None = None,
    fixed_false_positive_rate: float = FALSE_POSITIVE_RATE,
    per_patient: bool = True,
) -> tuple[Prognosis, tuple[Held, ...]]:
    """Hold the told probabilities against the outcomes in the truth's cases.csv; nothing is written yet.

    `truth` is as for `evaluate`; no mask is opened. `baseline` is a numeric column of that table (`read_baseline`). A
    patient's probability is the mean of their cases'; without `per_patient` a patient may have several outcomes, and
    there are figures per case alone. Without an outcome column, or with an empty one, there are no figures and a
    remark. Raises InputFault where all outcomes are alike, and for a patient with two.
    """
    if not 0.0 < fixed_false_positive_rate < 1.0:
        raise InputFault(
            f"fixed_false_positive_rate={fixed_false_positive_rate}: must lie between 0 and 1, e.g. 0.1"
        )
    told, cases = read_told(predictions)
    cohort = _truth(truth)
    outcomes, finding = _found(told, cases, predictions, cohort, baseline)
    rows = _rows(cases, cohort, outcomes, finding)
    bare = Prognosis(
        outcome=told.outcome,
        cases=len(rows),
        without_outcome=len(rows) - len(outcomes),
        threshold=NOT_CHOSEN if told.threshold is None else told.threshold,
        threshold_chosen=told.threshold is not None,
        threshold_rule=told.threshold_rule,
        validation_cases=told.validation_cases,
        per_case=None,
        per_patient=None,
        remarks=(),
    )
    known = tuple(row for row in rows if row.outcome is not None)
    judging = _Judging(told.outcome, bare.threshold, fixed_false_positive_rate, finding)
    levels = judging.levels(known, per_patient, _patients_known(cohort, rows)) if known else (None, None)
    scored = replace(bare, per_case=levels[0], per_patient=levels[1])
    joined = _join_remarks(told, cohort, rows, outcomes)
    remarks = (*told.remarks, *joined, *_uncompared(scored, finding), *remarks_of(scored))
    return replace(scored, remarks=tuple(dict.fromkeys(remarks))), rows


def write_scored(out: Path, prognosis: Prognosis, rows: Sequence[Held]) -> None:
    """Write `prognosis.csv`, `roc.png` and `calibration.png`, and `prognosis_scores.json` last.

    Where no outcome is known there are no pictures.
    """
    forget_prognosis(out)
    known = tuple(row for row in rows if row.outcome is not None)
    if known:
        write_figures(
            out, prognosis, known, by_patient(known, prognosis.outcome) if prognosis.per_patient else ()
        )
    write_prognosis(out, prognosis, rows)


def by_patient(rows: Sequence[Held], outcome: str) -> tuple[Held, ...]:
    """Each patient as the mean of their cases, in the order of their first; the baseline of the cases that have one.

    Raises InputFault for a patient of whose cases one has the outcome and another has not.
    """
    cases: dict[str, list[Held]] = {}
    for row in rows:
        cases.setdefault(row.patient, []).append(row)
    return tuple(_mean(patient, own, outcome) for patient, own in cases.items())


def _mean(patient: str, own: Sequence[Held], outcome: str) -> Held:
    first = own[0]
    for other in own[1:]:
        if other.outcome != first.outcome:
            raise InputFault(
                f"patient {patient}: {outcome} is {_shown(first)} in case {first.case} and {_shown(other)} in case "
                f"{other.case}; a patient has one outcome, mend cases.csv, or score each case for itself"
            )
    taken = [row.baseline for row in own if row.baseline is not None]
    return Held(
        case=patient,
        patient=patient,
        outcome=first.outcome,
        probability=float(np.mean([row.probability for row in own])),
        baseline=float(np.mean(taken)) if taken else None,
    )


def _shown(row: Held) -> str:
    return "-" if row.outcome is None else f"{row.outcome:.0f}"


@dataclass(frozen=True)
class _Judging:
    """What the figures of each level take: where positive begins, how many false alarms, and beside what finding."""

    outcome: str
    threshold: float
    rate: float
    finding: Baseline | None

    def levels(
        self, known: Sequence[Held], per_patient: bool, patients_known: bool
    ) -> tuple[Level, Level | None]:
        """The figures per case, and per patient where patients have several."""
        people = by_patient(known, self.outcome) if per_patient else known
        if len(people) < len(known):
            return self._level(known, "cases"), self._level(people, "patients")
        each_its_own = len({row.patient for row in known}) == len(known)
        return self._level(known, "patients" if patients_known and each_its_own else "cases"), None

    def _level(self, rows: Sequence[Held], unit: Unit) -> Level:
        told, patients = [row.probability for row in rows], [row.patient for row in rows]
        found = [row.outcome == 1.0 for row in rows]
        point = point_within(told, found, self.rate)
        assert point is not None  # `require_both` has seen both outcomes
        within = sensitivity_within(told, found, patients, self.rate)
        return Level(
            unit=unit,
            n=len(rows),
            patients=len(set(patients)),
            with_outcome=sum(found),
            auc=auc_estimate(told, found, patients),
            at_fixed_rate=FixedRate(self.rate, point.false_positive_rate, within),
            decisions=decisions(told, found, self.threshold),
            decision_figures=decision_figures(told, found, patients, self.threshold),
            calibration=calibration_figures(told, found, patients),
            calibration_curve=calibration_curve(told, found),
            baseline=against(self.finding, rows) if self.finding else None,
        )


def _truth(truth: Path) -> Cohort:
    """The cases with their tables; of a dataset's folder of labels, the dataset's."""
    if is_pair(truth):
        return read_pair(truth)[1]
    of_a_dataset = truth.name in ("labelsTr", "labelsTs", *MASK_FOLDERS)
    whole = of_a_dataset and (truth.parent / "cases.csv").is_file()
    return read_cohort(truth.parent if whole else truth, masks=False)


def _found(
    told: Told, cases: Sequence[ToldCase], predictions: Path, cohort: Cohort, baseline: str | None
) -> tuple[Mapping[str, float], Baseline | None]:
    """The outcomes of the told cases that have one, both kinds or none, and the clinical finding that is asked for."""
    column = re.split("[<>=]", told.outcome)[0].strip()
    if not has_column(column, cohort.cases):
        return {}, None
    rule = outcome_rule(told.outcome, cohort.cases)
    outcomes = _known_outcomes(rule, cohort, predictions, cases)
    if not outcomes:
        return {}, None
    remedy = "figures need both; add cases, or take the column out for probabilities alone"
    require_both(rule, outcomes, "evaluated cases", remedy)
    return outcomes, read_baseline(baseline, cohort, rule, outcomes) if baseline else None


def _known_outcomes(
    rule: OutcomeRule, cohort: Cohort, predictions: Path, told: Sequence[ToldCase]
) -> dict[str, float]:
    by_name = {case.name: case for case in cohort.cases}
    both = [by_name[one.case] for one in told if one.case in by_name]
    if not both:
        raise InputFault(
            f"{predictions}: no told case is named as one of {cohort.root} (first: {cohort.cases[0].name}); give the "
            "folder that was segmented"
        )
    return outcomes_of(rule, both)


def _rows(
    told: Sequence[ToldCase], cohort: Cohort, outcomes: Mapping[str, float], baseline: Baseline | None
) -> tuple[Held, ...]:
    """A row a told case; the truth says whose it is, if it says anything about patients."""
    patients = {case.name: case.patient for case in cohort.cases} if cohort.patients_known else {}
    values = baseline.values if baseline else {}
    return tuple(
        Held(
            one.case,
            patients.get(one.case, one.patient),
            outcomes.get(one.case),
            one.probability,
            values.get(one.case),
        )
        for one in told
    )


def _join_remarks(
    told: Told, cohort: Cohort, rows: Sequence[Held], outcomes: Mapping[str, float]
) -> tuple[str, ...]:
    """What was left out when the files were put together, and which cases the run had seen."""
    if not outcomes:
        return (f"{cohort.root} has no outcome for {told.outcome}: there are probabilities alone",)
    remarks: list[str] = []
    known = {case.name for case in cohort.cases}
    foreign = sum(row.case not in known for row in rows)
    if foreign:
        remarks.append(f"{foreign} told cases are not in {cohort.name} and are in no figure")
    unknown = len(rows) - len(outcomes) - foreign
    if unknown:
        remarks.append(f"{unknown} cases have no outcome for {told.outcome} and are in no figure")
    seen = _seen(Path(told.run), cohort, outcomes)
    if seen:
        remarks.append(
            f"{seen} of these cases trained or chose the network, or its threshold; their figures flatter"
        )
    if not _patients_known(cohort, rows):
        remarks.append("no patients are given: every case counts as one")
    return tuple(remarks)


def _uncompared(scored: Prognosis, finding: Baseline | None) -> tuple[str, ...]:
    if finding is None or scored.people is None or scored.people.baseline is not None:
        return ()
    return (f"{finding.column} is not known of cases of both outcomes: there is no comparison with it",)


def _patients_known(cohort: Cohort, rows: Sequence[Held]) -> bool:
    return cohort.patients_known or any(row.case != row.patient for row in rows)


def _seen(folder: Path, cohort: Cohort, outcomes: Mapping[str, float]) -> int:
    """How many of the cases the run learnt from or was chosen on; 0 where the run's folder has moved."""
    run = Run(folder)
    learnt = kept_outcomes(run) if run.recipe_file.is_file() else None
    if learnt is None:
        return 0
    folders = run.recipe().cohorts
    return sum(
        case in learnt.of(role)
        for role, own in (("masks", folders.masks), ("source", folders.source))
        if own is not None and own.resolve() == cohort.root.resolve()
        for case in outcomes
    )
