"""MM-WHS and BTCV: voxels, labels, geometry, splits and the account of what was done; and every refusal."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from fewmask.console import silent
from fewmask.data.check import check_folders
from fewmask.data.convert.convert import convert
from fewmask.data.convert.options import Options
from fewmask.data.layouts import read_cohort
from fewmask.errors import InputFault

torch.set_num_threads(1)

# Array axes run to the left, to the feet and to the front: mirrored, permuted, anisotropic and oblique.
TURN = np.array([[np.cos(0.1), 0, np.sin(0.1)], [0, 1, 0], [-np.sin(0.1), 0, np.cos(0.1)]])
AFFINE = np.eye(4)
AFFINE[:3, :3] = TURN @ np.array([[-1.0, 0, 0], [0, 0, 2.0], [0, -1.5, 0]])
AFFINE[:3, 3] = (31.25, -12.5, 7.75)
SHAPE = (14, 12, 10)
MMWHS = np.array([0, 205, 420, 421, 500, 550, 600, 820, 850])
IN_SIFAS_ORDER = {205: 1, 420: 2, 421: 2, 500: 3, 820: 4}
WHOLE = Options(crop="none", clip_top=0, zscore=False)
TESTED = {"ct": (1003, 1008, 1014, 1019), "mr": (1007, 1009, 1018, 1019)}


def save(path: Path, values: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    return path


def image_of(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1000, 1500, SHAPE).astype(np.int16)


def labels_of(seed: int) -> np.ndarray:
    """All of the values, in the middle of the volume."""
    labels = np.zeros(SHAPE, np.int16)
    labels[4:10, 3:9, 3:8] = np.random.default_rng(seed + 1).choice(MMWHS, (6, 6, 5))
    return labels


def challenge(root: Path, modalities: tuple[str, ...] = ("ct", "mr"), training: int = 2) -> Path:
    for modality in modalities:
        numbers = [n for n in range(1001, 1021) if n not in TESTED[modality]][:training]
        for number in (*numbers, *TESTED[modality]):
            folder = root / f"{modality}_train"
            save(
                folder / f"{modality}_train_{number}_image.nii.gz",
                image_of(number + 5000 * (modality == "mr")),
            )
            save(folder / f"{modality}_train_{number}_label.nii.gz", labels_of(number))
    return root


def values(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def account(folder: Path) -> dict:
    return json.loads((folder / "conversion.json").read_text())


def of_case(folder: Path, name: str) -> dict:
    return next(case for case in account(folder)["cases"] if case["case"] == name)


def refused(*words: str, folder: Path, out: Path, format: str = "mmwhs", options: Options = WHOLE) -> None:
    with pytest.raises(InputFault) as fault:
        convert(format, folder, out, options=options)
    message = str(fault.value)
    assert "\n" not in message and ";" in message, message
    for word in words:
        assert word in message, message
    assert not list(out.glob("*")), "a refusal leaves nothing"


class TestMmwhs:
    def test_voxels_labels_and_parts_when_every_step_is_off(self, tmp_path: Path) -> None:
        mr, ct = convert("mmwhs", challenge(tmp_path / "in"), tmp_path / "out", options=WHOLE)
        assert (mr.name, ct.name) == ("Dataset951_MMWHS_MR", "Dataset952_MMWHS_CT")
        image = values(ct / "imagesTs" / "ct_1003_0000.nii.gz")
        assert image.dtype == np.int16
        np.testing.assert_array_equal(image, image_of(1003))
        raw = labels_of(1003)
        expected = np.vectorize(lambda value: IN_SIFAS_ORDER.get(value, 0))(raw)
        np.testing.assert_array_equal(values(ct / "labelsTs" / "ct_1003.nii.gz"), expected)
        assert set(np.unique(expected)) == {0, 1, 2, 3, 4}
        np.testing.assert_allclose(
            nib.load(ct / "imagesTr" / "ct_1001_0000.nii.gz").affine, AFFINE, atol=1e-5
        )
        for folder, modality in ((mr, "mr"), (ct, "ct")):
            cohort = read_cohort(folder)
            assert {case.name for case in cohort.part("test")} == {
                f"{modality}_{n}" for n in TESTED[modality]
            }
            assert len(cohort.part("train")) == 2
            assert cohort.patients_known
            assert all(case.patient == case.name and case.mask for case in cohort.cases)
            assert cohort.channels == (modality.upper(),)
        assert not list((tmp_path / "out").glob(".*")), "nothing unfinished is left"

    def test_the_two_modalities_pair_and_pass_the_check(self, tmp_path: Path) -> None:
        mr, ct = convert("mmwhs", challenge(tmp_path / "in"), tmp_path / "out")
        checked = check_folders([mr, ct], silent)
        assert checked.faults == 0, checked.text()
        names = ("background", "MYO", "LAC", "LVC", "AA")
        assert read_cohort(mr).classes == read_cohort(ct).classes == names

    def test_a_crop_is_centred_on_the_labels_and_moves_no_voxel(self, tmp_path: Path) -> None:
        options = Options(crop="8x8x9mm", clip_top=0, zscore=False)
        ct = convert("mmwhs", challenge(tmp_path / "in", ("ct",)), tmp_path / "out", options=options)[0]
        raw, whole = image_of(1003), labels_of(1003)
        kept = np.isin(whole, list(IN_SIFAS_ORDER))
        centre = [float(axis.mean()) for axis in np.nonzero(kept)]
        # The file's axes run along R (1 mm), S (1.5 mm) and A (2 mm), so 8, 9 / 1.5 and 8 / 2 voxels long.
        box = of_case(ct, "ct_1003")["steps"]["crop_box"]
        assert [last - first for first, last in box] == [8, 6, 4]
        for (first, last), middle in zip(box, centre, strict=True):
            assert abs((first + last - 1) / 2 - middle) <= 0.5
        written = nib.load(ct / "imagesTs" / "ct_1003_0000.nii.gz")
        cropped = np.asarray(written.dataobj)
        for index in np.ndindex(cropped.shape):
            there = np.array(index) + [first for first, _ in box]
            assert cropped[index] == raw[tuple(there)]
            np.testing.assert_allclose(
                written.affine @ [*index, 1], AFFINE @ [*there, 1], atol=1e-4, err_msg="a voxel has moved"
            )
        mask = nib.load(ct / "labelsTs" / "ct_1003.nii.gz")
        np.testing.assert_array_equal(mask.affine, written.affine)
        inside = kept[tuple(slice(*bounds) for bounds in box)].sum()
        assert of_case(ct, "ct_1003")["steps"]["label_voxels_cut"] == kept.sum() - inside > 0
        assert "test part too" in account(ct)["remarks"][0]

    def test_a_crop_in_voxels_ends_where_the_volume_ends(self, tmp_path: Path) -> None:
        options = Options(crop="100x4x100vox", clip_top=0, zscore=False)
        ct = convert("mmwhs", challenge(tmp_path / "in", ("ct",)), tmp_path / "out", options=options)[0]
        # 4 voxels from back to front, which is the file's last axis.
        assert values(ct / "imagesTs" / "ct_1003_0000.nii.gz").shape == (14, 12, 4)
        assert of_case(ct, "ct_1003")["steps"]["shape_before"] == list(SHAPE)

    def test_clip_and_z_score_as_written_down(self, tmp_path: Path) -> None:
        options = Options(crop="none", window="-500,900", clip_top=10.0)
        ct = convert("mmwhs", challenge(tmp_path / "in", ("ct",)), tmp_path / "out", options=options)[0]
        raw = np.clip(image_of(1003).astype(np.float64), -500, 900)
        steps = of_case(ct, "ct_1003")["steps"]
        assert steps["clip_value"] == pytest.approx(np.percentile(raw, 90), abs=1e-3)
        clipped = np.minimum(raw, steps["clip_value"])
        assert steps["mean"] == pytest.approx(clipped.mean(), rel=1e-6)
        assert steps["deviation"] == pytest.approx(clipped.std(), rel=1e-6)
        written = values(ct / "imagesTs" / "ct_1003_0000.nii.gz")
        assert written.dtype == np.float32
        np.testing.assert_allclose(written * steps["deviation"] + steps["mean"], clipped, atol=1e-3)
        assert account(ct)["steps"] == {
            "crop": None, "window": [-500, 900], "clip_top_percent": 10.0, "zscore": True,
        }  # fmt: skip

    def test_the_usual_steps_are_the_authors(self, tmp_path: Path) -> None:
        ct = convert("mmwhs", challenge(tmp_path / "in", ("ct",)), tmp_path / "out")[0]
        told = account(ct)
        assert told["steps"]["crop"] == {"sides": [256, 256, 256], "unit": "mm"}
        assert told["steps"]["clip_top_percent"] == 2 and told["steps"]["zscore"]
        assert told["labels"]["421"] == "LAC" and told["labels"]["850"] == "background"
        written = values(ct / "imagesTr" / "ct_1001_0000.nii.gz").astype(np.float64)
        assert abs(written.mean()) < 1e-4 and abs(written.std() - 1) < 1e-4
        assert (written == written.max()).mean() == pytest.approx(0.02, abs=0.005)

    def test_images_of_the_challenge_without_labels(self, tmp_path: Path) -> None:
        folder = challenge(tmp_path / "in", ("ct",))
        save(folder / "ct_test" / "ct_test_2001_image.nii.gz", image_of(2001))
        save(folder / "ct_train" / "ct_train_1001_image_copy.nii.gz", image_of(5))
        left = convert("mmwhs", folder, tmp_path / "out", options=WHOLE)[0]
        assert account(left)["left_out"] == [
            "ct_test/ct_test_2001_image.nii.gz", "ct_train/ct_train_1001_image_copy.nii.gz",
        ]  # fmt: skip
        options = Options(crop="8mm", clip_top=0, zscore=False, unlabelled=True)
        kept = convert("mmwhs", folder, tmp_path / "kept", options=options)[0]
        (bare,) = [case for case in read_cohort(kept).cases if case.mask is None]
        assert (bare.name, bare.part) == ("ct_2001", "train")
        assert values(bare.images[0]).shape == SHAPE, "nothing says where to crop it"
        assert of_case(kept, "ct_2001")["steps"]["crop_box"] is None

    def test_what_macos_leaves_behind_does_not_count(self, tmp_path: Path) -> None:
        folder = challenge(tmp_path / "in", ("ct",))
        (folder / "ct_train" / "._ct_train_1001_image.nii.gz").write_bytes(b"x")
        assert convert("mmwhs", folder, tmp_path / "out", options=WHOLE)


class TestRefusals:
    def test_a_missing_label_and_a_missing_image(self, tmp_path: Path) -> None:
        folder = challenge(tmp_path / "in", ("ct",))
        label = folder / "ct_train" / "ct_train_1001_label.nii.gz"
        content = label.read_bytes()
        label.unlink()
        refused("ct_train_1001_image", "label is missing", folder=folder, out=tmp_path / "out")
        label.write_bytes(content)
        (folder / "ct_train" / "ct_train_1001_image.nii.gz").unlink()
        refused("ct_train_1001_label", "no image", folder=folder, out=tmp_path / "out")

    def test_a_missing_test_case_unless_it_is_meant(self, tmp_path: Path) -> None:
        folder = challenge(tmp_path / "in", ("ct",))
        for kind in ("image", "label"):
            (folder / "ct_train" / f"ct_train_1014_{kind}.nii.gz").unlink()
        refused("CT", "1014", "--partial", folder=folder, out=tmp_path / "out")
        options = Options(crop="none", clip_top=0, zscore=False, partial=True)
        ct = convert("mmwhs", folder, tmp_path / "out", options=options)[0]
        assert len(read_cohort(ct).part("test")) == 3

    def test_nothing_to_train_on_and_nothing_at_all(self, tmp_path: Path) -> None:
        refused("train on", folder=challenge(tmp_path / "in", ("ct",), 0), out=tmp_path / "out")
        (tmp_path / "empty").mkdir()
        for format in ("mmwhs", "btcv"):
            refused("holds no", folder=tmp_path / "empty", out=tmp_path / "out", format=format)
        refused("no such folder", folder=tmp_path / "nowhere", out=tmp_path / "out")

    @pytest.mark.parametrize("again", ["ct_train_1003_image.nii", "ct_test_1003_image.nii.gz"])
    def test_a_test_case_that_is_in_training_too(self, tmp_path: Path, again: str) -> None:
        folder = challenge(tmp_path / "in", ("ct",))
        save(folder / "more" / again, image_of(1003))
        refused("ct_1003", "twice", folder=folder, out=tmp_path / "out")

    def test_an_unknown_label_value(self, tmp_path: Path) -> None:
        folder = challenge(tmp_path / "in", ("ct",))
        labels = labels_of(1001)
        labels[0, 0, 0] = 7
        save(folder / "ct_train" / "ct_train_1001_label.nii.gz", labels)
        refused("ct_train_1001_label", "holds 7", folder=folder, out=tmp_path / "out")

    def test_a_label_of_another_size_or_in_another_place(self, tmp_path: Path) -> None:
        folder = challenge(tmp_path / "in", ("ct",))
        label = folder / "ct_train" / "ct_train_1001_label.nii.gz"
        save(label, labels_of(1001)[:-1])
        refused("ct_train_1001_label", "13 x 12 x 10", "14 x 12 x 10", folder=folder, out=tmp_path / "out")
        elsewhere = AFFINE.copy()
        elsewhere[0, 3] += 1
        save(label, labels_of(1001), elsewhere)
        refused("ct_train_1001_label", "different places", folder=folder, out=tmp_path / "out")

    def test_a_truncated_file(self, tmp_path: Path) -> None:
        folder = challenge(tmp_path / "in", ("ct",))
        image = folder / "ct_train" / "ct_train_1001_image.nii.gz"
        image.write_bytes(image.read_bytes()[:-40])
        refused("ct_train_1001_image", "truncated", folder=folder, out=tmp_path / "out")

    def test_an_image_of_several_channels_or_without_contrast(self, tmp_path: Path) -> None:
        folder = challenge(tmp_path / "in", ("ct",))
        image = folder / "ct_train" / "ct_train_1001_image.nii.gz"
        save(image, np.zeros((*SHAPE, 2), np.int16))
        refused("ct_train_1001_image", "one channel", folder=folder, out=tmp_path / "out")
        save(image, np.full(SHAPE, 3, np.int16))
        refused("contrast", folder=folder, out=tmp_path / "out", options=Options())

    def test_labels_that_mark_nothing_cannot_centre_a_crop(self, tmp_path: Path) -> None:
        folder = challenge(tmp_path / "in", ("ct",))
        save(folder / "ct_train" / "ct_train_1001_label.nii.gz", np.full(SHAPE, 550, np.int16))
        refused("ct_train_1001_label", "--crop none", folder=folder, out=tmp_path / "out", options=Options())
        assert convert("mmwhs", folder, tmp_path / "whole", options=WHOLE)

    def test_an_occupied_folder_is_left_alone(self, tmp_path: Path) -> None:
        folder, occupied = challenge(tmp_path / "in"), tmp_path / "out" / "Dataset952_MMWHS_CT"
        occupied.mkdir(parents=True)
        (occupied / "mine.txt").write_text("mine")
        with pytest.raises(InputFault, match="exists already"):
            convert("mmwhs", folder, tmp_path / "out", options=WHOLE)
        assert sorted(path.name for path in (tmp_path / "out").rglob("*")) == [
            "Dataset952_MMWHS_CT",
            "mine.txt",
        ]

    @pytest.mark.parametrize(
        "options",
        [
            Options(crop="256"), Options(crop="1x2mm"), Options(crop="0mm"), Options(window="3"), Options(window="9,3"),
            Options(clip_top=100.0), Options(clip_top=-1.0), Options(label_5="ignore"),
        ],
    )  # fmt: skip
    def test_options_that_cannot_be(self, tmp_path: Path, options: Options) -> None:
        folder = challenge(tmp_path / "in", ("ct",), 1)
        refused("--", folder=folder, out=tmp_path / "out", options=options)

    def test_an_unknown_format(self, tmp_path: Path) -> None:
        refused("did you mean 'mmwhs'", folder=tmp_path, out=tmp_path / "out", format="mmwh")


class TestBtcv:
    @staticmethod
    def raw(root: Path, numbers: tuple[int, ...] = (1, 2, 3, 9, 30, 32, 33, 39)) -> Path:
        for number in numbers:
            training = root / "RawData" / "Training"
            save(training / "img" / f"img{number:04d}.nii.gz", image_of(number))
            labels = np.random.default_rng(number).integers(0, 14, SHAPE).astype(np.uint8)
            save(training / "label" / f"label{number:04d}.nii.gz", labels)
        return root

    def test_organs_parts_and_values(self, tmp_path: Path) -> None:
        folder = self.raw(tmp_path / "in")
        save(folder / "RawData" / "Testing" / "img" / "img0061.nii.gz", image_of(61))
        (ct,) = convert("btcv", folder, tmp_path / "out")
        cohort = read_cohort(ct)
        assert cohort.classes == ("background", "liver", "right_kidney", "left_kidney", "spleen")
        assert [case.name for case in cohort.part("train")] == ["ct_0002", "ct_0003"]
        assert len(cohort.part("test")) == 6
        raw = values(folder / "RawData" / "Training" / "label" / "label0002.nii.gz")
        written = values(ct / "labelsTr" / "ct_0002.nii.gz")
        for value in range(14):
            assert set(written[raw == value]) == {{6: 1, 2: 2, 3: 3, 1: 4}.get(value, 0)}
        np.testing.assert_array_equal(values(ct / "imagesTr" / "ct_0002_0000.nii.gz"), image_of(2))
        assert account(ct)["left_out"] == ["RawData/Testing/img/img0061.nii.gz"]
        assert check_folders([ct], silent).faults == 0

    def test_a_window_by_option(self, tmp_path: Path) -> None:
        (ct,) = convert(
            "btcv", self.raw(tmp_path / "in"), tmp_path / "out", options=Options(window="-125,275")
        )
        np.testing.assert_array_equal(
            values(ct / "imagesTr" / "ct_0002_0000.nii.gz"), np.clip(image_of(2), -125, 275)
        )

    def test_a_training_image_without_label_is_no_test_image(self, tmp_path: Path) -> None:
        folder = self.raw(tmp_path / "in")
        (folder / "RawData" / "Training" / "label" / "label0002.nii.gz").unlink()
        refused("img0002", "label is missing", folder=folder, out=tmp_path / "out", format="btcv")
