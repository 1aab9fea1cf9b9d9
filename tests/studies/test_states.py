"""A finished cell is known by the hash of its recipe; one of another recipe is set aside with what starts from it."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from fewmask.config import to_yaml
from fewmask.data.phantom import write_phantom
from fewmask.errors import InputFault
from fewmask.files import read_json, write_json, write_text
from fewmask.recipe import Recipe
from fewmask.studies.cells import BEGUN, DONE, Cell, asked_for, cells_of, cells_on_disk
from fewmask.studies.order import Order
from fewmask.studies.placenta import PLACENTA
from fewmask.studies.states import REPLACED, settled, states_of
from fewmask.training.run import Run

torch.set_num_threads(1)

ROWS = ("no_adaptation", "cyclegan", "cyclegan_train_on_translated", "ceiling", "in_domain")
CHANGED = ("translators.weights.cycle=3",)


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    source, target = write_phantom("placenta", tmp_path_factory.mktemp("pair") / "p", 0, 10, 32)
    return source, target


def pretend(cell: Cell, done: bool = True, with_key: bool = True) -> None:
    """Leave what a training and its scores leave, without either."""
    if cell.recipe is not None:
        write_text(Run(cell.folder).recipe_file, to_yaml(cell.recipe))
        write_json(Run(cell.folder).material, {})
    kept = {"recipe": cell.key, "start": cell.start} if with_key else {}
    if done:
        write_json(cell.folder / DONE, {"row": cell.row, "seconds": 1.0, **kept})
    elif with_key:
        write_json(cell.folder / BEGUN, kept)


@pytest.fixture
def order(hospitals: tuple[Path, Path], tmp_path: Path) -> Order:
    """Two folds of five rows, each cell finished."""
    order = Order(PLACENTA, tmp_path / "out", *hospitals, small=True, folds=2, rows=ROWS)
    for cell in cells_of(order):
        pretend(cell)
    return order


def settle(order: Order, said: list[str] | None = None) -> dict[tuple[str, int], Cell]:
    known = cells_on_disk(order)
    tell: Callable[[str], None] = (said if said is not None else []).append
    cells = settled(known, asked_for(order, known), order.study, tell)
    return {(cell.row, cell.fold): cell for cell in cells}


def undone(order: Order) -> set[str]:
    return {cell.row for cell in settle(order).values() if not cell.done()}


def test_the_same_order_finds_all_cells_and_reads_no_yaml(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(run: Run) -> Recipe:
        raise AssertionError("the hash is enough")

    monkeypatch.setattr(Run, "recipe", never)
    assert undone(order) == set()
    assert not (order.out / REPLACED).exists()


def test_a_changed_recipe_is_set_aside_with_the_cells_that_start_from_it(order: Order) -> None:
    said: list[str] = []
    cells = settle(replace(order, changes=CHANGED), said)
    gone = {row for (row, _), cell in cells.items() if not cell.done()}
    assert gone == {"cyclegan", "cyclegan_train_on_translated"}
    assert {cell.folder.exists() for (row, _), cell in cells.items() if row in gone} == {False}
    kept = sorted(path.name for path in (order.out / REPLACED).iterdir())
    assert len(kept) == 4 and kept[0].startswith("cyclegan_fold0_seed0_")
    assert all((order.out / REPLACED / name / DONE).exists() for name in kept)
    assert "cycle: 10.0 -> 3.0" in said[0] and "2 cells" in said[0] and "is run again" in said[0]


def test_the_earlier_recipe_finds_its_cells_again(order: Order) -> None:
    settle(replace(order, changes=CHANGED))
    said: list[str] = []
    cells = settle(order, said)
    assert all(cell.done() for cell in cells.values())
    assert any("taken back" in line for line in said)
    assert list((order.out / REPLACED).iterdir()) == []


def test_networks_of_a_start_that_was_replaced_in_between_are_not_kept(order: Order, tmp_path: Path) -> None:
    """A study that was killed between moving and training: what started from the old networks is still known."""
    cells = {(cell.row, cell.fold): cell for cell in cells_of(order)}
    dependent = cells["cyclegan_train_on_translated", 0]
    shutil.copytree(dependent.folder, tmp_path / "kept")
    changed = replace(order, changes=CHANGED)
    settle(changed)
    for cell in cells_of(changed):
        if cell.row == "cyclegan":
            pretend(cell)
    shutil.rmtree(order.out / REPLACED)
    shutil.copytree(tmp_path / "kept", dependent.folder)
    (after,) = [
        one for one in states_of(cells_of(changed)) if one.cell.row == dependent.row and not one.cell.fold
    ]
    assert after.state == "changed" and "other networks of cyclegan" in after.changes[0]


def test_cells_of_an_earlier_version_get_their_hash(order: Order) -> None:
    for cell in cells_of(order):
        pretend(cell, with_key=False)
    assert undone(order) == set()
    for cell in cells_of(order):
        kept = read_json(cell.folder / DONE)
        assert (kept["recipe"], kept["start"]) == (cell.key, cell.start)


def test_an_older_cell_of_another_recipe_is_set_aside(order: Order) -> None:
    for cell in cells_of(order):
        pretend(cell, with_key=False)
    assert undone(replace(order, changes=CHANGED)) == {"cyclegan", "cyclegan_train_on_translated"}


def test_a_field_that_the_recipe_did_not_have_is_no_change(order: Order) -> None:
    """As a later version with a new option finds the cells of an earlier one."""
    for cell in cells_of(order):
        kept = read_json(cell.folder / DONE)
        write_json(cell.folder / DONE, kept | {"recipe": f"old{kept['recipe']}", "start": f"old{cell.start}"})
        if cell.recipe is not None:
            file = Run(cell.folder).recipe_file
            content = yaml.safe_load(file.read_text())
            del content["neighbours"], content["stages"][0]["masks_share"]
            write_text(file, yaml.safe_dump(content))
    starts = [cell for cell in cells_of(order) if cell.start is None]
    keys = {f"old{cell.start}" for cell in cells_of(order)}
    assert {read_json(cell.folder / DONE)["recipe"] for cell in starts} & keys
    assert undone(order) == set()
    assert all(read_json(cell.folder / DONE)["recipe"] == cell.key for cell in cells_of(order))


def test_cells_that_are_not_asked_for_stay_and_are_left_out(order: Order) -> None:
    said: list[str] = []
    cells = settle(replace(order, rows=("ceiling",), changes=CHANGED), said)
    stale = {row for (row, _), cell in cells.items() if cell.stale}
    assert stale == {"cyclegan", "cyclegan_train_on_translated"}
    assert all(cell.folder.exists() and not cell.done() for cell in cells.values() if cell.stale)
    assert "left out" in said[0] and not (order.out / REPLACED).exists()


def test_a_begun_cell_of_another_recipe_is_set_aside_too(order: Order) -> None:
    (cell,) = [cell for cell in cells_of(order) if cell.row == "ceiling" and cell.fold == 1]
    (cell.folder / DONE).unlink()
    pretend(cell, done=False)
    assert [one.state for one in states_of(cells_of(order)) if one.cell.folder == cell.folder] == ["same"]
    settle(replace(order, changes=("segmenter.steps=7",)))
    assert not cell.folder.exists()
    (cell.folder / "recipe.yaml").parent.mkdir(parents=True)
    write_text(cell.folder / "recipe.yaml", "name: anything")
    assert states_of((cell,))[0].state == "new", "nothing was prepared: it may begin anew"


def test_a_moved_study_keeps_its_cells(order: Order, tmp_path: Path) -> None:
    moved = replace(order, out=tmp_path / "elsewhere")
    shutil.move(order.out, moved.out)
    for cell in cells_of(moved):
        pretend_start = cell.recipe is not None and cell.recipe.start_from is not None
        if pretend_start and cell.fold == 0:
            (cell.folder / DONE).rename(cell.folder / BEGUN)
    assert {one.state for one in states_of(cells_of(moved))} == {"same"}
    for cell in cells_of(moved):
        if cell.recipe is not None and not cell.done():
            Run(cell.folder).require_same(cell.recipe)


def test_masks_that_were_judged_go_with_their_cell(order: Order) -> None:
    order = replace(order, rows=("msl",), folds=1)
    for cell in cells_of(order):
        pretend(cell)
    judged = order.out / "diagnosis" / "fir_from_2" / "seed-0" / "judged"
    write_json(judged / "diagnosis.json", {})
    settle(replace(order, changes=CHANGED))
    assert not judged.exists() and len(list((order.out / REPLACED).glob("diagnosis_fir_from_2_*"))) == 1


def test_a_cell_that_is_being_trained_is_not_moved(order: Order) -> None:
    (cell,) = [cell for cell in cells_of(order) if cell.row == "ceiling" and cell.fold == 0]
    hold = "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print(); time.sleep(60)"
    words = [sys.executable, "-c", hold, str(cell.folder / ".cell.lock")]
    holder = subprocess.Popen(words, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    try:
        with pytest.raises(InputFault, match="another process"):
            settle(replace(order, changes=("segmenter.steps=7",)))
    finally:
        holder.kill()
        holder.wait()
    assert (cell.folder / DONE).exists()
