"""Tags from masks: every slice as its mask says, volumes cut where training cuts them, images left alone; refusals."""

import csv
import json
from itertools import product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from fewmask.data.convert.convert import convert
from fewmask.data.convert.options import Options
from fewmask.data.layouts import read_cohort
from fewmask.data.preparation import Preparation
from fewmask.data.raster import read_case, read_classes
from fewmask.data.slice_tags import file_slices
from fewmask.errors import InputFault

torch.set_num_threads(1)

SHAPE = (6, 7, 5)
OBLIQUE = np.array([[np.cos(0.1), -np.sin(0.1), 0], [np.sin(0.1), np.cos(0.1), 0], [0, 0, 1]])


def affine(columns: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = OBLIQUE @ columns
    matrix[:3, 3] = (-31.25, 12.5, 7.75)
    return matrix


AXIAL = affine(np.diag([0.6, 0.6, 6.8]))


def save(path: Path, values: np.ndarray, matrix: np.ndarray = AXIAL, unit: str = "mm") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(values, matrix)
    image.header.set_xyzt_units(unit)
    nib.save(image, path)
    return path


def grey(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 900, shape).astype(np.int16)


def marked(*places: tuple[int, int, int], value: int = 1, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    for place in places:
        mask[place] = value
    return mask


def described(folder: Path, labels: dict[str, int], ending: str = ".nii.gz", channels: int = 1) -> Path:
    content = {
        "channel_names": {str(index): f"T{index + 1}" for index in range(channels)},
        "labels": labels,
        "file_ending": ending,
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def nnunet(folder: Path, masks: dict[str, np.ndarray], labels: dict[str, int] | None = None) -> Path:
    """Cases of the training part, those that start with t of the test part."""
    for seed, (name, mask) in enumerate(masks.items()):
        suffix = "Ts" if name.startswith("t") else "Tr"
        save(folder / f"images{suffix}" / f"{name}_0000.nii.gz", grey(seed, mask.shape))
        save(folder / f"labels{suffix}" / f"{name}.nii.gz", mask)
    return described(folder, labels or {"background": 0, "brain": 1})


def rows(folder: Path, table: str = "slices.csv") -> list[dict[str, str]]:
    with (folder / table).open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def tags(folder: Path, case: str, column: str = "brain") -> list[str]:
    told = [row for row in rows(folder) if row["case"] == case]
    assert [int(row["slice"]) for row in told] == list(range(len(told)))
    return [row[column] for row in told]


def refused(folder: Path, out: Path, *words: str, options: Options | None = None) -> None:
    before = sorted(out.parent.rglob("*"))
    with pytest.raises(InputFault) as fault:
        convert("tags-from-masks", folder, out, options=options)
    message = str(fault.value)
    assert "\n" not in message and ";" in message, message
    for word in words:
        assert word in message, message
    assert sorted(out.parent.rglob("*")) == before, "a refusal leaves nothing"


class TestNnunet:
    def test_tags_are_the_masks_slices_and_the_files_are_copies(self, tmp_path: Path) -> None:
        masks = {
            "a": marked((1, 2, 0), (3, 3, 2)),
            "b": marked((5, 6, 4)),
            "t": marked((0, 0, 1), (0, 0, 2)),
        }
        folder = nnunet(tmp_path / "in", masks)
        (folder / "cases.csv").write_text(
            "case,patient,site,split,age\na,p1,east,train,31\nb,p2,west,train,\nt,p3,east,test,29\n"
        )
        out = tmp_path / "deep" / "out"
        heard: list[str] = []
        assert convert("tags-from-masks", folder, out, tell=heard.append) == (out,)
        assert heard == []
        assert (tags(out, "a"), tags(out, "b"), tags(out, "t")) == (
            ["1", "0", "1", "0", "0"],
            ["0", "0", "0", "0", "1"],
            ["0", "1", "1", "0", "0"],
        )
        for name in ("imagesTr/a_0000", "imagesTr/b_0000", "imagesTs/t_0000"):
            copy, original = out / f"{name}.nii.gz", folder / f"{name}.nii.gz"
            assert copy.read_bytes() == original.read_bytes()
            assert not copy.is_symlink() and not copy.samefile(original)
        cohort = read_cohort(out)
        assert (cohort.classes, cohort.channels) == (("background", "brain"), ("T1",))
        for case in cohort.cases:
            np.testing.assert_array_equal(read_classes(cohort, case), masks[case.name])
        assert rows(out, "cases.csv") == rows(folder, "cases.csv")
        account = json.loads((out / "conversion.json").read_text())
        assert [case["shown"] for case in account["cases"]] == [{"brain": 2}, {"brain": 1}, {"brain": 2}]
        assert sorted(path.name for path in out.parent.iterdir()) == ["out"], "nothing unfinished is left"

    def test_several_classes_are_several_columns_and_ignored_slices_are_untold(self, tmp_path: Path) -> None:
        mask = marked((1, 1, 0), (2, 2, 3)) + marked((0, 0, 1), value=2)
        mask[3, 3, 3] = mask[3, 3, 4] = 255
        folder = nnunet(tmp_path / "in", {"a": mask}, {"background": 0, "brain": 1, "lung": 2, "ignore": 255})
        (out,) = convert("tags-from-masks", folder, tmp_path / "out")
        assert list(rows(out)[0]) == ["case", "slice", "brain", "lung"]
        assert tags(out, "a") == ["1", "0", "0", "1", ""]
        assert tags(out, "a", "lung") == ["0", "1", "0", "", ""]
        cohort = read_cohort(out)
        np.testing.assert_array_equal(read_classes(cohort, cohort.cases[0]), mask)

    def test_images_without_masks_are_left_out_and_patients_are_not_made_up(self, tmp_path: Path) -> None:
        folder = nnunet(tmp_path / "in", {"a": marked((1, 1, 1)), "b": marked((1, 1, 1))})
        (folder / "labelsTr" / "b.nii.gz").unlink()
        (out,) = convert("tags-from-masks", folder, tmp_path / "out")
        cohort = read_cohort(out)
        assert [case.name for case in cohort.cases] == ["a"]
        assert not cohort.patients_known
        assert json.loads((out / "conversion.json").read_text())["left_out"] == ["imagesTr/b_0000.nii.gz"]

    def test_masks_of_0_and_255_and_channels_in_one_file_become_nnunets(self, tmp_path: Path) -> None:
        folder = tmp_path / "in"
        both = grey(0, (*SHAPE, 2))
        save(folder / "imagesTr" / "a.nii.gz", both)
        save(folder / "labelsTr" / "a.nii.gz", marked((1, 1, 1), value=255))
        listed = [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}]
        (folder / "dataset.json").write_text(
            json.dumps(
                {
                    "modality": {"0": "T1", "1": "T2"},
                    "labels": {"0": "background", "1": "brain"},
                    "training": listed,
                }
            )
        )
        (out,) = convert("tags-from-masks", folder, tmp_path / "out")
        cohort = read_cohort(out)
        assert (cohort.layout, cohort.channels) == ("nnU-Net", ("T1", "T2"))
        np.testing.assert_array_equal(read_case(cohort.cases[0]).array, np.moveaxis(both, -1, 0))
        assert tags(out, "a") == ["0", "1", "0", "0", "0"]
        assert cohort.label_values == (0, 1)
        assert read_classes(cohort, cohort.cases[0]).max() == 1

    def test_a_picture_is_its_own_slice(self, tmp_path: Path) -> None:
        folder = tmp_path / "in"
        for name, value in (("a", 1), ("b", 0)):
            for home, stem in (("imagesTr", f"{name}_0000"), ("labelsTr", name)):
                (folder / home).mkdir(parents=True, exist_ok=True)
                pixels = np.full((4, 5), value, np.uint8)
                Image.fromarray(pixels).save(folder / home / f"{stem}.png")
        (out,) = convert(
            "tags-from-masks", described(folder, {"background": 0, "brain": 1}, ".png"), tmp_path / "out"
        )
        assert [(row["case"], row["slice"], row["brain"]) for row in rows(out)] == [
            ("a", "0", "1"),
            ("b", "0", "0"),
        ]
        assert (out / "imagesTr" / "a_0000.png").read_bytes() == (
            folder / "imagesTr" / "a_0000.png"
        ).read_bytes()
        assert len(read_cohort(out).cases) == 2


def bids(folder: Path, columns: dict[str, np.ndarray]) -> Path:
    """One stack a run, with two marked voxels, in the given directions of the array's axes."""
    for seed, (run, matrix) in enumerate(columns.items()):
        stem = f"sub-01_run-{run}_T2w"
        save(folder / "sub-01" / "anat" / f"{stem}.nii.gz", grey(seed), affine(matrix))
        save(
            folder / "derivatives" / "manual" / "sub-01" / "anat" / f"{stem}_desc-brain_mask.nii.gz",
            marked((0, 1, 2), (4, 1, 3)),
            affine(matrix),
        )
    return folder


def at_places(raster) -> dict[tuple[float, ...], int]:
    """Each voxel's value by where it lies in the patient."""
    return {
        tuple(np.round(raster.affine[:3, :3] @ index + raster.affine[:3, 3], 2)): int(raster.array[0][index])
        for index in product(*(range(side) for side in raster.shape))
    }


class TestBids:
    # Columns: what a step along each axis of the array is, to the right, to the front, to the head.
    LAST = np.array([[0, 0.6, 0], [0, 0, -6.8], [-0.6, 0, 0]])
    FIRST = np.array([[0, 0.6, 0], [6.8, 0, 0], [0, 0, 0.6]])
    MIDDLE = np.array([[0.6, 0, 0], [0, 0, 0.6], [0, -6.8, 0]])
    EVEN = np.array([[0, 2.0, 0], [2.0, 0, 0], [0, 0, 2.0]])
    TURNED = np.array([[0, 2.0, 0], [0, 0, 2.0], [2.0, 0, 0]])

    def test_volumes_that_are_thick_along_another_axis_are_turned_and_stay_in_their_place(
        self, tmp_path: Path
    ) -> None:
        folder = bids(tmp_path / "in", {"1": self.LAST, "2": self.FIRST, "3": self.MIDDLE})
        (out,) = convert("tags-from-masks", folder, tmp_path / "out")
        told = {run: tags(out, f"sub-01_run-{run}_T2w", "class_1") for run in "123"}
        assert told["1"] == ["0", "0", "1", "1", "0"]
        assert told["2"] == ["1", "0", "0", "0", "1", "0"]
        assert told["3"] == ["0", "1", "0", "0", "0", "0", "0"]
        before, after = read_cohort(folder), read_cohort(out)
        for original, written in zip(before.cases, after.cases, strict=True):
            assert at_places(read_case(written)) == at_places(read_case(original))
            assert written.patient == "sub-01"
            classes = read_classes(after, written)
            assert classes.sum() == 2
            shown = classes.any(axis=(0, 1)).astype(int)
            assert [str(tag) for tag in shown] == told[written.name[11]]
        first = out / "imagesTr" / "sub-01_run-1_T2w_0000.nii.gz"
        assert first.read_bytes() == (folder / "sub-01/anat/sub-01_run-1_T2w.nii.gz").read_bytes()
        account = json.loads((out / "conversion.json").read_text())
        assert [case["moved_axis"] for case in account["cases"]] == [None, 0, 1]

    @pytest.mark.parametrize(("runs", "usual"), [("12345", 2), ("1245", 1)])
    def test_training_finds_every_volumes_slices_along_the_last_axis(
        self, tmp_path: Path, runs: str, usual: int
    ) -> None:
        """Also of those that are thick in no direction, which are cut across the axis that suits the folder.

        The median volume of the first folder is thick in no direction, which means axial slices; that of the second
        is thick to the front.
        """
        every = {"1": self.LAST, "2": self.FIRST, "3": self.MIDDLE, "4": self.EVEN, "5": self.TURNED}
        folder = bids(tmp_path / "in", {run: every[run] for run in runs})
        (out,) = convert("tags-from-masks", folder, tmp_path / "out")
        preparation = Preparation("source", 1, 16, (), 1.0, slice_axis=usual)
        for case in read_cohort(out).cases:
            raster = read_case(case)
            assert sorted(file_slices(raster, preparation)) == list(range(raster.shape[2]))
        with pytest.raises(InputFault, match="last axis"):
            for case in read_cohort(folder).cases:
                file_slices(read_case(case), preparation)


class TestFaults:
    def test_tags_that_are_all_alike_are_written_and_told(self, tmp_path: Path) -> None:
        every = marked(*((0, 0, index) for index in range(5)))
        mask = every + 2 * marked((1, 1, 1))
        labels = {"background": 0, "brain": 1, "lung": 2, "spine": 3}
        heard: list[str] = []
        (out,) = convert(
            "tags-from-masks",
            nnunet(tmp_path / "in", {"a": mask}, labels),
            tmp_path / "out",
            tell=heard.append,
        )
        assert len(heard) == 2
        assert "every slice shows brain" in heard[0] and "no slice shows spine" in heard[1]
        assert all("\n" not in line and ";" in line for line in heard)
        assert json.loads((out / "conversion.json").read_text())["remarks"] == heard
        assert tags(out, "a") == ["1"] * 5

    def test_without_masks(self, tmp_path: Path) -> None:
        folder = nnunet(tmp_path / "in", {"a": marked((1, 1, 1))})
        (folder / "labelsTr" / "a.nii.gz").unlink()
        refused(folder, tmp_path / "out", "holds no masks")

    def test_a_folder_that_holds_something_is_left_alone(self, tmp_path: Path) -> None:
        folder = nnunet(tmp_path / "in", {"a": marked((1, 1, 1))})
        out = tmp_path / "out"
        out.mkdir()
        (out / "notes.txt").write_text("mine")
        refused(folder, out, "choose another folder")
        refused(folder, folder, "choose another folder")
        assert (out / "notes.txt").read_text() == "mine"

    def test_a_mask_that_does_not_fit(self, tmp_path: Path) -> None:
        folder = nnunet(tmp_path / "in", {"a": marked((1, 1, 1))})
        save(folder / "labelsTr" / "a.nii.gz", marked((1, 1, 1), shape=(6, 7, 4)))
        refused(folder, tmp_path / "out", "a.nii.gz", "6 x 7 x 4")

    def test_options_of_other_formats_and_reserved_names(self, tmp_path: Path) -> None:
        folder = nnunet(tmp_path / "in", {"a": marked((1, 1, 1))})
        refused(folder, tmp_path / "out", "leave the other options out", options=Options(crop="8mm"))
        described(folder, {"background": 0, "slice": 1})
        refused(folder, tmp_path / "out", "called slice")

    def test_pictures_that_the_layout_cannot_hold(self, tmp_path: Path) -> None:
        folder = tmp_path / "in"
        for home, ending in (("images", ".jpg"), ("masks", ".png")):
            (folder / home).mkdir(parents=True)
            Image.fromarray(np.eye(4, dtype=np.uint8)).save(folder / home / f"a{ending}")
        refused(folder, tmp_path / "out", "a.jpg", ".png")

    def test_pictures_among_volumes(self, tmp_path: Path) -> None:
        folder = tmp_path / "in"
        save(folder / "images" / "a.nii.gz", grey(0))
        save(folder / "masks" / "a.nii.gz", marked((1, 1, 1)))
        for home in ("images", "masks"):
            Image.fromarray(np.eye(4, dtype=np.uint8)).save(folder / home / "b.png")
        refused(folder, tmp_path / "out", "b.png")

    def test_the_nearest_name_is_offered(self, tmp_path: Path) -> None:
        with pytest.raises(InputFault, match="did you mean 'tags-from-masks'"):
            convert("tags-from-mask", tmp_path, tmp_path / "out")
