"""What `segment` leaves beside the masks about an outcome, and how `evaluate` reads it again."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from fewmask.config import from_mapping, to_mapping
from fewmask.data.tables import Row, read_table
from fewmask.errors import InputFault
from fewmask.files import read_json, write_csv, write_json

TABLE, SUMMARY = "outcomes.csv", "prognosis.json"
COLUMNS = ("case", "patient", "probability")


@dataclass(frozen=True)
class ToldCase:
    """How likely a network held the outcome of one case to be, in [0, 1]."""

    case: str
    patient: str
    probability: float


@dataclass(frozen=True)
class Told:
    """What was told, and from which probability on a case is called positive.

    `outcome` is the rule that the run learnt, as text. `threshold` is None where no validation case could choose it;
    `threshold_rule` says how it was chosen. `run` is the run's folder, absolute.
    """

    outcome: str
    threshold: float | None
    threshold_rule: str
    validation_cases: int
    run: str
    remarks: tuple[str, ...] = ()


def write_told(folder: Path, told: Told, cases: Sequence[ToldCase]) -> None:
    """Write `outcomes.csv` and `prognosis.json`; the second, written last, says that both are whole."""
    (folder / SUMMARY).unlink(missing_ok=True)
    write_csv(folder / TABLE, COLUMNS, ((case.case, case.patient, case.probability) for case in cases))
    write_json(folder / SUMMARY, to_mapping(told))


def forget_told(folder: Path) -> None:
    """Remove what an earlier run told: it must not stand beside the masks of another."""
    for name in (SUMMARY, TABLE):
        (folder / name).unlink(missing_ok=True)


def tells_outcomes(folder: Path) -> bool:
    """Whether the last `segment` into this folder told an outcome, and came to its end."""
    return (folder / SUMMARY).is_file() and (folder / TABLE).is_file()


def read_told(folder: Path) -> tuple[Told, tuple[ToldCase, ...]]:
    """What `segment` told. Raises InputFault where it told nothing, and where a file is damaged."""
    if not tells_outcomes(folder):
        raise InputFault(
            f"{folder}: no {TABLE} and {SUMMARY} in it; give the folder that `fewmask segment` wrote with a run that "
            "learnt an outcome"
        )
    content, known = read_json(folder / SUMMARY), {field.name for field in fields(Told)}
    # What a later version adds is no reason not to read the rest.
    told = from_mapping(
        Told, {key: value for key, value in content.items() if key in known}, str(folder / SUMMARY)
    )
    rows = read_table(folder / TABLE)
    cases = tuple(_case(row, folder / TABLE) for row in rows)
    if len({case.case for case in cases}) < len(cases) or not cases:
        raise InputFault(f"{folder / TABLE}: holds no case, or one twice; run `fewmask segment` again")
    return told, cases


def _case(row: Row, path: Path) -> ToldCase:
    try:
        probability = float(row["probability"])
        told = ToldCase(row["case"], row["patient"], probability)
    except (KeyError, ValueError):
        raise InputFault(
            f"{path}: needs the columns {', '.join(COLUMNS)}, the last of numbers; run `fewmask segment` again"
        ) from None
    if not (math.isfinite(probability) and 0.0 <= probability <= 1.0):
        raise InputFault(
            f"{path}: case {told.case} has {probability}, which is no probability; segment again"
        )
    return told
