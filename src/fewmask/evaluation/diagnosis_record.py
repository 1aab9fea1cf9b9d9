"""What a diagnosis found: its files, its picture, and the few lines that are printed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fewmask.config import to_mapping
from fewmask.evaluation.roc import NamedCurve, write_roc
from fewmask.evaluation.summary import INTERVAL
from fewmask.files import write_csv, write_json
from fewmask.metrics.classification import auc, auc_difference, auc_interval, delong, roc_curve

COLUMNS = ("case", "patient", "outcome", "probability_whole", "probability_kept")


@dataclass(frozen=True)
class Judged:
    """One case: its outcome (1 or 0, None where it is not known) and the classifier's two probabilities of a 1."""

    case: str
    patient: str
    outcome: float | None
    probability_whole: float
    probability_kept: float


@dataclass(frozen=True)
class Area:
    """An AUC in [0, 1] and its interval over patients (None for a single patient)."""

    auc: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Comparison:
    """Whole images against kept classes, over the cases whose outcome is known.

    `difference` is kept minus whole. `delong_p` and `bootstrap_p` are two-sided; None where nothing can be said.
    """

    n: int
    positives: int
    patients: int
    whole: Area
    kept: Area
    difference: float
    difference_low: float | None
    difference_high: float | None
    delong_p: float | None
    bootstrap_p: float | None
    interval: str = INTERVAL


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found. `comparison` is None where no outcome is known, and a remark says why."""

    outcome: str
    kept_classes: tuple[str, ...]
    shown: str
    cases: int
    checkpoint_step: int
    checkpoint_rule: str
    comparison: Comparison | None
    remarks: tuple[str, ...]


def compare(rows: Sequence[Judged]) -> Comparison | None:
    """Score both probabilities against the outcomes that are known; None where they are not both there."""
    known = [row for row in rows if row.outcome is not None]
    found = [row.outcome == 1.0 for row in known]
    patients = [row.patient for row in known]
    whole, kept = [row.probability_whole for row in known], [row.probability_kept for row in known]
    areas = _area(whole, found, patients), _area(kept, found, patients)
    if areas[0] is None or areas[1] is None:
        return None
    bootstrap, test = auc_difference(whole, kept, found, patients), delong(whole, kept, found)
    return Comparison(
        n=len(known),
        positives=sum(found),
        patients=len(set(patients)),
        whole=areas[0],
        kept=areas[1],
        difference=areas[1].auc - areas[0].auc,
        difference_low=bootstrap.interval.low if bootstrap else None,
        difference_high=bootstrap.interval.high if bootstrap else None,
        delong_p=test.p if test else None,
        bootstrap_p=bootstrap.p if bootstrap else None,
    )


def _area(scores: Sequence[float], found: Sequence[bool], patients: Sequence[str]) -> Area | None:
    area, interval = auc(scores, found), auc_interval(scores, found, patients)
    if area is None:
        return None
    return Area(area, interval.low if interval else None, interval.high if interval else None)


def write_diagnosis(out: Path, diagnosis: Diagnosis, rows: Sequence[Judged]) -> None:
    """Write `outcomes.csv`, `diagnosis.json` and, where outcomes are known, `roc.png`."""
    outcomes = (None if row.outcome is None else int(row.outcome) for row in rows)
    lines = (
        (row.case, row.patient, outcome, row.probability_whole, row.probability_kept)
        for row, outcome in zip(rows, outcomes, strict=True)
    )
    write_csv(out / "outcomes.csv", COLUMNS, lines)
    if diagnosis.comparison is None:
        # A picture of an earlier call must not stand beside these numbers.
        (out / "roc.png").unlink(missing_ok=True)
    else:
        _write_curves(out, diagnosis, diagnosis.comparison, rows)
    write_json(out / "diagnosis.json", to_mapping(diagnosis))


def _write_curves(out: Path, diagnosis: Diagnosis, found_areas: Comparison, rows: Sequence[Judged]) -> None:
    known = [row for row in rows if row.outcome is not None]
    found = [row.outcome == 1.0 for row in known]
    scores = [row.probability_whole for row in known], [row.probability_kept for row in known]
    areas = found_areas.whole, found_areas.kept
    curves = [
        NamedCurve(f"{label}: AUC {interval_words(area.auc, area.low, area.high)}", curve)
        for label, side, area in zip(("whole image", _kept_words(diagnosis)), scores, areas, strict=True)
        if (curve := roc_curve(side, found)) is not None
    ]
    write_roc(out / "roc.png", curves, f"{diagnosis.outcome}, {found_areas.n} cases")


def format_diagnosis(diagnosis: Diagnosis) -> str:
    """A few lines for a terminal."""
    notes = [f"Note: {remark}." for remark in diagnosis.remarks]
    found = diagnosis.comparison
    if found is None:
        return "\n".join([f"{diagnosis.outcome}: probabilities of {diagnosis.cases} cases, no AUC", *notes])
    label = max(len("whole image"), len(_kept_words(diagnosis)))
    difference = interval_words(found.difference, found.difference_low, found.difference_high, "+")
    return "\n".join(
        [
            f"{diagnosis.outcome}: {found.n} cases of {found.patients} patients, {found.positives} with the outcome; "
            f"{diagnosis.shown}",
            f"{'whole image':{label}}  AUC {interval_words(found.whole.auc, found.whole.low, found.whole.high)}",
            f"{_kept_words(diagnosis):{label}}  AUC {interval_words(found.kept.auc, found.kept.low, found.kept.high)}",
            f"{'difference':{label}}  {difference}, DeLong p {_p(found.delong_p)}, bootstrap p {_p(found.bootstrap_p)}",
            f"[low, high]: {found.interval}.",
            *notes,
        ]
    )


def _kept_words(diagnosis: Diagnosis) -> str:
    return f"{' and '.join(diagnosis.kept_classes)} only"


def interval_words(value: float, low: float | None, high: float | None, sign: str = "") -> str:
    """A number and its interval, where it has one."""
    text = f"{value:{sign}.2f}"
    return text if low is None or high is None else f"{text} [{low:{sign}.2f}, {high:{sign}.2f}]"


def _p(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"
