"""What the evaluation of a prognosis found, and the files that it is kept in."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fewmask.config import from_mapping, to_mapping
from fewmask.evaluation.summary import INTERVAL
from fewmask.files import read_json, write_csv, write_json
from fewmask.metrics.calibration import CalibrationBin, CalibrationFigures
from fewmask.metrics.estimate import Estimate
from fewmask.metrics.prognosis import DecisionFigures, Decisions

SCORES, TABLE, ROC, CALIBRATION = "prognosis_scores.json", "prognosis.csv", "roc.png", "calibration.png"
COLUMNS = ("case", "patient", "outcome", "probability", "called_positive", "baseline")


Unit = Literal["cases", "patients"]


@dataclass(frozen=True)
class Held:
    """A case, or a patient as the mean of their cases: what was found (1 or 0), and how likely it was held to be.

    `outcome` is None where it is not known, `baseline`, the clinical finding beside it, where it was not taken.
    """

    case: str
    patient: str
    outcome: float | None
    probability: float
    baseline: float | None = None


@dataclass(frozen=True)
class FixedRate:
    """How many with the outcome are found where at most the share `wanted` of the others is alarmed; `attained` is."""

    wanted: float
    attained: float
    sensitivity: Estimate


@dataclass(frozen=True)
class Against:
    """The probabilities and a clinical finding on the `n` cases that have both: two AUCs and their difference.

    `direction` says which values of the finding are the riskier ones, and how that is known. `difference` is
    probability minus baseline; the two p are two-sided, None where nothing can be said.
    """

    column: str
    lower_is_riskier: bool
    direction: str
    n: int
    with_outcome: int
    probability: Estimate
    baseline: Estimate
    difference: Estimate
    bootstrap_p: float | None
    delong_p: float | None


@dataclass(frozen=True)
class Level:
    """All figures over `n` cases, or over patients of whom each is the mean of their cases; intervals over patients.

    `unit` says which, and is "cases" where no patients are known.
    """

    unit: Unit
    n: int
    patients: int
    with_outcome: int
    auc: Estimate
    at_fixed_rate: FixedRate
    decisions: Decisions
    decision_figures: DecisionFigures
    calibration: CalibrationFigures
    calibration_curve: tuple[CalibrationBin, ...]
    baseline: Against | None


@dataclass(frozen=True)
class Prognosis:
    """What `evaluate_prognosis` found.

    Cases count as positive from `threshold` on; `threshold_chosen` says whether validation cases chose it, else it is
    0.5. `per_case` is None where no outcome is known, `per_patient` also where every patient has one case; a remark
    says why.
    """

    outcome: str
    cases: int
    without_outcome: int
    threshold: float
    threshold_chosen: bool
    threshold_rule: str
    validation_cases: int
    per_case: Level | None
    per_patient: Level | None
    remarks: tuple[str, ...]
    interval: str = INTERVAL

    @property
    def people(self) -> Level | None:
        """The level at which each row is another patient, as far as patients are known."""
        return self.per_patient or self.per_case


def write_prognosis(out: Path, prognosis: Prognosis, rows: Sequence[Held]) -> None:
    """Write `prognosis.csv`, a row a case, and then `prognosis_scores.json`."""
    lines = (
        (
            row.case,
            row.patient,
            None if row.outcome is None else int(row.outcome),
            row.probability,
            int(row.probability >= prognosis.threshold),
            row.baseline,
        )
        for row in rows
    )
    write_csv(out / TABLE, COLUMNS, lines)
    write_json(out / SCORES, to_mapping(prognosis))


def read_prognosis(folder: Path) -> Prognosis | None:
    """What an evaluation left in a folder; None where it left nothing. Raises InputFault for a damaged file."""
    path = folder / SCORES
    return from_mapping(Prognosis, read_json(path), str(path)) if path.is_file() else None


def forget_prognosis(out: Path) -> None:
    """Remove what an earlier evaluation left: it must not stand beside the scores of another run.

    Without its figures the pictures are somebody else's, and stay.
    """
    if not (out / SCORES).exists():
        return
    for name in (SCORES, TABLE, ROC, CALIBRATION):
        (out / name).unlink(missing_ok=True)
