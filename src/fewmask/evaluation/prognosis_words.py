"""A prognosis in words and rows, for a terminal and for a page: its figures, and what must be said beside them."""

from dataclasses import dataclass

from fewmask.evaluation.prognosis_record import Against, Level, Prognosis, Unit
from fewmask.metrics.calibration import wilson_interval
from fewmask.metrics.estimate import Estimate
from fewmask.metrics.interval import DRAWS

ADVISED = 100
"""Cases with and without the outcome that an external validation should have: Collins et al. 2016."""


@dataclass(frozen=True)
class FigureRow:
    """One figure: its name, what it says, and its estimate over cases and over patients (None: not told apart)."""

    name: str
    meaning: str
    per_case: Estimate
    per_patient: Estimate | None


def estimate_words(estimate: Estimate, digits: int = 3, sign: str = "") -> str:
    """A figure and its interval, where it has one; a dash where it is undefined."""
    if estimate.value is None:
        return "-"
    text = f"{estimate.value:{sign}.{digits}f}"
    interval = estimate.interval
    return f"{text} [{interval.low:{sign}.{digits}f}, {interval.high:{sign}.{digits}f}]" if interval else text


def figure_rows(prognosis: Prognosis) -> tuple[FigureRow, ...]:
    """The rows of the table of figures; none where no outcome is known."""
    if prognosis.per_case is None:
        return ()
    own = _named(prognosis.per_case)
    others = _named(prognosis.per_patient) if prognosis.per_patient else None
    return tuple(
        FigureRow(name, meaning, estimate, others[place][2] if others else None)
        for place, (name, meaning, estimate) in enumerate(own)
    )


def _named(level: Level) -> list[tuple[str, str, Estimate]]:
    made, meant, fixed = level.decision_figures, level.calibration, level.at_fixed_rate
    rate = f"{100 * fixed.wanted:g} %"
    return [
        ("AUC", "how often one with the outcome ranks above one without; 0.5 is chance", level.auc),
        (
            f"Sensitivity at {rate} false alarms",
            f"found where at most {rate} of those without the outcome are alarmed",
            fixed.sensitivity,
        ),
        ("Sensitivity", "those with the outcome that are called positive", made.sensitivity),
        ("Specificity", "those without it that are called negative", made.specificity),
        ("False positive rate", "those without it that are called positive", made.false_positive_rate),
        ("Precision", "those called positive that have it", made.precision),
        (
            "Negative predictive value",
            "those called negative that do not have it",
            made.negative_predictive_value,
        ),
        ("Accuracy", "those called what they are", made.accuracy),
        ("F1", "between sensitivity and precision", made.f1),
        ("Prevalence", "those with the outcome", meant.prevalence),
        ("Mean probability", "equal to the prevalence where probabilities are risks", meant.mean_probability),
        ("Brier score", "mean squared error of the probability; 0 is perfect", meant.brier),
        ("Brier score of the prevalence", "the same for one probability for all", meant.brier_of_prevalence),
        ("Brier skill", "saved of that; 1 is perfect, 0 worthless", meant.brier_skill),
        (
            "Expected calibration error",
            "mean gap between probability and share in a bin; chance alone makes some",
            meant.expected_error,
        ),
    ]


def remarks_of(prognosis: Prognosis) -> tuple[str, ...]:
    """What a reader must know to trust the figures; empty where no outcome is known."""
    people, per_case = prognosis.people, prognosis.per_case
    if people is None or per_case is None:
        return ()
    remarks = [
        *_few(people),
        *_threshold_remarks(prognosis),
        *_too_sure(people),
        *_probability_remarks(people),
    ]
    if per_case.patients < per_case.n:
        remarks.append(
            "some patients have several cases, which DeLong's test and the intervals of the calibration's bins take "
            "for independent; trust the bootstrap, and the figures per patient"
        )
    if people.baseline is not None and people.baseline.n < people.n:
        lacking = people.n - people.baseline.n
        remarks.append(
            f"without {people.baseline.column}, and not in the comparison with it: {_counted(lacking, people.unit)}"
        )
    return tuple(remarks)


def _few(people: Level) -> list[str]:
    count, which = min((people.with_outcome, "with"), (people.n - people.with_outcome, "without"))
    told: list[str] = []
    if count < ADVISED:
        figure = "sensitivity" if which == "with" else "specificity"
        told.append(
            f"only {_counted(count, people.unit)} {which} the outcome, where {ADVISED} are advised (Collins et al. "
            f"2016): the intervals are wide, and the {figure} moves in steps of 1/{count}"
        )
    interval = people.auc.interval
    if interval is None:
        told.append("too few patients for an interval")
    elif interval.low <= 0.5 <= interval.high:
        told.append("the interval of the AUC holds 0.5: that it is chance cannot be excluded")
    if people.auc.left_out:
        told.append(
            f"{people.auc.left_out} of {DRAWS} draws had one outcome alone and are not in its interval"
        )
    return told


def _counted(count: int, unit: Unit) -> str:
    return f"{count} {unit if count != 1 else unit.removesuffix('s')}"


def _threshold_remarks(prognosis: Prognosis) -> list[str]:
    if prognosis.threshold_chosen:
        return []
    return [
        f"no threshold was chosen on validation cases ({prognosis.threshold_rule}): {prognosis.threshold:g} is taken, "
        "which need not suit a rare outcome; trust the AUC and the sensitivity at a fixed share of false alarms"
    ]


def _too_sure(people: Level) -> list[str]:
    """A share of 0 or 1 is the same in every draw, so that its bootstrap interval has no width."""
    made = people.decision_figures
    whole = (
        ("sensitivity", made.sensitivity.value, people.with_outcome),
        ("specificity", made.specificity.value, people.n - people.with_outcome),
    )
    told: list[str] = []
    for name, value, count in whole:
        if value in (0.0, 1.0):
            wilson, whose = wilson_interval(round(value * count), count), _counted(count, people.unit)
            told.append(
                f"a {name} of {value:g} over {whose} is the same in every draw; Wilson's interval is "
                f"[{wilson.low:.2f}, {wilson.high:.2f}]"
            )
    return told


def _probability_remarks(people: Level) -> list[str]:
    meant = people.calibration
    told: list[str] = []
    excess, mean, prevalence = meant.excess.interval, meant.mean_probability, meant.prevalence
    if excess is not None and not excess.low <= 0.0 <= excess.high:
        why = ", as after training with a weight on the rarer outcome" if excess.low > 0.0 else ""
        told.append(
            f"probabilities are {estimate_words(mean, 2)} on average where {estimate_words(prevalence, 2)} have the "
            f"outcome: they are scores to rank by, not risks{why}"
        )
    if meant.brier_skill.value is not None and meant.brier_skill.value <= 0.0:
        told.append("the Brier score is no better than that of the prevalence alone")
    return told


def format_prognosis(prognosis: Prognosis) -> str:
    """A table for a terminal, with what a reader must know to trust it."""
    level, notes = prognosis.per_case, [f"Note: {remark}." for remark in prognosis.remarks]
    if level is None:
        return "\n".join(
            [f"{prognosis.outcome}: probabilities of {prognosis.cases} cases, no figures", *notes]
        )
    heading = (prognosis.outcome, "per case", *(["per patient"] if prognosis.per_patient else []))
    rows = [heading, *(_cells(row) for row in figure_rows(prognosis))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heading))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    people = f"{cases_words(level)}, {level.with_outcome} cases with the outcome."
    against = [baseline_words(side, side.baseline) for side in [prognosis.people or level] if side.baseline]
    return "\n".join(
        [
            *lines,
            "",
            people,
            threshold_words(prognosis),
            *against,
            f"[low, high]: {prognosis.interval}.",
            *notes,
        ]
    )


def _cells(row: FigureRow) -> tuple[str, ...]:
    found = [row.per_case, *([row.per_patient] if row.per_patient else [])]
    return (row.name, *(estimate_words(estimate) for estimate in found))


def threshold_words(prognosis: Prognosis) -> str:
    """From where on a case is called positive, and who chose that."""
    if not prognosis.threshold_chosen:
        return f"Called positive from {prognosis.threshold:.3g} on, which nobody chose."
    chosen = f"{prognosis.threshold_rule} ({prognosis.validation_cases} validation cases)"
    return f"Called positive from {prognosis.threshold:.3g} on: {chosen}."


def cases_words(level: Level) -> str:
    """How many cases were scored, and of how many patients, where those are others."""
    return (
        f"{level.n} cases" if level.patients == level.n else f"{level.n} cases of {level.patients} patients"
    )


def baseline_words(level: Level, held: Against) -> str:
    """The probabilities against the clinical finding, in a sentence."""
    n = f"{held.n} {level.unit}, {held.with_outcome} with the outcome"
    areas = f"{estimate_words(held.probability)} and {estimate_words(held.baseline)}"
    difference = estimate_words(held.difference, 3, "+")
    return (
        f"Against {held.column} over {n} ({held.direction}): AUC {areas}, difference {difference}, bootstrap p "
        f"{p_words(held.bootstrap_p)}, DeLong p {p_words(held.delong_p)}."
    )


def p_words(value: float | None) -> str:
    """A p value, or a dash."""
    return "-" if value is None else f"{value:.2g}"
