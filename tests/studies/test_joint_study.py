"""The study of masks and an outcome: its figures are those of the scores on disk, on three parts of the patients."""

import csv
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fewmask.data.layouts import read_cohort
from fewmask.data.phantom import write_phantom
from fewmask.errors import InputFault
from fewmask.metrics.classification import auc, auc_difference, auc_interval
from fewmask.metrics.interval import bootstrap_interval
from fewmask.studies.cells import Cell, Order, cells_of, run_cell
from fewmask.studies.folds import fold_folders
from fewmask.studies.joint_results import joint_results
from fewmask.studies.names import STUDIES
from fewmask.studies.results import difference
from fewmask.studies.verb import make_table

torch.set_num_threads(1)

SHORT = (
    "size=32",
    "steps=8",
    "batch=4",
    "validate_every=4",
    "network.method.network.widths=[8,16]",
    "split.validation=0.4",
)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half of the patients have the outcome: a tenth of so few could not fill three parts."""
    folder = write_phantom("cervix", tmp_path_factory.mktemp("phantom"), cases=40, size=32)[0]
    rows = rows_of(folder / "cases.csv")
    patients = sorted({row["patient"] for row in rows})
    for row in rows:
        row["preterm"] = str(int(patients.index(row["patient"]) // 2 % 2))
    with (folder / "cases.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.fixture(scope="module")
def order(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Order:
    return Order(
        STUDIES["cervix"],
        tmp_path_factory.mktemp("study") / "out",
        dataset,
        dataset,
        small=True,
        seeds=2,
        rows=("joint_without_outcome", "joint_without_masks", "markers", "joint"),
        changes=SHORT,
        device="cpu",
        outcome="preterm",
    )


@pytest.fixture(scope="module")
def table(order: Order) -> str:
    for cell in cells_of(order):
        run_cell(cell)  # Here, for a process of its own would take longer to start than to train.
    return make_table(order, 1)


def cells(order: Order, row: str) -> list[Cell]:
    return [cell for cell in cells_of(order) if cell.row == row]


def test_each_row_stands_in_the_tables_whose_answer_it_gives(table: str) -> None:
    masks, rest = table.split("## Masks")[1].split("## Outcome")
    outcome, calls, against, tested = rest.split("## ")
    for title, draws, tells in (
        ("U-Net", True, False),
        ("Outcome alone", False, True),
        ("Masks, then markers", True, True),
        ("Joint U-Net", True, True),
    ):
        assert (f"\n| {title} |" in masks) == draws
        assert all(
            (f"\n| {title} | {part} |" in outcome) == tells for part in ("train", "validation", "test")
        )
        assert (f"\n| {title} |" in calls) == tells
        assert (f"\n| {title} |" in against) == (title != "Joint U-Net")
        assert (f"\n| {title} |" in tested) == (draws and title != "U-Net")
    assert "0.923 +- 0.081" in masks and "0.723 +- 0.134" in outcome and "85 | 41 | 40 | 1105" in calls


@pytest.mark.usefixtures("table")
def test_figures_are_those_of_the_scores(order: Order) -> None:
    results = {result.row.name: result for result in joint_results(order.study, cells_of(order))}
    for part in ("train", "validation", "test"):
        folders = [cell.folder / ("" if part == "test" else part) for cell in cells(order, "joint")]
        found = getattr(results["joint"], part)
        overlaps = [rows_of(folder / "scores.csv") for folder in folders]
        ious = [[float(row["iou"]) for row in rows] for rows in overlaps]
        assert found.masks.iou.by_seed == pytest.approx([np.mean(values) for values in ious])
        assert found.masks.images == len(overlaps[0])
        if part == "test":
            patients = [row["patient"] for row in overlaps[0]]
            interval = bootstrap_interval(np.mean(ious, axis=0).tolist(), patients)
            assert astuple(found.masks.iou.interval) == pytest.approx(astuple(interval))
        told = [rows_of(folder / "prognosis.csv") for folder in folders]
        for place, rows in enumerate(told):
            outcome = np.array([row["outcome"] == "1" for row in rows])
            called = np.array([row["called_positive"] == "1" for row in rows])
            area = auc([float(row["probability"]) for row in rows], outcome)
            assert found.told.auc.by_seed[place] == pytest.approx(area)
            counted = [(outcome & called).sum(), (outcome & ~called).sum()]
            counted += [(~outcome & called).sum(), (~outcome & ~called).sum()]
            assert found.told.calls[place].tolist() == counted
            assert found.told.recall.by_seed[place] == pytest.approx(counted[0] / outcome.sum())
            assert found.told.specificity.by_seed[place] == pytest.approx(counted[3] / (~outcome).sum())
            assert found.told.precision.by_seed[place] == pytest.approx(counted[0] / max(1, called.sum()))


@pytest.mark.usefixtures("table")
def test_intervals_of_one_seed_are_those_of_the_metrics(order: Order) -> None:
    single = [cell for cell in cells_of(order) if cell.seed == 0]
    results = {result.row.name: result for result in joint_results(order.study, single)}
    told = {
        row: rows_of(cells(order, row)[0].folder / "prognosis.csv")
        for row in ("joint", "joint_without_masks")
    }
    scores = {row: [float(line["probability"]) for line in lines] for row, lines in told.items()}
    true = [line["outcome"] == "1" for line in told["joint"]]
    patients = [line["patient"] for line in told["joint"]]
    joint, alone = (results[row].test.told.auc for row in ("joint", "joint_without_masks"))
    assert astuple(joint.interval) == pytest.approx(astuple(auc_interval(scores["joint"], true, patients)))
    expected = auc_difference(scores["joint_without_masks"], scores["joint"], true, patients)
    found = difference(joint, alone)
    assert found.mean == pytest.approx(expected.difference)
    assert astuple(found.interval) == pytest.approx(astuple(expected.interval))


@pytest.mark.usefixtures("table")
def test_no_patient_is_in_two_parts(order: Order) -> None:
    for cell in cells_of(order):
        name = "prognosis.csv" if cell.row != "joint_without_outcome" else "scores.csv"
        parts = [
            {row["patient"] for row in rows_of(cell.folder / part / name)}
            for part in ("", "train", "validation")
        ]
        assert all(parts) and sum(map(len, parts)) == len(set.union(*parts))


def test_each_site_is_tested_once_by_networks_that_never_saw_it(order: Order, tmp_path: Path) -> None:
    folders = fold_folders(order.target, 1, tmp_path, by_site=True)
    cohorts = [read_cohort(folder) for folder in folders]
    tested = [{case.site for case in cohort.part("test")} for cohort in cohorts]
    trained = [{case.site for case in cohort.part("train")} for cohort in cohorts]
    assert len(folders) == 2 and all(len(sites) == 1 for sites in tested)
    assert all(one.isdisjoint(other) for one, other in zip(tested, trained, strict=True))
    assert len(cells_of(replace(order, by_site=True, out=tmp_path / "out"))) == 4 * 2 * 2


def test_sites_that_cannot_be_left_out(dataset: Path, tmp_path: Path) -> None:
    for number, (sites, words) in enumerate(
        (
            (("north",), "there must be two"),
            (("", "north", "south"), "every case needs"),
            (("a", "b"), "was seen at"),
        )
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        for entry in dataset.iterdir():
            if entry.name != "cases.csv":
                (folder / entry.name).symlink_to(entry)
        rows = rows_of(dataset / "cases.csv")
        lines = [
            f"{row['case']},{row['patient']},{sites[place % len(sites)]}" for place, row in enumerate(rows)
        ]
        (folder / "cases.csv").write_text("\n".join(["case,patient,site", *lines]) + "\n")
        with pytest.raises(InputFault, match=words):
            fold_folders(folder, 1, tmp_path / "folds", by_site=True)


def test_another_outcome_under_the_same_folder_is_refused(order: Order, table: str) -> None:
    assert table
    with pytest.raises(InputFault, match="choose another --out"):
        make_table(replace(order, outcome="other"), 1)
