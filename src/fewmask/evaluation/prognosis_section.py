"""The report's section on a prognosis: the verdict, the figures, who was called what, and the two pictures."""

import base64
from dataclasses import dataclass
from pathlib import Path

from fewmask.evaluation.naming import Names
from fewmask.evaluation.prognosis_record import CALIBRATION, ROC, Level, Prognosis, read_prognosis
from fewmask.evaluation.prognosis_words import estimate_words, figure_rows, p_words, threshold_words
from fewmask.evaluation.run_record import RunRecord
from fewmask.metrics.calibration import CalibrationBin
from fewmask.metrics.estimate import Estimate
from fewmask.metrics.prognosis import Decisions

_SPOKEN = {
    ROC: "ROC curves: what is found against the false alarms that it costs",
    CALIBRATION: "Calibration: the share with the outcome over the probability that was told",
}


@dataclass(frozen=True)
class Cell:
    """A number as text, and its interval or ""."""

    text: str
    interval: str


@dataclass(frozen=True)
class Row:
    """A figure over cases and, where it is another one, over patients."""

    name: str
    meaning: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Count:
    """Cases that were called so, and their share of the row in per cent; it sets the cell's shade."""

    n: int
    percent: int


@dataclass(frozen=True)
class Table:
    """Who was called what: a row for those with the outcome and one for those without."""

    title: str
    rows: tuple[tuple[str, tuple[Count, Count]], ...]


@dataclass(frozen=True)
class AgainstRow:
    """The comparison with the clinical finding, over cases or over patients."""

    title: str
    n: str
    probability: Cell
    baseline: Cell
    difference: Cell
    bootstrap_p: str
    delong_p: str


@dataclass(frozen=True)
class Picture:
    """A picture as a data URI, and what is said of it to those who do not see it."""

    photo: str
    spoken: str


@dataclass(frozen=True)
class PrognosisSection:
    """What the template shows. `tone` is "good", "doubt" or "bad"; `column` and `direction` are the baseline's."""

    outcome: str
    verdict: str
    tone: str
    headings: tuple[str, ...]
    rows: tuple[Row, ...]
    threshold: str
    tables: tuple[Table, ...]
    column: str
    direction: str
    against: tuple[AgainstRow, ...]
    pictures: tuple[Picture, ...]
    bins: tuple[tuple[str, tuple[CalibrationBin, ...]], ...]
    remarks: tuple[str, ...]
    interval: str


def prognosis_section(record: RunRecord, names: Names) -> PrognosisSection | None:
    """The section about the outcomes that `evaluate` scored into the run's folder.

    None where there is none, or where no outcome was known.
    """
    found = read_prognosis(record.folder)
    people = found.people if found is not None else None
    if found is None or people is None:
        return None
    sides = [("Per case", found.per_case), ("Per patient", found.per_patient)]
    levels = [(title, level) for title, level in sides if level is not None]
    verdict, tone = _verdict(found, people)
    return PrognosisSection(
        outcome=names.text(found.outcome),
        verdict=names.text(verdict),
        tone=tone,
        headings=tuple(title for title, _ in levels),
        rows=tuple(
            Row(row.name, row.meaning, tuple(map(_cell, filter(None, (row.per_case, row.per_patient)))))
            for row in figure_rows(found)
        ),
        threshold=names.text(threshold_words(found)),
        tables=tuple(_table(title, level.decisions) for title, level in levels),
        column=names.text(people.baseline.column) if people.baseline else "",
        direction=names.text(people.baseline.direction) if people.baseline else "",
        against=tuple(row for title, level in levels for row in _against(title, level)),
        pictures=tuple(picture for name in (ROC, CALIBRATION) for picture in _picture(record.folder / name)),
        bins=tuple((title, level.calibration_curve) for title, level in levels),
        remarks=tuple(names.text(remark) for remark in found.remarks),
        interval=found.interval,
    )


def _verdict(found: Prognosis, people: Level) -> tuple[str, str]:
    """A sentence, and whether it is good news: chance must lie outside of the AUC's interval."""
    count = f"{people.n} {people.unit}, {people.with_outcome} with the outcome"
    area, fixed = people.auc, people.at_fixed_rate
    sentence = (
        f"{found.outcome} in {count}: AUC {estimate_words(area, 2)}, where 0.5 is chance; at most "
        f"{100 * fixed.wanted:g} % false alarms, sensitivity {estimate_words(fixed.sensitivity, 2)}."
    )
    interval = area.interval
    if interval is None or interval.low <= 0.5 <= interval.high:
        return sentence, "doubt"
    return sentence, "good" if interval.low > 0.5 else "bad"


def _cell(estimate: Estimate, digits: int = 3, sign: str = "") -> Cell:
    text, _, interval = estimate_words(estimate, digits, sign).partition(" ")
    return Cell("–" if estimate.value is None else text, interval)


def _table(title: str, made: Decisions) -> Table:
    def row(name: str, positive: int, negative: int) -> tuple[str, tuple[Count, Count]]:
        whole = positive + negative
        return name, (
            Count(positive, round(100 * positive / whole)),
            Count(negative, round(100 * negative / whole)),
        )

    return Table(
        title,
        (
            row("with the outcome", made.true_positive, made.false_negative),
            row("without it", made.false_positive, made.true_negative),
        ),
    )


def _against(title: str, level: Level) -> tuple[AgainstRow, ...]:
    held = level.baseline
    if held is None:
        return ()
    return (
        AgainstRow(
            title,
            f"{held.n}, {held.with_outcome} with the outcome",
            _cell(held.probability),
            _cell(held.baseline),
            _cell(held.difference, sign="+"),
            p_words(held.bootstrap_p),
            p_words(held.delong_p),
        ),
    )


def _picture(path: Path) -> tuple[Picture, ...]:
    if not path.is_file():
        return ()
    content = base64.b64encode(path.read_bytes()).decode("ascii")
    return (Picture(f"data:image/png;base64,{content}", _SPOKEN[path.name]),)
