"""A study that a user writes: the page's own example works, goes on after `kill -9`, and faults are told in a line."""

import json
import pickle
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tests.command.conftest import Command, command  # noqa: F401

from fewmask.data.phantom import write_phantom
from fewmask.errors import InputFault
from fewmask.studies.cells import cells_of
from fewmask.studies.study_file import read_study_file, study_of
from fewmask.verbs.study_order import Asked, Folders, order_of

torch.set_num_threads(1)

PAGE = Path(__file__).parents[2] / "docs" / "how-to.md"

TINY = (
    "size=32",
    "batch=2",
    "network.widths=[4,8]",
    "translator_width=4",
    "translator_blocks=1",
    "critic_width=4",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page's commands are typed: two hospitals, and the study file beside them."""
    folder = tmp_path_factory.mktemp("own")
    source, target = write_phantom("placenta", folder / "p", 0, 20, 32)
    source.rename(folder / "hospital_a")
    target.rename(folder / "hospital_b")
    (folder / "study.yaml").write_text(example())
    return folder


def section() -> str:
    return PAGE.read_text(encoding="utf-8").split("## A study of your own")[1].split("\n## ")[0]


def example() -> str:
    (found,) = re.findall(r"```yaml\n(.*?)```", section(), flags=re.DOTALL)
    return found


def test_the_pages_example_makes_its_table(
    folder: Path,
    command: Command,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    (block,) = re.findall(r"```sh\n(.*?)```", section(), flags=re.DOTALL)
    listing, making = (shlex.split(line, comments=True)[1:] for line in block.splitlines())
    listed = command(*listing)
    rows = [row["name"] for row in yaml.safe_load(example())["rows"]]
    assert (listed.code, listed.out.split()) == (0, rows)
    short = [word for change in (*TINY, "steps=2") for word in ("--set", change)]
    made = command(*making, *short, "--seeds", 1, "--device", "cpu", "--json")
    assert made.code == 0, made.err
    found = json.loads(made.out)
    assert {cell["row"]: cell["state"] for cell in found["cells"]} == dict.fromkeys(rows, "done")
    assert all(cell["seconds"] > 0 for cell in found["cells"])
    assert Path(found["results"]).exists() and found["precision"] in ("32", "bf16")
    assert all(
        f"| {row['title']} |" in Path(found["table"]).read_text() for row in yaml.safe_load(example())["rows"]
    )


def asked(file: Path, out: Path, **given: Any) -> Asked:
    return replace(Asked(str(file), out, Folders()), **given)


def test_options_override_the_file(folder: Path, tmp_path: Path) -> None:
    file = folder / "study.yaml"
    order = order_of(asked(file, tmp_path), [].append)
    assert (order.source, order.target) == (folder / "hospital_a", folder / "hospital_b")
    content = yaml.safe_load(example())
    assert (order.seeds, order.folds, order.small) == (content["seeds"], 1, content["small"])
    other = order_of(
        asked(file, tmp_path, seeds=5, small=False, precision="32", folders=Folders(target=folder)), [].append
    )
    assert (other.seeds, other.small, other.precision, other.target) == (5, False, "32", folder)


def test_a_cell_of_a_file_goes_to_another_process(folder: Path, tmp_path: Path) -> None:
    order = order_of(asked(folder / "study.yaml", tmp_path, changes=("size=32",)), [].append)
    cells = cells_of(order)
    assert pickle.loads(pickle.dumps(cells)) == cells  # noqa: S301
    assert pickle.loads(pickle.dumps(order.study)) == order.study  # noqa: S301


def test_changes_of_the_row_of_the_file_and_of_the_command_line(folder: Path, tmp_path: Path) -> None:
    content = yaml.safe_load(example()) | {"set": ["segmenter.steps=30", "cycle=2"]}
    content["rows"][1]["set"] = ["cycle=4"]
    file = folder / "changes.yaml"
    file.write_text(yaml.safe_dump(content))

    def cycle_and_steps(*changes: str) -> tuple[float, int]:
        cells = cells_of(order_of(asked(file, tmp_path, changes=changes), [].append))
        recipe = next(cell.recipe for cell in cells if cell.recipe and len(cell.recipe.stages) > 1)
        return recipe.stages[1].method.weights.cycle, recipe.stages[0].steps

    assert cycle_and_steps() == (4.0, 30)
    assert cycle_and_steps("cycle=7", "steps=3") == (7.0, 3)


def faulty(**changes: Any) -> dict[str, Any]:
    content = yaml.safe_load(example())
    for key, value in changes.items():
        if key.startswith("row_"):
            content["rows"][1][key.removeprefix("row_")] = value
        elif value is None:
            del content[key]
        else:
            content[key] = value
    return content


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sourc": "a"}, "unknown key 'sourc'; did you mean 'source'"),
        ({"row_recipee": "x"}, "unknown key 'rows.1.recipee'; did you mean 'recipe'"),
        ({"row_recipe": "cylegan"}, "row cyclegan: unknown recipe 'cylegan'; did you mean 'cyclegan'"),
        ({"row_recipe": "absent.yaml"}, "absent.yaml: no such file"),
        ({"row_set": ["cycel=3"]}, "row cyclegan: --set cycel=3: unknown key"),
        ({"row_set": ["seed=3"]}, "a study sets this itself"),
        ({"row_set": "cycle=3"}, "rows.1.set: input should be a valid tuple"),
        ({"row_reads": "sorce"}, "rows.1.reads: input should be 'source', 'target'"),
        ({"row_reads": "tags"}, "row cyclegan: reads: tags, and a study of source and target has"),
        ({"row_start_from": "flor"}, "start_from: flor is no earlier row; did you mean 'floor'"),
        ({"row_start_from": "ceiling"}, "start_from: ceiling is no earlier row"),
        ({"row_name": "floor"}, "row floor: give each row a name of its own"),
        ({"row_name": "a/b"}, "row a/b: give each row a name of its own"),
        ({"ceiling": "celing"}, "ceiling: celing is no row; did you mean 'ceiling'"),
        ({"rows": []}, "rows: is empty"),
        ({"rows": None}, "key 'rows' is missing"),
        ({"target": None}, "needs `source` and `target`"),
        ({"tags": "a"}, "give the folders of one kind"),
        ({"seeds": "many"}, "seeds: input should be a valid integer"),
        ({"seeds": 0}, "seeds and folds must be at least 1"),
        ({"precision": 16}, "precision: input should be '32', 'bf16' or 'auto'"),
        ({"outcome": "preterm"}, "outcome: belongs to a study of `masks`"),
    ],
)
def test_a_faulty_file_is_told_in_a_line(
    folder: Path, changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(faulty(**changes)))
    with pytest.raises(InputFault) as told:
        study_of(read_study_file(file), file)
    message = str(told.value)
    assert words in message and str(file) in message and "\n" not in message


def test_a_file_that_is_not_there_or_no_yaml(
    tmp_path: Path,
    command: Command,  # noqa: F811
) -> None:
    absent = command("study", tmp_path / "absent.yaml", "--out", tmp_path / "out")
    assert absent.code == 1 and "no such file; check the path" in absent.err
    (tmp_path / "bad.yaml").write_text("rows: [")
    assert "not valid YAML" in command("study", tmp_path / "bad.yaml", "--list").err
    belongs = command("study", "placenta", "--out", tmp_path / "out", "--cluster-set", "timeout_min=3")
    assert belongs.code == 2 and "belongs to --cluster" in belongs.err


def test_one_folder_of_masks_is_a_study_too(folder: Path, tmp_path: Path) -> None:
    rows = [{"name": name, "recipe": name, "reads": "masks"} for name in ("supervised", "fcn")]
    file = folder / "masks.yaml"
    file.write_text(yaml.safe_dump({"name": "mine", "masks": "hospital_a", "rows": rows, "folds": 2}))
    cells = cells_of(order_of(asked(file, tmp_path), [].append))
    assert [(cell.row, cell.fold) for cell in cells] == [
        ("supervised", 0), ("fcn", 0), ("supervised", 1), ("fcn", 1)
    ]  # fmt: skip
    assert all(cell.recipe is not None and cell.recipe.cohorts.masks == cell.images for cell in cells)


def test_a_killed_study_loses_no_cell_and_runs_none_twice(folder: Path, tmp_path: Path) -> None:
    """`kill -9` in the middle of the second of three cells; the same command ends with the table."""
    names = {"first": 2, "middle": 500, "last": 2}
    rows = [
        {"name": name, "recipe": "supervised", "reads": "target", "set": [f"steps={steps}"]}
        for name, steps in names.items()
    ]
    content = faulty(rows=rows, floor=None, ceiling=None, subject=None, set=list(TINY[:3]), seeds=1)
    file = folder / "killed.yaml"
    file.write_text(yaml.safe_dump(content))
    out = tmp_path / "out"
    words = ["study", str(file), "--out", str(out), "--device", "cpu", "--jobs", "1"]

    def begin() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "fewmask.cli", *words], stderr=subprocess.PIPE)

    first, middle, last = (out / "cells" / name / "fold-0" / "seed-0" for name in names)
    study = begin()
    log = middle / "log.jsonl"
    until(lambda: log.exists() and log.stat().st_size > 0)
    study.send_signal(signal.SIGKILL)
    study.communicate()
    assert (first / "cell.json").exists() and not (middle / "cell.json").exists() and not last.exists()
    before = {path: path.stat().st_mtime_ns for path in first.rglob("*")}
    # At once: the killed study's worker, which is writing its checkpoint, is waited for.
    study = begin()
    _, said = study.communicate()
    assert study.returncode == 0, said.decode()
    assert all((cell / "cell.json").exists() for cell in (first, middle, last))
    assert before == {path: path.stat().st_mtime_ns for path in first.rglob("*")}
    assert "goes on from step" in (out / "logs" / "middle_fold0_seed0.txt").read_text()
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines() if "step" in line]
    assert max(steps) == names["middle"]
    assert all(f"| {name} |" in (out / "table.md").read_text() for name in names)
    assert "3 cells, 1 of them done" in said.decode()


def until(condition: Any, seconds: float = 120.0) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "waited too long"
        time.sleep(0.1)
