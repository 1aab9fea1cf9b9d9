"""CHAOS: slices sorted by where they lie, masks matched by name, geometry from the headers, and every refusal."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from fewmask.console import silent
from fewmask.data.check import check_folders
from fewmask.data.convert.convert import convert
from fewmask.data.convert.options import Options
from fewmask.data.layouts import read_cohort
from fewmask.errors import InputFault

torch.set_num_threads(1)

SECRET = "Doe^Jane"
ROWS, COLUMNS, DEPTH = 9, 11, 5
GREYS = np.array([0, 63, 126, 189, 252], np.uint8)
TESTED = (1, 13, 32, 38)
# A row runs to the patient's left, a column to the back and slightly down; slices 7.5 mm apart along the normal.
ROW, COLUMN = np.array([1.0, 0, 0]), np.array([0, np.cos(0.2), -np.sin(0.2)])
NORMAL = np.cross(ROW, COLUMN)
ORIGIN = np.array([-80.0, -60.0, 20.0])


def dicom(path: Path, pixels: np.ndarray, place: int, series: str) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = MRImageStorage, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = generate_uid()
    header = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    header.PatientName = header.PatientID = SECRET
    header.SOPClassUID, header.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
    header.SeriesInstanceUID, header.Modality = series, "MR"
    header.Rows, header.Columns = pixels.shape
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated = header.BitsStored = 16
    header.HighBit, header.PixelRepresentation = 15, 0
    header.PixelSpacing = [1.6, 1.4]
    header.ImageOrientationPatient = [float(f"{part:.8f}") for part in (*ROW, *COLUMN)]
    header.ImagePositionPatient = [float(f"{part:.6f}") for part in ORIGIN + 7.5 * place * NORMAL]
    header.PixelData = pixels.astype(np.uint16).tobytes()
    header.save_as(path, enforce_file_format=True)


def drawn(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Slices and masks (DEPTH, ROWS, COLUMNS), the lowest along the normal first."""
    rng = np.random.default_rng(number)
    return rng.integers(0, 1500, (DEPTH, ROWS, COLUMNS)), rng.choice(GREYS, (DEPTH, ROWS, COLUMNS))


def name_of(place: int) -> str:
    """Names run from the head down, so their order is not that of the positions."""
    return f"IMG-0004-{DEPTH - place:05d}"


def case(root: Path, number: int, parent: str = "Train_Sets") -> Path:
    folder = root / parent / "MR" / str(number) / "T2SPIR"
    (folder / "DICOM_anon").mkdir(parents=True)
    (folder / "Ground").mkdir()
    # The other sequence of the same patient must not be taken.
    (folder.parent / "T1DUAL" / "Ground").mkdir(parents=True)
    slices, masks = drawn(number)
    series = generate_uid()
    for place in range(DEPTH):
        dicom(folder / "DICOM_anon" / f"{name_of(place)}.dcm", slices[place], place, series)
        Image.fromarray(masks[place]).save(folder / "Ground" / f"{name_of(place)}.png")
    return folder


def challenge(root: Path) -> Path:
    for number in (*TESTED, 2, 3):
        case(root, number)
    return root


def refused(*words: str, folder: Path, out: Path) -> None:
    with pytest.raises(InputFault) as fault:
        convert("chaos", folder, out)
    message = str(fault.value)
    assert "\n" not in message and ";" in message and SECRET not in message, message
    for word in words:
        assert word in message, message
    assert not list(out.glob("*")), "a refusal leaves nothing"


def test_slices_masks_and_geometry(tmp_path: Path) -> None:
    (folder,) = convert("chaos", challenge(tmp_path / "in"), tmp_path / "out")
    image = nib.load(folder / "imagesTr" / "mr_0002_0000.nii.gz")
    mask = nib.load(folder / "labelsTr" / "mr_0002.nii.gz")
    slices, masks = drawn(2)
    meaning = {0: 0, 63: 1, 126: 2, 189: 3, 252: 4}
    for place in range(DEPTH):
        np.testing.assert_array_equal(np.asarray(image.dataobj)[..., place], slices[place].T)
        expected = np.vectorize(meaning.__getitem__)(masks[place])
        np.testing.assert_array_equal(np.asarray(mask.dataobj)[..., place], expected.T)
    # The middle of each pixel by DICOM's own equation, x and y turned from LPS to RAS.
    for column, row, place in ((0, 0, 0), (10, 0, 0), (0, 8, 0), (4, 5, 4)):
        where = ORIGIN + 1.4 * column * ROW + 1.6 * row * COLUMN + 7.5 * place * NORMAL
        for volume in (image, mask):
            np.testing.assert_allclose(
                (volume.affine @ [column, row, place, 1])[:3], where * (-1, -1, 1), atol=1e-3
            )
    assert image.header.get_zooms() == pytest.approx((1.4, 1.6, 7.5), abs=1e-4)


def test_parts_classes_and_check(tmp_path: Path) -> None:
    (folder,) = convert("chaos", challenge(tmp_path / "in"), tmp_path / "out")
    cohort = read_cohort(folder)
    assert cohort.classes == ("background", "liver", "right_kidney", "left_kidney", "spleen")
    assert cohort.channels == ("MR",)
    assert [c.name for c in cohort.part("test")] == ["mr_0001", "mr_0013", "mr_0032", "mr_0038"]
    assert [c.patient for c in cohort.part("train")] == ["mr_0002", "mr_0003"]
    assert check_folders([folder], silent).faults == 0


def test_no_header_value_is_kept(tmp_path: Path) -> None:
    (folder,) = convert("chaos", challenge(tmp_path / "in"), tmp_path / "out")
    for path in folder.rglob("*"):
        if path.suffix == ".gz":
            header = nib.load(path).header
            assert not header.extensions and bytes(header["descrip"]).strip(b"\0") == b""
        elif path.is_file():
            assert SECRET not in path.read_text()


def test_names_that_differ_are_matched_in_their_order(tmp_path: Path) -> None:
    folder = challenge(tmp_path / "in")
    ground = folder / "Train_Sets" / "MR" / "2" / "T2SPIR" / "Ground"
    for index, path in enumerate(sorted(ground.glob("*.png"))):
        path.rename(ground / f"organs_{index:03d}.png")
    (written,) = convert("chaos", folder, tmp_path / "out")
    mask = np.asarray(nib.load(written / "labelsTr" / "mr_0002.nii.gz").dataobj)
    np.testing.assert_array_equal(mask[..., 0] * 63, drawn(2)[1][0].T)


def test_the_test_sets_have_no_masks(tmp_path: Path) -> None:
    folder = challenge(tmp_path / "in")
    bare = case(folder, 4, "Test_Sets")
    for path in (bare / "Ground").iterdir():
        path.unlink()
    (bare / "Ground").rmdir()
    (left,) = convert("chaos", folder, tmp_path / "out")
    assert "Test_Sets/MR/4/T2SPIR/DICOM_anon" in (left / "conversion.json").read_text()
    (kept,) = convert("chaos", folder, tmp_path / "kept", options=Options(unlabelled=True))
    assert [c.name for c in read_cohort(kept).cases if c.mask is None] == ["mr_0004"]
    refused("has no folder Ground", folder=folder / "Test_Sets", out=tmp_path / "no")


class TestRefusals:
    def test_no_series_and_a_missing_test_case(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        refused("CHAOS", folder=tmp_path / "in", out=tmp_path / "out")
        case(tmp_path / "in", 2)
        refused("1, 13, 32, 38", "--partial", folder=tmp_path / "in", out=tmp_path / "out")

    def test_a_case_twice(self, tmp_path: Path) -> None:
        folder = challenge(tmp_path / "in")
        case(folder, 13, "Again")
        refused("mr_0013", "twice", folder=folder, out=tmp_path / "out")

    def test_a_missing_mask_or_slice(self, tmp_path: Path) -> None:
        folder = challenge(tmp_path / "in")
        one = folder / "Train_Sets" / "MR" / "2" / "T2SPIR"
        (one / "Ground" / f"{name_of(2)}.png").unlink()
        refused("4 masks for 5 slices", folder=folder, out=tmp_path / "out")
        (one / "DICOM_anon" / f"{name_of(2)}.dcm").unlink()
        refused("unevenly spaced", folder=folder, out=tmp_path / "out")

    def test_masks_that_are_called_otherwise_in_part(self, tmp_path: Path) -> None:
        folder = challenge(tmp_path / "in")
        ground = folder / "Train_Sets" / "MR" / "2" / "T2SPIR" / "Ground"
        (ground / f"{name_of(2)}.png").rename(ground / "ZZZ.png")
        refused("no partner", folder=folder, out=tmp_path / "out")

    def test_another_grey_value_or_size(self, tmp_path: Path) -> None:
        folder = challenge(tmp_path / "in")
        path = folder / "Train_Sets" / "MR" / "2" / "T2SPIR" / "Ground" / f"{name_of(2)}.png"
        Image.fromarray(np.full((ROWS, COLUMNS), 64, np.uint8)).save(path)
        refused("holds 64", folder=folder, out=tmp_path / "out")
        Image.fromarray(np.zeros((COLUMNS, ROWS), np.uint8)).save(path)
        refused(path.name, "9 x 11", "11 x 9", folder=folder, out=tmp_path / "out")

    def test_a_damaged_slice_and_a_second_series(self, tmp_path: Path) -> None:
        folder = challenge(tmp_path / "in")
        slices = folder / "Train_Sets" / "MR" / "2" / "T2SPIR" / "DICOM_anon"
        path = slices / f"{name_of(2)}.dcm"
        content = path.read_bytes()
        path.write_bytes(content[:-30])
        refused(path.name, folder=folder, out=tmp_path / "out")
        header = pydicom.dcmread(slices / f"{name_of(1)}.dcm")
        header.SeriesInstanceUID = generate_uid()
        path.write_bytes(content)
        header.save_as(slices / "other.dcm")
        refused("2 DICOM series", folder=folder, out=tmp_path / "out")

    def test_a_report_among_the_slices(self, tmp_path: Path) -> None:
        folder = challenge(tmp_path / "in")
        slices = folder / "Train_Sets" / "MR" / "2" / "T2SPIR" / "DICOM_anon"
        header = pydicom.dcmread(slices / f"{name_of(1)}.dcm")
        header.Modality = "SR"
        header.save_as(slices / "report.dcm")
        refused("besides its slices", folder=folder, out=tmp_path / "out")
