"""Image files of every kind: what is read, what is refused, and that a mask goes back onto the very same grid."""

import gzip
import logging
import struct
import warnings
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import tifffile
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from fewmask.data.case import Case, Cohort
from fewmask.data.geometry import Raster, on_one_grid
from fewmask.data.raster import (
    classes_of,
    outline,
    read_case,
    read_classes,
    read_label_values,
    read_raster,
    write_classes,
    write_probabilities,
)
from fewmask.errors import InputFault

SECRET = "Doe^Jane"
RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (12, 17), dtype=np.uint8)
RGB = RNG.integers(0, 256, (12, 17, 3), dtype=np.uint8)
GREY16 = RNG.integers(0, 65536, (12, 17), dtype=np.uint16)
RGB16 = RNG.integers(0, 65536, (12, 17, 3), dtype=np.uint16)
# An oblique, anisotropic grid that is mirrored along one axis.
AFFINE = np.array([[-1.2, 0.3, 0.1, 30.5], [0.25, 1.4, -0.2, -12.25], [0.1, 0.15, 3.1, 7.75], [0, 0, 0, 1]])


def one_line(error: pytest.ExceptionInfo[InputFault], name: str) -> str:
    message = str(error.value)
    assert "\n" not in message
    assert name in message
    assert ";" in message, "the remedy follows a semicolon"
    return message


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def deep_png(path: Path, pixels: np.ndarray) -> None:
    """A 16-bit RGB PNG written by hand, half of its rows with the Sub filter, since pillow cannot write one."""
    rows = []
    for number, row in enumerate(pixels.astype(">u2")):
        raw = np.frombuffer(row.tobytes(), np.uint8)
        if number % 2:
            shifted = np.concatenate([np.zeros(6, np.uint8), raw[:-6]])
            rows.append(b"\x01" + (raw - shifted).tobytes())
        else:
            rows.append(b"\x00" + raw.tobytes())
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def nifti(path: Path, values: np.ndarray, affine: np.ndarray = AFFINE, unit: str = "mm") -> Path:
    image = nib.Nifti1Image(values, affine)
    image.header.set_xyzt_units(unit)
    nib.save(image, path)
    return path


def dicom_file(
    path: Path, pixels: np.ndarray, position: np.ndarray | None = None, series: str = "1.2.3", **more: object
) -> Path:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    header.PatientName = SECRET
    header.PatientID = SECRET
    header.SOPClassUID = CTImageStorage
    header.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    header.SeriesInstanceUID = series
    header.Modality = "CT"
    header.Rows, header.Columns = pixels.shape
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated = header.BitsStored = 16
    header.HighBit = 15
    header.PixelRepresentation = int(pixels.dtype.kind == "i")
    header.PixelSpacing = [0.7, 0.9]
    if position is not None:
        header.ImagePositionPatient = [float(f"{part:.8f}") for part in position]
    for name, value in more.items():
        setattr(header, name, value)
    header.PixelData = pixels.tobytes()
    header.save_as(path, enforce_file_format=True)
    return path


ROW = np.array([np.cos(0.3), np.sin(0.3), 0.0])
COLUMN = np.array([-np.sin(0.3) * np.cos(0.2), np.cos(0.3) * np.cos(0.2), np.sin(0.2)])
NORMAL = np.cross(ROW, COLUMN)
ORIGIN = np.array([11.0, -7.0, 40.0])


def series(folder: Path, depth: int = 5, gap: float = 2.5, skip: int | None = None) -> np.ndarray:
    """An oblique CT series under shuffled names; returns it as (Z, rows, columns)."""
    folder.mkdir(parents=True)
    stack = RNG.integers(0, 2000, (depth, 8, 11)).astype(np.int16)
    names = RNG.permutation(depth)
    for index in range(depth):
        if index != skip:
            dicom_file(
                folder / f"im{names[index]:03d}.dcm",
                stack[index],
                ORIGIN + index * gap * NORMAL,
                ImageOrientationPatient=[f"{part:.10f}" for part in (*ROW, *COLUMN)],
                RescaleSlope=1,
                RescaleIntercept=-1024,
            )
    return stack


def cohort(values: tuple[int, ...] = (0, 1), ignored: int = 255) -> Cohort:
    names = ("background", *(f"c{i}" for i in range(1, len(values))))
    return Cohort(Path("d"), "plain", (), ("image",), names, values, ignored)


class TestPictures:
    @pytest.mark.parametrize("ending", [".png", ".tif", ".tiff", ".bmp", ".PNG"])
    @pytest.mark.parametrize("pixels", [GREY, RGB], ids=["grey", "rgb"])
    def test_eight_bits(self, tmp_path: Path, ending: str, pixels: np.ndarray) -> None:
        path = tmp_path / f"a{ending}"
        Image.fromarray(pixels).save(path)
        raster = read_raster(path)
        np.testing.assert_array_equal(
            raster.array, pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        )
        assert (raster.array.dtype, raster.dimensions, raster.shape) == (np.uint8, 2, (12, 17))
        assert (raster.spacing, raster.unit, raster.affine) == ((1.0, 1.0), "px", None)
        assert outline(path).shape == (12, 17)
        assert outline(path).channels == len(raster.array)

    def test_jpeg(self, tmp_path: Path) -> None:
        Image.fromarray(np.full((8, 8), 100, np.uint8)).save(tmp_path / "a.jpg")
        assert abs(int(read_raster(tmp_path / "a.jpg").array.mean()) - 100) <= 2

    @pytest.mark.parametrize("planar", ["contig", "separate"])
    @pytest.mark.parametrize("compression", [None, "zlib"])
    def test_deep_colour_tiff_keeps_all_bits(
        self, tmp_path: Path, planar: str, compression: str | None
    ) -> None:
        pixels = RGB16 if planar == "contig" else RGB16.transpose(2, 0, 1)
        tifffile.imwrite(
            tmp_path / "a.tif", pixels, photometric="rgb", planarconfig=planar, compression=compression
        )
        raster = read_raster(tmp_path / "a.tif")
        np.testing.assert_array_equal(raster.array, RGB16.transpose(2, 0, 1))
        assert raster.array.dtype == np.uint16

    @pytest.mark.parametrize("order", ["<", ">"])
    def test_deep_grey_tiff_in_either_byte_order(self, tmp_path: Path, order: str) -> None:
        tifffile.imwrite(tmp_path / "a.tif", GREY16, byteorder=order)
        raster = read_raster(tmp_path / "a.tif")
        np.testing.assert_array_equal(raster.array[0], GREY16)
        assert raster.array.dtype.isnative

    def test_tiff_of_doubles_that_pillow_does_not_know(self, tmp_path: Path) -> None:
        tifffile.imwrite(tmp_path / "a.tif", GREY16.astype(np.float64) / 7)
        np.testing.assert_array_equal(read_raster(tmp_path / "a.tif").array[0], GREY16 / 7)
        assert outline(tmp_path / "a.tif").shape == (12, 17)

    def test_deep_png(self, tmp_path: Path) -> None:
        Image.fromarray(GREY16).save(tmp_path / "grey.png")
        np.testing.assert_array_equal(read_raster(tmp_path / "grey.png").array[0], GREY16)
        deep_png(tmp_path / "rgb.png", RGB16)
        np.testing.assert_array_equal(read_raster(tmp_path / "rgb.png").array, RGB16.transpose(2, 0, 1))

    def test_transparency_is_dropped_and_a_palette_becomes_its_colours(self, tmp_path: Path) -> None:
        alpha = np.full((12, 17, 1), 9, np.uint8)
        Image.fromarray(np.concatenate([RGB, alpha], 2), "RGBA").save(tmp_path / "rgba.png")
        np.testing.assert_array_equal(read_raster(tmp_path / "rgba.png").array, RGB.transpose(2, 0, 1))
        Image.fromarray(np.dstack([GREY, GREY]), "LA").save(tmp_path / "la.png")
        np.testing.assert_array_equal(read_raster(tmp_path / "la.png").array, GREY[None])
        picture = Image.fromarray(GREY % 2, "P")
        picture.putpalette([10, 20, 30, 40, 50, 60])
        picture.save(tmp_path / "p.png")
        expected = np.array([[10, 20, 30], [40, 50, 60]], np.uint8)[GREY % 2].transpose(2, 0, 1)
        np.testing.assert_array_equal(read_raster(tmp_path / "p.png").array, expected)

    def test_several_pages(self, tmp_path: Path) -> None:
        tifffile.imwrite(tmp_path / "a.tif", np.stack([GREY, GREY]), photometric="minisblack")
        with pytest.raises(InputFault) as error:
            read_raster(tmp_path / "a.tif")
        assert "pages" in one_line(error, "a.tif")

    def test_nan(self, tmp_path: Path) -> None:
        tifffile.imwrite(tmp_path / "a.tif", np.array([[1.0, np.nan]], np.float32))
        with pytest.raises(InputFault, match="NaN"):
            read_raster(tmp_path / "a.tif")


def whole_files(folder: Path) -> list[Path]:
    Image.fromarray(RGB).save(folder / "a.png")
    Image.fromarray(RGB).save(folder / "b.jpg")
    Image.fromarray(RGB).save(folder / "c.bmp")
    Image.fromarray(RGB).save(folder / "d.tif")
    tifffile.imwrite(folder / "e.tif", RGB16, photometric="rgb")
    deep_png(folder / "f.png", RGB16)
    nifti(folder / "g.nii.gz", RNG.integers(0, 999, (9, 8, 7)).astype(np.int16))
    nifti(folder / "h.nii", RNG.integers(0, 999, (9, 8, 7)).astype(np.int16))
    dicom_file(folder / "i.dcm", GREY16)
    return sorted(folder.iterdir())


class TestDamage:
    @pytest.mark.parametrize("index", range(9), ids=list("abcdefghi"))
    @pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
    def test_truncated(
        self, tmp_path: Path, index: int, share: float, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = whole_files(tmp_path)[index]
        read_raster(path)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(InputFault) as error:
                read_raster(path)
        one_line(error, path.name)
        assert capsys.readouterr().err == ""

    @pytest.mark.parametrize("index", [0, 5, 6, 7, 8])
    def test_the_last_bytes_count(self, tmp_path: Path, index: int) -> None:
        path = whole_files(tmp_path)[index]
        path.write_bytes(path.read_bytes()[:-10])
        with pytest.raises(InputFault):
            read_raster(path)

    def test_altered_gzip(self, tmp_path: Path) -> None:
        path = nifti(tmp_path / "a.nii.gz", np.zeros((9, 8, 7), np.int16))
        content = bytearray(gzip.compress(gzip.decompress(path.read_bytes()), 0))
        content[400] ^= 1
        path.write_bytes(content)
        with pytest.raises(InputFault):
            read_raster(path)

    @pytest.mark.parametrize("name", ["a.png", "a.tif", "a.nii.gz", "a.nii", "a.dcm", "a.jpg", "a.bmp"])
    @pytest.mark.parametrize("content", [b"", b"hello, I am text\n" * 50])
    def test_not_an_image(self, tmp_path: Path, name: str, content: bytes) -> None:
        (tmp_path / name).write_bytes(content)
        for read in (read_raster, outline, read_label_values):
            with pytest.raises(InputFault) as error:
                read(tmp_path / name)
            one_line(error, name)

    def test_unknown_ending_and_absence(self, tmp_path: Path) -> None:
        (tmp_path / "a.xyz").write_text("x")
        with pytest.raises(InputFault, match="unknown ending"):
            read_raster(tmp_path / "a.xyz")
        with pytest.raises(InputFault, match="no such file"):
            read_raster(tmp_path / "b.png")


class TestVolumes:
    @pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
    def test_values_spacing_and_affine(self, tmp_path: Path, ending: str) -> None:
        values = RNG.integers(-500, 999, (9, 8, 7)).astype(np.int16)
        raster = read_raster(nifti(tmp_path / f"a{ending}", values))
        np.testing.assert_array_equal(raster.array, values[None])
        assert (raster.array.dtype, raster.unit, raster.dimensions) == (np.int16, "mm", 3)
        np.testing.assert_allclose(raster.affine, AFFINE, rtol=1e-6)
        np.testing.assert_allclose(raster.spacing, np.sqrt((AFFINE[:3, :3] ** 2).sum(0)), rtol=1e-6)

    def test_slope_and_intercept(self, tmp_path: Path) -> None:
        stored = RNG.integers(0, 100, (4, 5, 6)).astype(np.int16)
        image = nib.Nifti1Image(stored, AFFINE)
        nib.save(image, tmp_path / "a.nii")
        content = bytearray((tmp_path / "a.nii").read_bytes())
        content[112:120] = struct.pack("<ff", 2.0, -5.0)  # scl_slope and scl_inter of the standard
        (tmp_path / "a.nii").write_bytes(content)
        np.testing.assert_array_equal(read_raster(tmp_path / "a.nii").array[0], stored * 2.0 - 5.0)

    def test_channels_on_the_last_axis_and_a_flat_volume(self, tmp_path: Path) -> None:
        values = RNG.normal(size=(4, 5, 6, 2)).astype(np.float32)
        raster = read_raster(nifti(tmp_path / "a.nii.gz", values))
        np.testing.assert_array_equal(raster.array[1], values[..., 1])
        assert outline(tmp_path / "a.nii.gz").channels == 2
        assert read_raster(nifti(tmp_path / "b.nii.gz", values[:, :, 0, 0])).array.shape == (1, 4, 5, 1)

    def test_unit(self, tmp_path: Path) -> None:
        values = np.zeros((3, 3, 3), np.uint8)
        assert read_raster(nifti(tmp_path / "a.nii", values, np.eye(4), "unknown")).unit == "px"
        assert read_raster(nifti(tmp_path / "b.nii", values, np.eye(4), "mm")).unit == "mm"
        assert read_raster(nifti(tmp_path / "c.nii", values, np.diag([2, 1, 1, 1]), "unknown")).unit == "mm"
        micron = read_raster(nifti(tmp_path / "d.nii", values, np.diag([500, 250, 1000, 1]), "micron"))
        np.testing.assert_allclose(micron.spacing, (0.5, 0.25, 1.0))

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_nan_and_infinity(self, tmp_path: Path, bad: float) -> None:
        values = np.ones((3, 3, 3), np.float32)
        values[1, 1, 1] = bad
        with pytest.raises(InputFault) as error:
            read_raster(nifti(tmp_path / "a.nii.gz", values))
        assert one_line(error, "a.nii.gz").count("1 voxels") == 1

    def test_nifti_2(self, tmp_path: Path) -> None:
        values = RNG.integers(0, 9, (3, 4, 5)).astype(np.int16)
        nib.save(nib.Nifti2Image(values, AFFINE), tmp_path / "a.nii.gz")
        np.testing.assert_array_equal(read_raster(tmp_path / "a.nii.gz").array[0], values)


class TestDicom:
    def test_a_shuffled_oblique_series(self, tmp_path: Path) -> None:
        stack = series(tmp_path / "s")
        raster = read_raster(tmp_path / "s")
        np.testing.assert_array_equal(raster.array[0], stack.transpose(2, 1, 0).astype(np.int32) - 1024)
        np.testing.assert_allclose(raster.spacing, (0.9, 0.7, 2.5), rtol=1e-6)
        assert raster.unit == "mm"
        # Independent of the affine's assembly: where DICOM's own equation puts voxel (x, y, z), mirrored to RAS.
        for x, y, z in [(0, 0, 0), (10, 0, 0), (0, 7, 0), (3, 2, 4)]:
            place = ORIGIN + z * 2.5 * NORMAL + ROW * 0.9 * x + COLUMN * 0.7 * y
            found = raster.affine @ np.array([x, y, z, 1.0])
            np.testing.assert_allclose(found[:3], place * [-1, -1, 1], atol=1e-4)
        assert outline(tmp_path / "s").shape == raster.shape

    def test_faults_of_a_series(self, tmp_path: Path) -> None:
        series(tmp_path / "missing", skip=2)
        with pytest.raises(InputFault, match="missing"):
            read_raster(tmp_path / "missing")
        series(tmp_path / "two")
        dicom_file(tmp_path / "two" / "x.dcm", GREY16, ORIGIN, series="9.9")
        with pytest.raises(InputFault, match="2 DICOM series"):
            read_raster(tmp_path / "two")
        series(tmp_path / "same", gap=0.0)
        with pytest.raises(InputFault, match="one place"):
            read_raster(tmp_path / "same")
        (tmp_path / "none").mkdir()
        with pytest.raises(InputFault, match="no DICOM"):
            read_raster(tmp_path / "none")

    def test_a_truncated_slice_is_not_left_out(self, tmp_path: Path) -> None:
        series(tmp_path / "s")
        last = sorted((tmp_path / "s").iterdir())[-1]
        for size in (200, 400, last.stat().st_size - 10):
            last.write_bytes(last.read_bytes()[:size] if size < last.stat().st_size else b"")
            with pytest.raises(InputFault):
                read_raster(tmp_path / "s")

    def test_a_single_file_is_a_picture(self, tmp_path: Path) -> None:
        raster = read_raster(dicom_file(tmp_path / "a.dcm", GREY16))
        np.testing.assert_array_equal(raster.array, GREY16[None])
        assert (raster.spacing, raster.unit, raster.dimensions) == ((0.7, 0.9), "mm", 2)
        dark = read_raster(dicom_file(tmp_path / "b.dcm", GREY16, PhotometricInterpretation="MONOCHROME1"))
        assert np.corrcoef(dark.array.ravel(), GREY16.ravel())[0, 1] < -0.999

    def test_nobody_learns_the_name(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        path = dicom_file(tmp_path / "a.dcm", GREY16, RescaleIntercept="12345678")
        content = path.read_bytes()
        # The name where a number must be: readers like to quote such values.
        spoilt = [content.replace(b"12345678", SECRET.encode())]
        assert spoilt[0] != content
        spoilt += [content[:cut] for cut in range(140, len(content), 37)]
        for bad in spoilt:
            path.write_bytes(bad)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                with pytest.raises(InputFault) as error:
                    read_raster(path)
            assert "Doe" not in str(error.value)
            assert error.value.__cause__ is None
            assert error.value.__suppress_context__
            assert not caught
        assert "Doe" not in capsys.readouterr().err + caplog.text


class TestCases:
    def test_channels_are_stacked(self, tmp_path: Path) -> None:
        values = RNG.integers(0, 99, (2, 4, 5, 6)).astype(np.int16)
        paths = tuple(nifti(tmp_path / f"c{i}.nii.gz", values[i]) for i in range(2))
        raster = read_case(Case("c", paths))
        np.testing.assert_array_equal(raster.array, values)
        np.testing.assert_allclose(raster.affine, AFFINE, rtol=1e-6)

    def test_channels_on_two_grids(self, tmp_path: Path) -> None:
        first = nifti(tmp_path / "a.nii", np.zeros((4, 5, 6), np.uint8))
        other = nifti(tmp_path / "b.nii", np.zeros((4, 5, 7), np.uint8))
        moved = nifti(
            tmp_path / "c.nii", np.zeros((4, 5, 6), np.uint8), AFFINE + np.eye(4)[:, [3, 3, 3, 0]] * 0.5
        )
        with pytest.raises(InputFault, match="4 x 5 x 7 pixels"):
            read_case(Case("c", (first, other)))
        with pytest.raises(InputFault, match="affines differ"):
            read_case(Case("c", (first, moved)))


class TestMasks:
    def test_palette_grey_and_equal_colours(self, tmp_path: Path) -> None:
        indices = GREY % 3
        palette = Image.fromarray(indices, "P")
        palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
        palette.save(tmp_path / "p.png")
        Image.fromarray(indices).save(tmp_path / "g.png")
        Image.fromarray(np.dstack([indices] * 3)).save(tmp_path / "rgb.png")
        for name in ("p", "g", "rgb"):
            np.testing.assert_array_equal(read_label_values(tmp_path / f"{name}.png").array, indices[None])
        Image.fromarray(indices == 1).save(tmp_path / "bit.png")
        np.testing.assert_array_equal(read_label_values(tmp_path / "bit.png").array[0], indices == 1)
        Image.fromarray(RGB).save(tmp_path / "colour.png")
        with pytest.raises(InputFault, match="colours"):
            read_label_values(tmp_path / "colour.png")

    def test_float_masks(self, tmp_path: Path) -> None:
        whole = (RNG.integers(0, 3, (4, 5, 6))).astype(np.float32)
        read = read_label_values(nifti(tmp_path / "a.nii.gz", whole)).array
        assert read.dtype.kind == "i"
        np.testing.assert_array_equal(read[0], whole)
        with pytest.raises(InputFault, match="fractions"):
            read_label_values(nifti(tmp_path / "b.nii.gz", whole / 2))

    def test_values_become_classes(self) -> None:
        values = np.array([[0, 7], [3, 255]])
        np.testing.assert_array_equal(classes_of(values, cohort((0, 3, 7)), "m.png"), [[0, 2], [1, 255]])
        np.testing.assert_array_equal(classes_of(values % 4, cohort((0, 3), 9), "m"), [[0, 1], [1, 1]])
        white = classes_of(np.array([0, 255]), cohort((0, 255), -1), "m")
        np.testing.assert_array_equal(white, [0, 1])
        assert white.dtype == np.uint8
        with pytest.raises(InputFault) as error:
            classes_of(np.array([0, 1, 4, 5]), cohort((0, 1)), "m.png")
        assert "4, 5" in one_line(error, "m.png")

    def test_the_mask_must_fit_the_image(self, tmp_path: Path) -> None:
        Image.fromarray(GREY).save(tmp_path / "a.png")
        Image.fromarray(GREY.T % 2).save(tmp_path / "m.png")
        case = Case("a", (tmp_path / "a.png",), tmp_path / "m.png")
        with pytest.raises(InputFault) as error:
            read_classes(cohort(), case)
        assert "17 x 12" in one_line(error, "m.png")
        Image.fromarray(GREY % 2).save(tmp_path / "m.png")
        np.testing.assert_array_equal(read_classes(cohort(), case), GREY % 2)
        with pytest.raises(InputFault, match="no mask"):
            read_classes(cohort(), Case("a", (tmp_path / "a.png",)))

    def test_a_flat_nifti_mask_of_a_radiograph(self, tmp_path: Path) -> None:
        image = dicom_file(tmp_path / "a.dcm", GREY16)
        mask = nifti(tmp_path / "m.nii.gz", (GREY % 2).T[:, :, None])
        np.testing.assert_array_equal(read_classes(cohort(), Case("a", (image,), mask)), GREY % 2)

    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_a_mirrored_mask_is_refused(self, tmp_path: Path, axis: int) -> None:
        """The same places in the patient, stored the other way round: laid on by index, it would be mirrored."""
        image = nifti(tmp_path / "i.nii.gz", np.zeros((4, 5, 6), np.int16))
        flip = np.eye(4)
        flip[axis, axis], flip[axis, 3] = -1, (4, 5, 6)[axis] - 1
        mask = nifti(tmp_path / "m.nii.gz", np.zeros((4, 5, 6), np.uint8), AFFINE @ flip)
        with pytest.raises(InputFault) as error:
            read_classes(cohort(), Case("c", (image,), mask))
        assert "different places" in one_line(error, "m.nii.gz")
        nifti(mask, np.ones((4, 5, 6), np.uint8))
        assert read_classes(cohort(), Case("c", (image,), mask)).all()

    def test_a_mask_of_a_series_lies_on_its_slices(self, tmp_path: Path) -> None:
        series(tmp_path / "s")
        scan = read_raster(tmp_path / "s")
        values = np.ones(scan.shape, np.uint8)
        mask = nifti(tmp_path / "m.nii.gz", values, scan.affine)
        assert read_classes(cohort(), Case("s", (tmp_path / "s",), mask)).all()
        nifti(mask, values, np.diag([0.9, 0.7, 2.5, 1.0]))
        with pytest.raises(InputFault, match="different places"):
            read_classes(cohort(), Case("s", (tmp_path / "s",), mask))


class TestGrids:
    SHAPE = (512, 512, 100)

    def grid(self, affine: np.ndarray | None, shape: tuple[int, ...] = SHAPE) -> Raster:
        return Raster(np.broadcast_to(np.uint8(0), (1, *shape)), (1.0,) * len(shape), "mm", affine)

    def test_rounding_to_32_bits_is_no_move(self) -> None:
        fine = AFFINE @ np.diag([0.3, 0.3, 1, 1])
        fine[:3, 3] = 812.3456, -711.1, 1502.7
        assert on_one_grid(self.grid(fine), self.grid(fine.astype(np.float32).astype(np.float64)))
        turned, _ = np.linalg.qr(AFFINE[:3, :3])
        stated = np.eye(4)
        stated[:3, :3], stated[:3, 3] = turned @ np.diag([0.5, 0.5, 3.0]), (-120.7, 88.3, 1502.7)
        header = nib.Nifti1Header()
        header.set_qform(stated, 1)
        written = header.get_qform()
        assert not np.array_equal(written, stated)
        assert on_one_grid(self.grid(stated), self.grid(written))

    @pytest.mark.parametrize(("move", "same"), [(0.04, True), (0.06, False), (np.nan, False)])
    def test_a_tenth_of_the_smallest_side(self, move: float, same: bool) -> None:
        moved = np.diag([0.5, 0.5, 3.0, 1.0])
        first = self.grid(moved.copy())
        moved[2, 3] += move
        assert on_one_grid(first, self.grid(moved)) is same
        assert on_one_grid(self.grid(moved), first) is same

    def test_a_spacing_shows_at_the_far_corner(self) -> None:
        assert not on_one_grid(self.grid(np.eye(4)), self.grid(np.diag([1.001, 1, 1, 1])))

    def test_where_one_has_no_affine_the_size_decides(self) -> None:
        assert on_one_grid(self.grid(None), self.grid(AFFINE))
        assert on_one_grid(self.grid(None, (5, 6)), self.grid(None, (5, 6)))
        assert not on_one_grid(self.grid(None, (5, 6)), self.grid(None, (6, 5)))


class TestWriting:
    @pytest.mark.parametrize("ending", [".png", ".tif", ".bmp", ".nii", ".nii.gz"])
    def test_an_image_is_not_overwritten(self, tmp_path: Path, ending: str) -> None:
        path = tmp_path / f"a{ending}"
        if ".nii" in ending:
            nifti(path, np.zeros((4, 5, 6), np.int16))
        else:
            Image.fromarray(GREY).save(path)
        before, classes = path.read_bytes(), np.zeros(outline(path).shape, np.uint8)
        (tmp_path / "linked").symlink_to(tmp_path)
        for folder in (tmp_path, tmp_path / "linked"):
            with pytest.raises(InputFault) as error:
                write_classes(classes, path, folder, "a", (0, 1))
            assert "the image itself" in one_line(error, path.name)
        assert path.read_bytes() == before
        assert write_classes(classes, path, tmp_path, "b", (0, 1)).exists()

    def test_an_image_is_not_overwritten_by_probabilities(self, tmp_path: Path) -> None:
        path = nifti(tmp_path / "a_probabilities.nii.gz", np.zeros((4, 5, 6), np.int16))
        with pytest.raises(InputFault, match="the image itself"):
            write_probabilities(np.zeros((2, 4, 5, 6)), path, tmp_path, "a")

    @pytest.mark.parametrize(
        ("image", "mask"),
        [
            ("a.png", "n.png"),
            ("a.tif", "n.tif"),
            ("a.tiff", "n.tiff"),
            ("a.bmp", "n.bmp"),
            ("a.jpg", "n.png"),
        ],
    )
    def test_pictures(self, tmp_path: Path, image: str, mask: str) -> None:
        Image.fromarray(RGB).save(tmp_path / image)
        path = write_classes(GREY % 3, tmp_path / image, tmp_path / "out", "n", (0, 128, 255))
        assert path == tmp_path / "out" / mask
        with Image.open(path) as picture:
            assert picture.mode == "L" or picture.format == "BMP"
        np.testing.assert_array_equal(read_label_values(path).array[0], np.array([0, 128, 255])[GREY % 3])
        assert [entry.name for entry in path.parent.iterdir()] == [mask]

    def test_resolution_and_turn_of_a_picture_are_kept(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(RGB).save(tmp_path / "a.jpg", dpi=(254, 254), exif=exif)
        path = write_classes(GREY % 2, tmp_path / "a.jpg", tmp_path, "n", (0, 1))
        with Image.open(path) as picture:
            assert picture.getexif()[0x0112] == 6
            assert picture.info["dpi"] == pytest.approx((254, 254), abs=0.1)

    def test_a_tiff_on_its_side(self, tmp_path: Path) -> None:
        tifffile.imwrite(tmp_path / "a.tif", GREY, extratags=[(274, "H", 1, 6, True)])
        shape = read_raster(tmp_path / "a.tif").shape
        assert outline(tmp_path / "a.tif").shape == shape
        classes = np.zeros(shape, np.uint8)
        classes[0, 3] = 1
        path = write_classes(classes, tmp_path / "a.tif", tmp_path, "n", (0, 1))
        np.testing.assert_array_equal(read_label_values(path).array[0], classes)

    @pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
    @pytest.mark.parametrize("codes", [(1, 1), (2, 1), (0, 2), (3, 0), (0, 0)])
    @pytest.mark.parametrize("order", ["<", ">"])
    def test_nifti_keeps_the_header_of_the_image(
        self, tmp_path: Path, ending: str, codes: tuple[int, int], order: str
    ) -> None:
        header = nib.Nifti1Header(endianness=order)
        image = nib.Nifti1Image(RNG.normal(size=(6, 5, 4)).astype(np.float32), None, header)
        image.header.set_xyzt_units("mm")
        image.set_qform(np.diag([1.5, 1.5, 2.0, 1.0]), int(codes[0]))
        image.set_sform(AFFINE, int(codes[1]))
        image.header["cal_max"] = 900
        path = tmp_path / f"image{ending}"
        nib.save(image, path)
        classes = RNG.integers(0, 3, (6, 5, 4))
        written = write_classes(classes, path, tmp_path / "out", "m", (0, 1, 5))
        assert written.name == f"m{ending}"

        def header_bytes(file: Path) -> bytes:
            content = file.read_bytes()
            return gzip.decompress(content) if ending == ".nii.gz" else content

        before, after = header_bytes(path), header_bytes(written)
        assert after[40:56] == before[40:56], "dim"
        assert after[76:108] == before[76:108], "pixdim"
        assert after[123:124] == before[123:124], "units"
        assert after[252:328] == before[252:328], "form codes, quaternion and affine"
        assert after[124:128] == b"\0\0\0\0", "the image's display range is not the mask's"
        order_mark = "<" if after[:4] == struct.pack("<i", 348) else ">"
        assert struct.unpack(f"{order_mark}h", after[70:72])[0] == 2, "uint8"
        assert struct.unpack(f"{order_mark}ff", after[112:120]) == (1.0, 0.0)
        np.testing.assert_array_equal(nib.load(written).affine, nib.load(path).affine)
        np.testing.assert_array_equal(read_label_values(written).array[0], np.array([0, 1, 5])[classes])

    def test_a_mask_of_a_many_channelled_and_of_a_flat_volume(self, tmp_path: Path) -> None:
        many = nifti(tmp_path / "a.nii.gz", np.zeros((4, 5, 6, 2), np.float32))
        assert nib.load(write_classes(np.zeros((4, 5, 6), int), many, tmp_path, "m", (0, 1))).shape == (
            4,
            5,
            6,
        )
        flat = nifti(tmp_path / "b.nii.gz", np.zeros((4, 5), np.float32))
        assert nib.load(write_classes(np.zeros((4, 5, 1), int), flat, tmp_path, "n", (0, 1))).shape == (4, 5)

    def test_dicom_series(self, tmp_path: Path) -> None:
        series(tmp_path / "s")
        image = read_raster(tmp_path / "s")
        classes = RNG.integers(0, 2, image.shape)
        path = write_classes(classes, tmp_path / "s", tmp_path / "out", "s", (0, 1))
        assert path.name == "s.nii.gz"
        mask = read_label_values(path)
        np.testing.assert_array_equal(mask.array[0], classes)
        np.testing.assert_allclose(mask.affine, image.affine, atol=1e-5)
        assert mask.unit == "mm"
        bound = Cohort(tmp_path, "DICOM series", (), ("image",), ("background", "a"), (0, 1))
        np.testing.assert_array_equal(read_classes(bound, Case("s", (tmp_path / "s",), path)), classes)

    def test_dicom_file(self, tmp_path: Path) -> None:
        like = dicom_file(tmp_path / "a.dcm", GREY16)
        path = write_classes(GREY % 2, like, tmp_path, "m", (0, 1))
        assert path.name == "m.png"
        np.testing.assert_array_equal(read_label_values(path).array[0], GREY % 2)

    def test_large_values_ignored_pixels_and_wrong_shapes(self, tmp_path: Path) -> None:
        Image.fromarray(GREY).save(tmp_path / "a.png")
        path = write_classes(GREY % 2, tmp_path / "a.png", tmp_path, "m", (0, 1000))
        np.testing.assert_array_equal(read_label_values(path).array[0], (GREY % 2) * np.int32(1000))
        ignored = np.where(GREY > 200, 255, 0)
        path = write_classes(ignored, tmp_path / "a.png", tmp_path, "m", (0, 1))
        np.testing.assert_array_equal(read_label_values(path).array[0], ignored)
        with pytest.raises(ValueError, match="shape"):
            write_classes(GREY.T % 2, tmp_path / "a.png", tmp_path, "m", (0, 1))
        with pytest.raises(ValueError, match="class 3"):
            write_classes(GREY % 4, tmp_path / "a.png", tmp_path, "m", (0, 1))

    def test_probabilities(self, tmp_path: Path) -> None:
        Image.fromarray(GREY).save(tmp_path / "a.png")
        path = write_probabilities(
            RNG.random((3, 12, 17)).astype(np.float32), tmp_path / "a.png", tmp_path, "n"
        )
        with np.load(path) as content:
            assert content["probabilities"].shape == (3, 12, 17)
        volume = nifti(tmp_path / "v.nii.gz", np.zeros((4, 5, 6), np.int16))
        values = RNG.random((2, 4, 5, 6)).astype(np.float32)
        written = nib.load(write_probabilities(values, volume, tmp_path, "v2"))
        np.testing.assert_array_equal(np.moveaxis(written.get_fdata(dtype=np.float32), -1, 0), values)
        np.testing.assert_array_equal(written.affine, nib.load(volume).affine)
        series(tmp_path / "s")
        shape = read_raster(tmp_path / "s").shape
        written = nib.load(
            write_probabilities(np.ones((2, *shape), np.float32), tmp_path / "s", tmp_path, "s")
        )
        assert written.shape == (*shape, 2)


def test_a_singular_affine_is_one_line_with_a_remedy(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.uint8), np.eye(4))
    for name, affine in (("zeros", np.zeros((4, 4))), ("flat", np.diag([1.0, 1.0, 0.0, 1.0]))):
        image.header.set_sform(affine, code=1)
        image.header["pixdim"][1:4] = 1
        path = tmp_path / f"{name}.nii.gz"
        path.write_bytes(gzip.compress(nib.Nifti1Image(image.dataobj, None, image.header).to_bytes()))
        with pytest.raises(InputFault) as error:
            read_raster(path)
        assert "affine" in one_line(error, path.name)
