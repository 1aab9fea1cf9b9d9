"""What is wrong with volumes is said in one line, with the remedy, before anything trains."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fewmask.data.phantom import write_phantom
from tests.command.conftest import TINY, TINY_CYCLEGAN, Command

Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def scanners(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An MR-like source and a CT-like target."""
    source, target = write_phantom("nested", tmp_path_factory.mktemp("nested") / "nested", 0, 5, 32)
    return source, target


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def other_labels(folder: Path) -> None:
    content = json.loads((folder / "dataset.json").read_text())
    content["labels"] = {"background": 0, "liver": 1, "spleen": 2}
    (folder / "dataset.json").write_text(json.dumps(content))


def two_channels(folder: Path) -> None:
    """A second MR sequence in the same files."""
    for image in (folder / "imagesTr").iterdir():
        volume = nib.load(image)
        values = np.asarray(volume.dataobj)
        nib.save(nib.Nifti1Image(np.stack([values, values], -1), volume.affine), image)


def id_of_test_trains(folder: Path) -> None:
    """The id of a test case in the training fold."""
    train, tested = (
        [name.replace("_0000.nii.gz", "") for name in names(folder / f"images{part}")]
        for part in ("Tr", "Ts")
    )
    fold = {"train": [*train[:-1], tested[0]], "val": train[-1:]}
    (folder / "splits_final.json").write_text(json.dumps([fold]))


def case_in_both_parts(folder: Path) -> None:
    name = names(folder / "imagesTs")[0]
    shutil.copy(folder / "imagesTs" / name, folder / "imagesTr" / name)
    mask = name.replace("_0000", "")
    shutil.copy(folder / "labelsTs" / mask, folder / "labelsTr" / mask)


def patient_of_test_trains(folder: Path) -> None:
    text = (folder / "cases.csv").read_text()
    (folder / "cases.csv").write_text(text.replace("patient0003", "patient0000"))


def thick(folder: Path) -> None:
    for image in sorted((folder / "imagesTr").iterdir())[:1]:
        volume = nib.load(image)
        nib.save(nib.Nifti1Image(np.asarray(volume.dataobj), np.diag([1.0, 1.0, 9.0, 1.0])), image)


def spoilt(folder: Path, tmp_path: Path, change: Change) -> Path:
    copy = tmp_path / folder.name
    shutil.copytree(folder, copy)
    change(copy)
    return copy


def assert_refused(command: Command, words: tuple[object, ...], *needles: str) -> None:
    """One line on standard error, with all of these words, and an exit code of 1."""
    answer = command("train", *words)
    assert answer.code == 1, answer.err
    told = [line for line in answer.err.splitlines() if line.startswith("fewmask: ")]
    assert len(told) == 1 and "Traceback" not in answer.err, answer.err
    for needle in needles:
        assert needle in told[0], told[0]


def adaptation(source: Path, target: Path, tmp_path: Path, *changes: str) -> tuple[object, ...]:
    options = [word for change in ("steps=1", "critic_layers=2", *changes) for word in ("--set", change)]
    return (
        "cyclegan",
        "--source",
        source,
        "--target",
        target,
        "--out",
        tmp_path / "run",
        *TINY_CYCLEGAN,
        *options,
    )


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize(
    ("change", "needles"),
    [
        (other_labels, ("liver", "outer", "dataset.json", "give both the same `labels`")),
        (two_channels, ("1 (", "2 (", "channels cannot train together", "--target-channel")),
        (case_in_both_parts, ("0003", "rename one")),
        (patient_of_test_trains, ("train and test: patient", "patient0000", "on both sides")),
    ],
)
def test_an_adaptation_is_refused(
    command: Command,
    scanners: tuple[Path, Path],
    tmp_path: Path,
    side: int,
    change: Change,
    needles: tuple[str, ...],
) -> None:
    pair = list(scanners)
    pair[side] = spoilt(pair[side], tmp_path, change)
    assert_refused(command, adaptation(pair[0], pair[1], tmp_path), *needles)


def test_a_test_id_in_the_training_split(
    command: Command, scanners: tuple[Path, Path], tmp_path: Path
) -> None:
    source = spoilt(scanners[0], tmp_path, id_of_test_trains)
    assert_refused(
        command,
        adaptation(source, scanners[1], tmp_path),
        "splits_final.json",
        "source0003",
        "mend or remove",
    )


def test_a_stack_that_is_cut_across_a_thin_direction(
    command: Command, scanners: tuple[Path, Path], tmp_path: Path
) -> None:
    target = spoilt(scanners[1], tmp_path, thick)
    words = adaptation(scanners[0], target, tmp_path, "slice_axis=sagittal")
    assert_refused(command, words, "target0000", "9 mm", "too anisotropic for sagittal", "slice_axis=auto")


@pytest.mark.parametrize("change", ["neighbours=3", "slice_axis=coronal"])
def test_pictures_have_no_slices(
    command: Command, hospitals: tuple[Path, Path], tmp_path: Path, change: str
) -> None:
    words = ("supervised", "--masks", hospitals[0], "--out", tmp_path / "run", *TINY, "--set", change)
    assert_refused(command, words, change, "these are pictures; leave it out")


def test_a_run_goes_on_from_another_only_with_the_same_slices(
    command: Command, scanners: tuple[Path, Path], tmp_path: Path
) -> None:
    floor = tmp_path / "floor"
    words = ("supervised", "--masks", scanners[0], *TINY, "--set", "steps=1")
    assert command("train", *words, "--set", "neighbours=3", "--out", floor).code == 0
    again = (*words, "--start-from", floor, "--out", tmp_path / "run")
    assert_refused(command, again, "neighbours=3, this run has neighbours=1; give --set neighbours=3")
    assert command("train", *again, "--set", "neighbours=3").code == 0


def test_a_target_without_declared_labels_is_taken_and_its_masks_stay_closed(
    command: Command, scanners: tuple[Path, Path], tmp_path: Path
) -> None:
    def bare(folder: Path) -> None:
        content = json.loads((folder / "dataset.json").read_text())
        del content["labels"]
        (folder / "dataset.json").write_text(json.dumps(content))
        for mask in (folder / "labelsTr").iterdir():
            mask.write_bytes(b"nobody may read this")

    target = spoilt(scanners[1], tmp_path, bare)
    changes = (
        "neighbours=3",
        "scaling.rule=z_score",
        "scaling.source=[-1.8,4.4]",
        "scaling.target=[-2.8,3.2]",
    )
    trained = command("train", *adaptation(scanners[0], target, tmp_path, *changes))
    assert trained.code == 0, trained.err
    kept = json.loads((tmp_path / "run" / "preparation.json").read_text())
    pairs = {role: (rule["intensity"][0]["low"], rule["intensity"][0]["high"]) for role, rule in kept.items()}
    assert pairs == {"source": (-1.8, 4.4), "target": (-2.8, 3.2)}
    assert command("segment", tmp_path / "run", scanners[1], "--out", tmp_path / "masks").code == 0
