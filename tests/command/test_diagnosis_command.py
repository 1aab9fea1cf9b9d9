"""An outcome learnt and told, as a user types it."""

import json
from pathlib import Path

import pytest

from fewmask.data.phantom import write_phantom
from tests.command.conftest import TINY, Command


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    source, target = write_phantom("placenta", tmp_path_factory.mktemp("phantom") / "placenta", 0, 30, 32)
    return source, target


def test_from_a_column_to_two_curves(command: Command, hospitals: tuple[Path, Path], tmp_path: Path) -> None:
    source, target = hospitals
    run, out = tmp_path / "run", tmp_path / "out"
    words = ("train", "diagnosis", "--source", source, "--out", run, *TINY, "--set", "steps=2")
    refused = command(*words)
    assert refused.code == 1 and "--outcome" in refused.err.strip().splitlines()[-1]
    trained = command(*words, "--outcome", "fir>=2")
    assert trained.code == 0, trained.err
    assert "fir>=2 holds for" in trained.err and trained.out.strip() == str(run)
    again = command("train", run / "recipe.yaml", "--out", run)
    assert again.code == 0 and "finished" in again.err

    told = command(
        "diagnose", run, target, "--predictions", target / "labelsTs", "--keep", "disc, cord", "--out", out
    )
    assert told.code == 0 and "disc and cord only  AUC" in told.out, told.err
    as_json = command(
        "diagnose",
        run,
        target,
        "--predictions",
        target / "labelsTs",
        "--keep",
        "disc",
        "--out",
        out,
        "--json",
    )
    assert json.loads(as_json.out) == json.loads((out / "diagnosis.json").read_text())
    assert sorted(path.name for path in out.iterdir()) == ["diagnosis.json", "outcomes.csv", "roc.png"]

    masks = command("segment", run, target, "--out", tmp_path / "masks")
    assert masks.code == 1 and "use `fewmask diagnose`" in masks.err
    shown = command("diagnose", "--help").out
    assert "Example: fewmask diagnose" in " ".join(shown.split())


def test_a_run_that_tells_no_outcome(command: Command, hospitals: tuple[Path, Path], tmp_path: Path) -> None:
    source, target = hospitals
    run = tmp_path / "run"
    assert (
        command("train", "supervised", "--masks", source, "--out", run, *TINY, "--set", "steps=1").code == 0
    )
    words = (
        "diagnose",
        run,
        target,
        "--predictions",
        target / "labelsTs",
        "--keep",
        "disc",
        "--out",
        tmp_path,
    )
    answer = command(*words)
    assert answer.code == 1 and "tells no outcome" in answer.err and "Traceback" not in answer.err
