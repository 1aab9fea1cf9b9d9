"""The pooled table's page: rows are tested against the floor on the Dice of their cases, in every format."""

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import wilcoxon

from fewmask.files import write_csv, write_json
from fewmask.studies.cells import Cell
from fewmask.studies.order import Order
from fewmask.studies.page import write_tables
from fewmask.studies.placenta import PLACENTA
from fewmask.studies.results import row_results

CLASSES = ("background", "disc", "cord")
CASES = 14


def _cell(out: Path, row: str, seed: int, dice: np.ndarray) -> Cell:
    """A scored cell of 14 images of 7 patients; `dice` is (cases, foreground classes), NaN where absent."""
    folder = out / "cells" / row / "fold-0" / f"seed-{seed}"
    write_json(folder / "material.json", {"classes": CLASSES})
    lines = [(f"case{case:02}", f"patient{case // 2}") for case in range(CASES)]
    pixels = [(*line, name, name, 90 + place) for line in lines for place, name in enumerate(CLASSES)]
    write_csv(folder / "confusion_cases.csv", ("case", "patient", "truth", "predicted", "pixels"), pixels)
    scores = [
        (*line, name, "" if np.isnan(value) else value)
        for line, values in zip(lines, dice, strict=True)
        for name, value in zip(CLASSES[1:], values, strict=True)
    ]
    write_csv(folder / "scores.csv", ("case", "patient", "class", "dice"), scores)
    write_json(folder / "cell.json", {})
    return Cell(row, 0, seed, folder, folder, None, None, out, "cpu")


@pytest.fixture
def order(tmp_path: Path) -> Order:
    return Order(PLACENTA, tmp_path, tmp_path / "a", tmp_path / "b", seeds=2, changes=("attended=[disc]",))


def test_rows_are_tested_on_the_dice_of_their_cases(order: Order) -> None:
    dice = np.random.default_rng(0).uniform(0.3, 0.8, (2, 2, CASES, 2))  # (rows, seeds, cases, classes)
    dice[1] += np.random.default_rng(1).uniform(-0.05, 0.2, dice[1].shape)
    dice[:, :, 3, 1] = np.nan
    names = ("no_adaptation", "msl")
    results = row_results(
        PLACENTA,
        [
            _cell(order.out, name, seed, dice[row, seed])
            for row, name in enumerate(names)
            for seed in range(2)
        ],
    )
    text = write_tables(order, results, ())
    by_case = np.nanmean(dice, axis=3)
    assert results[1].by_case.values == pytest.approx(by_case[1])
    changes = (by_case[1] - by_case[0]).mean(axis=0).reshape(7, 2).mean(axis=1)
    p = f"{wilcoxon(changes).pvalue:.3f}"
    section = text.partition("## Each row against No adaptation (floor)")[2]
    assert "the Dice of each image is tested" in section
    assert f"| MSL | 2 | {changes.mean():+.3f} [" in section
    assert f"| {(changes > 0).sum()} of 7 | {p} | {p} |" in section


def test_the_papers_columns_are_its_own_in_every_format(order: Order) -> None:
    dice = np.full((CASES, 2), 0.5)
    write_tables(order, row_results(PLACENTA, [_cell(order.out, "msl", 0, dice)]), ())
    with (order.out / "table.csv").open(newline="") as file:
        (line,) = csv.DictReader(file)
    assert (line["row"], line["paper: mean IoU"], line["mean IoU"][:5]) == ("MSL", "0.7380", "1.000")
    assert '<td class="paper ">0.7380</td>' in (order.out / "table.html").read_text()
    assert r"\textit{0.7380}" in (order.out / "table.tex").read_text()
    assert "Each row against" not in (order.out / "table.md").read_text(), "the floor is not there"
