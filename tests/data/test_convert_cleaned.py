"""A dataset without burnt-in marks: what is changed, copied, carried over and told; refusals."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.drawn_marks import GREEN, WHITE, burnt, callipers, coverage, scan

from fewmask.console import silent
from fewmask.data.cleaning.options import CleaningOptions
from fewmask.data.cleaning.panels import REPLACED, REPORTED
from fewmask.data.convert.cleaned import cleaned
from fewmask.data.layouts import read_cohort
from fewmask.data.raster import read_classes
from fewmask.errors import InputFault

SIZE = 256
BUSI = Path(__file__).parents[3] / "shared" / "data" / "Dataset301_BUSI"
MARKS = coverage(SIZE, callipers(SIZE))
MASK = np.zeros((SIZE, SIZE), np.uint8)
MASK[90:150, 60:120] = 1
RGB = {"0": "R", "1": "G", "2": "B"}


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    """Write (C, H, W) or (H, W)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    last = np.moveaxis(pixels, 0, -1) if pixels.ndim == 3 else pixels
    Image.fromarray(np.ascontiguousarray(last.squeeze())).save(path, **options)
    return path


def pixels_of(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def nnunet(folder: Path, pictures: dict[str, np.ndarray], ending: str = ".png") -> Path:
    """Cases of the training part, those that start with t of the test part; their masks; patients and an outcome."""
    for name, pixels in pictures.items():
        suffix = "Ts" if name.startswith("t") else "Tr"
        save(folder / f"images{suffix}" / f"{name}_0000{ending}", pixels)
        save(folder / f"labels{suffix}" / f"{name}{ending}", MASK)
    channels = RGB if next(iter(pictures.values())).ndim == 3 else {"0": "ultrasound"}
    content = {
        "name": "cervix",
        "licence": "CC0-1.0",
        "synthetic": True,
        "channel_names": channels,
        "labels": {"background": 0, "cervix": 1},
        "numTraining": 99,
        "file_ending": ending,
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    rows = "".join(f"{name},p_{name},{'test' if name[0] == 't' else 'train'},1\n" for name in pictures)
    (folder / "cases.csv").write_text(f"case,patient,split,preterm\n{rows}")
    return folder


def clean(folder: Path, out: Path, **options: object) -> list[str]:
    """Clean, and return what was told."""
    heard: list[str] = []
    assert cleaned(folder, out, CleaningOptions(**options), silent, heard.append) == out
    assert all("\n" not in line and ";" in line for line in heard)
    assert json.loads((out / "conversion.json").read_text())["remarks"] == heard
    return heard


def rows(folder: Path, table: str) -> dict[str, dict[str, str]]:
    with (folder / table).open(newline="", encoding="utf-8") as lines:
        return {row["case"]: row for row in csv.DictReader(lines)}


def plain(seed: int) -> np.ndarray:
    return np.repeat(scan(SIZE, seed)[None], 3, axis=0)


class TestColoured:
    def test_marked_pictures_are_cleaned_and_the_rest_is_carried_over(self, tmp_path: Path) -> None:
        pictures = {"a": burnt(scan(SIZE, 0), MARKS, GREEN), "b": plain(1), "t": plain(2)}
        folder, out = nnunet(tmp_path / "in", pictures), tmp_path / "deep" / "out"
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        (told,) = clean(folder, out)
        assert "1 of 3 pictures (e.g. a) were cleaned" in told
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
        for name in ("imagesTr/b_0000.png", "imagesTs/t_0000.png"):
            assert (out / name).read_bytes() == (folder / name).read_bytes()
        image = Image.open(out / "imagesTr" / "a_0000.png")
        assert image.mode == "RGB"
        changed = (np.asarray(image) != np.moveaxis(pictures["a"], 0, -1)).any(axis=-1)
        assert changed[MARKS > 0.5].mean() > 0.99 and changed[MARKS == 0].mean() < 0.02
        cohort = read_cohort(out)
        assert cohort.layout == "nnU-Net" and cohort.channels == ("R", "G", "B")
        for case in cohort.cases:
            np.testing.assert_array_equal(read_classes(cohort, case), MASK)
        assert rows(out, "cases.csv") == rows(folder, "cases.csv")
        described = json.loads((out / "dataset.json").read_text())
        assert (described["name"], described["licence"], described["numTraining"]) == ("out", "CC0-1.0", 2)
        assert described["synthetic"] is True and described["labels"] == {"background": 0, "cervix": 1}
        assert sorted(path.name for path in out.parent.iterdir()) == ["out"], "nothing unfinished is left"

    def test_the_table_and_the_panel_say_what_was_done(self, tmp_path: Path) -> None:
        pictures = {"a": burnt(scan(SIZE, 0), MARKS, GREEN), "b": plain(1)}
        out = tmp_path / "out"
        clean(nnunet(tmp_path / "in", pictures), out)
        table = rows(out, "cleaning.csv")
        assert (table["a"]["changed"], table["b"]["changed"]) == ("yes", "no")
        assert table["a"]["image"] == "imagesTr/a_0000.png"
        marked = int(table["a"]["coloured_pixels"])
        assert float(table["a"]["coloured_share"]) == pytest.approx(marked / SIZE**2, abs=1e-6)
        assert table["b"]["coloured_pixels"] == table["b"]["grey_marks"] == "0"
        assert [path.name for path in (out / "cleaning").iterdir()] == ["a.png"]
        panel = pixels_of(out / "cleaning" / "a.png")
        assert panel.shape == (SIZE, 3 * SIZE + 8, 3)
        np.testing.assert_array_equal(panel[:, :SIZE], np.moveaxis(pictures["a"], 0, -1))
        np.testing.assert_array_equal(panel[:, -SIZE:], pixels_of(out / "imagesTr" / "a_0000.png"))
        middle = panel[:, SIZE + 4 : 2 * SIZE + 4]
        drawn = (middle != panel[:, :SIZE]).any(axis=-1)
        assert (middle[drawn] == REPLACED).all() and 0 < drawn.sum() < 3 * marked
        account = json.loads((out / "conversion.json").read_text())
        assert account["format"] == "cleaned-marks" and account["steps"]["hues"] == "40-170"
        assert [case["changed"] for case in account["cases"]] == [["imagesTr/a_0000.png"], []]

    def test_other_hues_and_photographs_are_left_and_told(self, tmp_path: Path) -> None:
        photograph = plain(1)
        photograph[2] //= 3
        pictures = {"a": burnt(scan(SIZE, 0), MARKS, (255, 0, 255)), "b": photograph}
        folder, out = nnunet(tmp_path / "in", pictures), tmp_path / "out"
        whole, others = clean(folder, out)
        assert (
            "(e.g. b) are coloured as a whole" in whole
            and "(e.g. a) have saturated pixels of other" in others
        )
        for name in "ab":
            copy = out / "imagesTr" / f"{name}_0000.png"
            assert copy.read_bytes() == (folder / "imagesTr" / copy.name).read_bytes()
        assert rows(out, "cleaning.csv")["b"]["photograph"] == "yes"
        again = tmp_path / "again"
        assert "were cleaned" in clean(folder, again, hues="280-320")[0]


class TestGrey:
    def test_grey_marks_are_told_and_stay_unless_removal_is_asked_for(self, tmp_path: Path) -> None:
        pictures = {"a": burnt(scan(SIZE, 0), MARKS, WHITE)[0], "b": scan(SIZE, 1)}
        folder = nnunet(tmp_path / "in", pictures)
        told, gone = tmp_path / "told", tmp_path / "gone"
        assert "1 of 2 pictures (e.g. a) have grey marks" in clean(folder, told)[0]
        for path in (folder / "imagesTr").iterdir():
            assert (told / "imagesTr" / path.name).read_bytes() == path.read_bytes()
        row = rows(told, "cleaning.csv")["a"]
        boxes = [[int(edge) for edge in box.split()] for box in row["grey_boxes"].split("; ")]
        assert len(boxes) == int(row["grey_marks"]) > 0 and all(len(box) == 4 for box in boxes)
        assert row["changed"] == "no" and int(row["grey_pixels"]) > 100
        outlined = pixels_of(told / "cleaning" / "a.png")[:, SIZE + 4 : 2 * SIZE + 4]
        assert (outlined == REPORTED).all(axis=-1).any()
        assert "were cleaned" in clean(folder, gone, grey="remove")[0]
        image = Image.open(gone / "imagesTr" / "a_0000.png")
        assert image.mode == "L"
        assert (np.asarray(image) != pictures["a"]).mean() > 0.005
        assert rows(gone, "cleaning.csv")["a"]["changed"] == "yes"

    @pytest.mark.skipif(not BUSI.is_dir(), reason="needs ../shared/data beside the repository")
    def test_real_callipers_and_words_are_found_and_tissue_is_not(self, tmp_path: Path) -> None:
        names = {"benign_275": True, "malignant_110": True, "benign_34": True, "malignant_189": False}
        folder = tmp_path / "in"
        for name in names:
            path = folder / "images" / f"{name}.png"
            save(path, pixels_of(next(BUSI.glob(f"images*/{name}_0000.png"))))
        out = tmp_path / "out"
        clean(folder, out)
        table = rows(out, "cleaning.csv")
        assert {name: table[name]["grey_marks"] != "0" for name in names} == names


class TestLayouts:
    def test_plain_folders_with_masks_of_0_and_255(self, tmp_path: Path) -> None:
        folder = tmp_path / "in"
        save(folder / "images" / "a.bmp", burnt(scan(SIZE, 0), MARKS, GREEN))
        save(folder / "masks" / "a.png", MASK * 255)
        out = tmp_path / "out"
        clean(folder, out)
        cohort = read_cohort(out)
        assert cohort.label_values == (0, 1) and not cohort.patients_known
        np.testing.assert_array_equal(read_classes(cohort, cohort.cases[0]), MASK)
        assert Image.open(out / "imagesTr" / "a_0000.bmp").mode == "RGB"

    def test_pictures_without_masks_and_a_palette(self, tmp_path: Path) -> None:
        folder, out = tmp_path / "in", tmp_path / "out"
        marked = Image.fromarray(np.moveaxis(burnt(scan(SIZE, 0), MARKS, GREEN), 0, -1))
        (folder / "images").mkdir(parents=True)
        marked.quantize(64, dither=Image.Dither.NONE).save(folder / "images" / "a.png")
        clean(folder, out)
        assert Image.open(out / "imagesTr" / "a_0000.png").mode == "RGB"
        cohort = read_cohort(out)
        assert cohort.classes == ("background",) and cohort.cases[0].mask is None
        assert json.loads((out / "conversion.json").read_text())["labels"] == {}

    def test_ignored_pixels_and_tags_of_slices_are_kept(self, tmp_path: Path) -> None:
        folder = nnunet(tmp_path / "in", {"a": scan(SIZE, 0)})
        ignored = MASK.copy()
        ignored[:5] = 255
        save(folder / "labelsTr" / "a.png", ignored)
        (folder / "slices.csv").write_text("case,slice,cervix\na,0,1\n")
        (told,) = clean(folder, tmp_path / "out")
        assert "no marks were found" in told
        cohort = read_cohort(tmp_path / "out")
        np.testing.assert_array_equal(read_classes(cohort, cohort.cases[0]), ignored)
        assert cohort.cases[0].slice_tags == {0: {"cervix": "1"}}
        assert json.loads((tmp_path / "out" / "dataset.json").read_text())["labels"]["ignore"] == 255


class TestFaults:
    def refused(self, folder: Path, out: Path, *words: str) -> None:
        before = sorted(out.parent.rglob("*"))
        with pytest.raises(InputFault) as fault:
            cleaned(folder, out, CleaningOptions(), silent, lambda text: None)
        message = str(fault.value)
        assert "\n" not in message and ";" in message, message
        assert all(word in message for word in words), message
        assert sorted(out.parent.rglob("*")) == before, "a refusal leaves nothing"

    def test_a_folder_that_holds_something_is_left_alone(self, tmp_path: Path) -> None:
        folder = nnunet(tmp_path / "in", {"a": scan(64, 0)})
        self.refused(folder, folder, "choose another folder")

    def test_jpeg(self, tmp_path: Path) -> None:
        save(tmp_path / "in" / "images" / "a.jpg", scan(64, 0))
        self.refused(tmp_path / "in", tmp_path / "out", "a.jpg", ".png")

    def test_two_kinds_of_pictures(self, tmp_path: Path) -> None:
        save(tmp_path / "in" / "images" / "a.png", scan(64, 0))
        save(tmp_path / "in" / "images" / "b.bmp", scan(64, 1))
        self.refused(tmp_path / "in", tmp_path / "out", "b.bmp", "one kind")

    def test_16_bits(self, tmp_path: Path) -> None:
        save(tmp_path / "in" / "images" / "a.png", scan(64, 0).astype(np.uint16) * 200)
        self.refused(tmp_path / "in", tmp_path / "out", "a.png", "8 bits")

    def test_a_mask_that_does_not_fit(self, tmp_path: Path) -> None:
        folder = nnunet(tmp_path / "in", {"a": scan(SIZE, 0)})
        save(folder / "labelsTr" / "a.png", MASK[:-1])
        self.refused(folder, tmp_path / "out", "a.png", "255 x 256")
