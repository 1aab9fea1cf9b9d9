"""A study: every cell once, in processes of their own; it can be killed, and its numbers are those of its cells."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fewmask.data.layouts import read_cohort
from fewmask.data.phantom import write_phantom
from fewmask.errors import InputFault, RunFailed
from fewmask.studies.cells import Order, cells_of
from fewmask.studies.folds import dealt, fold_folders
from fewmask.studies.placenta import PLACENTA
from fewmask.studies.results import cell_scores, difference, row_results
from fewmask.studies.study import run_study
from fewmask.studies.verb import list_rows, make_table, named_study
from fewmask.studies.workers import working

TINY = (
    "size=32",
    "steps=2",
    "batch=2",
    "network.widths=[4,8]",
    "translator_width=4",
    "translator_blocks=1",
    "critic_width=4",
)


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    source, target = write_phantom("placenta", tmp_path_factory.mktemp("pair") / "p", 0, 20, 32)
    return source, target


@pytest.fixture(scope="module")
def finished(hospitals: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Order:
    """Floor, MSL and the source on itself, two seeds."""
    out = tmp_path_factory.mktemp("study")
    rows = ("msl", "in_domain")
    order = Order(PLACENTA, out, *hospitals, small=True, seeds=2, rows=rows, changes=TINY, device="cpu")
    make_table(order, jobs=2)
    return order


def test_rows_that_others_start_from_are_run_too(finished: Order) -> None:
    names = [cell.row for cell in cells_of(finished) if cell.seed == 0]
    assert names == ["no_adaptation", "msl", "in_domain"]
    assert all(cell.done() for cell in cells_of(finished))
    starts = {
        cell.row: cell.recipe.start_from for cell in cells_of(finished) if cell.recipe and cell.seed == 1
    }
    assert starts["no_adaptation"] is None
    assert starts["msl"] == (finished.out / "cells" / "no_adaptation" / "fold-0" / "seed-1").resolve()


def test_the_classes_that_the_paper_attends_to_reach_the_tied_rows_alone(finished: Order) -> None:
    cells = cells_of(replace(finished, rows=None))
    attended = {
        cell.row: cell.recipe.stages[1].method.attended
        for cell in cells
        if cell.recipe and len(cell.recipe.stages) > 1
    }
    assert attended["msl"] == attended["msl_without_saliency"] == ("ruler", "background")
    assert attended["cyclegan"] is attended["aggan"] is None
    chosen = cells_of(replace(finished, rows=("msl",), changes=(*TINY, "attended=[ruler]")))
    assert chosen[1].recipe and chosen[1].recipe.stages[1].method.attended == ("ruler",)


def test_done_cells_are_not_run_again(finished: Order) -> None:
    before = {cell.folder: (cell.folder / "cell.json").stat().st_mtime_ns for cell in cells_of(finished)}
    run_study(finished, 1, lambda text: None)
    assert before == {folder: (folder / "cell.json").stat().st_mtime_ns for folder in before}


def test_a_changed_recipe_under_a_done_cell_is_run_again_and_the_old_one_kept(
    hospitals: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    order = Order(PLACENTA, tmp_path, *hospitals, small=True, rows=("ceiling",), changes=TINY, device="cpu")
    make_table(order, 1)
    (cell,) = cells_of(order)
    before = (cell.folder / "checkpoint_latest.pt").read_bytes()
    longer = replace(order, changes=(*TINY, "steps=12"))
    capsys.readouterr()
    make_table(longer, 1)
    said = capsys.readouterr().err
    assert "stages.0.steps: 2 -> 12" in said and "run again" in said
    assert (cell.folder / "checkpoint_latest.pt").read_bytes() != before
    assert _last_step(cell.folder) == 12
    (kept,) = (tmp_path / "replaced").iterdir()
    assert (
        kept / "checkpoint_latest.pt"
    ).read_bytes() == before and kept.name == f"ceiling_fold0_seed0_{cell.key}"
    make_table(order, 1)
    assert (cell.folder / "checkpoint_latest.pt").read_bytes() == before, (
        "it is taken back, not trained once more"
    )
    assert "begins" not in capsys.readouterr().err


def test_pooled_figures_are_those_of_a_plain_count(finished: Order, hospitals: tuple[Path, Path]) -> None:
    (result,) = [r for r in row_results(PLACENTA, cells_of(finished)) if r.row.name == "msl"]
    accuracies, ious = [], []
    for seed in range(2):
        folder = finished.out / "cells" / "msl" / "fold-0" / f"seed-{seed}" / "predictions"
        truth = np.concatenate([_mask(path) for path in sorted((hospitals[1] / "labelsTs").glob("*.png"))])
        found = np.concatenate(
            [_mask(folder / path.name) for path in sorted((hospitals[1] / "labelsTs").glob("*.png"))]
        )
        accuracies.append(np.mean(truth == found))
        either = [np.sum((truth == c) | (found == c)) for c in range(4)]
        both = [np.sum((truth == c) & (found == c)) for c in range(4)]
        ious.append(np.mean([b / e for b, e in zip(both, either, strict=True) if e]))
    assert result.ratios[0].mean == pytest.approx(np.mean(accuracies))
    assert result.mean_iou.mean == pytest.approx(np.mean(ious))
    assert result.mean_iou.std == pytest.approx(np.std(ious, ddof=1))
    assert result.cases == len(found) // 32**2 and result.seeds == (0, 1)
    low, high = result.mean_iou.interval.low, result.mean_iou.interval.high  # type: ignore[union-attr]
    assert low <= result.mean_iou.mean <= high


def test_a_difference_is_taken_on_the_same_patients(finished: Order) -> None:
    results = {result.row.name: result for result in row_results(PLACENTA, cells_of(finished))}
    found = difference(results["msl"].mean_iou, results["msl"].mean_iou)
    assert found is not None and found.mean == 0.0 and found.interval is not None
    assert (found.interval.low, found.interval.high, found.seeds, found.larger) == (0.0, 0.0, 2, 0)


def test_the_tables_hold_every_row_and_mark_the_papers_figures(finished: Order) -> None:
    text = (finished.out / "table.md").read_text()
    assert "| MSL |" in text and "0.7380" in text and "paper: mean IoU" in text
    assert "paper: mean IoU" in text
    lines = list(csv.DictReader((finished.out / "results.csv").open()))
    assert [(line["row"], line["seed"]) for line in lines[:2]] == [
        ("no_adaptation", "0"),
        ("no_adaptation", "1"),
    ]
    counts = list(csv.DictReader((finished.out / "confusion.csv").open()))
    pixels = sum(int(line[name]) for line in counts if line["row"] == "msl" for name in read_names(line))
    tested = read_cohort(finished.target).part("test")
    assert pixels == 2 * len(tested) * 32 * 32


def test_outcomes_are_judged_by_a_classifier_of_each_seed(finished: Order) -> None:
    text = (finished.out / "table.md").read_text()
    assert "## Diagnosis" in text and text.count("| fir>=2 |") == 2 and text.count("| mir>=2 |") == 2
    judged = finished.out / "diagnosis" / "fir_from_2" / "seed-1" / "judged" / "outcomes.csv"
    assert len(list(csv.DictReader(judged.open()))) == len(read_cohort(finished.target).part("test"))


def read_names(line: dict[str, str]) -> list[str]:
    return [name for name in line if name not in ("row", "truth")]


def test_every_patient_of_the_target_is_tested_in_one_fold(
    hospitals: tuple[Path, Path], tmp_path: Path
) -> None:
    cohort = read_cohort(hospitals[1])
    folders = fold_folders(hospitals[1], 3, tmp_path)
    tested: list[str] = []
    for folder in folders:
        fold = read_cohort(folder)
        patients = {part: {case.patient for case in fold.part(part)} for part in ("train", "test")}
        assert not patients["train"] & patients["test"]
        assert len(fold.cases) == len(cohort.cases)
        assert {case.columns["fir"] for case in fold.cases} <= set("0123")
        tested += [case.name for case in fold.part("test")]
    assert sorted(tested) == sorted(case.name for case in cohort.cases)
    assert fold_folders(hospitals[1], 1, tmp_path) == (hospitals[1],)


def test_more_folds_than_patients_are_refused(hospitals: tuple[Path, Path]) -> None:
    with pytest.raises(InputFault, match="lower --folds"):
        dealt(read_cohort(hospitals[1]), 99)


def test_a_floor_is_trained_once_for_all_folds(hospitals: tuple[Path, Path], tmp_path: Path) -> None:
    order = Order(PLACENTA, tmp_path, *hospitals, small=True, folds=2, changes=TINY)
    floors = [cell for cell in cells_of(order) if cell.row == "no_adaptation"]
    assert floors[0].recipe is not None and floors[1].recipe is None
    assert floors[0].run == floors[1].run == floors[1].needs and floors[0].folder != floors[1].folder


def test_a_cell_that_fails_spares_the_others_and_the_table_says_why(
    hospitals: tuple[Path, Path], tmp_path: Path
) -> None:
    order = Order(
        PLACENTA, tmp_path, *hospitals, small=True, rows=("cyclegan", "ceiling"), changes=TINY, device="cpu"
    )
    broken = cells_of(order)[0].folder
    broken.mkdir(parents=True)
    (broken / "stranger.txt").write_text("not ours")
    with pytest.raises(InputFault, match=r"no_adaptation, fold 0, seed 0: .*not a run folder"):
        make_table(order, 2)
    done = {cell.row: cell.done() for cell in cells_of(order)}
    assert done == {"no_adaptation": False, "cyclegan": False, "ceiling": True}
    table = (tmp_path / "table.md").read_text()
    assert "| Target's own masks (ceiling) |" in table and "## Cells that failed" in table
    assert "not run: needs no_adaptation, fold 0, seed 0" in table
    lines = {line["row"]: line for line in csv.DictReader((tmp_path / "failed.csv").open())}
    assert lines["no_adaptation"]["kind"] == "input" and "not a run folder" in lines["no_adaptation"]["fault"]
    assert "not a run folder" in (tmp_path / lines["no_adaptation"]["log"]).read_text()
    assert lines["cyclegan"]["kind"] == "not run"
    assert json.loads((tmp_path / "study.json").read_text())["failed"] == json.loads(
        (tmp_path / "failed.json").read_text()
    )
    (broken / "stranger.txt").unlink()
    text = make_table(order, 2)
    assert "failed" not in text and not list(tmp_path.glob("fail*"))
    assert "failed" not in json.loads((tmp_path / "study.json").read_text())


def test_a_killed_study_leaves_no_process_behind_and_goes_on(
    hospitals: tuple[Path, Path], tmp_path: Path
) -> None:
    words = [
        "study",
        "placenta",
        "--small",
        "--rows",
        "no_adaptation",
        "--out",
        str(tmp_path),
        "--device",
        "cpu",
    ]
    words += ["--source", str(hospitals[0]), "--target", str(hospitals[1]), "--jobs", "1"]
    for change in (*TINY[:1], "steps=4000", *TINY[2:4]):
        words += ["--set", change]
    study = subprocess.Popen([sys.executable, "-m", "fewmask.cli", *words], stderr=subprocess.DEVNULL)
    run = tmp_path / "cells" / "no_adaptation" / "fold-0" / "seed-0"
    _until(lambda: (run / "log.jsonl").exists() and (run / "log.jsonl").stat().st_size > 0)
    study.send_signal(signal.SIGKILL)
    study.wait()
    _until(lambda: (run / "checkpoint_latest.pt").exists() and not _held(run))
    before = _last_step(run)
    assert 0 < before < 4000 and not (run / "finished.json").exists()
    study = subprocess.Popen([sys.executable, "-m", "fewmask.cli", *words], stderr=subprocess.DEVNULL)
    _until(lambda: _last_step(run) > before)
    study.send_signal(signal.SIGTERM)
    assert study.wait(60) == 143
    assert not _held(run)
    assert torch.load(run / "checkpoint_latest.pt", weights_only=True)["step"] >= before


def _last_step(run: Path) -> int:
    return max(json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines())


def test_a_worker_that_dies_is_a_failed_cell_and_no_traceback(
    hospitals: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = Order(
        PLACENTA, tmp_path, *hospitals, small=True, rows=("no_adaptation",), changes=("steps=4000",)
    )
    with working(1) as workers:
        workers.start(cells_of(order)[0])
        time.sleep(1.0)
        os.kill(workers.pids[0], signal.SIGKILL)
        (ended,) = workers.wait()
    assert isinstance(ended.fault, RunFailed) and "out of memory?" in str(ended.fault)


def test_two_folds_are_pooled_and_the_source_is_scored_once(
    hospitals: tuple[Path, Path], tmp_path: Path
) -> None:
    order = Order(
        PLACENTA,
        tmp_path,
        *hospitals,
        small=True,
        folds=2,
        rows=("ceiling", "in_domain"),
        changes=TINY,
        device="cpu",
    )
    text = make_table(order, jobs=2)
    results = {result.row.name: result for result in row_results(PLACENTA, cells_of(order))}
    outlined = [case for case in read_cohort(hospitals[1]).cases if case.mask]
    assert results["ceiling"].cases == len(outlined)
    assert results["in_domain"].cases == len(read_cohort(hospitals[0]).part("test"))
    assert "each patient of the target is tested once" in text
    with pytest.raises(InputFault, match="was begun with 2 folds"):
        make_table(replace(order, folds=3), jobs=1)


def test_a_study_of_folders_that_cannot_be_scored_is_refused(
    hospitals: tuple[Path, Path], tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(hospitals[1], bare)
    shutil.rmtree(bare / "labelsTs")
    order = Order(PLACENTA, tmp_path / "out", hospitals[0], bare, small=True)
    with pytest.raises(InputFault, match="no test case with a mask"):
        cells_of(order)
    with pytest.raises(InputFault, match="two folders"):
        cells_of(replace(order, target=hospitals[0]))
    with pytest.raises(InputFault, match="a study sets this itself"):
        cells_of(replace(order, target=hospitals[1], changes=("seed=4",)))


def test_all_rows_share_one_size_and_keep_what_they_are(hospitals: tuple[Path, Path], tmp_path: Path) -> None:
    changes = ("cycle=7", "attention={kind: residual}")
    cells = {
        cell.row: cell.recipe for cell in cells_of(Order(PLACENTA, tmp_path, *hospitals, changes=changes))
    }
    sizes = {recipe.size for recipe in cells.values() if recipe is not None}
    assert sizes == {512}
    cycles = {row: cells[row].stages[1].method.weights.cycle for row in ("msl", "msl_without_cycle")}  # type: ignore
    assert cycles == {"msl": 7, "msl_without_cycle": 0}
    kinds = {row: cells[row].stages[1].method.attention.kind for row in ("msl", "cyclegan")}  # type: ignore
    assert kinds == {"msl": "residual", "cyclegan": "none"}


def _held(run: Path) -> bool:
    """Whether some process has the run's folder open."""
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(link.readlink()).startswith(str(run)):
                return True
        except OSError:  # The process has ended meanwhile, or is not ours.
            continue
    return False


def _until(condition: object, seconds: float = 60.0) -> None:
    ends = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < ends, "waited too long"
        time.sleep(0.2)


def test_names() -> None:
    assert list_rows("placenta").splitlines()[:2] == ["no_adaptation", "cyclegan"]
    assert "placenta" in list_rows("").splitlines()
    with pytest.raises(InputFault, match="did you mean 'placenta'"):
        named_study("placneta")


def test_unknown_rows_and_changes_are_refused(hospitals: tuple[Path, Path], tmp_path: Path) -> None:
    order = Order(PLACENTA, tmp_path, *hospitals, small=True)
    with pytest.raises(InputFault, match="no row of placenta"):
        cells_of(replace(order, rows=("mls",)))
    with pytest.raises(InputFault, match="unknown key"):
        cells_of(replace(order, changes=("widht=3",)))


def test_scores_of_a_cell_are_read_case_by_case(tmp_path: Path) -> None:
    (tmp_path / "confusion_cases.csv").write_text(
        "case,patient,truth,predicted,pixels\nb,p,a,a,3\nb,p,a,c,1\na,q,c,c,2\n"
    )
    (tmp_path / "scores.csv").write_text("case,dice\nb,0.5\nb,0.25\na,\n")
    scores = cell_scores(tmp_path, ("a", "c"))
    assert scores.cases == ("a", "b") and scores.patients == ("q", "p")
    assert scores.confusions.tolist() == [[[0, 0], [0, 2]], [[3, 1], [0, 0]]]
    assert np.isnan(scores.dice[0]) and scores.dice[1] == 0.375


def _mask(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).ravel()
