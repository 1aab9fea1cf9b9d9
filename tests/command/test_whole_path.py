"""From two folders to a scored report, as a user types it."""

import csv
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

from fewmask.data.phantom import write_phantom
from tests.command.conftest import TINY, TINY_CYCLEGAN, Command


def test_from_two_hospitals_to_a_report(
    command: Command, hospitals: tuple[Path, Path], tmp_path: Path
) -> None:
    source, target = hospitals
    run = tmp_path / "run"
    options = (*TINY_CYCLEGAN, "--set", "critic_layers=2", "--set", "steps=3")
    trained = command("train", "cyclegan", "--source", source, "--target", target, "--out", run, *options)
    assert trained.code == 0, trained.err
    assert "goes" not in trained.out and trained.out.strip() == str(run)
    for name in ("recipe.yaml", "environment.json", "split.json", "log.jsonl", "checkpoint_chosen.pt"):
        assert (run / name).exists(), name

    predictions = run / "predictions"
    assert command("segment", run, target, "--out", predictions, "--probabilities").code == 0
    tested = sorted((target / "imagesTs").glob("*.png"))
    assert len(tested) == 2
    for image in tested:
        mask = Image.open(predictions / image.name.replace("_0000", ""))
        assert mask.size == Image.open(image).size and np.asarray(mask).max() <= 3

    scored = command("evaluate", predictions, target, "--out", run, "--json")
    assert scored.code == 0 and "foreground_mean" in json.loads(scored.out)
    rows = list(csv.DictReader((run / "scores.csv").open()))
    assert len(rows) == 2 * 3 and rows[0]["unit"] == "px"

    assert command("report", run).code == 0
    page = (run / "report.html").read_text()
    assert "cyclegan" in page and "http://" not in page.replace("http://www.w3.org", "")


def test_the_same_command_again_says_finished_and_another_recipe_is_refused(
    command: Command, hospitals: tuple[Path, Path], tmp_path: Path
) -> None:
    words = (
        "train",
        "supervised",
        "--masks",
        hospitals[0],
        "--out",
        tmp_path / "run",
        *TINY,
        "--set",
        "steps=2",
    )
    assert command(*words).code == 0
    before = (tmp_path / "run" / "checkpoint_chosen.pt").read_bytes()
    again = command(*words)
    assert again.code == 0 and "finished" in again.err
    other = command(*words, "--set", "seed=5")
    assert other.code == 1 and "seed: 0 -> 5" in other.err
    assert (tmp_path / "run" / "checkpoint_chosen.pt").read_bytes() == before


def test_a_recipe_file_of_a_run_can_be_trained_again(
    command: Command, hospitals: tuple[Path, Path], tmp_path: Path
) -> None:
    words = (
        "train",
        "supervised",
        "--masks",
        hospitals[0],
        *TINY,
        "--set",
        "steps=2",
        "--out",
        tmp_path / "first",
    )
    assert command(*words).code == 0
    assert command("train", tmp_path / "first" / "recipe.yaml", "--out", tmp_path / "second").code == 0
    first, second = ((tmp_path / name / "checkpoint_chosen.pt").read_bytes() for name in ("first", "second"))
    assert first == second


def test_the_masks_of_a_target_are_never_opened(
    command: Command, hospitals: tuple[Path, Path], tmp_path: Path
) -> None:
    source, target = hospitals
    poisoned = tmp_path / "target"
    shutil.copytree(target, poisoned)
    for mask in (*(poisoned / "labelsTr").iterdir(), *(poisoned / "labelsTs").iterdir()):
        mask.write_bytes(b"nobody may read this")
    options = (*TINY_CYCLEGAN, "--set", "critic_layers=2", "--set", "steps=1")
    run = tmp_path / "run"
    assert (
        command("train", "cyclegan", "--source", source, "--target", poisoned, "--out", run, *options).code
        == 0
    )
    assert command("segment", run, poisoned, "--out", tmp_path / "masks").code == 0


def test_few_masks_of_the_target_beside_the_source(
    command: Command, hospitals: tuple[Path, Path], tmp_path: Path
) -> None:
    source, target = hospitals
    words = ("train", "supervised", "--source", source, "--masks", target, "--out", tmp_path / "run", *TINY)
    assert command(*words, "--set", "steps=2").code == 0
    assert set(json.loads((tmp_path / "run" / "material.json").read_text())["roles"]) == {"source", "masks"}


def test_a_run_starts_from_another(command: Command, hospitals: tuple[Path, Path], tmp_path: Path) -> None:
    source, target = hospitals
    floor = tmp_path / "floor"
    assert (
        command("train", "supervised", "--masks", source, "--out", floor, *TINY, "--set", "steps=2").code == 0
    )
    options = (*TINY_CYCLEGAN, "--set", "critic_layers=2", "--set", "steps=2", "--start-from", floor)
    run = tmp_path / "run"
    taken = command("train", "cyclegan", "--source", source, "--target", target, "--out", run, *options)
    assert taken.code == 0 and "segmenter: starts from" in taken.err
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert {line["stage"] for line in lines} == {"translators"}


def test_predictions_of_a_volume_have_its_exact_affine_and_shape(command: Command, tmp_path: Path) -> None:
    source, _ = write_phantom("nested", tmp_path / "nested", 0, 4, 32)
    run = tmp_path / "run"
    trained = command("train", "supervised", "--masks", source, "--out", run, *TINY, "--set", "steps=2")
    assert trained.code == 0, trained.err
    assert command("segment", run, source, "--out", run / "predictions", "--probabilities").code == 0
    for image in (source / "imagesTs").iterdir():
        name = image.name.replace("_0000", "")
        original, mask = nib.load(image), nib.load(run / "predictions" / name)
        assert mask.shape == original.shape and np.array_equal(mask.affine, original.affine)
    scored = command("evaluate", run / "predictions", source, "--out", run)
    assert scored.code == 0 and "mm" in scored.out


def test_one_folder_as_source_and_target_is_divided_by_patient(command: Command, tmp_path: Path) -> None:
    folder, _ = write_phantom("nested", tmp_path / "nested", 0, 8, 32)
    run = tmp_path / "run"
    options = (*TINY_CYCLEGAN, "--set", "critic_layers=2", "--set", "steps=1")
    trained = command("train", "cyclegan", "--source", folder, "--target", folder, "--out", run, *options)
    assert trained.code == 0, trained.err
    source, target = json.loads((run / "split.json").read_text())
    sides = [set(side["train"]) | set(side["validation"]) for side in (source, target)]
    assert sides[0] and sides[1] and not sides[0] & sides[1]


def test_help_of_every_verb_has_an_example(command: Command) -> None:
    listed = command("--help").out
    for verb in ("demo", "phantom", "check", "train", "segment", "evaluate", "report"):
        assert verb in listed
        assert f"Example: fewmask {verb}" in " ".join(command(verb, "--help").out.split())
