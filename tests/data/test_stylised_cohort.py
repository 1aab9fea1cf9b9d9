"""What a re-drawn store becomes on disk: units, neighbours, spacing and channels."""

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fewmask.data.case import Case, Cohort
from fewmask.data.intensity import Intensity
from fewmask.data.layouts import read_cohort
from fewmask.data.preparation import Preparation
from fewmask.data.raster import read_case, read_classes
from fewmask.data.store import SliceStore
from fewmask.data.stylised_cohort import Stylised, write_stylised

SIZE = 16
SLICES = 5
CLASSES = ("background", "inner")


def volume_case(folder: Path, unit: str = "mm") -> Case:
    """A volume of 12 x 24 x 5 voxels of 1 x 1 x 4 mm, which lies turned in its file."""
    path = folder / "case_0000.nii.gz"
    image = nib.Nifti1Image(np.zeros((12, 24, SLICES), np.float32), np.diag((-1.0, 1.0, 4.0, 1.0)))
    if unit == "mm":
        image.header.set_xyzt_units("mm")
    else:
        image = nib.Nifti1Image(np.zeros((12, 24, SLICES), np.float32), np.eye(4))
    folder.mkdir()
    nib.save(image, path)
    return Case("case", (path,), patient="anna")


def stylised(tmp_path: Path, channels: int, neighbours: int = 1, unit: str = "mm") -> Stylised:
    """Two copies of a case of five slices: its own fill 8 columns and 16 rows in the middle of the square."""
    case = volume_case(tmp_path / "origin", unit)
    rng = np.random.default_rng(0)
    stored = channels * neighbours
    folder = tmp_path / "store"
    folder.mkdir()
    np.save(
        folder / "images.npy",
        rng.uniform(-1, 1, (2 * SLICES, stored, SIZE, SIZE)).astype(np.float16),
    )
    np.save(folder / "masks.npy", rng.integers(0, 2, (2 * SLICES, SIZE, SIZE)).astype(np.uint8))
    store = SliceStore(folder, ("case",), (0,), ((0, 4, SIZE, 8),))
    own = Intensity("own_percentiles")
    preparation = Preparation(
        "source", channels, SIZE, (own,) * channels, 1.5, slice_axis=2, neighbours=neighbours
    )
    cohort = Cohort(tmp_path / "origin", "nnU-Net", (case,), ("MR",) * channels, patients_known=True)
    return Stylised(store, 2, cohort, preparation, CLASSES, (own,) * channels, ("MR", "T2")[:channels])


def test_ct_comes_back_in_its_own_unit(tmp_path: Path) -> None:
    what = replace(stylised(tmp_path, 1), looks=(Intensity("fixed", -1000.0, 500.0),), channels=("CT",))
    write_stylised(what, tmp_path / "out", lambda: None)
    cohort = read_cohort(tmp_path / "out")
    assert cohort.channels == ("CT",)
    slices = what.store.images(np.arange(SLICES))[:, 0, :, 4:12].transpose(2, 1, 0)
    read = read_case(cohort.cases[0])
    assert np.allclose(read.array[0], -1000.0 + (slices + 1) * 750.0, atol=1e-2)
    assert read.spacing == pytest.approx((1.5, 1.5, 4.0))
    assert (read.unit, cohort.cases[0].patient) == ("mm", "anna")


def test_of_neighbours_the_middle_slice_is_written(tmp_path: Path) -> None:
    what = stylised(tmp_path, 2, neighbours=3)
    write_stylised(what, tmp_path / "out", lambda: None)
    cohort = read_cohort(tmp_path / "out")
    assert cohort.channels == ("MR_scaled", "T2_scaled")
    images = what.store.images(np.arange(SLICES, 2 * SLICES))
    second = cohort.cases[1]
    assert second.name == "case_style1"
    read = read_case(second).array
    assert np.allclose(read, images[:, 2:4, :, 4:12].transpose(1, 3, 2, 0), atol=1e-6)
    masks = what.store.masks(np.arange(SLICES, 2 * SLICES))[:, :, 4:12].transpose(2, 1, 0)
    assert np.array_equal(read_classes(cohort, second), masks)


def test_an_unknown_size_stays_unknown(tmp_path: Path) -> None:
    what = stylised(tmp_path, 1, unit="px")
    write_stylised(what, tmp_path / "out", lambda: None)
    read = read_case(read_cohort(tmp_path / "out").cases[0])
    assert (read.unit, read.spacing) == ("px", (1.0, 1.0, 1.0))


def test_a_cohort_that_is_there_is_left_alone(tmp_path: Path) -> None:
    what = stylised(tmp_path, 1)
    write_stylised(what, tmp_path / "out", lambda: None)
    about = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert about["numTraining"] == 2
    assert about["labels"] == {"background": 0, "inner": 1}
    (tmp_path / "out" / "dataset.json").write_text("kept")
    write_stylised(what, tmp_path / "out", lambda: None)
    assert (tmp_path / "out" / "dataset.json").read_text() == "kept"
