"""The structures' table: its figures are plain means of scores.csv, and the papers' figures stay the papers'."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fewmask.evaluation.choices import Choice
from fewmask.files import write_json
from fewmask.studies.cardiac import CARDIAC, STRUCTURES
from fewmask.studies.cells import Cell
from fewmask.studies.choices import RowChoices
from fewmask.studies.markup import neighbours
from fewmask.studies.order import Order
from fewmask.studies.renderings import markdown
from fewmask.studies.results import difference
from fewmask.studies.structures import structure_results
from fewmask.studies.structures_page import structure_sheet, write_structure_tables
from fewmask.studies.table import PublishedStructures

CLASSES = ("background", "MYO", "LAC", "LVC", "AA")
COLUMNS = ("case", "patient", "class", "dice", "masd_voxels", "status")


def _cell(out: Path, row: str, seed: int, dice: np.ndarray, done: bool = True) -> Cell:
    """A scored cell of 4 volumes of 3 patients; `dice` is (4, 4), cases by the order of CLASSES, NaN for absent."""
    folder = out / "cells" / row / "fold-0" / f"seed-{seed}"
    write_json(folder / "material.json", {"classes": CLASSES})
    with (folder / "scores.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for case, values in enumerate(dice):
            for name, value in zip(CLASSES[1:], values, strict=True):
                status = "absent" if np.isnan(value) else "missed" if value == 0 else "ok"
                numbers = ("", "") if np.isnan(value) else (value, 10.0 * (1.0 - value))
                table.writerow((f"case{case}", f"patient{min(case, 2)}", name, *numbers, status))
    if done:
        write_json(folder / "cell.json", {})
    return Cell(row, 0, seed, folder, folder, None, None, out, "cpu")


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(0).uniform(0.2, 0.9, (2, 4, 4))


def _order(tmp_path: Path) -> Order:
    return Order(CARDIAC, tmp_path, tmp_path / "mr", tmp_path / "ct", seeds=2)


def test_figures_are_plain_means_in_the_papers_order(tmp_path: Path, values: np.ndarray) -> None:
    values[0, 1, 2] = np.nan
    values[1, 1, 2] = np.nan
    values[0, 3, 0] = 0.0
    cells = [_cell(tmp_path, "sifa", seed, values[seed]) for seed in range(2)]
    (row,) = structure_results(CARDIAC, cells)
    assert row.structures == STRUCTURES and (row.cases, row.patients, row.missed) == (4, 3, 1)
    by_seed = np.nanmean(values, axis=1)  # (seeds, classes)
    places = [CLASSES[1:].index(name) for name in STRUCTURES]
    for figure, place in zip(row.dice.structures, places, strict=True):
        assert figure.by_seed == pytest.approx(by_seed[:, place])
        assert figure.std == pytest.approx(np.std(by_seed[:, place], ddof=1))
        assert figure.interval is not None and figure.interval.low <= figure.mean <= figure.interval.high
    assert row.dice.mean.mean == pytest.approx(by_seed.mean())
    assert row.distance.mean.mean == pytest.approx(10.0 * (1.0 - by_seed.mean()))


def test_the_interval_is_that_of_a_plain_bootstrap_over_patients(tmp_path: Path, values: np.ndarray) -> None:
    (row,) = structure_results(CARDIAC, [_cell(tmp_path, "sifa", 0, values[0])])
    drawn = np.random.default_rng(7).integers(3, size=(4000, 3))
    groups = [values[0, :1], values[0, 1:2], values[0, 2:]]
    means = [np.concatenate([groups[patient] for patient in draw]).mean(axis=0).mean() for draw in drawn]
    low, high = np.percentile(means, [2.5, 97.5])
    interval = row.dice.mean.interval
    assert interval is not None
    assert interval.low == pytest.approx(low, abs=0.01) and interval.high == pytest.approx(high, abs=0.01)


def test_rows_are_compared_over_the_seeds_that_both_have(tmp_path: Path, values: np.ndarray) -> None:
    cells = [_cell(tmp_path, "glua_without_mask", seed, values[seed]) for seed in range(2)]
    cells += [_cell(tmp_path, "glua", 1, values[1] + 0.05)]
    cells += [_cell(tmp_path, "glua", 0, values[0], done=False)]
    without, full = structure_results(CARDIAC, cells)
    assert without.dice.mean.seeds == (0, 1) and full.dice.mean.seeds == (1,)
    found = difference(full.dice.mean, without.dice.mean)
    assert found is not None and (found.seeds, found.larger) == (1, 1)
    assert found.mean == pytest.approx(0.05) and found.interval is not None
    assert found.interval.low == pytest.approx(0.05) and found.interval.high == pytest.approx(0.05)
    grid = neighbours("Dice", [("without", without.dice.mean), ("full", full.dice.mean)])
    assert grid.body == (("full", "without", "+0.050 [+0.050, +0.050]", "1 of 1"),)


def test_the_page_marks_one_seed_and_the_papers_own_figures(tmp_path: Path, values: np.ndarray) -> None:
    cells = [_cell(tmp_path, "no_adaptation", 0, values[0] / 2), _cell(tmp_path, "ceiling", 0, values[0])]
    cells += [_cell(tmp_path, "sifa", 0, values[0] * 0.75)]
    text = markdown(structure_sheet(_order(tmp_path), structure_results(CARDIAC, cells), ()))
    assert "| SIFA v2 | n = 1 | 4 (3) |" in text and "| 50 % |" in text and "Incomplete" in text
    papers = text.partition("## The papers' own figures")[2]
    assert "| SIFA v2 | 81.3 | 79.5 | 73.8 | 61.6 | 74.1 | 7.9 |" in papers and "| PnP-AdaNet |" in papers
    assert "NA" in papers and "n/a (abstract only)" in papers and "GLUA (reconstructed) |" not in papers


def test_a_case_counts_with_the_mean_of_its_structures(tmp_path: Path, values: np.ndarray) -> None:
    values[0, 1, 2] = values[0, 3] = np.nan
    (row,) = structure_results(CARDIAC, [_cell(tmp_path, "sifa", 0, values[0])])
    assert list(row.by_case.patients.values()) == ["patient0", "patient1", "patient2", "patient2"]
    expected = [values[0, 0].mean(), np.nanmean(values[0, 1]), values[0, 2].mean(), np.nan]
    assert row.by_case.values[0] == pytest.approx(expected, nan_ok=True)


def test_rows_are_tested_against_the_floor_and_the_oracle_is_named(
    tmp_path: Path, values: np.ndarray
) -> None:
    cells = [_cell(tmp_path, "no_adaptation", 0, values[0] / 2), _cell(tmp_path, "ceiling", 0, values[0])]
    rows = structure_results(CARDIAC, cells)
    chosen = (Choice("last", 5, 5.0, 0.5, 0.1, None), Choice("ORACLE", 3, 0.6, 0.6, 0.0, None))
    choices = (RowChoices("SIFA v2", 0, chosen),)
    text = write_structure_tables(_order(tmp_path), rows, choices)
    section = text.partition("## Each row against No adaptation, strong augmentation (floor)")[2]
    by_patient = (
        np.stack([values[0, :1].mean(0), values[0, 1:2].mean(0), values[0, 2:].mean(0)]).mean(axis=1) / 2
    )
    assert f"| Target's own masks (ceiling) | 1 | {100 * by_patient.mean():+.1f} [" in section
    assert "| 3 of 3 | 0.250 | 0.250 |" in section and "with 3 patients and 1 rows" in section
    for name in ("table.md", "table.html", "table.tex"):
        page = (tmp_path / name).read_text()
        assert "(compared with the ORACLE)" in page and page.count("ORACLE") >= 4


def test_other_structures_than_the_papers_have_no_column_of_theirs(
    tmp_path: Path, values: np.ndarray
) -> None:
    cell = _cell(tmp_path, "sifa", 0, values[0])
    study = replace(CARDIAC, structures=("tumour",))
    (row,) = structure_results(study, [cell])
    assert row.structures == CLASSES[1:]
    text = markdown(structure_sheet(replace(_order(tmp_path), study=study), (row,), ()))
    assert "papers' own figures" not in text


def test_printed_means_are_those_of_their_structures() -> None:
    for row in CARDIAC.rows:
        if isinstance(row.paper, PublishedStructures) and row.paper.dice[0] is not None:
            assert np.mean(row.paper.dice) == pytest.approx(row.paper.mean_dice, abs=0.11), row.name
