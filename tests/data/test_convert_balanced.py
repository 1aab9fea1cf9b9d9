"""Equally many outcomes in each part: who is copied, what a copy is, what stays, what is told; refusals."""

import csv
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from fewmask.cli import app
from fewmask.console import silent
from fewmask.data.convert.balanced import balanced
from fewmask.data.layouts import read_cohort
from fewmask.data.raster import read_case, read_classes
from fewmask.data.split import split_cohort
from fewmask.errors import InputFault
from fewmask.recipe import SplitConfig

torch.set_num_threads(1)

HEIGHT, WIDTH = 48, 64
BRIGHT, DARK = 190, 50


class Given(NamedTuple):
    """A row of cases.csv."""

    case: str
    patient: str
    split: str
    preterm: str
    site: str = "here"


USUAL = (
    Given("a1", "a", "train", "1"),
    Given("a2", "a", "train", "1"),
    Given("b1", "b", "train", "1", "there"),
    Given("c1", "c", "train", "0"),
    Given("c2", "c", "train", "0"),
    Given("d1", "d", "train", "0"),
    Given("d2", "d", "train", "0"),
    Given("e1", "e", "train", "0"),
    Given("f1", "f", "train", ""),
    Given("g1", "g", "test", "0"),
    Given("h1", "h", "test", "1"),
    Given("i1", "i", "test", "1"),
    Given("i2", "i", "test", "1"),
)
"""Train: 3 of 8 images (of 5 patients) have the outcome and 1 is unknown. Test: 3 of 4."""


def disc(name: str) -> np.ndarray:
    """Where the disc of a case lies, (H, W)."""
    place = np.random.default_rng(list(name.encode()))
    row, column = place.uniform(18, 30), place.uniform(22, 42)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return (rows - row) ** 2 + (columns - column) ** 2 < 12**2


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def shown(name: str) -> np.ndarray:
    """A bright disc on dark ground, with some noise."""
    noise = np.random.default_rng(len(name)).normal(0, 6, (HEIGHT, WIDTH))
    return np.clip(np.where(disc(name), BRIGHT, DARK) + noise, 0, 255).astype(np.uint8)


def nnunet(folder: Path, given: Sequence[Given] = USUAL, bare: Sequence[str] = ("b1",)) -> Path:
    """A folder of drawn discs; `bare` cases have no mask."""
    for case in given:
        suffix = "Tr" if case.split == "train" else "Ts"
        save(folder / f"images{suffix}" / f"{case.case}_0000.png", shown(case.case))
        if case.case not in bare:
            save(folder / f"labels{suffix}" / f"{case.case}.png", disc(case.case).astype(np.uint8))
    content = {
        "licence": "CC0-1.0",
        "channel_names": {"0": "ultrasound"},
        "labels": {"background": 0, "disc": 1},
        "file_ending": ".png",
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    with (folder / "cases.csv").open("w", newline="") as file:
        csv.writer(file).writerows([Given._fields, *given])
    return folder


def balance(folder: Path, out: Path, outcome: str = "preterm", seed: int = 0) -> list[str]:
    """Balance, and return what was told."""
    heard: list[str] = []
    assert balanced(folder, out, outcome, seed, silent, heard.append) == out
    assert all("\n" not in line and ";" in line and line.startswith(f"{folder}: ") for line in heard)
    assert json.loads((out / "conversion.json").read_text())["remarks"] == heard
    return heard


def rows(folder: Path, table: str = "cases.csv") -> list[dict[str, str]]:
    with (folder / table).open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def copies(folder: Path) -> list[str]:
    return [row["case"] for row in rows(folder) if row["copy_of"]]


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


class TestWhoIsCopied:
    def test_both_outcomes_are_equally_many_in_each_part(self, tmp_path: Path) -> None:
        folder, out = nnunet(tmp_path / "in"), tmp_path / "deep" / "out"
        balance(folder, out)
        table = rows(out)
        counted = Counter((row["split"], row["preterm"]) for row in table)
        assert counted == {
            ("train", "1"): 5,
            ("train", "0"): 5,
            ("train", ""): 1,
            ("test", "1"): 3,
            ("test", "0"): 3,
        }
        sides = {(row["patient"], row["split"]) for row in table}
        assert len(sides) == len({patient for patient, _ in sides}) == 9, "nobody is on both sides"
        cohort = read_cohort(out)
        assert {case.name: case.part for case in cohort.cases} == {row["case"]: row["split"] for row in table}
        assert (
            json.loads((out / "dataset.json").read_text())["numTraining"] == len(cohort.part("train")) == 11
        )
        assert sorted(path.name for path in out.parent.iterdir()) == ["out"], "nothing unfinished is left"

    def test_a_copy_has_its_originals_row(self, tmp_path: Path) -> None:
        out = tmp_path / "out"
        balance(nnunet(tmp_path / "in"), out)
        table = {row["case"]: row for row in rows(out)}
        originals = {row["case"]: row for row in rows(tmp_path / "in")}
        assert list(table)[: len(USUAL)] == list(originals)
        for name, row in table.items():
            of = row.pop("copy_of")
            assert bool(of) == (name not in originals)
            assert {**row, "case": of or name} == originals[of or name]
        assert [name for name in table if name.startswith("g1")] == ["g1", "g1_copy01", "g1_copy02"]

    def test_each_patient_is_copied_before_one_of_them_again(self, tmp_path: Path) -> None:
        rare = [Given(f"a{index}", "a", "train", "yes") for index in range(4)]
        rare += [Given("b0", "b", "train", "yes"), Given("c0", "c", "train", "yes")]
        common = [Given(f"z{index}", f"z{index}", "train", "no") for index in range(16)]
        for number, expected in ((9, {"a": 1, "b": 1, "c": 1}), (11, {"a": 3, "b": 1, "c": 1}), (16, {})):
            out = tmp_path / str(number)
            balance(nnunet(tmp_path / f"in{number}", rare + common[:number]), out)
            added = [row for row in rows(out) if row["copy_of"]]
            assert len(added) == number - 6
            assert not expected or Counter(row["patient"] for row in added) == expected
            each = Counter(row["copy_of"] for row in added)
            assert max(each.values()) - min(each.get(case.case, 0) for case in rare) <= 1

    def test_a_threshold_says_who_has_the_outcome(self, tmp_path: Path) -> None:
        weeks = [Given(f"c{week}", f"p{week}", "train", str(week)) for week in (30, 38, 39, 40, 41)]
        balance(nnunet(tmp_path / "in", weeks), tmp_path / "out", "preterm<37")
        assert copies(tmp_path / "out") == ["c30_copy01", "c30_copy02", "c30_copy03"]
        steps = json.loads((tmp_path / "out" / "conversion.json").read_text())["steps"]
        assert steps["outcome"] == {"column": "preterm", "comparison": "<", "value": "37", "other": None}
        assert steps["parts"][0] == {"part": "train", "positive": 1, "negative": 4, "unknown": 0, "copies": 3}
        assert steps["augmentation"]["rotation"] == 15.0 and steps["augmentation"]["gamma"] == 0.0

    def test_unknown_patients_leave_copies_with_their_originals(self, tmp_path: Path) -> None:
        folder = nnunet(tmp_path / "in")
        table = [f"{case.case},{case.split},{case.preterm}" for case in USUAL]
        (folder / "cases.csv").write_text("\n".join(("case,split,preterm", *table)) + "\n")
        for copy, original in (("d1", "c1"), ("e1", "a1")):
            save(folder / "imagesTr" / f"{copy}_0000.png", shown(original) + 1)
        assert any("no patients are known" in line for line in balance(folder, tmp_path / "out"))
        cohort = read_cohort(tmp_path / "out")
        patients = {case.name: case.patient for case in cohort.cases}
        alone = {name: name for name in ("a1", "b1", "c2", "e1", "h1", "i1")}
        assert patients["d1"] == patients["c1"] == "c1", "near-duplicates stay together"
        assert {name: patients[name] for name in alone} == alone, "e1 is like a1, but has another outcome"
        parted = 0
        for seed in range(8):
            split = split_cohort(cohort, SplitConfig(), seed)
            for row in rows(tmp_path / "out"):
                if row["copy_of"] and row["split"] == "train":
                    assert (row["case"] in split.validation) == (row["copy_of"] in split.validation)
                    parted += row["case"] in split.validation
        assert parted, "some split held a copy out"


class TestWhatIsWritten:
    def test_originals_are_as_they_were(self, tmp_path: Path) -> None:
        folder, out = nnunet(tmp_path / "in"), tmp_path / "out"
        before = content(folder)
        balance(folder, out)
        assert content(folder) == before
        written = content(out)
        images = [name for name in before if name.startswith("images")]
        assert len(images) == len(USUAL)
        for name in images:
            assert written[name] == before[name]
        cohort = read_cohort(out)
        for case in cohort.cases:
            if case.mask and case.name in {given.case for given in USUAL}:
                np.testing.assert_array_equal(read_classes(cohort, case), disc(case.name))
        assert [case.name for case in cohort.cases if not case.mask and not case.columns["copy_of"]] == ["b1"]
        assert json.loads((out / "dataset.json").read_text())["licence"] == "CC0-1.0"

    def test_masks_move_with_their_images(self, tmp_path: Path) -> None:
        out = tmp_path / "out"
        given = [Given("a", "a", "train", "1"), *(Given(f"z{i}", f"z{i}", "train", "0") for i in range(13))]
        balance(nnunet(tmp_path / "in", given), out)
        cohort = read_cohort(out)
        cases = {case.name: case for case in cohort.cases}
        moved: list[np.ndarray] = []
        for name in copies(out):
            image = read_case(cases[name]).array[0].astype(float)
            mask = read_classes(cohort, cases[name]) == 1
            bright = image > np.percentile(image, (10, 95)).mean()
            assert 2 * (bright & mask).sum() / (bright.sum() + mask.sum()) > 0.9, name
            moved.append(mask)
        assert len({mask.tobytes() for mask in [*moved, disc("a")]}) == 13, "each in another way"
        assert min((mask & disc("a")).sum() for mask in moved) > 0
        pictures = {(out / "imagesTr" / f"{name}_0000.png").read_bytes() for name in copies(out)}
        assert len(pictures) == 12

    def test_a_copy_without_a_mask_has_none(self, tmp_path: Path) -> None:
        given = [
            Given("b1", "b", "train", "1"),
            Given("c1", "c", "train", "0"),
            Given("d1", "d", "train", "0"),
        ]
        balance(nnunet(tmp_path / "in", given), tmp_path / "out")
        assert (tmp_path / "out" / "imagesTr" / "b1_copy01_0000.png").is_file()
        assert sorted(path.name for path in (tmp_path / "out" / "labelsTr").iterdir()) == ["c1.png", "d1.png"]

    def test_channels_move_alike_and_grey_in_rgb_stays_grey(self, tmp_path: Path) -> None:
        given = [Given("a", "a", "train", "1"), Given("c", "c", "train", "0"), Given("d", "d", "train", "0")]
        two, rgb = nnunet(tmp_path / "two", given), nnunet(tmp_path / "rgb", given)
        for case in given:
            path = rgb / "imagesTr" / f"{case.case}_0000.png"
            save(path, np.repeat(shown(case.case)[..., None], 3, axis=2))
            save(two / "imagesTr" / f"{case.case}_0001.png", 255 - shown(case.case))
        for folder, names in ((two, ("B", "inverse")), (rgb, ("R", "G", "B"))):
            described = json.loads((folder / "dataset.json").read_text())
            described["channel_names"] = {str(index): name for index, name in enumerate(names)}
            (folder / "dataset.json").write_text(json.dumps(described))
            balance(folder, tmp_path / "out" / folder.name)
        copy = Image.open(tmp_path / "out" / "rgb" / "imagesTr" / "a_copy01_0000.png")
        assert copy.mode == "RGB"
        assert (np.ptp(np.asarray(copy), axis=2) == 0).all(), "noise in colours would give copies away"
        first, second = (
            np.asarray(Image.open(tmp_path / "out" / "two" / "imagesTr" / f"a_copy01_000{index}.png")).astype(
                float
            )
            for index in (0, 1)
        )
        inside = (first > 20) & (second > 20)
        assert np.corrcoef(first[inside], second[inside])[0, 1] < -0.9

    def test_ignored_pixels_and_tags_of_slices_are_kept(self, tmp_path: Path) -> None:
        given = [Given("a", "a", "train", "1"), Given("c", "c", "train", "0"), Given("d", "d", "train", "0")]
        folder, out = nnunet(tmp_path / "in", given), tmp_path / "out"
        ignored = disc("a").astype(np.uint8)
        ignored[20:28, 20:28] = 255
        save(folder / "labelsTr" / "a.png", ignored)
        (folder / "slices.csv").write_text("case,slice,disc\na,0,1\nc,0,0\n")
        balance(folder, out)
        cohort = read_cohort(out)
        copy = next(case for case in cohort.cases if case.name == "a_copy01")
        assert copy.slice_tags == {0: {"disc": "1"}}
        values, counts = np.unique(read_classes(cohort, copy), return_counts=True)
        assert values.tolist() == [0, 1, 255] and 30 < counts[2] < 130
        assert json.loads((out / "dataset.json").read_text())["labels"]["ignore"] == 255

    def test_a_seed_decides_and_more_cases_change_no_earlier_copy(self, tmp_path: Path) -> None:
        folder = nnunet(tmp_path / "in")
        for place, seed in (("once", 3), ("twice", 3), ("other", 4)):
            balance(folder, tmp_path / place / "out", seed=seed)
        once, twice, other = (content(tmp_path / place / "out") for place in ("once", "twice", "other"))
        assert once == twice
        copy = "imagesTs/g1_copy01_0000.png"
        assert once[copy] != other[copy]
        more = (
            *USUAL,
            Given("a0", "a", "train", "1"),
            *(Given(f"z{i}", "z", "train", "0") for i in range(9)),
        )
        nnunet(tmp_path / "more", more)
        balance(tmp_path / "more", tmp_path / "grown", seed=3)
        grown = content(tmp_path / "grown")
        kept = [name for name in once if "_copy" in name and name in grown]
        assert len(kept) > 6 and all(grown[name] == once[name] for name in kept)


class TestWhatIsTold:
    def test_a_test_part_with_copies_comes_with_a_warning(self, tmp_path: Path) -> None:
        train, test, traces, warning = balance(nnunet(tmp_path / "in"), tmp_path / "out")
        assert (
            "train: 3 of 8 images have preterm==1 = 1; 2 copies of them make both outcomes 5 images" in train
        )
        assert "test: 1 of 4 images have preterm==1 = 0; 2 copies" in test
        assert "WARNING" in traces and "only images of one outcome are copied" in traces
        assert "WARNING: the test part now holds copies" in warning
        assert "n counts copies and not patients" in warning and "prevalence of one half" in warning
        assert "take figures of record from the original folder" in warning

    def test_a_part_of_one_outcome_stays_as_it_is(self, tmp_path: Path) -> None:
        given = [case for case in USUAL if case.case != "g1"]
        train, test, traces = balance(nnunet(tmp_path / "in", given), tmp_path / "out")
        assert "3 of 8" in train and "WARNING" in traces and "test part" not in traces
        assert test.endswith(
            "test: all 3 images with an outcome have preterm==1 = 1; the part stays as it is"
        )
        assert all(row["split"] == "train" for row in rows(tmp_path / "out") if row["copy_of"])
        unknown = [case._replace(preterm="") if case.split == "test" else case for case in USUAL]
        told = balance(nnunet(tmp_path / "in2", unknown), tmp_path / "out2")
        assert told[1].endswith("test: no image has an outcome; the part stays as it is")

    def test_nothing_is_told_where_nothing_is_copied(self, tmp_path: Path) -> None:
        given = [Given("a", "a", "train", "1"), Given("c", "c", "train", "0")]
        folder = nnunet(tmp_path / "in", given)
        (folder / "cases.csv").write_text("case,preterm\na,1\nc,0\n")
        assert balance(folder, tmp_path / "out") == []
        cohort = read_cohort(tmp_path / "out")
        assert len(cohort.cases) == 2 and not cohort.patients_known

    def test_zoomed_copies_and_sizes_in_mm(self, tmp_path: Path) -> None:
        folder = nnunet(tmp_path / "in")
        table = (folder / "cases.csv").read_text().replace("site", "pixel_mm").replace("here", "0.1")
        (folder / "cases.csv").write_text(table.replace("there", "0.2"))
        assert any("zoomed by up to 19%" in line for line in balance(folder, tmp_path / "out"))

    def test_the_command(self, tmp_path: Path) -> None:
        folder, out = nnunet(tmp_path / "in"), tmp_path / "out"
        words = ["balance", str(folder), str(out), "--outcome", "preterm", "--seed", "3"]
        answer = CliRunner().invoke(app, words)
        assert answer.exit_code == 0, answer.output
        assert answer.stdout == f"{out}\n" and answer.stderr.count("WARNING") == 2
        balance(folder, tmp_path / "same" / "out", seed=3)
        assert content(out) == content(tmp_path / "same" / "out")


class TestFaults:
    def refused(self, folder: Path, *words: str, outcome: str = "preterm", out: Path | None = None) -> None:
        before = sorted(folder.parent.rglob("*"))
        with pytest.raises(InputFault) as fault:
            balanced(folder, out or folder.parent / "out", outcome, 0, silent, lambda text: None)
        message = str(fault.value)
        assert "\n" not in message and ";" in message, message
        assert all(word in message for word in words), message
        assert sorted(folder.parent.rglob("*")) == before, "a refusal leaves nothing"

    def test_no_such_column(self, tmp_path: Path) -> None:
        self.refused(nnunet(tmp_path / "in"), "no such column", "did you mean 'preterm'", outcome="pretem")

    def test_one_outcome_in_all(self, tmp_path: Path) -> None:
        self.refused(nnunet(tmp_path / "in"), "all 12 images are 0", outcome="preterm>=2")

    def test_a_patient_in_both_parts(self, tmp_path: Path) -> None:
        given = [*USUAL, Given("a9", "a", "test", "1")]
        self.refused(nnunet(tmp_path / "in", given), "patient a on both sides", "split")

    def test_a_folder_that_holds_copies(self, tmp_path: Path) -> None:
        out = tmp_path / "once" / "in"
        balance(nnunet(tmp_path / "in"), out)
        self.refused(out, "holds copies already", "give the original folder")
        given = [*USUAL, Given("g1_copy02", "g", "test", "")]
        self.refused(nnunet(tmp_path / "named" / "in", given), "case g1_copy02")

    def test_an_out_that_holds_something(self, tmp_path: Path) -> None:
        folder = nnunet(tmp_path / "in")
        self.refused(folder, "choose another folder", out=folder)

    def test_jpeg_and_volumes(self, tmp_path: Path) -> None:
        save(tmp_path / "jpeg" / "images" / "a.jpg", shown("a"))
        (tmp_path / "jpeg" / "cases.csv").write_text("case,preterm\na,1\n")
        self.refused(tmp_path / "jpeg", "a.jpg: only pictures are balanced", ".png")
        (tmp_path / "volumes" / "images").mkdir(parents=True)
        nib.save(
            nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.eye(4)),
            tmp_path / "volumes" / "images" / "a.nii.gz",
        )
        self.refused(tmp_path / "volumes", "a.nii.gz: only pictures are balanced")

    def test_16_bits(self, tmp_path: Path) -> None:
        folder = nnunet(tmp_path / "in")
        save(folder / "imagesTs" / "g1_0000.png", shown("g1").astype(np.uint16) * 200)
        self.refused(folder, "g1_0000.png: has more than 8 bits")

    def test_a_mask_that_does_not_fit(self, tmp_path: Path) -> None:
        folder = nnunet(tmp_path / "in")
        save(folder / "labelsTr" / "c1.png", disc("c1")[:-1].astype(np.uint8))
        self.refused(folder, "c1.png", "47 x 64")
