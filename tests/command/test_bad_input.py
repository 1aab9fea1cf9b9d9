"""Bad input gets one clear line with the remedy and a non-zero exit, and loses nothing."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from fewmask.data.phantom import write_phantom
from tests.command.conftest import TINY, Answer, Command


@pytest.fixture
def dataset(hospitals: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the source cohort that a test may spoil."""
    shutil.copytree(hospitals[0], tmp_path / "dataset")
    return tmp_path / "dataset"


def train(command: Command, dataset: Path, tmp_path: Path, *more: object) -> Answer:
    words = ("train", "supervised", "--masks", dataset, "--out", tmp_path / "run", *TINY, "--set", "steps=2")
    return command(*words, *more)


def assert_one_line(answer: Answer, code: int, *needles: str) -> None:
    """The last line of standard error is the message; there is no traceback."""
    assert answer.code == code, answer.err
    message = answer.err.strip().splitlines()[-1]
    assert message.startswith("fewmask: "), answer.err
    assert "Traceback" not in answer.err
    for needle in needles:
        assert needle in message, message


def first_image(dataset: Path) -> Path:
    return sorted((dataset / "imagesTr").iterdir())[0]


def first_mask(dataset: Path) -> Path:
    return sorted((dataset / "labelsTr").iterdir())[0]


def test_a_mask_of_another_size(command: Command, dataset: Path, tmp_path: Path) -> None:
    Image.new("L", (20, 31)).save(first_mask(dataset))
    assert_one_line(train(command, dataset, tmp_path), 1, first_mask(dataset).name)
    assert not (tmp_path / "run" / "checkpoint_latest.pt").exists()


def test_a_label_that_dataset_json_lacks(command: Command, dataset: Path, tmp_path: Path) -> None:
    Image.new("L", (32, 32), 9).save(first_mask(dataset))
    assert_one_line(train(command, dataset, tmp_path), 1, first_mask(dataset).name, "9")


def test_a_truncated_picture(command: Command, dataset: Path, tmp_path: Path) -> None:
    whole = first_image(dataset).read_bytes()
    first_image(dataset).write_bytes(whole[: len(whole) // 2])
    assert_one_line(train(command, dataset, tmp_path), 1, first_image(dataset).name)


@pytest.mark.parametrize("fault", ["truncated", "nan"])
def test_a_broken_volume(command: Command, tmp_path: Path, fault: str) -> None:
    source, _ = write_phantom("nested", tmp_path / "nested", 0, 4, 32)
    image = first_image(source)
    if fault == "truncated":
        image.write_bytes(image.read_bytes()[:2000])
    else:
        volume = nib.load(image)
        values = np.asarray(volume.dataobj, np.float32)
        values[0, 0, 0] = np.nan
        nib.save(nib.Nifti1Image(values, volume.affine), image)
    assert_one_line(train(command, source, tmp_path), 1, image.name)


def test_an_empty_folder_and_a_missing_one(command: Command, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    assert_one_line(train(command, tmp_path / "nothing", tmp_path), 1, "empty")
    assert_one_line(train(command, tmp_path / "nowhere", tmp_path), 1, "nowhere")


def test_a_patient_in_train_and_test(command: Command, dataset: Path, tmp_path: Path) -> None:
    table = dataset / "cases.csv"
    head, *rows = table.read_text().splitlines()
    column = head.split(",").index("patient")
    same = [",".join([*row.split(",")[:column], "P1", *row.split(",")[column + 1 :]]) for row in rows]
    table.write_text("\n".join([head, *same]) + "\n")
    assert_one_line(train(command, dataset, tmp_path), 1, "P1")


def test_unknown_recipes_options_and_keys(command: Command, dataset: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "run")
    assert_one_line(command("train", "supervized", "--masks", dataset, *out), 1, "did you mean 'supervised'")
    assert_one_line(command("train", "supervised", "--mask", dataset, *out), 2, "--mask")
    assert_one_line(
        train(command, dataset, tmp_path, "--set", "weights.dyce=2"), 1, "did you mean 'weights.dice'"
    )
    assert_one_line(train(command, dataset, tmp_path, "--set", "steps=many"), 1, "steps", "many")
    assert_one_line(train(command, dataset, tmp_path, "--set", "size=33"), 1, "multiple of 16")


def test_a_recipe_file_with_an_unknown_key(command: Command, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("name: mine\nstages:\n- {name: a, method: {kind: supervised}, steps: 1, bach: 2}\n")
    assert_one_line(command("train", recipe, "--out", tmp_path / "run"), 1, "did you mean 'batch'")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_no_gpu_where_one_is_asked_for(command: Command, dataset: Path, tmp_path: Path) -> None:
    assert_one_line(train(command, dataset, tmp_path, "--device", "cuda"), 1, "no GPU")


def test_a_target_is_missing(command: Command, dataset: Path, tmp_path: Path) -> None:
    answer = command(
        "train", "cyclegan", "--source", dataset, "--out", tmp_path / "run", *TINY, "--set", "steps=1"
    )
    assert_one_line(answer, 1, "--target")


class Stranger:
    """An object that only unpickling could bring back."""


@pytest.mark.parametrize("content", ["pickle", "other", "noise"])
def test_a_checkpoint_that_is_not_ours(
    command: Command, hospitals: tuple[Path, Path], tmp_path: Path, content: str
) -> None:
    assert train(command, hospitals[0], tmp_path).code == 0
    checkpoint = tmp_path / "run" / "checkpoint_chosen.pt"
    if content == "noise":
        checkpoint.write_bytes(os.urandom(300))
    else:
        torch.save(
            {"weights": Stranger()} if content == "pickle" else {"weights": torch.zeros(2)}, checkpoint
        )
    answer = command("segment", tmp_path / "run", hospitals[0], "--out", tmp_path / "masks")
    assert_one_line(answer, 1, "checkpoint")
    assert not list(tmp_path.glob("masks/*.png"))


def test_masks_of_0_and_255_are_remapped_with_a_remark(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "binary"
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(5):
        Image.fromarray(rng.integers(0, 256, (32, 32), np.uint8)).save(
            folder / "imagesTr" / f"c{index}_0000.png"
        )
        mask = np.zeros((32, 32), np.uint8)
        mask[8:20, 8:20] = 255
        Image.fromarray(mask).save(folder / "labelsTr" / f"c{index}.png")
    declared = {"channel_names": {"0": "grey"}, "labels": {"background": 0, "organ": 1}, "numTraining": 5}
    (folder / "dataset.json").write_text(json.dumps({**declared, "file_ending": ".png"}))
    answer = train(command, folder, tmp_path)
    assert answer.code == 0 and "255" in answer.err


def test_a_full_disk_while_a_checkpoint_is_written(
    command: Command, hospitals: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(content: object, file: BinaryIO) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        assert_one_line(train(command, hospitals[0], tmp_path), 3, "disk is full")
    assert not list((tmp_path / "run").glob("*.pt")) and not list((tmp_path / "run").glob(".checkpoint*"))
    assert train(command, hospitals[0], tmp_path).code == 0


def test_a_second_process_on_one_run_is_refused(
    command: Command, hospitals: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    code = (
        "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.lockf(file, fcntl.LOCK_EX)\n"
        "print('held', flush=True); input()"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path / "run" / ".lock")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        assert_one_line(train(command, hospitals[0], tmp_path), 1, "another process")
        other.communicate("\n")


def test_an_out_folder_that_holds_something_else(
    command: Command, hospitals: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("do not touch")
    assert_one_line(train(command, hospitals[0], tmp_path), 1, "not empty")
    assert (tmp_path / "run" / "thesis.txt").read_text() == "do not touch"


def test_images_that_changed_since_the_run_began(command: Command, dataset: Path, tmp_path: Path) -> None:
    assert train(command, dataset, tmp_path).code == 0
    (tmp_path / "run" / "finished.json").unlink()
    Image.new("RGB", (32, 32), 7).save(first_image(dataset))
    assert_one_line(train(command, dataset, tmp_path), 1, "changed")


def test_evaluate_without_a_prediction_and_segment_without_a_run(
    command: Command, hospitals: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    assert command("evaluate", tmp_path / "empty", hospitals[0], "--out", tmp_path / "scores").code == 1
    assert not (tmp_path / "scores" / "scores.csv").exists()
    answer = command("segment", tmp_path / "empty", hospitals[0], "--out", tmp_path / "masks")
    assert_one_line(answer, 1, "not a run folder")


def test_masks_that_segment_did_not_write_are_never_replaced(
    command: Command, dataset: Path, tmp_path: Path
) -> None:
    assert train(command, dataset, tmp_path).code == 0
    manual = sorted((dataset / "labelsTs").iterdir())[0]
    before = manual.read_bytes()
    answer = command("segment", tmp_path / "run", dataset, "--out", dataset / "labelsTs")
    assert_one_line(answer, 1, "did not write")
    assert manual.read_bytes() == before
    for _ in range(2):
        assert command("segment", tmp_path / "run", dataset, "--out", tmp_path / "masks").code == 0


def test_the_same_image_in_training_and_in_another_cohorts_test(
    command: Command, dataset: Path, hospitals: tuple[Path, Path], tmp_path: Path
) -> None:
    shutil.copytree(hospitals[1], tmp_path / "leak")
    shutil.copy(first_image(dataset), sorted((tmp_path / "leak" / "imagesTs").iterdir())[0])
    words = (
        "train",
        "cyclegan",
        "--source",
        dataset,
        "--target",
        tmp_path / "leak",
        "--out",
        tmp_path / "run",
    )
    assert_one_line(command(*words, *TINY, "--set", "steps=1"), 1, "same image trains")


def test_a_first_try_that_failed_does_not_block_its_folder(
    command: Command, dataset: Path, tmp_path: Path
) -> None:
    assert train(command, tmp_path / "nowhere", tmp_path).code == 1
    assert train(command, dataset, tmp_path, "--set", "seed=4").code == 0


def test_a_dataset_that_moved_is_known_again(command: Command, dataset: Path, tmp_path: Path) -> None:
    assert train(command, dataset, tmp_path).code == 0
    (tmp_path / "run" / "finished.json").unlink()
    dataset.rename(tmp_path / "moved")
    assert train(command, tmp_path / "moved", tmp_path).code == 0


def test_a_damaged_store_is_built_again(
    command: Command, dataset: Path, tmp_path: Path, own_cache: Path
) -> None:
    assert train(command, dataset, tmp_path).code == 0
    (tmp_path / "run" / "finished.json").unlink()
    for images in own_cache.glob("*/images.npy"):
        images.write_bytes(images.read_bytes()[:200])
    assert train(command, dataset, tmp_path).code == 0


def test_faults_of_a_recipe_are_told_before_anything_is_trained(
    command: Command, hospitals: tuple[Path, Path], tmp_path: Path
) -> None:
    cohorts = ("--source", hospitals[0], "--target", hospitals[1], "--out", tmp_path / "run")
    assert_one_line(
        command("train", "cyclegan", *cohorts, *TINY, "--set", "segmenter=foo"), 1, "no earlier stage"
    )
    masks = ("train", "supervised", "--masks", hospitals[0], "--out", tmp_path / "run", *TINY)
    assert_one_line(command(*masks, "--source-channel", "R"), 1, "no --source")
    assert_one_line(command(*masks, "--target", hospitals[1]), 1, "leave it out")
    assert_one_line(command(*masks, "--devices", "0"), 2, "devices")
    assert command(*masks, "--set", "precision=32", "--set", "steps=1").code == 0


def test_a_checkpoint_cut_short_is_named(
    command: Command, hospitals: tuple[Path, Path], tmp_path: Path
) -> None:
    assert train(command, hospitals[0], tmp_path).code == 0
    checkpoint = tmp_path / "run" / "checkpoint_chosen.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    answer = command("segment", tmp_path / "run", hospitals[0], "--out", tmp_path / "masks")
    assert_one_line(answer, 1, "checkpoint_chosen.pt")


def test_a_single_target_image(command: Command, hospitals: tuple[Path, Path], tmp_path: Path) -> None:
    target = tmp_path / "target"
    (target / "imagesTr").mkdir(parents=True)
    image = sorted((hospitals[1] / "imagesTr").iterdir())[0]
    shutil.copy(image, target / "imagesTr")
    shutil.copy(hospitals[1] / "dataset.json", target)
    words = ("--source", hospitals[0], "--target", target, "--out", tmp_path / "run", "--small")
    answer = command("train", "cyclegan", *words, "--set", "size=32", "--set", "critic_layers=2")
    assert_one_line(answer, 1, "single target image", "add images")


def test_attended_classes_and_sizes_that_do_not_fit(
    command: Command, hospitals: tuple[Path, Path], tmp_path: Path
) -> None:
    words = (
        "train",
        "msl",
        "--source",
        hospitals[0],
        "--target",
        hospitals[1],
        "--out",
        tmp_path / "run",
        "--small",
    )
    answer = command(*words, "--set", "size=32", "--set", "attended=[rular]")
    assert_one_line(answer, 1, "no class 'rular'", "did you mean 'ruler'")
    answer = command(*words, "--set", "size=16")
    assert_one_line(answer, 1, "at least 24 pixels", "critic_layers")
