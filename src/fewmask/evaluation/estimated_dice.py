"""The table that `segment` leaves beside its masks: how good each is likely to be, and in which order to look."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fewmask.data.tables import Row, read_table
from fewmask.errors import InputFault
from fewmask.files import write_csv

TABLE = "estimated_dice.csv"
COLUMNS = ("case", "patient", "class", "agreement", "estimated_dice", "low", "high", "look_first")

MEAN = "mean"
"""The class of a row that stands for all classes of a case, where there are several."""


@dataclass(frozen=True)
class Estimate:
    """How good one class of one case's mask is likely to be, in [0, 1]; None where nothing can be said.

    Nothing is where nothing was drawn and that may be right. `agreement` is None where nothing was drawn.
    """

    case: str
    patient: str
    class_name: str
    agreement: float | None
    dice: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Ranked:
    """The estimate of a case as a whole, and its place in the order to look: 1 is to be looked at first."""

    estimate: Estimate
    look_first: int


def in_order_to_look(wholes: Sequence[Estimate]) -> list[Estimate]:
    """The estimates of whole cases, the least likely to be good first, those of which nothing can be said before all.

    Equal estimates are told apart by their agreement.
    """

    def badness(whole: Estimate) -> tuple[float, float, str]:
        dice = -1.0 if whole.dice is None else whole.dice
        return dice, whole.agreement if whole.agreement is not None else -1.0, whole.case

    return sorted(wholes, key=badness)


def write_estimates(folder: Path, estimates: Sequence[Estimate]) -> None:
    """Write the table; rows of one case stand together and share their place in the order to look."""
    places = {whole.case: place for place, whole in enumerate(in_order_to_look(_wholes(estimates)), start=1)}
    lines = (
        (
            row.case,
            row.patient,
            row.class_name,
            row.agreement,
            row.dice,
            row.low,
            row.high,
            places[row.case],
        )
        for row in estimates
    )
    write_csv(folder / TABLE, COLUMNS, lines)


def forget_estimates(folder: Path) -> None:
    """Remove what an earlier run estimated: it must not stand beside the masks of another."""
    (folder / TABLE).unlink(missing_ok=True)


def read_estimates(folder: Path) -> tuple[Ranked, ...]:
    """The estimate of each case as a whole, in the order to look; empty where `segment` estimated nothing.

    Raises InputFault where the table is damaged.
    """
    path = folder / TABLE
    if not path.is_file():
        return ()
    try:
        rows = [(_estimate(row), int(row["look_first"])) for row in read_table(path)]
    except (KeyError, ValueError):
        raise InputFault(
            f"{path}: needs the columns {', '.join(COLUMNS)}, with numbers or nothing from the fourth on; "
            "run `fewmask segment` again"
        ) from None
    places = {row.case: place for row, place in rows}
    wholes = [Ranked(whole, places[whole.case]) for whole in _wholes([row for row, _ in rows])]
    return tuple(sorted(wholes, key=lambda ranked: ranked.look_first))


def _wholes(estimates: Sequence[Estimate]) -> list[Estimate]:
    """Of each case the row that stands for all of its classes: the last one."""
    by_case: defaultdict[str, list[Estimate]] = defaultdict(list)
    for row in estimates:
        by_case[row.case].append(row)
    return [rows[-1] for rows in by_case.values()]


def _estimate(row: Row) -> Estimate:
    numbers = [_share(row[name]) for name in ("agreement", "estimated_dice", "low", "high")]
    return Estimate(row["case"], row["patient"], row["class"], *numbers)


def _share(cell: str) -> float | None:
    if not cell:
        return None
    value = float(cell)
    if not 0.0 <= value <= 1.0:
        raise ValueError
    return value
