"""SIFA's tfrecords and npz: framing, checksums, the middle slice, label 5, anonymous patients, and every refusal."""

import csv
import json
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from fewmask.console import silent
from fewmask.data.check import check_folders
from fewmask.data.convert.checksum import crc32c, masked_crc32c
from fewmask.data.convert.convert import convert
from fewmask.data.convert.options import Options
from fewmask.data.convert.sifa_slices import read_slices
from fewmask.data.convert.tfrecord import read_examples
from fewmask.data.layouts import read_cohort
from fewmask.data.split import SAME_PATIENT, split_cohort
from fewmask.errors import InputFault
from fewmask.recipe import SplitConfig

torch.set_num_threads(1)

SIDE = 16
TESTED = {"ct": (1003, 1008, 1014, 1019), "mr": (1007, 1009, 1018, 1019)}


def slow_crc32c(content: bytes) -> int:
    """Bit by bit, as the standard defines it."""
    register = 0xFFFFFFFF
    for byte in content:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def masked(content: bytes) -> bytes:
    checksum = slow_crc32c(content)
    return struct.pack("<I", (((checksum >> 15) | (checksum << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = b""
    while number > 0x7F:
        out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
    return out + bytes([number])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def feature(value: bytes | int | float) -> bytes:
    if isinstance(value, bytes):
        return field(1, field(1, value))
    if isinstance(value, float):
        return field(2, field(1, struct.pack("<f", value)))
    return field(3, field(1, varint(value)))


def example(features: dict[str, bytes | int | float]) -> bytes:
    entries = [field(1, field(1, name.encode()) + field(2, feature(v))) for name, v in features.items()]
    return field(1, b"".join(entries))


def framed(payload: bytes) -> bytes:
    length = struct.pack("<Q", len(payload))
    return length + masked(length) + payload + masked(payload)


def slice_of(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Three neighbouring slices and their labels, (SIDE, SIDE, 3), all different, label 5 among them."""
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(SIDE, SIDE, 3)).astype(np.float32)
    return image, rng.integers(0, 6, (SIDE, SIDE, 3)).astype(np.float32)


def features_of(seed: int) -> dict[str, bytes | int | float]:
    image, labels = slice_of(seed)
    return {
        "dsize_dim0": SIDE, "dsize_dim1": SIDE, "dsize_dim2": 3,
        "lsize_dim0": SIDE, "lsize_dim1": SIDE, "lsize_dim2": 3,
        "data_vol": image.tobytes(), "label_vol": labels.tobytes(),
        "mask_vol": bytes(64), "mask_scale": 4, "bias_dim0": -7, "bias_dim1": 3, "scale": 1.5,
    }  # fmt: skip


def write(path: Path, *seeds: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(framed(example(features_of(seed))) for seed in seeds))
    return path


def volume_of(number: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(number)
    return rng.normal(size=(SIDE, SIDE, 6)), rng.integers(0, 6, (SIDE, SIDE, 6)).astype(np.float64)


def release(root: Path, modalities: tuple[str, ...] = ("ct", "mr")) -> Path:
    for modality in modalities:
        start = 100 if modality == "ct" else 200
        for index in range(4):
            write(root / f"{modality}_train_tfs" / f"{modality}_slice{index}.tfrecords", start + index)
        for index in range(2):
            write(root / f"{modality}_val_tfs" / f"{modality}_slice{index}.tfrecords", start + 50 + index)
        (root / "test").mkdir(exist_ok=True)
        for number in TESTED[modality]:
            np.savez(root / "test" / f"{modality}_{number}.npz", *volume_of(number + start))
    return root


def values(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def rows(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "cases.csv").open() as table:
        return {row["case"]: row for row in csv.DictReader(table)}


def refused(*words: str, folder: Path, out: Path, options: Options | None = None) -> None:
    with pytest.raises(InputFault) as fault:
        convert("sifa", folder, out, options=options)
    message = str(fault.value)
    assert "\n" not in message and ";" in message, message
    for word in words:
        assert word in message, message
    assert not list(out.glob("*")), "a refusal leaves nothing"


class TestChecksum:
    @pytest.mark.parametrize(
        ("content", "checksum"),
        [
            (b"123456789", 0xE3069283),
            (b"", 0),
            (b"a", 0xC1D04330),
            # RFC 3720, B.4.
            (bytes(32), 0x8A9136AA),
            (b"\xff" * 32, 0x62A8AB43),
            (bytes(range(32)), 0x46DD794E),
            (bytes(range(31, -1, -1)), 0x113FDB5C),
        ],
    )
    def test_known_answers(self, content: bytes, checksum: int) -> None:
        assert crc32c(content) == slow_crc32c(content) == checksum

    def test_every_length_against_the_definition(self) -> None:
        content = np.random.default_rng(0).integers(0, 256, 9000, dtype=np.uint8).tobytes()
        for length in (*range(200), 255, 256, 257, 4095, 4097, 9000):
            assert crc32c(content[:length]) == slow_crc32c(content[:length]), length

    def test_masking(self) -> None:
        assert struct.pack("<I", masked_crc32c(b"123456789")) == masked(b"123456789")


class TestRecords:
    def test_features_are_read_and_others_do_not_matter(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.tfrecords", 1, 2)
        first, second = read_examples(path)
        assert first.numbers["bias_dim0"] == -7 and first.numbers["dsize_dim2"] == 3
        assert first.texts["mask_vol"] == bytes(64)
        assert (first.offset, second.offset) == (0, len(path.read_bytes()) // 2)
        for seed, sliced in zip((1, 2), read_slices(path), strict=True):
            image, labels = slice_of(seed)
            np.testing.assert_array_equal(sliced.image, image[..., 1])
            np.testing.assert_array_equal(sliced.labels, labels[..., 1])

    def test_unpacked_integers_and_unknown_fields(self, tmp_path: Path) -> None:
        """Protobuf allows a list's numbers one by one, and fields that nobody knows."""
        unpacked = field(3, varint(1 << 3 | 0) + varint(300))
        entry = field(1, b"n") + field(2, unpacked) + varint(9 << 3 | 5) + b"\0\0\0\0"
        payload = varint(7 << 3 | 1) + bytes(8) + varint(8 << 3) + varint(-1) + field(1, field(1, entry))
        (tmp_path / "a.tfrecords").write_bytes(framed(payload))
        (record,) = read_examples(tmp_path / "a.tfrecords")
        assert record.numbers == {"n": 300}

    def fault(self, path: Path, content: bytes) -> str:
        path.write_bytes(content)
        with pytest.raises(InputFault) as fault:
            list(read_slices(path))
        message = str(fault.value)
        assert path.name in message and "\n" not in message and ";" in message
        return message

    def test_cut_short_anywhere(self, tmp_path: Path) -> None:
        record = framed(example(features_of(1)))
        for left in (1, 7, 11, 12, 100, len(record) - 1):
            message = self.fault(tmp_path / "a.tfrecords", record + record[:left])
            assert f"at byte {len(record)}" in message and "cut short" in message
        assert "empty" in self.fault(tmp_path / "a.tfrecords", b"")

    def test_altered(self, tmp_path: Path) -> None:
        record = framed(example(features_of(1)))
        for where, word in (
            (3, "length"),
            (9, "length"),
            (5000, "content was altered"),
            (len(record) - 1, "altered"),
        ):
            wrong = bytearray(record)
            wrong[where] ^= 4
            message = self.fault(tmp_path / "a.tfrecords", record + bytes(wrong))
            assert f"at byte {len(record)}" in message and word in message

    @pytest.mark.parametrize("payload", [b"\xff\xff", b"\x0a\x7f", b"\x0b", field(1, field(1, b"\x0a\x01"))])
    def test_no_example(self, tmp_path: Path, payload: bytes) -> None:
        assert "no tf.train.Example" in self.fault(tmp_path / "a.tfrecords", framed(payload))

    def test_features_that_are_not_sifas(self, tmp_path: Path) -> None:
        features, path = features_of(1), tmp_path / "a.tfrecords"
        lacking = {name: value for name, value in features.items() if name != "lsize_dim1"}
        assert "lsize_dim1" in self.fault(path, framed(example(lacking)))
        assert "bytes instead of" in self.fault(path, framed(example({**features, "data_vol": b"1234"})))
        strange = np.full((SIDE, SIDE, 3), 6, np.float32).tobytes()
        assert "label 6" in self.fault(path, framed(example({**features, "label_vol": strange})))
        half = np.full((SIDE, SIDE, 3), 0.5, np.float32).tobytes()
        assert "label 0.5" in self.fault(path, framed(example({**features, "label_vol": half})))
        nan = np.full((SIDE, SIDE, 3), np.nan, np.float32).tobytes()
        assert "NaN" in self.fault(path, framed(example({**features, "data_vol": nan})))


class TestFolders:
    def test_voxels_labels_and_the_flip(self, tmp_path: Path) -> None:
        mr, ct = convert("sifa", release(tmp_path / "in"), tmp_path / "out")
        assert (mr.name, ct.name) == ("Dataset953_SIFA_MR", "Dataset954_SIFA_CT")
        image, labels = slice_of(101)
        written = nib.load(ct / "imagesTr" / "ct_train_00002_0000.nii.gz")
        assert written.shape == (SIDE, SIDE, 1)
        np.testing.assert_array_equal(np.asarray(written.dataobj)[..., 0], image[..., 1])
        expected = np.where(labels[..., 1] == 5, 255, labels[..., 1])
        np.testing.assert_array_equal(values(ct / "labelsTr" / "ct_train_00002.nii.gz")[..., 0], expected)
        volume, truth = volume_of(1103)
        tested = values(ct / "imagesTs" / "ct_1003_0000.nii.gz")
        for i, j, k in ((0, 0, 0), (3, 5, 2), (15, 1, 5)):
            assert tested[i, j, k] == np.float32(volume[SIDE - 1 - i, SIDE - 1 - j, k])
        mask = values(ct / "labelsTs" / "ct_1003.nii.gz")
        np.testing.assert_array_equal(mask, np.where(truth == 5, 0, truth)[::-1, ::-1])

    def test_they_pair_and_pass_the_check_in_pixels(self, tmp_path: Path) -> None:
        mr, ct = convert("sifa", release(tmp_path / "in"), tmp_path / "out")
        checked = check_folders([mr, ct], silent)
        assert checked.faults == 0, checked.text()
        assert [report.unit for report in checked.cohorts] == ["px", "px"]
        assert read_cohort(mr).classes == read_cohort(ct).classes
        assert read_cohort(mr).ignored_value == 255

    @pytest.mark.parametrize(("wish", "train", "test"), [("ignore", 255, 255), ("background", 0, 0)])
    def test_label_5_by_option(self, tmp_path: Path, wish: str, train: int, test: int) -> None:
        options = Options(label_5=wish)  # pyright: ignore
        (ct,) = convert("sifa", release(tmp_path / "in", ("ct",)), tmp_path / "out", options=options)
        here = slice_of(100)[1][..., 1] == 5
        assert set(values(ct / "labelsTr" / "ct_train_00001.nii.gz")[..., 0][here]) == {train}
        there = volume_of(1103)[1][::-1, ::-1] == 5
        assert set(values(ct / "labelsTs" / "ct_1003.nii.gz")[there]) == {test}
        declared = json.loads((ct / "dataset.json").read_text())["labels"]
        assert ("ignore" in declared) == (wish == "ignore")

    def test_patients_are_not_made_up(self, tmp_path: Path) -> None:
        _, ct = convert("sifa", release(tmp_path / "in"), tmp_path / "out")
        patients = {row["patient"] for row in rows(ct).values() if row["split"] == "train"}
        assert patients == {"unknown_ct_train", "unknown_ct_val"}
        assert rows(ct)["ct_1003"] == {"case": "ct_1003", "patient": "ct_1003", "split": "test"}
        # The authors' two parts are of other patients: the one thing that can be held out.
        split = split_cohort(read_cohort(ct), SplitConfig(), 0)
        assert split.train == tuple(f"ct_train_{i:05d}" for i in range(1, 5))
        assert split.validation == ("ct_val_00005", "ct_val_00006")

    def test_mr_validation_slices_are_of_test_patients(self, tmp_path: Path) -> None:
        mr, _ = convert("sifa", release(tmp_path / "in"), tmp_path / "out")
        told = json.loads((mr / "conversion.json").read_text())
        assert told["left_out"] == ["mr_val_tfs/mr_slice0.tfrecords", "mr_val_tfs/mr_slice1.tfrecords"]
        assert any("test patients" in remark for remark in told["remarks"])
        cohort = read_cohort(mr)
        assert {case.patient for case in cohort.part("train")} == {"unknown_mr_train"}
        with pytest.raises(InputFault, match="all 4 training cases are of one patient"):
            split_cohort(cohort, SplitConfig(), 0)
        assert SAME_PATIENT in split_cohort(cohort, SplitConfig(unit="image"), 0).remarks

    def test_where_each_case_came_from(self, tmp_path: Path) -> None:
        folder = release(tmp_path / "in", ("ct",))
        path = write(folder / "ct_train_tfs" / "ct_slice0.tfrecords", 7, 8)
        (ct,) = convert("sifa", folder, tmp_path / "out")
        first, second, *_ = json.loads((ct / "conversion.json").read_text())["cases"]
        assert first == {
            "case": "ct_train_00001", "part": "train", "file": "ct_train_tfs/ct_slice0.tfrecords", "offset": 0,
        }  # fmt: skip
        assert second["offset"] == len(path.read_bytes()) // 2

    def test_nifti_pairs_in_place_of_npz(self, tmp_path: Path) -> None:
        folder = release(tmp_path / "in", ("ct",))
        (folder / "test" / "ct_1003.npz").unlink()
        image, labels = volume_of(7)
        turned = np.diag([-1.0, -1.0, 2.0, 1.0])
        for name, array in (("image", image), ("gth", labels)):
            nib.save(nib.Nifti1Image(array, turned), folder / "test" / f"{name}_ct_1003.nii.gz")
        (ct,) = convert("sifa", folder, tmp_path / "out")
        written = nib.load(ct / "imagesTs" / "ct_1003_0000.nii.gz")
        np.testing.assert_array_equal(np.asarray(written.dataobj), image.astype(np.float32)[::-1, ::-1])
        np.testing.assert_array_equal(written.affine, np.eye(4))

    def test_lists_say_what_folders_do_not(self, tmp_path: Path) -> None:
        folder = release(tmp_path / "in", ("ct",))
        (folder / "ct_train_tfs").rename(folder / "ct_a")
        (folder / "ct_val_tfs").rename(folder / "ct_b")
        refused("neither a folder's name nor a list", folder=folder, out=tmp_path / "out")
        for name, part, count in (("training", "a", 4), ("validation", "b", 2)):
            lines = [f"./data/ct_{part}/ct_slice{index}.tfrecords\n" for index in range(count)]
            (folder / f"{name}_ct.txt").write_text("".join(lines))
        (ct,) = convert("sifa", folder, tmp_path / "out")
        parts = [row["patient"] for row in rows(ct).values()]
        assert (parts.count("unknown_ct_train"), parts.count("unknown_ct_val")) == (4, 2)


class TestRefusals:
    def test_nothing_and_no_training_slices(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        refused("holds no", folder=tmp_path / "in", out=tmp_path / "out")
        np.savez(tmp_path / "in" / "ct_1003.npz", *volume_of(0))
        refused("no CT training slices", folder=tmp_path / "in", out=tmp_path / "out")

    def test_a_training_patient_among_the_tests(self, tmp_path: Path) -> None:
        folder = release(tmp_path / "in", ("ct",))
        np.savez(folder / "test" / "ct_1001.npz", *volume_of(0))
        refused("CT 1001 is no published test case", folder=folder, out=tmp_path / "out")

    def test_a_missing_test_case_and_one_twice(self, tmp_path: Path) -> None:
        folder = release(tmp_path / "in", ("ct",))
        np.savez(folder / "test" / "ct_1003_again.npz", *volume_of(0))
        refused("ct_1003", "twice", folder=folder, out=tmp_path / "out")
        for path in folder.glob("test/ct_1003*"):
            path.unlink()
        refused("1003", "--partial", folder=folder, out=tmp_path / "out")
        assert convert("sifa", folder, tmp_path / "out", options=Options(partial=True))

    def test_names_that_tell_nothing(self, tmp_path: Path) -> None:
        folder = release(tmp_path / "in", ("ct",))
        np.savez(folder / "test" / "ct_first.npz", *volume_of(0))
        refused("which patient", folder=folder, out=tmp_path / "out")
        (folder / "test" / "ct_first.npz").unlink()
        write(folder / "validation_A" / "image_01.tfrecords", 1)
        refused("image_01", "ct or mr", folder=folder, out=tmp_path / "out")

    def test_lists_that_contradict(self, tmp_path: Path) -> None:
        folder = release(tmp_path / "in", ("ct",))
        (folder / "training_ct.txt").write_text("ct_val_tfs/ct_slice0.tfrecords\n")
        refused("lies in val", "training_ct.txt", folder=folder, out=tmp_path / "out")
        (folder / "training_ct.txt").write_text("ct_train_tfs/ct_slice9.tfrecords\n")
        refused("ct_slice9", "not there", folder=folder, out=tmp_path / "out")
        (folder / "training_ct.txt").write_text("ct_train_tfs/ct_slice0.tfrecords\n")
        (folder / "validation_ct.txt").write_text("ct_train_tfs/ct_slice0.tfrecords\n")
        refused("cannot train and validate", folder=folder, out=tmp_path / "out")
        (folder / "validation_ct.txt").unlink()
        (folder / "training_ct.txt").rename(folder / "files.txt")
        refused("files.txt", "which part", folder=folder, out=tmp_path / "out")

    @pytest.mark.parametrize(
        ("arrays", "word"),
        [
            ((np.zeros((4, 4, 2)),), "arr_1"),
            ((np.zeros((4, 4, 2)), np.zeros((4, 4, 3))), "one size"),
            ((np.zeros((4, 4)), np.zeros((4, 4))), "two volumes"),
            ((np.full((4, 4, 2), np.nan), np.zeros((4, 4, 2))), "NaN"),
            ((np.zeros((4, 4, 2)), np.full((4, 4, 2), 205)), "label 205"),
        ],
    )
    def test_an_npz_that_is_not_sifas(
        self, tmp_path: Path, arrays: tuple[np.ndarray, ...], word: str
    ) -> None:
        folder = release(tmp_path / "in", ("ct",))
        np.savez(folder / "test" / "ct_1003.npz", *arrays)
        refused("ct_1003.npz", word, folder=folder, out=tmp_path / "out")

    def test_a_damaged_npz_and_one_that_would_run_code(self, tmp_path: Path) -> None:
        folder = release(tmp_path / "in", ("ct",))
        path = folder / "test" / "ct_1003.npz"
        path.write_bytes(path.read_bytes()[:300])
        refused("ct_1003.npz", "damaged", folder=folder, out=tmp_path / "out")
        np.savez(path, np.array([{}], dtype=object), np.zeros(1))
        refused("ct_1003.npz", "damaged", folder=folder, out=tmp_path / "out")

    def test_a_damaged_record_leaves_nothing(self, tmp_path: Path) -> None:
        folder = release(tmp_path / "in")
        path = folder / "ct_train_tfs" / "ct_slice3.tfrecords"
        path.write_bytes(path.read_bytes()[:-9])
        refused("ct_slice3", "at byte 0", "cut short", folder=folder, out=tmp_path / "out")

    def test_steps_that_were_taken_already(self, tmp_path: Path) -> None:
        folder = release(tmp_path / "in", ("ct",))
        refused("already", folder=folder, out=tmp_path / "out", options=Options(zscore=True))
