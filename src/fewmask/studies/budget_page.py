"""The page of a study of budgets: its table, the fitted curve, and how many more a wanted Dice would need."""

import math
from collections.abc import Sequence

from fewmask.files import write_csv
from fewmask.metrics.budget_curve import FEWEST_BUDGETS, HORIZON, BudgetCurve
from fewmask.metrics.interval import Interval
from fewmask.studies.budget_figure import write_budget_figure
from fewmask.studies.budget_results import BudgetResults, BudgetRow, budget_results
from fewmask.studies.budget_rows import TARGET, Family
from fewmask.studies.cells import Cell
from fewmask.studies.markup import figure_words, interval_words, seeds_words, warnings
from fewmask.studies.order import Order
from fewmask.studies.publish import write_sheet
from fewmask.studies.sheet import Grid, Heading, Part, Picture, Sheet, columns, paragraph

POINTS, PICTURE = "budget.csv", "curve.png"

_STEP = 0.05
"""Dice values are asked for at its multiples."""


def budget_tables(family: Family, order: Order, cells: Sequence[Cell]) -> str:
    """Write the table in every format, `budget.csv` (a line a budget and seed) and `curve.png`; returns Markdown."""
    results = budget_results(order.study, family, cells)
    write_csv(
        order.out / POINTS,
        ("row", "seed", "patients", "images", "dice", "curve", "curve_low", "curve_high"),
        (line for row in _shown(results) for line in _lines(row, results.curve)),
    )
    if results.rows:
        write_budget_figure(order.out / PICTURE, results)
    return write_sheet(order.out, budget_sheet(order, results))


def budget_sheet(order: Order, results: BudgetResults) -> Sheet:
    """The page: what was done, the table, and what the curve says."""
    table = _table(results)
    parts: list[Part] = [paragraph(*_preamble(order, results)), table]
    if results.rows:
        words = f"Dice over the number of {results.family.what[1]}"
        parts.append(Picture(order.out / PICTURE, words))
    parts.append(paragraph(*_curve_words(results)))
    if results.curve is not None:
        parts += _needed_parts(results.curve, results.family)
    return Sheet(order.study.title, tuple(parts), table)


def _shown(results: BudgetResults) -> tuple[BudgetRow, ...]:
    return results.rows if results.floor is None else (results.floor, *results.rows)


def _preamble(order: Order, results: BudgetResults) -> list[str]:
    family = results.family
    recipe = family.recipe(order.small).name
    folders = f"Source {order.source.name}, target" if family is TARGET else "Dataset"
    return [
        f"{folders} {order.target.name}; recipe {recipe}{', small' if order.small else ''}, as many steps for each "
        f"budget; up to {order.seeds} seed{'s' * (order.seeds > 1)}, {order.folds} fold{'s' * (order.folds > 1)}; "
        f"changes: {' '.join(order.changes) or 'none'}; precision {order.precision or 'of the recipe'}.",
        "Budgets count patients that train (where no patients are given, images, near-duplicates as one). In a seed "
        "the patients of a smaller budget are among those of every larger one; another seed draws others. All budgets "
        "are tested on the same cases.",
        _assumed(results),
        "Dice is the mean over classes and test cases; then over seeds, +- the seeds' standard deviation, [95 % "
        "bootstrap interval over test patients, which says nothing about other seeds].",
        *warnings(order, [row.row.name for row in _shown(results)]),
    ]


def _assumed(results: BudgetResults) -> str:
    """Which labels a budget does not count, and whether any of them chose something."""
    if results.family is TARGET:
        return (
            "The source and its masks are the same for every budget, and its held-out patients chose the segmenter; "
            "the translators are those of the last step. No target mask trained or chose anything."
        )
    held_out = max((row.held_out for row in results.rows), default=0)
    return (
        f"Every checkpoint is the last: the {held_out} held-out patients are not counted, for their labels neither "
        "trained nor chose anything. Choosing by them may score better, and costs their labels too."
    )


def _table(results: BudgetResults) -> Grid:
    head = (results.family.what[1], "images", "seeds", "n test cases (patients)", "Dice", "fitted curve")
    return Grid(
        columns(head),
        tuple(
            (
                f"{row.patients}",
                f"{row.images}",
                seeds_words(row.dice),
                f"{row.cases} ({row.test_patients})",
                figure_words(row.dice),
                ""
                if results.curve is None or row is results.floor
                else _reached(results.curve, row.patients),
            )
            for row in _shown(results)
        ),
    )


def _reached(curve: BudgetCurve, n: int) -> str:
    return f"{curve.law.dice(n):.3f}{interval_words(curve.band(n))}"


def _curve_words(results: BudgetResults) -> list[str]:
    curve = results.curve
    if curve is None:
        return [f"No curve: it is fitted through {FEWEST_BUDGETS} different budgets or more."]
    law = curve.law
    lines = [
        f"Fitted curve: Dice = {law.ceiling:.3f} - {law.gap:.3f} * n^-{law.rate:.2f}, by least squares through "
        f"{len(curve.budgets)} budgets of {curve.budgets[0]} to {curve.budgets[-1]} {results.family.what[1]} "
        f"({sum(curve.trainings)} trainings; a budget counts by its trainings).",
        _band_words(curve),
    ]
    if len(curve.budgets) == FEWEST_BUDGETS:
        lines.append("**Three budgets and three parameters: the curve passes through them, right or wrong.**")
    if law.gap == 0.0:
        lines.append("**The curve is flat: within what was tried, more did not help.**")
    return lines


def _band_words(curve: BudgetCurve) -> str:
    if not curve.drawn:
        return "It has no band: fewer than two test patients."
    if min(curve.trainings) > 1:
        return (
            f"Its 95 % band is over test patients and over the {min(curve.trainings)} or more seeds of each budget; "
            "few seeds make it too narrow rather than too wide."
        )
    return (
        "Its 95 % band is over test patients alone where a budget has one seed: **it does not say what other patients "
        "to train on, or another training, would have given.** Run more `--seeds`."
    )


def _needed_parts(curve: BudgetCurve, family: Family) -> list[Part]:
    most = curve.budgets[-1]
    what = family.what[1]
    head = ("for a Dice of", f"{what} needed", f"more than the {most} here")
    return [
        Heading("How many more?"),
        paragraph(
            f"With {most} more {what} ({2 * most}, twice the most that were tried) the curve reaches "
            f"{_reached(curve, 2 * most)}, if it goes on as it does."
        ),
        Grid(columns(head), tuple(_needed_cells(curve, dice) for dice in _asked(curve))),
        paragraph(
            f"Above {most} the numbers are extrapolated; beyond {HORIZON} times that ({curve.horizon}) none is given."
        ),
    ]


def _asked(curve: BudgetCurve) -> list[float]:
    """The multiples of 0.05 from the smallest budget's Dice to the first that the curve does not reach."""
    first = math.floor(curve.law.dice(curve.budgets[0]) / _STEP) + 1
    last = math.floor(curve.law.ceiling / _STEP) + 1
    return [step * _STEP for step in range(first, last + 1) if step * _STEP < 1.0 - 1e-9]


def _needed_cells(curve: BudgetCurve, dice: float) -> tuple[str, str, str]:
    needed, most = curve.needed(dice), curve.budgets[-1]
    about = _numbers(needed.interval, curve.horizon)
    if needed.n is None:
        why = (
            f"the curve ends at {curve.law.ceiling:.3f}"
            if dice >= curve.law.ceiling
            else "any number is a guess"
        )
        return f"{dice:.2f}", f"not within {HORIZON} times what was tried: {why}{about}", ""
    more = max(0, needed.n - most)
    return f"{dice:.2f}", f"{'about ' * (more > 0)}{needed.n}{about}", f"about {more}" if more else "none"


def _numbers(interval: Interval | None, horizon: int) -> str:
    """The interval of a number of patients, in brackets; nothing where all of it lies beyond the horizon."""
    if interval is None or math.isinf(interval.low):
        return ""
    high = f"more than {horizon}" if math.isinf(interval.high) else f"{interval.high:.0f}"
    return f" [{interval.low:.0f}, {high}]"


def _lines(row: BudgetRow, curve: BudgetCurve | None) -> list[tuple[object, ...]]:
    fitted: tuple[object, ...] = (None, None, None)
    if curve is not None and row.patients:
        band = curve.band(row.patients)
        ends = (None, None) if band is None else (f"{band.low:.6f}", f"{band.high:.6f}")
        fitted = (f"{curve.law.dice(row.patients):.6f}", *ends)
    return [
        (row.row.name, seed, row.patients, row.images, f"{dice:.6f}", *fitted)
        for seed, dice in zip(row.dice.seeds, row.dice.by_seed, strict=True)
    ]
