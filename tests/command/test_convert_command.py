"""`fewmask convert` as a user types it."""

from pathlib import Path

import nibabel as nib
import numpy as np

from tests.command.conftest import Command


def btcv(root: Path) -> Path:
    rng = np.random.default_rng(0)
    for number in (1, 2, 9, 30, 32, 33, 39):
        for kind, high in (("img", 1000), ("label", 14)):
            (root / kind).mkdir(parents=True, exist_ok=True)
            values = rng.integers(0, high, (8, 8, 6)).astype(np.int16)
            nib.save(
                nib.Nifti1Image(values, np.diag([1, 1, 3, 1])), root / kind / f"{kind}{number:04d}.nii.gz"
            )
    return root


def test_help_shows_formats_and_an_example(command: Command) -> None:
    answer = command("convert", "--help")
    assert answer.code == 0
    for word in ("mmwhs", "sifa", "chaos", "btcv", "FORMAT", "IN", "OUT", "Example: fewmask convert mmwhs"):
        assert word in answer.out


def test_a_run_and_its_check(command: Command, tmp_path: Path) -> None:
    folder, out = btcv(tmp_path / "Training"), tmp_path / "out"
    answer = command("convert", "btcv", folder, out, "--window", "-125,275", "--crop", "6x6x9mm")
    assert answer.code == 0, answer.err
    (written,) = [Path(line) for line in answer.out.split()]
    assert written == out / "Dataset956_BTCV_CT"
    assert nib.load(written / "imagesTr" / "ct_0002_0000.nii.gz").shape == (6, 6, 3)
    assert command("check", written).code == 0
    again = command("convert", "btcv", folder, out)
    assert again.code == 1 and "exists already" in again.err and again.err.count("\n") == 1


def test_what_cannot_be_asked(command: Command, tmp_path: Path) -> None:
    assert command("convert", "sifa", tmp_path, tmp_path / "out", "--label-5", "maybe").code == 2
    answer = command("convert", "mmwhs", tmp_path / "nowhere", tmp_path / "out")
    assert answer.code == 1 and "no such folder" in answer.err
