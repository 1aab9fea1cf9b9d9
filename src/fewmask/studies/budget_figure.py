"""The picture of a label-budget curve: every training, the fitted curve with its band, and where it only goes on."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fewmask.evaluation.roc import save_figure
from fewmask.metrics.budget_curve import BudgetCurve
from fewmask.studies.budget_results import BudgetResults

_TRIED, _FITTED, _FLOOR = "#0072b2", "#d55e00", "#666666"
"""Okabe and Ito's, which the colour-blind can tell apart."""

_BEYOND = 2
"""The curve is drawn to so many times the largest budget."""


def write_budget_figure(path: Path, results: BudgetResults) -> None:
    """Draw Dice over the number of patients (logarithmic) as a PNG file."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    if results.curve is not None:
        _draw_curve(axes, results.curve)
    for row in results.rows:
        axes.plot(
            [row.patients] * len(row.dice.by_seed),
            row.dice.by_seed,
            "o",
            color=_TRIED,
            alpha=0.5,
            markersize=4,
        )
    means = [row.dice.mean for row in results.rows]
    patients = [row.patients for row in results.rows]
    axes.plot(patients, means, "D", color=_TRIED, markersize=6, label="mean of a budget")
    if results.floor is not None:
        axes.axhline(
            results.floor.dice.mean, color=_FLOOR, linewidth=1.0, linestyle=":", label=results.floor.row.title
        )
    axes.set_xscale("log")
    axes.set_xticks(patients, [str(count) for count in patients])
    axes.minorticks_off()
    axes.set(ylim=(0.0, 1.0), xlabel=f"{results.family.what[1]} that train", ylabel="Dice of test cases")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    save_figure(figure, path)


def _draw_curve(axes: Axes, curve: BudgetCurve) -> None:
    most = curve.budgets[-1]
    numbers = np.geomspace(curve.budgets[0], _BEYOND * most, 41)
    dice = np.array([curve.law.dice(n) for n in numbers])
    seen = numbers <= most
    axes.plot(numbers[seen], dice[seen], color=_FITTED, linewidth=1.8, label="fitted curve")
    axes.plot(
        numbers[~seen],
        dice[~seen],
        color=_FITTED,
        linewidth=1.8,
        linestyle="--",
        label="beyond what was tried",
    )
    if curve.drawn:
        bands = [curve.band(n) for n in numbers]
        low = [band.low for band in bands if band is not None]
        high = [band.high for band in bands if band is not None]
        axes.fill_between(numbers, low, high, color=_FITTED, alpha=0.15, linewidth=0, label="its 95 % band")
