"""The study of budgets: what its rows read and count, and a page whose figures are those of the scores on disk."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.tagged import write_tagged

from fewmask.data.layouts import read_cohort
from fewmask.data.phantom import write_phantom
from fewmask.data.split import split_cohort, within_budget, write_splits
from fewmask.errors import InputFault
from fewmask.files import write_json
from fewmask.metrics.budget_curve import Law, Trained, fit_budget_curve
from fewmask.recipe import Cohorts, SplitConfig
from fewmask.studies.budget import BUDGET, budget_study
from fewmask.studies.budget_page import budget_sheet, budget_tables
from fewmask.studies.budget_results import BudgetResults, budget_results
from fewmask.studies.budget_rows import FLOOR, MASKS, TAGS, TARGET, Family
from fewmask.studies.cells import Cell, cells_of, run_cell
from fewmask.studies.order import Order
from fewmask.studies.renderings import markdown

torch.set_num_threads(1)


def text_of(order: Order, results: BudgetResults) -> str:
    return markdown(budget_sheet(order, results))


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    source, target = write_phantom("placenta", tmp_path_factory.mktemp("pair") / "p", 0, 40, 32)
    return source, target


def training_patients(folder: Path) -> int:
    """Patients, some of whom have several images, that train without a budget."""
    cohort = read_cohort(folder)
    train = split_cohort(cohort, SplitConfig(), 0).train
    return len({case.patient for case in cohort.cases if case.name in train})


def names(folders: Cohorts) -> list[str]:
    return [row.name for row in budget_study(folders, small=True).rows]


def test_the_folders_choose_what_is_counted(hospitals: tuple[Path, Path], tmp_path: Path) -> None:
    source, target = hospitals
    masks = budget_study(Cohorts(masks=target), small=True)
    assert masks.one_cohort and masks.title == "How many masked patients do I need?"
    assert names(Cohorts(source=source, target=target))[0] == FLOOR
    tagged = write_tagged(tmp_path / "tagged")
    assert names(Cohorts(tags=tagged)) == ["budget_1", "budget_2", "budget_all"]
    for wrong in (
        Cohorts(),
        Cohorts(source=source),
        Cohorts(target=target),
        Cohorts(masks=target, tags=tagged),
    ):
        with pytest.raises(
            InputFault, match="give --masks DIR, or --tags DIR, or --source DIR and --target DIR"
        ):
            budget_study(wrong, small=True)


def test_budgets_of_all_who_train_and_above_are_left_out(hospitals: tuple[Path, Path]) -> None:
    many = training_patients(hospitals[1])
    assert 20 < many < len(split_cohort(read_cohort(hospitals[1]), SplitConfig(), 0).train)
    expected = [f"budget_{budget}" for budget in (1, 2, 5, 10, 20) if budget < many]
    assert names(Cohorts(masks=hospitals[1])) == [*expected, "budget_all"]
    assert [row.name for row in BUDGET.rows][-2:] == ["budget_20", "budget_all"]
    held = budget_study(Cohorts(masks=hospitals[1]), True, ("split.validation=0.7",))
    assert [row.name for row in held.rows] == [*expected[:3], "budget_all"]


@pytest.mark.parametrize(
    ("family", "study"),
    [(MASKS, "masks"), (TAGS, "tags"), (TARGET, "target")],
    ids=["masks", "tags", "target"],
)
def test_rows_differ_in_their_budget_alone(
    family: Family, study: str, hospitals: tuple[Path, Path], tmp_path: Path
) -> None:
    source, target = hospitals
    folders = {
        "masks": Cohorts(masks=target),
        "tags": Cohorts(tags=write_tagged(tmp_path / "tagged")),
        "target": Cohorts(source=source, target=target),
    }[study]
    chosen = folders.tags or folders.masks or target
    order = Order(
        budget_study(folders, small=True),
        tmp_path / "out",
        (folders.source or chosen).resolve(),
        chosen.resolve(),
        small=True,
        changes=("steps=7", "choose=validation", f"split.{family.counted}=3"),
    )
    recipes = {cell.row: cell.recipe for cell in cells_of(order) if cell.row != FLOOR}
    budgets = {row: getattr(recipe.split, family.counted) for row, recipe in recipes.items() if recipe}
    assert (budgets["budget_1"], budgets["budget_2"], budgets["budget_all"]) == (1, 2, None)
    whole = recipes["budget_all"]
    assert whole is not None
    for recipe in recipes.values():
        assert recipe is not None and replace(recipe, split=whole.split) == whole
        assert all(stage.steps == 7 for stage in recipe.stages)
        assert family is TARGET or all(stage.choose == "last" for stage in recipe.stages)


def test_a_budget_trains_is_scored_and_counted(hospitals: tuple[Path, Path], tmp_path: Path) -> None:
    order = Order(
        budget_study(Cohorts(masks=hospitals[1]), small=True),
        tmp_path / "out",
        hospitals[1].resolve(),
        hospitals[1].resolve(),
        small=True,
        rows=("budget_2",),
        changes=("size=32", "steps=2", "batch=2", "network.widths=[4,8]"),
        device="cpu",
    )
    (cell,) = cells_of(order)
    run_cell(cell)
    assert "trains on 2 of " in cell.log.read_text()
    results = budget_results(order.study, MASKS, [cell])
    (row,) = results.rows
    assert (row.patients, row.images, results.curve) == (2, 2, None)
    assert "No curve" in text_of(order, results)


def scored(out: Path, folder: Path, row: str, budget: int | None, seed: int, dice: np.ndarray) -> Cell:
    """A finished cell whose run trained on `budget` patients; `dice` (cases, 2 classes), NaN where not scored."""
    place = out / "cells" / row / "fold-0" / f"seed-{seed}"
    cohort = read_cohort(folder)
    write_splits(
        place / "split.json", [within_budget(split_cohort(cohort, SplitConfig(), seed), cohort, budget)]
    )
    with (place / "scores.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("case", "patient", "class", "dice", "status"))
        for case, values in enumerate(dice):
            for name, value in zip(("disc", "cord"), values, strict=True):
                cell = ("", "absent") if np.isnan(value) else (value, "ok")
                table.writerow((f"case{case}", f"p{case // 2}", name, *cell))
    write_json(place / "cell.json", {})
    return Cell(row, 0, seed, place, place, None, None, folder, "cpu")


@pytest.fixture(scope="module")
def order(hospitals: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Order:
    out = tmp_path_factory.mktemp("scored")
    return Order(budget_study(Cohorts(masks=hospitals[1]), small=True), out, *hospitals[::-1], seeds=2)


@pytest.fixture(scope="module")
def finished(order: Order) -> list[Cell]:
    """Every budget twice: a known law, spread over 6 test cases of 3 patients, one class absent in one."""
    random, cells = np.random.default_rng(0), []
    many = training_patients(order.source)
    for row in order.study.rows:
        budget = None if row.name == "budget_all" else int(row.name.removeprefix("budget_"))
        for seed in range(2):
            dice = Law(0.87, 0.4, 0.8).dice(budget or many) + random.normal(0.0, 0.02, (6, 2))
            dice[0, 1] = np.nan
            cells.append(scored(order.out, order.source, row.name, budget, seed, dice))
    return cells


def results_of(order: Order, cells: list[Cell]) -> BudgetResults:
    return budget_results(order.study, MASKS, cells)


def test_figures_are_the_means_of_the_scores_and_the_curve_is_theirs(
    order: Order, finished: list[Cell]
) -> None:
    results = results_of(order, finished)
    trained = []
    for cell, budget in zip(finished, [row.patients for row in results.rows for _ in range(2)], strict=True):
        lines = list(csv.DictReader((cell.folder / "scores.csv").open()))
        by_case = [
            np.mean([float(line["dice"]) for line in lines if line["case"] == case and line["dice"]])
            for case in sorted({line["case"] for line in lines})
        ]
        trained.append(Trained(budget, tuple(map(float, by_case))))
    first = results.rows[0]
    assert first.patients == 1 and first.dice.by_seed == pytest.approx(
        [np.mean(one.dice) for one in trained[:2]]
    )
    assert (first.cases, first.test_patients, first.dice.seeds) == (6, 3, (0, 1))
    assert results.rows[-1].patients == training_patients(order.source)
    curve = fit_budget_curve(trained, ["p0", "p0", "p1", "p1", "p2", "p2"])
    assert curve is not None and results.curve is not None
    assert (results.curve.law, results.curve.band(7)) == (curve.law, curve.band(7))
    assert curve.law.ceiling == pytest.approx(0.87, abs=0.03)


def test_the_page_says_what_was_done_and_how_many_more(order: Order, finished: list[Cell]) -> None:
    text = budget_tables(MASKS, order, finished)
    curve = results_of(order, finished).curve
    assert curve is not None
    most = curve.budgets[-1]
    for part in (
        "# How many masked patients do I need?",
        "Every checkpoint is the last: the",
        "held-out patients are not counted",
        f"({2 * most}, twice the most that were tried) the curve reaches {curve.law.dice(2 * most):.3f} [",
        "over the 2 or more seeds of each budget",
        "![Dice over the number of masked patients](curve.png)",
    ):
        assert part in text, part
    needed = curve.needed(0.8)
    assert needed.n is not None and f"| 0.80 | {needed.n} [" in text
    assert (
        f"| 0.90 | not within 10 times what was tried: the curve ends at {curve.law.ceiling:.3f} |  |" in text
    )
    assert (order.out / "table.md").read_text() == text
    lines = list(csv.DictReader((order.out / "budget.csv").open()))
    assert len(lines) == len(finished) and float(lines[0]["curve_low"]) <= float(lines[0]["curve"])
    assert (order.out / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_what_only_a_guess_could_tell_is_not_told(order: Order, finished: list[Cell]) -> None:
    results = results_of(order, finished)
    assert results.curve is not None
    slow = replace(results, curve=replace(results.curve, law=Law(1.0, 0.6, 0.2), drawn=()))
    text = text_of(order, slow)
    assert "| 0.95 | not within 10 times what was tried: any number is a guess |  |" in text
    assert "It has no band" in text
    flat = replace(results, curve=replace(results.curve, law=Law(0.8, 0.0, 1.0)))
    assert "more did not help" in text_of(order, flat)


def test_one_seed_and_three_budgets_are_warned_of(order: Order, finished: list[Cell]) -> None:
    rows = ("budget_1", "budget_5", "budget_all")
    few = [cell for cell in finished if cell.row in rows and cell.seed == 0]
    text = text_of(replace(order, rows=rows), results_of(order, few))
    assert "Three budgets and three parameters" in text and "Run more `--seeds`" in text
    assert "Incomplete" not in text
    assert "Incomplete" in text_of(order, results_of(order, few))


def test_budgets_tested_on_different_cases_are_refused(
    order: Order, finished: list[Cell], tmp_path: Path
) -> None:
    other = scored(tmp_path, order.source, "budget_2", 2, 0, np.full((4, 2), 0.5))
    with pytest.raises(InputFault, match="different cases"):
        results_of(order, [finished[0], other])


def test_the_floor_of_target_images_is_told_and_not_fitted(order: Order, finished: list[Cell]) -> None:
    results = results_of(order, finished)
    floor = replace(
        results.rows[0], row=replace(results.rows[0].row, name=FLOOR, title="floor"), patients=0, images=0
    )
    text = text_of(order, replace(results, family=TARGET, floor=floor))
    assert "| 0 | 0 | 2 |" in text and "No target mask trained or chose anything" in text
