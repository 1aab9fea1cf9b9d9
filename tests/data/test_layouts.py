"""Folders of every layout: what is found, what is refused, and that a target's masks are not even listed."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from fewmask.data.case import Cohort
from fewmask.data.check import check_cohort
from fewmask.data.layouts import find_labels, read_cohort, read_pair
from fewmask.data.raster import read_case, read_classes
from fewmask.errors import InputFault

REAL = Path(__file__).parents[3] / "shared" / "data"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the real images of ../shared/data are not here")

Labels = dict[str, Any]


def picture(path: Path, value: int = 0, other: int | None = None, colours: bool = False) -> Path:
    """A 6 x 5 picture of one value, with `other` in its first row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((6, 5, 3) if colours else (6, 5), value, np.uint8)
    pixels[0] = value if other is None else other
    Image.fromarray(pixels).save(path)
    return path


def volume(path: Path, depth: int = 4, channels: int = 0, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (6, 5, depth, channels) if channels else (6, 5, depth)
    nib.save(nib.Nifti1Image(np.full(shape, value, np.uint8), np.diag([2.0, 2.0, 3.0, 1.0])), path)
    return path


def described(
    folder: Path, labels: Labels | None = None, channels: tuple[str, ...] = ("MR",), **more: Any
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "channel_names": {str(index): name for index, name in enumerate(channels)},
        "labels": labels or {"background": 0, "tumour": 1},
        "file_ending": ".png",
        **more,
    }
    (folder / "dataset.json").write_text(json.dumps(content))


def nnunet(folder: Path, mask_value: int = 1, **more: Any) -> Path:
    """Three train cases (b, a, c) and one test case (t)."""
    described(folder, **more)
    for name in ("b", "a", "c"):
        picture(folder / "imagesTr" / f"{name}_0000.png", 9)
        picture(folder / "labelsTr" / f"{name}.png", 0, mask_value)
    picture(folder / "imagesTs" / "t_0000.png", 9)
    picture(folder / "labelsTs" / "t.png", 0, mask_value)
    return folder


def names(cohort: Cohort) -> list[str]:
    return [case.name for case in cohort.cases]


def fault(folder: Path, *words: str, masks: bool = True) -> str:
    with pytest.raises(InputFault) as error:
        read_cohort(folder, masks)
    message = str(error.value)
    assert "\n" not in message
    assert ";" in message, "the remedy follows a semicolon"
    assert len(message) < 400
    for word in words:
        assert word in message, message
    return message


_watched: list[str] = []
_touched: list[str] = []


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched and event in ("open", "os.scandir", "os.listdir") and arguments:
        path = str(arguments[0])
        _touched.extend(path for word in _watched if word in path)


sys.addaudithook(_audit)


@contextmanager
def untouched(*words: str) -> Iterator[None]:
    """Fails where anything in this process lists a folder or opens a file with one of the words in its path."""
    _touched.clear()
    _watched.extend(words)
    try:
        yield
    finally:
        _watched.clear()
    assert not _touched


class TestNnunet:
    def test_cases_parts_and_labels(self, tmp_path: Path) -> None:
        cohort = read_cohort(nnunet(tmp_path / "D"))
        assert (cohort.layout, names(cohort)) == ("nnU-Net", ["a", "b", "c", "t"])
        assert [case.part for case in cohort.cases] == ["train", "train", "train", "test"]
        assert (cohort.channels, cohort.classes, cohort.label_values) == (
            ("MR",),
            ("background", "tumour"),
            (0, 1),
        )
        assert cohort.cases[0].mask == tmp_path / "D" / "labelsTr" / "a.png"
        assert cohort.cases[3].mask == tmp_path / "D" / "labelsTs" / "t.png"
        assert not cohort.patients_known
        assert any("no patient column" in remark for remark in cohort.remarks)

    def test_channels_in_files_of_their_own(self, tmp_path: Path) -> None:
        described(tmp_path, channels=("FLAIR", "T1"), file_ending=".nii.gz")
        for channel in (1, 0):
            volume(tmp_path / "imagesTr" / f"a_{channel:04d}.nii.gz", value=channel)
        cohort = read_cohort(tmp_path)
        assert cohort.channels == ("FLAIR", "T1")
        np.testing.assert_array_equal(read_case(cohort.cases[0]).array[:, 0, 0, 0], [0, 1])
        assert [path.name for path in cohort.cases[0].images] == ["a_0000.nii.gz", "a_0001.nii.gz"]
        volume(tmp_path / "imagesTr" / "b_0000.nii.gz")
        fault(tmp_path, "b", "lacks channel 0001")
        (tmp_path / "imagesTr" / "a_0001.nii.gz").unlink()
        fault(tmp_path, "lacks channel 0001")

    def test_three_channels_in_one_file(self, tmp_path: Path) -> None:
        described(tmp_path, channels=("R", "G", "B"))
        picture(tmp_path / "imagesTr" / "a_0000.png", 3, colours=True)
        cohort = read_cohort(tmp_path)
        assert cohort.channels == ("R", "G", "B")
        assert len(cohort.cases[0].images) == 1
        assert read_case(cohort.cases[0]).array.shape == (3, 6, 5)

    def test_declared_labels(self, tmp_path: Path) -> None:
        labels = {"vein": 7, "background": 0, "ignore": 9, "artery": 2}
        cohort = read_cohort(nnunet(tmp_path / "D", labels=labels, mask_value=2))
        assert cohort.classes == ("background", "artery", "vein")
        assert (cohort.label_values, cohort.ignored_value) == ((0, 2, 7), 9)
        described(tmp_path / "D", {"background": 0, "whole": [1, 2]})
        fault(tmp_path / "D", "region")
        described(tmp_path / "D", {"background": 0, "a": 1, "b": 1})
        fault(tmp_path / "D", "two labels")
        described(tmp_path / "D", {"background": 0, "a": 255})
        assert read_cohort(tmp_path / "D").ignored_value == -1

    def test_black_and_white_masks(self, tmp_path: Path) -> None:
        cohort = read_cohort(nnunet(tmp_path / "D", mask_value=255))
        assert (cohort.classes, cohort.label_values) == (("background", "tumour"), (0, 255))
        assert cohort.ignored_value == -1
        assert "masks hold 0 and 255: 255 is read as tumour" in cohort.remarks
        np.testing.assert_array_equal(read_classes(cohort, cohort.cases[0])[:2, 0], [1, 0])

    def test_black_and_white_is_seen_behind_empty_masks(self, tmp_path: Path) -> None:
        folder = nnunet(tmp_path / "D", mask_value=255)
        for index in range(12):
            picture(folder / "imagesTr" / f"0{index:02d}_0000.png")
            picture(folder / "labelsTr" / f"0{index:02d}.png")
        assert read_cohort(folder).label_values == (0, 255)

    def test_255_stays_ignored_beside_1_or_an_ignore_label(self, tmp_path: Path) -> None:
        folder = nnunet(tmp_path / "D", mask_value=1)
        picture(folder / "labelsTr" / "a.png", 0, 255)
        assert (read_cohort(folder).label_values, read_cohort(folder).ignored_value) == ((0, 1), 255)
        folder = nnunet(tmp_path / "E", mask_value=255, labels={"background": 0, "x": 1, "ignore": 255})
        assert (read_cohort(folder).label_values, read_cohort(folder).ignored_value) == ((0, 1), 255)

    def test_faults(self, tmp_path: Path) -> None:
        folder = nnunet(tmp_path / "D")
        picture(folder / "labelsTr" / "z.png")
        fault(folder, "z.png", "no image")
        (folder / "labelsTr" / "z.png").unlink()
        picture(folder / "imagesTr" / "stray.png")
        fault(folder, "stray_0000.png")
        (folder / "imagesTr" / "stray.png").unlink()
        (folder / "dataset.json").write_text("{")
        fault(folder, "not valid JSON")
        (folder / "dataset.json").write_text("{}")
        fault(folder, "channel_names")
        (folder / "dataset.json").unlink()
        fault(folder, "no dataset.json")

    def test_a_damaged_mask_does_not_stop_the_listing(self, tmp_path: Path) -> None:
        folder = nnunet(tmp_path / "D", mask_value=255)
        (folder / "labelsTr" / "a.png").write_bytes(b"\x89PNG")
        assert read_cohort(folder).label_values == (0, 255)

    def test_its_image_folder_alone(self, tmp_path: Path) -> None:
        described(tmp_path, channels=("FLAIR", "T1"), file_ending=".nii.gz")
        for channel in (0, 1):
            volume(tmp_path / "imagesTs" / f"a_{channel:04d}.nii.gz")
        cohort = read_cohort(tmp_path / "imagesTs")
        assert (names(cohort), cohort.channels) == (["a"], ("FLAIR", "T1"))

    def test_dotted_files_do_not_count(self, tmp_path: Path) -> None:
        folder = nnunet(tmp_path / "D")
        (folder / "imagesTr" / "._a_0000.png").write_bytes(b"mac")
        (folder / "labelsTr" / "._a.png").write_bytes(b"mac")
        assert len(read_cohort(folder).cases) == 4


class TestMasksAreLeftAlone:
    def test_nnunet(self, tmp_path: Path) -> None:
        folder = nnunet(tmp_path / "D")
        (folder / "labelsTr" / "a.png").write_bytes(b"poison")
        picture(folder / "labelsTr" / "nobody.png")
        with untouched("labelsTr", "labelsTs"):
            cohort = read_cohort(folder, masks=False)
        assert len(cohort.cases) == 4
        assert all(case.mask is None for case in cohort.cases)
        assert (cohort.classes, cohort.label_values) == ((), ())

    def test_the_watch_itself_sees_a_reader_of_masks(self, tmp_path: Path) -> None:
        folder = nnunet(tmp_path / "D")
        with pytest.raises(AssertionError), untouched("labelsTr"):
            read_cohort(folder)

    def test_the_other_layouts(self, tmp_path: Path) -> None:
        for place in ("masks", "labels", "Segmentations"):
            picture(tmp_path / place / "images" / "a.png")
            picture(tmp_path / place / place / "a.png", 1)
            picture(tmp_path / f"flat_{place}" / "a.png")
            picture(tmp_path / f"flat_{place}" / place / "a.png", 1)
            picture(tmp_path / f"nested_{place}" / "one" / "a.png")
            picture(tmp_path / f"nested_{place}" / place / "one" / "a.png", 1)
        for folder in sorted(tmp_path.iterdir()):
            place = folder.name.rpartition("_")[2]
            with untouched(str(folder / place)):
                assert [case.mask for case in read_cohort(folder, masks=False).cases] == [None]
            assert read_cohort(folder).cases[0].mask is not None
        bids = make_bids(tmp_path / "bids")
        with untouched("derivatives"):
            read_cohort(bids, masks=False)
        pair = make_pair(tmp_path / "pair")
        with untouched("labelsB", "maskA", "testB_mask"):
            read_cohort(pair / "trainA", masks=False)
            read_cohort(pair / "trainB", masks=False)
        with untouched("labelsB", "testB_mask"):
            read_pair(pair)
        manifest = make_manifest(tmp_path / "m")
        with untouched("drawn"):
            cohort = read_cohort(manifest, masks=False)
        assert all(case.mask is None for case in cohort.cases)

    def test_an_unlabelled_target_needs_no_labels_in_its_json(self, tmp_path: Path) -> None:
        folder = nnunet(tmp_path / "D", labels={"background": 0, "whole": [1, 2]})
        assert len(read_cohort(folder, masks=False).cases) == 4


def decathlon(folder: Path) -> Path:
    for name in ("h_001", "h_003"):
        volume(folder / "imagesTr" / f"{name}.nii.gz", channels=2)
        volume(folder / "labelsTr" / f"{name}.nii.gz", value=1)
        (folder / "imagesTr" / f"._{name}.nii.gz").write_bytes(b"mac")
    listed = [
        {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}
        for name in ("h_003", "h_001", "._h_001")
    ]
    content = {
        "modality": {"0": "T1", "1": "T2"},
        "labels": {"0": "background", "2": "posterior", "1": "anterior"},
        "training": listed,
        "test": ["./imagesTs/h_002.nii.gz"],
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


class TestDecathlon:
    def test_listed_cases(self, tmp_path: Path) -> None:
        cohort = read_cohort(decathlon(tmp_path))
        assert names(cohort) == ["h_001", "h_003"]
        assert (cohort.channels, cohort.classes) == (("T1", "T2"), ("background", "anterior", "posterior"))
        assert cohort.cases[0].mask == tmp_path / "labelsTr" / "h_001.nii.gz"
        assert any("test images" in remark for remark in cohort.remarks)
        volume(tmp_path / "imagesTs" / "h_002.nii.gz", channels=2)
        assert [case.name for case in read_cohort(tmp_path).part("test")] == ["h_002"]
        assert set(find_labels(tmp_path)) == {"h_001", "h_003"}

    def test_missing_files(self, tmp_path: Path) -> None:
        decathlon(tmp_path)
        (tmp_path / "labelsTr" / "h_001.nii.gz").unlink()
        fault(tmp_path, "h_001.nii.gz", "label")
        with untouched("labelsTr"):
            assert len(read_cohort(tmp_path, masks=False).cases) == 2
        (tmp_path / "imagesTr" / "h_003.nii.gz").unlink()
        fault(tmp_path, "h_003.nii.gz")

    def test_the_first_nnunet(self, tmp_path: Path) -> None:
        folder = decathlon(tmp_path)
        for name in ("h_001", "h_003"):
            (folder / "imagesTr" / f"{name}.nii.gz").unlink()
            for channel in range(2):
                volume(folder / "imagesTr" / f"{name}_{channel:04d}.nii.gz")
        cohort = read_cohort(folder)
        assert (cohort.layout, names(cohort), len(cohort.cases[0].images)) == (
            "nnU-Net",
            ["h_001", "h_003"],
            2,
        )


def make_bids(folder: Path) -> Path:
    (folder / "derivatives").mkdir(parents=True)
    (folder / "dataset_description.json").write_text("{}")
    (folder / "participants.tsv").write_text(
        "participant_id\tsite\tage\nsub-01\tBasel\tn/a\nsub-02\tn/a\t31\n"
    )
    volume(folder / "sub-01" / "ses-1" / "anat" / "sub-01_ses-1_run-2_T2w.nii.gz")
    volume(folder / "sub-01" / "ses-1" / "anat" / "sub-01_ses-1_run-1_T2w.nii.gz")
    volume(folder / "sub-02" / "anat" / "sub-02_T2w.nii.gz")
    volume(folder / "sub-02" / "func" / "sub-02_task-rest_bold.nii.gz")
    drawn = folder / "derivatives" / "manual"
    volume(drawn / "sub-01" / "ses-1" / "anat" / "sub-01_ses-1_run-1_T2w_desc-brain_mask.nii.gz", value=1)
    volume(drawn / "sub-02" / "anat" / "sub-02_desc-brain_mask.nii.gz", value=1)
    volume(drawn / "sub-02" / "anat" / "sub-02_space-MNI_desc-brain_mask.nii.gz", value=1)
    return folder


class TestBids:
    def test_subjects_sessions_runs_and_masks(self, tmp_path: Path) -> None:
        cohort = read_cohort(make_bids(tmp_path / "b"))
        assert names(cohort) == ["sub-01_ses-1_run-1_T2w", "sub-01_ses-1_run-2_T2w", "sub-02_T2w"]
        assert [case.patient for case in cohort.cases] == ["sub-01", "sub-01", "sub-02"]
        assert [case.site for case in cohort.cases] == ["Basel", "Basel", None]
        assert [case.mask and case.mask.name for case in cohort.cases] == [
            "sub-01_ses-1_run-1_T2w_desc-brain_mask.nii.gz",
            None,
            "sub-02_desc-brain_mask.nii.gz",
        ]
        assert cohort.cases[2].columns == {"age": "31"}
        assert cohort.patients_known
        assert (cohort.channels, cohort.classes) == (("T2w",), ("background", "class_1"))
        assert set(find_labels(tmp_path / "b")) == {"sub-01_ses-1_run-1_T2w", "sub-02_T2w"}

    def test_contrasts(self, tmp_path: Path) -> None:
        for subject in ("sub-1", "sub-2"):
            for contrast in ("T2w", "T1w"):
                volume(tmp_path / subject / "anat" / f"{subject}_{contrast}.nii.gz")
        cohort = read_cohort(tmp_path)
        assert (names(cohort), cohort.channels) == (["sub-1", "sub-2"], ("T1w", "T2w"))
        (tmp_path / "sub-2" / "anat" / "sub-2_T1w.nii.gz").unlink()
        fault(tmp_path, "sub-2 lacks T1w")

    def test_doubtful_masks(self, tmp_path: Path) -> None:
        folder = make_bids(tmp_path / "b")
        second = volume(
            folder / "derivatives" / "other" / "sub-02" / "anat" / "sub-02_T2w_desc-x_mask.nii.gz"
        )
        fault(folder, "same image")
        second.unlink()
        volume(folder / "derivatives" / "manual" / "sub-02" / "anat" / "sub-02_run-9_T2w_desc-x_mask.nii.gz")
        fault(folder, "no image for this mask")


def make_pair(folder: Path) -> Path:
    for half in ("trainA", "trainB", "testA", "testB"):
        picture(folder / half / f"{half}_1.png")
    picture(folder / "maskA" / "trainA_1.png", 0, 255)
    picture(folder / "labelsB" / "trainB_1.png", 0, 1)
    picture(folder / "testB_mask" / "testB_1.png", 0, 1)
    return folder


class TestPair:
    def test_two_cohorts(self, tmp_path: Path) -> None:
        source, target = read_pair(make_pair(tmp_path))
        assert (names(source), names(target)) == (["testA_1", "trainA_1"], ["testB_1", "trainB_1"])
        assert [case.part for case in target.cases] == ["test", "train"]
        assert source.part("train")[0].mask == tmp_path / "maskA" / "trainA_1.png"
        assert source.label_values == (0, 255)
        assert all(case.mask is None for case in target.cases)
        ceiling = read_pair(tmp_path, target_masks=True)[1]
        assert [case.mask is not None for case in ceiling.cases] == [True, True]
        assert set(find_labels(tmp_path)) == {"testB_1"}

    def test_a_half_is_a_folder_and_the_whole_is_none(self, tmp_path: Path) -> None:
        make_pair(tmp_path)
        fault(tmp_path, "two cohorts", "trainA")
        half = read_cohort(tmp_path / "trainA")
        assert (names(half), half.cases[0].mask) == (["trainA_1"], tmp_path / "maskA" / "trainA_1.png")
        with pytest.raises(InputFault, match="trainA and trainB"):
            read_pair(tmp_path / "trainA")


class TestPlain:
    @pytest.mark.parametrize("place", ["masks", "labels", "annotations", "segmentations"])
    @pytest.mark.parametrize("suffix", ["", "_mask", "_seg", "_label"])
    def test_images_and_masks(self, tmp_path: Path, place: str, suffix: str) -> None:
        for name in ("b", "a"):
            picture(tmp_path / "images" / f"{name}.jpg")
            picture(tmp_path / place / f"{name}{suffix}.png", 0, 3)
        cohort = read_cohort(tmp_path)
        assert (cohort.layout, names(cohort), cohort.channels) == ("plain", ["a", "b"], ("image",))
        assert (cohort.classes, cohort.label_values) == (("background", "class_1"), (0, 3))
        assert cohort.cases[0].mask == tmp_path / place / f"a{suffix}.png"
        assert set(find_labels(tmp_path)) == {"a", "b"}
        assert set(find_labels(tmp_path / place)) == {"a", "b"}

    def test_masks_beside_their_images(self, tmp_path: Path) -> None:
        picture(tmp_path / "a (1).png", colours=True)
        picture(tmp_path / "a (1)_mask.png", 0, 255)
        picture(tmp_path / "b_mask.png")
        cohort = read_cohort(tmp_path)
        assert names(cohort) == ["a (1)", "b_mask"], "b_mask lies beside no b, so it is an image"
        assert cohort.cases[0].mask == tmp_path / "a (1)_mask.png"
        assert cohort.channels == ("R", "G", "B")
        assert names(read_cohort(tmp_path, masks=False)) == ["a (1)", "b_mask"]
        picture(tmp_path / "a (1)_mask_1.png", 0, 255)
        fault(tmp_path, "2 masks")

    def test_one_level_deeper(self, tmp_path: Path) -> None:
        for patient in ("p1", "p2"):
            picture(tmp_path / "images" / patient / "x.png")
            picture(tmp_path / "masks" / patient / "x.png", 0, 1)
        cohort = read_cohort(tmp_path)
        assert names(cohort) == ["p1_x", "p2_x"]
        assert cohort.cases[1].mask == tmp_path / "masks" / "p2" / "x.png"
        assert set(find_labels(tmp_path / "masks")) == {"p1_x", "p2_x"}

    def test_numbers_are_channels_only_where_something_says_so(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            for channel in range(2):
                picture(tmp_path / "two" / f"{name}_{channel:04d}.png")
        apart = ["a_0000", "a_0001", "b_0000", "b_0001"]
        assert names(read_cohort(tmp_path / "two")) == apart
        for name in ("a", "b"):
            picture(tmp_path / "two" / "masks" / f"{name}_mask.png", 0, 1)
        cohort = read_cohort(tmp_path / "two")
        assert (names(cohort), cohort.channels) == (["a", "b"], ("channel_0", "channel_1"))
        assert cohort.cases[1].mask == tmp_path / "two" / "masks" / "b_mask.png"
        for name in ("a", "b"):
            (tmp_path / "two" / "masks" / f"{name}_mask.png").unlink()
            picture(tmp_path / "two" / "masks" / f"{name}_0001.png", 0, 1)
        cohort = read_cohort(tmp_path / "two")
        assert names(cohort) == apart
        assert [case.mask is not None for case in cohort.cases] == [False, True, False, True]
        described(tmp_path / "two", channels=("MR",))
        assert names(read_cohort(tmp_path / "two", masks=False)) == apart, "one channel is no stack"
        described(tmp_path / "two", channels=("T1", "T2"))
        cohort = read_cohort(tmp_path / "two", masks=False)
        assert (names(cohort), cohort.channels) == (["a", "b"], ("T1", "T2"))
        (tmp_path / "two" / "b_0001.png").unlink()
        fault(tmp_path / "two", "b", "lacks channel 0001", masks=False)

    def test_a_number_that_all_share_is_no_part_of_the_name(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            picture(tmp_path / "D" / f"{name}_0000.png")
        assert names(read_cohort(tmp_path / "D")) == ["a", "b"]
        picture(tmp_path / "D" / "masks" / "a.png", 0, 1)
        assert names(read_cohort(tmp_path / "D")) == ["a", "b"]
        (tmp_path / "D" / "masks" / "a.png").rename(tmp_path / "D" / "masks" / "a_0000.png")
        cohort = read_cohort(tmp_path / "D")
        assert names(cohort) == ["a_0000", "b_0000"]
        assert cohort.cases[0].mask is not None
        picture(tmp_path / "E" / "a_0000.png")
        picture(tmp_path / "E" / "a_0000_mask.png", 0, 1)
        assert read_cohort(tmp_path / "E").cases[0].mask == tmp_path / "E" / "a_0000_mask.png"

    def test_numbers_one_level_deeper(self, tmp_path: Path) -> None:
        for channel in range(2):
            picture(tmp_path / "images" / "p1" / f"x_{channel:04d}.png")
        assert names(read_cohort(tmp_path)) == ["p1_x_0000", "p1_x_0001"]
        picture(tmp_path / "masks" / "p1" / "x.png", 0, 1)
        assert names(read_cohort(tmp_path)) == ["p1_x"]

    def test_an_unreadable_first_image_does_not_stop_the_listing(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(b"no picture")
        fault(tmp_path, "a.png")
        picture(tmp_path / "b.png", colours=True)
        cohort = read_cohort(tmp_path)
        assert (names(cohort), cohort.channels) == (["a", "b"], ("R", "G", "B"))
        report = check_cohort(cohort)
        assert (report.unreadable, [finding.cases for finding in report.faults]) == (1, [("a",)])

    def test_the_frames_of_a_film_are_cases(self, tmp_path: Path) -> None:
        for frame in range(12):
            picture(tmp_path / "film" / f"frame_{frame:04d}.png")
        assert len(read_cohort(tmp_path / "film").cases) == 12

    def test_values_in_undeclared_masks(self, tmp_path: Path) -> None:
        for name, value in (("a", 4), ("b", 2), ("c", 255)):
            picture(tmp_path / "images" / f"{name}.png")
            picture(tmp_path / "masks" / f"{name}.png", 0, value)
        cohort = read_cohort(tmp_path)
        assert (cohort.label_values, cohort.ignored_value) == ((0, 2, 4), 255)
        assert any("255 is ignored" in remark for remark in cohort.remarks)
        pixels = np.arange(100, dtype=np.uint8).reshape(10, 10)
        Image.fromarray(pixels).save(tmp_path / "masks" / "a.png")
        fault(tmp_path, "too many")

    def test_a_class_beyond_the_masks_that_are_looked_at(self, tmp_path: Path) -> None:
        for index in range(201):
            picture(tmp_path / "images" / f"{index:03}.png")
            picture(tmp_path / "masks" / f"{index:03}.png", 0, 2 if index == 200 else 1)
        cohort = read_cohort(tmp_path)
        assert cohort.classes == ("background", "class_1")
        assert any("first 200 of 201" in remark and "dataset.json" in remark for remark in cohort.remarks)
        with pytest.raises(InputFault, match=r"200\.png: holds 2, .*; .*write a dataset.json that names all"):
            read_classes(cohort, cohort.cases[200])
        # The remedy works: plain folders may have a dataset.json too.
        (tmp_path / "dataset.json").write_text('{"labels": {"background": 0, "a": 1, "b": 2}}')
        named = read_cohort(tmp_path)
        assert (named.layout, named.classes, len(named.cases)) == ("plain", ("background", "a", "b"), 201)
        assert not any("first 200" in remark for remark in named.remarks)
        assert read_classes(named, named.cases[200]).max() == 2
        assert read_cohort(tmp_path, masks=False).classes == ()
        rows = "".join(f"{name},images/{name}.png,masks/{name}.png,p\n" for name in ("000", "200"))
        (tmp_path / "manifest.csv").write_text(f"case,image,mask,patient\n{rows}")
        listed = read_cohort(tmp_path)
        assert (names(listed), listed.patients_known) == (["000", "200"], True)
        assert listed.classes == ("background", "a", "b")

    def test_faults(self, tmp_path: Path) -> None:
        picture(tmp_path / "Hospital" / "images" / "a.png")
        fault(tmp_path / "Hospitol", "did you mean 'Hospital'")
        (tmp_path / "empty").mkdir()
        fault(tmp_path / "empty", "is empty")
        (tmp_path / "text").mkdir()
        (tmp_path / "text" / "notes.txt").write_text("x")
        fault(tmp_path / "text", "no images")
        fault(tmp_path / "text" / "notes.txt", "unknown ending")
        fault(tmp_path, "Hospital")
        picture(tmp_path / "Hospital" / "images" / "a.bmp")
        fault(tmp_path / "Hospital", "same stem")
        (tmp_path / "Hospital" / "images" / "a.bmp").unlink()
        picture(tmp_path / "Hospital" / "masks" / "z.png")
        fault(tmp_path / "Hospital", "z.png", "no image")
        (tmp_path / "Hospital" / "masks" / "z.png").unlink()
        picture(tmp_path / "Hospital" / "labels" / "a.png")
        fault(tmp_path / "Hospital", "leave one of them")

    def test_single_images(self, tmp_path: Path) -> None:
        path = picture(tmp_path / "a.png")
        assert [(case.name, case.images) for case in read_cohort(path, masks=False).cases] == [("a", (path,))]

    def test_many_cases_are_listed_without_reading_them(self, tmp_path: Path) -> None:
        content = picture(tmp_path / "x.png").read_bytes()
        described(tmp_path / "D")
        for folder, ending in (("imagesTr", "_0000.png"), ("labelsTr", ".png")):
            (tmp_path / "D" / folder).mkdir()
            for index in range(1000):
                (tmp_path / "D" / folder / f"{index:05d}{ending}").write_bytes(content)
        rows = "".join(f"{index:05d},p{index}\n" for index in range(1000))
        (tmp_path / "D" / "cases.csv").write_text("case,patient\n" + rows)
        with pytest.raises(AssertionError), untouched("labelsTr/"):
            cohort = read_cohort(tmp_path / "D")
        assert len(set(_touched)) == 50, "of 1000 empty masks, some are looked at to tell 0/1 from 0/255"
        start = time.perf_counter()
        with untouched("imagesTr/"):
            cohort = read_cohort(tmp_path / "D")
        assert time.perf_counter() - start < 2
        assert len(cohort.cases) == 1000


def dicom_file(path: Path, series: str, position: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = f"{series}.{position}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    header.SOPClassUID, header.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    header.SeriesInstanceUID = series
    header.Rows, header.Columns, header.SamplesPerPixel = 6, 5, 1
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 8, 8, 7, 0
    header.PhotometricInterpretation = "MONOCHROME2"
    header.PixelSpacing, header.ImageOrientationPatient = [1, 1], [1, 0, 0, 0, 1, 0]
    header.ImagePositionPatient = [0, 0, position]
    header.PixelData = bytes(30)
    header.save_as(path, enforce_file_format=True)


class TestDicomFolders:
    def test_one_series_a_folder(self, tmp_path: Path) -> None:
        for name in ("p2", "p1"):
            for index in (2, 0, 1):
                dicom_file(tmp_path / "d" / name / f"{index}.dcm", f"1.2.{name[1]}", index)
        cohort = read_cohort(tmp_path / "d")
        assert (cohort.layout, names(cohort), cohort.channels) == ("DICOM series", ["p1", "p2"], ("image",))
        assert read_case(cohort.cases[0]).shape == (5, 6, 3)
        assert names(read_cohort(tmp_path / "d" / "p1")) == ["p1"], "the series itself is one case"
        volume(tmp_path / "d" / "masks" / "p1.nii.gz", value=1)
        assert read_cohort(tmp_path / "d").cases[0].mask is not None

    def test_a_folder_of_radiographs(self, tmp_path: Path) -> None:
        for index in range(3):
            dicom_file(tmp_path / f"x{index}.dcm", f"1.2.{index}", 0)
        assert names(read_cohort(tmp_path)) == ["x0", "x1", "x2"]


def make_manifest(folder: Path) -> Path:
    for index in range(3):
        picture(folder / "pixels" / f"{index}_a.png")
        picture(folder / "pixels" / f"{index}_b.png")
        picture(folder / "drawn" / f"{index}.png", 0, 1)
    rows = [
        "image_T1,image_T2,mask,case,patient,site,split,age",
        "pixels/0_a.png,pixels/0_b.png,drawn/0.png,zero,p0,Bern,train,50",
        "pixels/1_a.png,pixels/1_b.png,,one,p1,,validation,",
        "pixels/2_a.png,pixels/2_b.png,drawn/2.png,two,p2,Bern,test,70",
    ]
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder


class TestManifest:
    def test_columns(self, tmp_path: Path) -> None:
        for where in (make_manifest(tmp_path), tmp_path / "manifest.csv"):
            cohort = read_cohort(where)
            assert (cohort.layout, names(cohort)) == ("manifest", ["one", "two", "zero"])
            assert cohort.channels == ("T1", "T2")
            one, two, zero = cohort.cases
            assert (one.part, two.part, zero.part) == ("train", "test", "train")
            assert (zero.patient, zero.site, one.site, dict(zero.columns)) == (
                "p0",
                "Bern",
                None,
                {"age": "50"},
            )
            assert one.mask is None
            assert zero.mask == tmp_path / "drawn" / "0.png"
            assert cohort.patients_known

    def test_one_image_column_and_a_semicolon(self, tmp_path: Path) -> None:
        picture(tmp_path / "a.png", colours=True)
        (tmp_path / "list.csv").write_bytes("\ufeffimage;note\na.png;x, y\n".encode())
        cohort = read_cohort(tmp_path / "list.csv")
        assert (names(cohort), cohort.channels) == (["a"], ("R", "G", "B"))
        assert cohort.cases[0].columns == {"note": "x, y"}
        assert not cohort.patients_known

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("image\nnone.png\n", "does not exist"),
            ("picture\na.png\n", "no column image"),
            ("image\n", "no cases"),
            ("image,case\na.png,x\na.png,x\n", "two cases are called x"),
            ("image,case\na.png,../x\n", "slashes"),
            ("image,split\na.png,dev\n", "split 'dev'"),
            ("image,image\na.png,a.png\n", "two columns"),
        ],
    )
    def test_faults(self, tmp_path: Path, text: str, words: str) -> None:
        picture(tmp_path / "a.png")
        (tmp_path / "list.csv").write_text(text)
        fault(tmp_path / "list.csv", "list.csv", words)


class TestTables:
    def test_patients_sites_splits_and_other_columns(self, tmp_path: Path) -> None:
        folder = nnunet(tmp_path / "D")
        (folder / "cases.csv").write_text(
            "case,patient,site,split,age\na,p1,Bern,test,50\nb,p2,,val,\nc,p2,,,\n"
        )
        cohort = read_cohort(folder)
        a, b, c, t = cohort.cases
        assert (a.patient, a.site, a.part, dict(a.columns)) == ("p1", "Bern", "test", {"age": "50"})
        assert (b.patient, b.part, c.part) == ("p2", "train", "train")
        assert (t.patient, t.part) == ("t", "test")
        assert cohort.patients_known

    def test_no_patient_column(self, tmp_path: Path) -> None:
        folder = nnunet(tmp_path / "D")
        (folder / "cases.csv").write_text("case,finding\na,benign\n")
        cohort = read_cohort(folder)
        assert not cohort.patients_known
        assert "no patient column in cases.csv: every case counts as one patient" in cohort.remarks
        assert [case.patient for case in cohort.cases] == ["a", "b", "c", "t"]

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("case,patient\nzz,p\n", "'zz' is not in the folder"),
            ("case,patient\na,p\na,q\n", "two rows"),
            ("name,patient\na,p\n", "no column case"),
            ("case,split\na,holdout\n", "use train, val or test"),
            ("case,patient\na,p,q\n", "more columns"),
        ],
    )
    def test_faults_of_cases(self, tmp_path: Path, text: str, words: str) -> None:
        folder = nnunet(tmp_path / "D")
        (folder / "cases.csv").write_text(text)
        fault(folder, "cases.csv", words)

    def test_slice_tags(self, tmp_path: Path) -> None:
        described(tmp_path, file_ending=".nii.gz")
        volume(tmp_path / "imagesTr" / "a_0000.nii.gz", depth=3)
        (tmp_path / "slices.csv").write_text("case,slice,brain\na,0,0\na,2,1\n")
        assert read_cohort(tmp_path).cases[0].slice_tags == {0: {"brain": "0"}, 2: {"brain": "1"}}
        for text, words in [
            ("case,slice,brain\na,3,1\n", "slices 0 to 2, but 3"),
            ("case,slice,brain\nb,0,1\n", "'b' is not in the folder"),
            ("case,slice,brain\na,0,1\na,0,1\n", "given twice"),
            ("case,slice,brain\na,-1,1\n", "no number"),
            ("case,brain\na,1\n", "case and slice"),
        ]:
            (tmp_path / "slices.csv").write_text(text)
            fault(tmp_path, "slices.csv", words)


class TestFindLabels:
    def test_of_a_dataset_and_of_predictions(self, tmp_path: Path) -> None:
        folder = nnunet(tmp_path / "D")
        assert find_labels(folder) == {"t": folder / "labelsTs" / "t.png"}
        (folder / "labelsTs" / "t.png").unlink()
        assert set(find_labels(folder)) == {"a", "b", "c"}
        results = tmp_path / "predictions"
        volume(results / "one.nii.gz")
        volume(results / "one_probabilities.nii.gz", channels=2)
        (results / "scores.csv").write_text("x")
        np.savez(results / "two.npz", probabilities=np.zeros(3))
        assert find_labels(results) == {"one": results / "one.nii.gz"}
        volume(results / "one.nii")
        with pytest.raises(InputFault, match="same case"):
            find_labels(results)
        with pytest.raises(InputFault, match="no such folder"):
            find_labels(tmp_path / "nowhere")

    def test_a_folder_without_masks(self, tmp_path: Path) -> None:
        assert find_labels(tmp_path) == {}


@needs_real
class TestRealFolders:
    @pytest.mark.parametrize(
        ("name", "train", "test", "channels", "classes"),
        [
            ("Dataset101_JSRT", 198, 49, ("X-ray",), ("background", "lung")),
            ("Dataset102_COVIDCXR", 50, 47, ("X-ray",), ("background", "lung")),
            ("Dataset201_LGG", 15, 7, ("FLAIR", "T1-post"), ("background", "tumour")),
            ("Dataset301_BUSI", 622, 156, ("ultrasound",), ("background", "lesion")),
            ("Dataset501_Nuclei_fluorescence", 112, 48, ("R", "G", "B"), ("background", "nucleus")),
            ("Dataset502_Nuclei_histology_stained", 74, 33, ("R", "G", "B"), ("background", "nucleus")),
            ("Task04_Hippocampus", 100, 0, ("MRI",), ("background", "Anterior", "Posterior")),
            ("fetal-mri-bids", 6, 0, ("T2w",), ("background", "class_1")),
        ],
    )
    def test_as_they_lie(
        self, name: str, train: int, test: int, channels: tuple[str, ...], classes: tuple[str, ...]
    ) -> None:
        cohort = read_cohort(REAL / name)
        assert (len(cohort.part("train")), len(cohort.part("test"))) == (train, test)
        assert (cohort.channels, cohort.classes) == (channels, classes)
        case = cohort.cases[0]
        raster = read_case(case)
        assert len(raster.array) == len(channels)
        assert read_classes(cohort, case).shape == raster.shape
        with untouched("labelsTr", "labelsTs", "derivatives"):
            assert len(read_cohort(REAL / name, masks=False).cases) == train + test

    def test_tags_patients_and_units(self) -> None:
        lgg = read_cohort(REAL / "Dataset201_LGG")
        assert all(len(case.slice_tags) == read_case(case).shape[2] for case in lgg.cases[:2])
        assert read_case(lgg.cases[0]).unit == "px"
        fetus = read_cohort(REAL / "fetal-mri-bids")
        assert {case.patient for case in fetus.cases} == {"sub-01"}
        assert read_case(fetus.cases[0]).unit == "mm"
        assert not read_cohort(REAL / "Dataset301_BUSI").patients_known
