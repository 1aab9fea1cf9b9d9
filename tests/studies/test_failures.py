"""Which cells failed, and why, stands beside the table; what was not tried again is still told."""

import csv
from pathlib import Path

from fewmask.errors import InputFault, RunFailed
from fewmask.files import write_json
from fewmask.studies.cells import DONE, Cell
from fewmask.studies.failures import failure_parts, failures_of, keep_failures, kept_failures
from fewmask.studies.order import Order
from fewmask.studies.placenta import PLACENTA
from fewmask.studies.pool import Ended
from fewmask.studies.renderings import parts_markdown
from fewmask.studies.study import Ran
from fewmask.studies.verb import Made


def a_cell(out: Path, row: str, needs: Path | None = None) -> Cell:
    folder = out / "cells" / row / "fold-1" / "seed-2"
    return Cell(row, 1, 2, folder, folder, None, needs, out, "cpu")


def ran(out: Path) -> Ran:
    """One done, one of bad input, one that ran out of memory, and one that needs the second."""
    done, floor, large = (a_cell(out, row) for row in ("done", "floor", "large"))
    needing = a_cell(out, "needing", floor.folder)
    write_json(done.folder / DONE, {"seconds": 3.5})
    failed = (
        Ended(floor, 0.0, InputFault("masks/a.png: is 20 x 31; mend | it")),
        Ended(large, 0.0, RunFailed("its process ended with -9")),
    )
    return Ran((done, floor, large, needing), failed, (needing,))


def test_failures_are_written_as_a_table_an_object_and_a_section(tmp_path: Path) -> None:
    failures = failures_of(ran(tmp_path), tmp_path)
    keep_failures(failures, tmp_path)
    lines = list(csv.DictReader((tmp_path / "failed.csv").open()))
    assert [(line["row"], line["fold"], line["seed"], line["kind"]) for line in lines] == [
        ("floor", "1", "2", "input"),
        ("large", "1", "2", "run"),
        ("needing", "1", "2", "not run"),
    ]
    assert lines[2]["fault"] == "needs floor, fold 1, seed 2"
    assert lines[0]["log"] == "logs/floor_fold1_seed2.txt"
    assert kept_failures(tmp_path) == failures
    section = (tmp_path / "failures.md").read_text()
    assert section == parts_markdown(failure_parts(failures))
    assert "**2 failed; 1 more, which need one of them, were not run.**" in section
    assert "| floor | 1 | 2 | masks/a.png: is 20 x 31; mend \\| it | logs/floor_fold1_seed2.txt |" in section
    assert "| needing | 1 | 2 | not run: needs floor, fold 1, seed 2 |  |" in section


def test_the_fault_is_of_the_kind_of_the_first(tmp_path: Path) -> None:
    both = ran(tmp_path)
    assert isinstance(both.fault, InputFault)
    assert "2 cells failed, first floor, fold 1, seed 2: masks/a.png" in str(both.fault)
    assert "not run, for they need it or another: 1" in str(both.fault)
    assert isinstance(Ran(both.cells, both.failed[1:]).fault, RunFailed)
    assert Ran(both.cells).fault is None


def test_a_failure_that_was_not_tried_again_is_still_told_until_it_is_done(tmp_path: Path) -> None:
    before = ran(tmp_path)
    keep_failures(failures_of(before, tmp_path), tmp_path)
    write_json(before.cells[2].folder / DONE, {})
    left = failures_of(Ran(before.cells), tmp_path)
    assert [failure.row for failure in left] == ["floor", "needing"]
    for cell in before.cells:
        write_json(cell.folder / DONE, {})
    keep_failures(failures_of(Ran(before.cells), tmp_path), tmp_path)
    assert not list(tmp_path.glob("fail*")) and parts_markdown(failure_parts(())) == ""


def test_a_program_reads_how_each_cell_stands(tmp_path: Path) -> None:
    both = ran(tmp_path)
    order = Order(PLACENTA, tmp_path, tmp_path / "a", tmp_path / "b", precision="bf16")
    found = Made("", order, both.cells, failures_of(both, tmp_path), both.fault).mapping()
    states = {cell["row"]: (cell["state"], cell["seconds"], cell["fault"]) for cell in found["cells"]}
    assert states == {
        "done": ("done", 3.5, None),
        "floor": ("failed", None, "masks/a.png: is 20 x 31; mend | it"),
        "large": ("failed", None, "its process ended with -9"),
        "needing": ("waiting", None, "needs floor, fold 1, seed 2"),
    }
    assert found["precision"] == "bf16" and found["results"] == str(tmp_path / "results.csv")
