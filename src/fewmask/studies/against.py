"""Each row of a page against one of them, patient by patient, with a test and its correction for the number of rows."""

from collections.abc import Sequence
from typing import NamedTuple

from fewmask.metrics.paired import PairedTest, holm, smallest_p
from fewmask.studies.markup import interval_words
from fewmask.studies.per_case import Compared, PerCase, compared
from fewmask.studies.sheet import Grid, Heading, Part, columns, paragraph

SIGNIFICANT = 0.05


class Scored(NamedTuple):
    """A row's name and title, and what it scored case by case."""

    name: str
    title: str
    by_case: PerCase


class Measure(NamedTuple):
    """What is compared: its name with its unit, what a case is, and how its figures are shown."""

    words: str
    cases: str
    scale: float
    places: int


def against(reference: str, rows: Sequence[Scored], measure: Measure, *remarks: str) -> tuple[Part, ...]:
    """A section of all `rows` but the `reference` against it; nothing where the reference or all others are missing."""
    other = next((row for row in rows if row.name == reference), None)
    found = [(row.title, compared(row.by_case, other.by_case)) for row in rows if other and row is not other]
    if other is None or not found:
        return ()
    tests = [comparison.test for _, comparison in found if comparison.test is not None]
    corrected = iter(holm([test.p for test in tests]))
    return (
        Heading(f"Each row against {other.title}"),
        paragraph(
            f"{measure.words}, less that of {other.title}, on the same patients: a patient's is the mean over their "
            f"{measure.cases} and over the seeds that both rows have, so that neither passes for a patient. The "
            "difference is the mean over patients, [95 % bootstrap interval over patients]. p is two-sided, of "
            "Wilcoxon's signed-rank test over patients, which asks how many change to the same side rather than by how "
            "much; then with Holm's correction for all rows of this table. A case that only one of the two rightly "
            "leaves empty counts as 1 for it.",
            *remarks,
            *_reach(tests),
        ),
        Grid(
            columns(
                ("row", "seeds", "difference", "patients in whom it is larger", "p, Wilcoxon", "p after Holm")
            ),
            tuple(
                _cells(title, comparison, measure, None if comparison.test is None else next(corrected))
                for title, comparison in found
            ),
        ),
    )


def _cells(title: str, comparison: Compared, measure: Measure, corrected: float | None) -> tuple[str, ...]:
    test = comparison.test
    if test is None or corrected is None:
        return (
            title,
            str(comparison.seeds),
            "",
            "too few patients" if comparison.seeds else "no seed in common",
            "",
            "",
        )
    interval = interval_words(test.interval, measure.scale, measure.places, "+")
    return (
        title,
        str(comparison.seeds),
        f"{test.difference * measure.scale:+.{measure.places}f}{interval}",
        f"{test.larger} of {test.patients}",
        p_words(test.p),
        p_words(corrected),
    )


def p_words(p: float) -> str:
    """A p to three places."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _reach(tests: Sequence[PairedTest]) -> tuple[str, ...]:
    """What no difference could reach with so few patients; nothing where there are enough."""
    fewest = min((test.patients for test in tests), default=0)
    best = len(tests) * smallest_p(fewest)
    if not tests or best <= SIGNIFICANT:
        return ()
    smallest, corrected = p_words(smallest_p(fewest)), p_words(min(1.0, best))
    return (
        f"**Too few patients for so many rows**: with {fewest} patients and {len(tests)} rows no p can be below "
        f"{smallest}, nor below {corrected} after the correction, whatever the difference.",
    )
