"""The study of masks from tags: its rows share a classifier, and its figures are those of the scores on disk."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import wilcoxon
from tests.tagged import write_tagged

from fewmask.errors import InputFault
from fewmask.files import write_csv
from fewmask.studies.cells import Cell, Order, cells_of
from fewmask.studies.names import STUDIES
from fewmask.studies.per_case import SeedCases, per_case
from fewmask.studies.results import figure_of
from fewmask.studies.tagged_page import write_tagged_tables
from fewmask.studies.tagged_results import Part, TagRow, paired_p, tagged_results
from fewmask.studies.verb import make_table, tagged_pair
from fewmask.training.checkpoint import Checkpoints
from fewmask.training.run import Run

torch.set_num_threads(1)

SHORT = (
    "size=32",
    "steps=3",
    "batch=2",
    "validate_every=2",
    "classifier.method.network.width=0.03125",
    "segmenter.method.network.widths=[4,8]",
)


@pytest.fixture(scope="module")
def order(tmp_path_factory: pytest.TempPathFactory) -> Order:
    folder = tmp_path_factory.mktemp("study")
    tagged = write_tagged(folder / "Dataset950_Tagged")
    return Order(
        STUDIES["fetal_brain"],
        folder / "out",
        tagged,
        tagged,
        small=True,
        rows=("gradcam", "umcam", "fullysup"),
        changes=SHORT,
        device="cpu",
    )


@pytest.fixture(scope="module")
def table(order: Order) -> str:
    return make_table(order, 1)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def cell(order: Order, row: str) -> Cell:
    return next(cell for cell in cells_of(order) if cell.row == row)


def test_every_row_has_its_figures(order: Order, table: str) -> None:
    for title in ("Grad-CAM (baseline)", "UM-CAM + SPL (M = 4, lambda 0.1)", "FullySup"):
        assert f"| {title} | n = 1 |" in table
    assert "74.48 +- 13.26" in table
    assert "Classifier |" not in table
    pseudo, volumes = table.split("## Masks of volumes")
    assert "FullySup" not in pseudo.split("## Pseudo-masks")[1]
    assert "2 (2)" in volumes


def test_rows_share_one_classifier(order: Order, table: str) -> None:
    states = []
    for row in ("classifier", "gradcam", "umcam"):
        run = Run(cell(order, row).run)
        chosen = Checkpoints(run.stage_folder(run.recipe(), "classifier"), "classifier").chosen
        states.append(torch.load(chosen, weights_only=True)["method"])
    assert all(torch.equal(states[0][key], other[key]) for other in states[1:] for key in other)


def test_figures_are_the_means_of_the_scores(order: Order, table: str) -> None:
    results = {result.row.name: result for result in tagged_results(order.study, cells_of(order))}
    umcam = results["umcam"]
    folder = cell(order, "umcam").folder
    scores = rows_of(folder / "scores.csv")
    assert umcam.test.cases == len(scores) == 2
    assert umcam.test.dice.mean == pytest.approx(np.mean([float(row["dice"]) for row in scores]))
    assert umcam.test.hd95_px.mean == pytest.approx(np.mean([float(row["hd95_voxels"]) for row in scores]))
    slices = [
        row for row in rows_of(folder / "pseudo_test" / "slice_scores.csv") if row["status"] != "absent"
    ]
    assert umcam.pseudo_test is not None
    assert umcam.pseudo_test.dice.mean == pytest.approx(np.mean([float(row["dice"]) for row in slices]))
    assert umcam.pseudo_test.missed == sum(row["status"] == "missed" for row in slices)
    assert umcam.pseudo_test.false_alarms == sum(row["status"] == "false_alarm" for row in slices)
    assert results["fullysup"].pseudo_test is None


def test_the_held_out_patients_are_the_runs_own(order: Order, table: str) -> None:
    held_out = {row["case"] for row in rows_of(cell(order, "umcam").folder / "validation" / "scores.csv")}
    for row in ("gradcam", "fullysup"):
        other = {line["case"] for line in rows_of(cell(order, row).folder / "validation" / "scores.csv")}
        assert other == held_out
    assert held_out.isdisjoint({"stack6", "stack7"})


def test_a_second_call_trains_nothing(order: Order, table: str) -> None:
    before = {path: path.stat().st_mtime for path in order.out.glob("cells/**/checkpoint_*.pt")}
    assert make_table(order, 1) == table
    assert before == {path: path.stat().st_mtime for path in order.out.glob("cells/**/checkpoint_*.pt")}


def test_one_channel_of_several_keeps_its_tags(tmp_path: Path) -> None:
    tagged = write_tagged(tmp_path / "tagged")
    folder, again = tagged_pair(tagged, "T2w", tmp_path / "out")
    assert folder == again
    assert rows_of(folder / "slices.csv") == rows_of(tagged / "slices.csv")
    with pytest.raises(InputFault, match="no channel"):
        tagged_pair(tagged, "T1w", tmp_path / "out")


def test_unknown_spacing_has_no_mm(order: Order, table: str, tmp_path: Path) -> None:
    trained = cell(order, "umcam")
    shutil.copytree(trained.folder, tmp_path / "cell")
    for file, columns in (("scores.csv", {"unit": "px"}), ("pseudo_test/slice_scores.csv", {"hd95_mm": ""})):
        rows = rows_of(tmp_path / "cell" / file)
        write_csv(tmp_path / "cell" / file, tuple(rows[0]), [tuple((row | columns).values()) for row in rows])
    (result,) = tagged_results(order.study, [replace(trained, folder=tmp_path / "cell")])
    assert result.test.hd95_mm is None and result.pseudo_test is not None
    assert result.pseudo_test.hd95_mm is None
    assert np.isfinite(result.test.hd95_px.mean)
    assert result.validation.hd95_mm is not None


def part(dice: float) -> Part:
    """One seed, two cases."""
    pixels = figure_of((0,), (9.0,), None)
    by_case = per_case((0,), [SeedCases(("one/", "two/"), ("p", "q"), np.array([dice, dice]))])
    return Part(figure_of((0,), (dice,), None), pixels, None, 2, 2, 0, 0, by_case)


def test_what_held_out_patients_choose_by_hand(order: Order, tmp_path: Path) -> None:
    scores = {
        "umcam_m1": (0.62, 0.60),
        "umcam_m2": (0.71, 0.56),
        "umcam_m3": (0.50, 0.99),
        "umcam": (0.70, 0.90),
        "fullysup": (0.80, 0.80),
    }
    rows = [
        TagRow(order.study.row(name), None, None, part(held_out), part(test))
        for name, (held_out, test) in scores.items()
    ]
    text = write_tagged_tables(replace(order, out=tmp_path), rows)
    assert "M = 2 (Dice of held-out volumes in %, 1: 62.0, 2: 71.0, 3: 50.0, 4: 70.0)" in text
    assert "That row's test volumes have 56.0, 70 % of FullySup's." in text
    assert "lambda =" not in text, "not all of its rows are there"


def test_the_paired_p_is_scipys(order: Order, table: str, tmp_path: Path) -> None:
    results = {result.row.name: result for result in tagged_results(order.study, cells_of(order))}
    assert paired_p(results["umcam"].test, results["fullysup"].test) is None
    rng = np.random.default_rng(0)
    parts = []
    for shift in (0.0, 0.1):
        dice, names = rng.uniform(0.3, 0.6, 8) + shift, [f"case{index}/" for index in range(8)]
        by_case = per_case((0,), [SeedCases(names, names, dice)])
        parts.append(replace(results["umcam"].test, by_case=by_case))
    expected = wilcoxon(parts[0].by_case.values[0] - parts[1].by_case.values[0]).pvalue
    assert paired_p(parts[0], parts[1]) == pytest.approx(expected)
    assert paired_p(parts[0], parts[0]) == 1.0
