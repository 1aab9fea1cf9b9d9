"""Which class was taken for which, as tables of a page: one matrix a run, and the ratios drawn from it."""

from collections.abc import Sequence
from dataclasses import dataclass

from fewmask.evaluation.compare import Entry, Role
from fewmask.evaluation.confusion_files import NamedConfusion, read_confusion
from fewmask.evaluation.summary import Pooled, PooledStatistic

RATIOS = ("Pixel accuracy", "Mean class accuracy", "Mean IoU")


@dataclass(frozen=True)
class Share:
    """How many of a true class's pixels were taken for a class, as text; `percent` sets the cell's shade.

    `percent` is None and `text` a dash where the true class has no pixel.
    """

    text: str
    percent: int | None
    pixels: int


@dataclass(frozen=True)
class TrueClass:
    """One row of a matrix: what the pixels of a true class were taken for."""

    name: str
    pixels: int
    shares: tuple[Share, ...]


@dataclass(frozen=True)
class Matrix:
    """One run's confusion matrix."""

    label: str
    role: Role
    classes: tuple[str, ...]
    rows: tuple[TrueClass, ...]


@dataclass(frozen=True)
class Ratio:
    """A pooled ratio as text, its interval or "", and whether it is the best of its column."""

    text: str
    interval: str
    best: bool


@dataclass(frozen=True)
class PooledRow:
    """The pooled ratios of one run, in the order of `RATIOS`; `left_out` are classes that no true mask has."""

    label: str
    role: Role
    ratios: tuple[Ratio, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class ConfusionTables:
    """A matrix for each run that has one, and the ratios of those runs."""

    headings: tuple[str, ...]
    matrices: tuple[Matrix, ...]
    pooled: tuple[PooledRow, ...]


def confusion_tables(entries: Sequence[Entry]) -> ConfusionTables:
    """The tables of the scored runs; a run that was scored before `evaluate` wrote matrices is left out.

    Raises InputFault where a run's `confusion.csv` is damaged.
    """
    matrices: list[Matrix] = []
    pooled: list[tuple[Entry, Pooled]] = []
    for entry in entries:
        scores = entry.record.scores
        confusion = read_confusion(entry.record.folder) if scores is not None else None
        if confusion is not None:
            matrices.append(_matrix(entry, confusion))
        if scores is not None and scores.summary.pooled is not None:
            pooled.append((entry, scores.summary.pooled))
    return ConfusionTables(RATIOS, tuple(matrices), _pooled_rows(pooled))


def _matrix(entry: Entry, confusion: NamedConfusion) -> Matrix:
    rows = [
        TrueClass(name, sum(counts), tuple(_share(pixels, sum(counts)) for pixels in counts))
        for name, counts in zip(confusion.classes, confusion.counts.tolist(), strict=True)
    ]
    return Matrix(entry.label, entry.role, confusion.classes, tuple(rows))


def _share(pixels: int, whole: int) -> Share:
    if whole == 0:
        return Share("–", None, pixels)
    return Share(f"{pixels / whole:.3f}", round(100 * pixels / whole), pixels)


def _pooled_rows(pooled: Sequence[tuple[Entry, Pooled]]) -> tuple[PooledRow, ...]:
    table = [(part.pixel_accuracy, part.mean_class_accuracy, part.mean_iou) for _, part in pooled]
    best = [_best(column) for column in zip(*table, strict=True)]
    return tuple(
        PooledRow(
            entry.label,
            entry.role,
            tuple(_ratio(ratio, most) for ratio, most in zip(row, best, strict=True)),
            part.mean_class_accuracy.left_out,
        )
        for (entry, part), row in zip(pooled, table, strict=True)
    )


def _best(column: Sequence[PooledStatistic]) -> float | None:
    """The highest value of a column; None where there is nothing to compare."""
    values = [ratio.value for ratio in column if ratio.value is not None]
    return max(values) if len(values) > 1 else None


def _ratio(ratio: PooledStatistic, best: float | None) -> Ratio:
    if ratio.value is None:
        return Ratio("–", "", False)
    known = ratio.low is not None and ratio.high is not None
    interval = f"[{ratio.low:.3f}, {ratio.high:.3f}]" if known else ""
    return Ratio(f"{ratio.value:.3f}", interval, ratio.value == best)
