"""The table of scores: one block a class, one row a run."""

from collections.abc import Sequence
from dataclasses import dataclass

from fewmask.evaluation.compare import Entry, flags
from fewmask.evaluation.summary import ClassSummary, Statistic


@dataclass(frozen=True)
class Column:
    """A metric's place in the table: its key, heading, decimals, whether it is a distance, and which end is good."""

    metric: str
    heading: str
    decimals: int
    distance: bool
    more_is_better: bool


COLUMNS = (
    Column("dice", "Dice", 3, False, True),
    Column("hd95", "HD95", 1, True, False),
    Column("assd", "ASSD", 2, True, False),
    Column("sensitivity", "Sensitivity", 3, False, True),
    Column("precision", "Precision", 3, False, True),
)

IN_VOXELS = Column("masd_voxels", "MASD (voxels)", 2, False, False)
"""The distance of the published tables on volumes (SIFA's ASD), which those in mm cannot be held against."""


def columns_of(unit: str) -> tuple[Column, ...]:
    """The metrics of a table whose distances are in `unit`."""
    return (*COLUMNS[:3], IN_VOXELS, *COLUMNS[3:]) if unit == "mm" else COLUMNS


@dataclass(frozen=True)
class Cell:
    """A number as text, its interval or "", and whether it is the best of its column."""

    text: str
    interval: str
    best: bool


@dataclass(frozen=True)
class Row:
    """One run in one block."""

    label: str
    recipe: str
    role: str
    flags: tuple[str, ...]
    n: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Block:
    """The rows of one class, or of all classes together."""

    title: str
    rows: tuple[Row, ...]


def headings(unit: str) -> tuple[str, ...]:
    """The columns' headings, distances with their unit."""
    return (
        *(f"{column.heading} ({unit})" if column.distance else column.heading for column in columns_of(unit)),
        "Missed",
        "False alarms",
    )


def score_blocks(entries: Sequence[Entry], unit: str) -> tuple[Block, ...]:
    """The scores in the columns of `headings(unit)`, a block for each class of the scored runs.

    Where there are several classes, a block for all together comes first. The best of a column is marked where two or
    more runs have a number for it.
    """
    tables = [
        (entry, {part.name: part for part in entry.record.scores.summary.classes})
        for entry in entries
        if entry.record.scores is not None
    ]
    names = list(dict.fromkeys(name for _, parts in tables for name in parts))
    blocks: list[Block] = []
    if len(names) > 1:
        overall = [(entry, entry.record.scores.summary.overall) for entry, _ in tables if entry.record.scores]
        blocks.append(_block("All structures", overall, unit))
    for name in names:
        blocks.append(_block(name, [(entry, parts[name]) for entry, parts in tables if name in parts], unit))
    return tuple(blocks)


def _block(title: str, parts: Sequence[tuple[Entry, ClassSummary]], unit: str) -> Block:
    columns = [_statistics(parts, column) for column in columns_of(unit)]
    missed = _counts([part.counts.missed for _, part in parts])
    alarms = _counts([part.counts.false_alarm for _, part in parts])
    rows = tuple(
        Row(
            entry.label,
            entry.record.recipe.name,
            entry.role,
            flags(entry.record),
            part.metrics.dice.n,
            tuple(column[place] for column in (*columns, missed, alarms)),
        )
        for place, (entry, part) in enumerate(parts)
    )
    return Block(title, rows)


def _statistics(parts: Sequence[tuple[Entry, ClassSummary]], column: Column) -> list[Cell]:
    statistics: list[Statistic] = [getattr(part.metrics, column.metric) for _, part in parts]
    means = [statistic.mean for statistic in statistics if statistic.mean is not None]
    best = (max(means) if column.more_is_better else min(means)) if len(means) > 1 else None
    return [_cell(statistic, column.decimals, best) for statistic in statistics]


def _cell(statistic: Statistic, decimals: int, best: float | None) -> Cell:
    if statistic.mean is None:
        return Cell("–", "", False)
    interval = ""
    if statistic.low is not None and statistic.high is not None:
        interval = f"[{statistic.low:.{decimals}f}, {statistic.high:.{decimals}f}]"
    return Cell(f"{statistic.mean:.{decimals}f}", interval, statistic.mean == best)


def _counts(numbers: Sequence[int]) -> list[Cell]:
    best = min(numbers) if len(set(numbers)) > 1 else None
    return [Cell(str(number), "", number == best) for number in numbers]
