"""Pictures and outlines become an nnU-Net folder; refusals leave nothing; what a user should know is told."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from fewmask.console import silent
from fewmask.data.convert.outlines import OutlineOptions, outlines
from fewmask.data.layouts import read_cohort
from fewmask.data.outlines.pixels import pixels_of
from fewmask.data.outlines.shape import Outline, rectangle
from fewmask.data.raster import read_case, read_classes
from fewmask.errors import InputFault

torch.set_num_threads(1)

WIDTH, HEIGHT = 30, 20
USUAL = OutlineOptions()
BOX = "5 4; 15 4; 15 12; 5 12"
WIDER = "5 4; 20 4; 20 12; 5 12"


def picture(path: Path, seed: int, channels: int = 1, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, channels), np.uint8)
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(path)
    return path


def folder_of(root: Path, *names: str) -> Path:
    for seed, name in enumerate(names):
        picture(root / name, seed)
    return root


def table(path: Path, *rows: str, head: str = "image,label,annotator,points") -> Path:
    path.write_text("\n".join((head, *rows)) + "\n")
    return path


def converted(
    folder: Path,
    drawn: Path,
    out: Path,
    options: OutlineOptions = USUAL,
    heard: list[str] | None = None,
) -> Path:
    return outlines(folder, out, drawn, options, silent, (heard if heard is not None else []).append)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def box_mask(columns: int = 10) -> np.ndarray:
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[4:12, 5 : 5 + columns] = 1
    return expected


def refused(
    folder: Path,
    drawn: Path,
    words: Sequence[str],
    options: OutlineOptions = USUAL,
    start: Path | None = None,
) -> None:
    out = folder.parent / "out"
    before = sorted(folder.parent.rglob("*"))
    with pytest.raises(InputFault) as fault:
        converted(folder, drawn, out, options)
    message = str(fault.value)
    assert "\n" not in message and ";" in message, message
    assert start is None or message.startswith(str(start)), message
    for word in words:
        assert word in message, message
    assert sorted(folder.parent.rglob("*")) == before, "a refusal leaves nothing"


def test_a_plain_folder_becomes_nnunets_with_its_table(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in", "a.png", "b.png", "c.png")
    (folder / "cases.csv").write_text(
        "case,patient,site,split,preterm\na,p1,x,train,1\nb,p2,y,test,0\nc,p3,x,train,\n"
    )
    drawn = table(tmp_path / "drawn.csv", f"a.png,cervix,,{BOX}", f"b,cervix,,{WIDER}")
    heard: list[str] = []
    assert converted(folder, drawn, tmp_path / "deep" / "out", heard=heard) == tmp_path / "deep" / "out"
    out = tmp_path / "deep" / "out"
    cohort = read_cohort(out)
    assert (cohort.layout, cohort.classes, cohort.label_values) == (
        "nnU-Net",
        ("background", "cervix"),
        (0, 1),
    )
    cases = {case.name: case for case in cohort.cases}
    np.testing.assert_array_equal(read_classes(cohort, cases["a"]), box_mask())
    np.testing.assert_array_equal(read_classes(cohort, cases["b"]), box_mask(15))
    assert (cases["c"].mask, cases["b"].part, cases["a"].part) == (None, "test", "train")
    for name, case in cases.items():
        assert case.images[0].read_bytes() == (folder / f"{name}.png").read_bytes()
    assert rows(out / "cases.csv") == rows(folder / "cases.csv")
    assert len(heard) == 1 and "1 of 3 images have no outline (first: c) and get no mask; " in heard[0]
    account = json.loads((out / "conversion.json").read_text())
    assert account["remarks"] == heard
    assert account["steps"]["merge"] == "majority" and account["format"] == "outlines"
    assert account["cases"][0]["pixels"] == {"cervix": 80}
    assert [case["outlines"] for case in account["cases"]] == [1, 1, 0]
    assert not (out / "agreement.csv").exists(), "nobody to agree with"
    assert json.loads((out / "dataset.json").read_text())["numTraining"] == 2
    assert [path.name for path in out.parent.iterdir()] == ["out"], "nothing unfinished is left"


def test_several_annotators_are_merged_and_their_agreement_is_written(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in", "a.png", "b.png")
    rows_ = [
        f"a.png,cervix,ann,{BOX}",
        f"a.png,cervix,bo,{WIDER}",
        f"a.png,cervix,cy,{BOX}",
        f"b.png,cervix,ann,{BOX}",
    ]
    drawn = table(tmp_path / "drawn.csv", *rows_, "a.png,lesion,ann,7 5; 9 5; 9 8; 7 8")
    heard: list[str] = []
    out = converted(folder, drawn, tmp_path / "out", heard=heard)
    cohort = read_cohort(out)
    assert cohort.classes == ("background", "cervix", "lesion")
    for case in cohort.cases:
        np.testing.assert_array_equal(read_classes(cohort, case), box_mask())
    told = rows(out / "agreement.csv")
    assert list(told[0]) == ["case", "class", "first", "second", "dice", "kappa"]
    assert [(row["class"], row["first"], row["second"]) for row in told] == [
        ("cervix", "ann", "bo"), ("cervix", "ann", "cy"), ("cervix", "bo", "cy"),
        ("lesion", "ann", "bo"), ("lesion", "ann", "cy"), ("lesion", "bo", "cy"),
    ]  # fmt: skip
    assert [row["dice"] for row in told] == ["0.8", "1.0", "0.8", "0.0", "0.0", ""]
    # In the box of 8 x 15 pixels, 80 are marked by both and 40 by one alone, so chance already is 80 / 120.
    assert [row["kappa"] for row in told[:3]] == ["0.0", "1.0", "0.0"]
    assert heard[0].startswith(
        "cervix: annotators agree with a mean Dice of 0.867 and a Cohen's kappa of 0.333 (n = 1 "
    )
    assert "(n = 1 images, 2 pairs); see agreement.csv" in heard[1]
    account = json.loads((out / "conversion.json").read_text())
    assert account["cases"][0]["annotators"] == ["ann", "bo", "cy"]
    assert account["agreement"][0] == {
        "label": "cervix", "images": 1, "pairs": 3, "dice": pytest.approx(2.6 / 3), "kappa": pytest.approx(1 / 3),
    }  # fmt: skip


def test_staple_and_majority_may_differ(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in", "a.png")
    # Two and two: a tie for the votes, but much background is what the wider two share with the others.
    boxes = (BOX, BOX, WIDER, WIDER)
    drawn = table(
        tmp_path / "drawn.csv", *(f"a,organ,{name},{box}" for name, box in zip("abcd", boxes, strict=True))
    )
    for merge, columns in (("majority", 10), ("staple", 15)):
        cohort = read_cohort(converted(folder, drawn, tmp_path / merge, OutlineOptions(merge)))
        np.testing.assert_array_equal(read_classes(cohort, cohort.cases[0]), box_mask(columns))


def test_jpeg_and_mixed_pictures_become_png_with_the_same_pixels(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    picture(folder / "a.jpg", 0, 3)
    picture(folder / "b.jpeg", 1, 3)
    picture(folder / "c.png", 2, 3)
    picture(folder / "d.tif", 3, 3)
    drawn = table(tmp_path / "drawn.csv", f"a.jpg,organ,,{BOX}", f"d.tif,organ,,{BOX}")
    cohort = read_cohort(converted(folder, drawn, tmp_path / "out"))
    assert cohort.channels == ("R", "G", "B")
    for case, original in zip(cohort.cases, read_cohort(folder).cases, strict=True):
        assert case.images[0].name == f"{case.name}_0000.png"
        np.testing.assert_array_equal(read_case(case).array, read_case(original).array)
    np.testing.assert_array_equal(read_classes(cohort, cohort.cases[0]), box_mask())
    assert cohort.cases[3].mask == tmp_path / "out" / "labelsTr" / "d.png"


@pytest.mark.parametrize(("given", "written"), [(".tif", ".tif"), (".tiff", ".tif"), (".bmp", ".bmp")])
def test_other_pictures_stay_what_they_are(tmp_path: Path, given: str, written: str) -> None:
    folder = folder_of(tmp_path / "in", f"a{given}")
    cohort = read_cohort(
        converted(folder, table(tmp_path / "drawn.csv", f"a,organ,,{BOX}"), tmp_path / "out")
    )
    (case,) = cohort.cases
    assert case.images[0].name == f"a_0000{written}" and case.mask is not None and case.mask.suffix == written
    assert case.images[0].read_bytes() == (folder / f"a{given}").read_bytes()
    np.testing.assert_array_equal(read_classes(cohort, case), box_mask())


def test_an_nnunet_folder_keeps_its_channels_parts_and_declared_order(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for seed, name in enumerate(("imagesTr/a_0000", "imagesTr/a_0001", "imagesTs/b_0000", "imagesTs/b_0001")):
        picture(folder / f"{name}.png", seed)
    (folder / "labelsTr").mkdir()
    (folder / "labelsTr" / "a.png").write_bytes(b"an old mask, which is not opened")
    described = {
        "channel_names": {"0": "X", "1": "Y"},
        "labels": {"background": 0, "tumour": 1, "organ": 2},
        "file_ending": ".png",
    }
    (folder / "dataset.json").write_text(json.dumps(described))
    drawn = table(tmp_path / "drawn.csv", f"a,organ,,{BOX}", f"imagesTs/b_0000.png,organ,,{BOX}")
    cohort = read_cohort(converted(folder, drawn, tmp_path / "out"))
    assert (cohort.classes, cohort.channels) == (("background", "tumour", "organ"), ("X", "Y"))
    assert [(case.name, case.part, len(case.images)) for case in cohort.cases] == [
        ("a", "train", 2),
        ("b", "test", 2),
    ]
    for case in cohort.cases:
        np.testing.assert_array_equal(read_classes(cohort, case), 2 * box_mask())
    assert not cohort.patients_known
    strange = table(tmp_path / "strange.csv", f"a,tumor,,{BOX}")
    refused(
        folder, strange, ["row 2: a: label 'tumor' is not declared; did you mean 'tumour'?"], start=strange
    )
    (again,) = (
        read_cohort(converted(folder, strange, tmp_path / "again", OutlineOptions(classes=("tumor",)))),
    )
    assert again.classes == ("background", "tumor")


def test_a_single_declared_label_is_what_unlabelled_outlines_are(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in", "17.png")
    drawn = table(tmp_path / "drawn.csv", "17,5,15,8,2,20,2,25,15", head="image,x1,y1,x2,y2,x3,y3,x4,y4")
    cohort = read_cohort(converted(folder, drawn, tmp_path / "out", OutlineOptions(classes=("cervix",))))
    assert cohort.classes == ("background", "cervix")
    assert read_classes(cohort, cohort.cases[0]).sum() > 50


def test_labelme_files_beside_the_images(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in", "a.png", "b.png")
    shape = {"label": "organ", "shape_type": "rectangle", "points": [[5, 4], [15, 12]]}
    for name in ("a", "b"):
        content = {
            "imagePath": f"..\\pictures\\{name}.png",
            "imageHeight": HEIGHT,
            "imageWidth": WIDTH,
            "shapes": [shape],
        }
        (folder / f"{name}.json").write_text(json.dumps(content))
    cohort = read_cohort(converted(folder, folder, tmp_path / "out"))
    assert len(cohort.cases) == 2
    for case in cohort.cases:
        np.testing.assert_array_equal(read_classes(cohort, case), box_mask())


def test_images_of_one_name_are_told_apart_by_their_folder(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in", "p1/a.png", "p2/a.png")
    drawn = table(tmp_path / "drawn.csv", f"p2/a.png,organ,,{BOX}", f"p1_a,organ,,{WIDER}")
    cohort = read_cohort(converted(folder, drawn, tmp_path / "out"))
    assert [read_classes(cohort, case).sum() for case in cohort.cases] == [120, 80]
    doubtful = table(tmp_path / "doubtful.csv", f"a.png,organ,,{BOX}")
    refused(folder, doubtful, ["image 'a.png' could be p1_a or p2_a; write its folder"], start=doubtful)


def test_a_manifest_lists_the_images(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in", "x/a.png", "y/a.png")
    (folder / "list.csv").write_text("case,image,patient\none,x/a.png,p1\ntwo,y/a.png,p2\n")
    drawn = table(tmp_path / "drawn.csv", f"y/a.png,organ,,{BOX}", f"one,organ,,{WIDER}")
    cohort = read_cohort(converted(folder / "list.csv", drawn, tmp_path / "out"))
    assert [(case.name, case.patient) for case in cohort.cases] == [("one", "p1"), ("two", "p2")]
    assert [read_classes(cohort, case).sum() for case in cohort.cases] == [120, 80]


def test_what_a_user_should_know_is_told_once(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in", "a.png", "b.png")
    drawn = table(
        tmp_path / "drawn.csv",
        f"a,organ,,{BOX}",
        "a,tumour,,6 5; 8 5; 8 7; 6 7",
        "b,organ,,3.6 3.6; 4.2 3.6; 4 4.2",
        "b,tumour,,1.6 1.6; 2.2 1.6; 2 2.2",
    )
    heard: list[str] = []
    converted(folder, drawn, tmp_path / "out", heard=heard)
    assert len(heard) == 2 and all("\n" not in line and ";" in line for line in heard)
    assert "2 outlines hold no pixel's centre (first: in b)" in heard[0]
    assert "4 pixels are claimed by several labels" in heard[1]


class TestFaults:
    @pytest.mark.parametrize(
        ("row", "words"),
        [
            (f"aa.png,organ,,{BOX}", ["row 2: aa.png: image 'aa.png' is not in", "did you mean 'a.png'"]),
            (
                f"unlike,organ,,{BOX}",
                ["row 2: unlike: image 'unlike' is not in", "add the image or remove the outline"],
            ),
            (f"a,background,,{BOX}", ["label 'background' is nnU-Net's own"]),
            (
                "a,organ,,1 1; 35 1; 5 5",
                ["row 2: a: point 2 (35, 1) lies outside the image of 30 x 20 pixels"],
            ),
            (
                "a,organ,,1 1; 9 9; 9 1; 1 9",
                ["row 2: a: the line from point 1 crosses the line from point 3 near (5.0, 5.0)"],
            ),
        ],
    )
    def test_outlines(self, tmp_path: Path, row: str, words: list[str]) -> None:
        drawn = table(tmp_path / "drawn.csv", row)
        refused(folder_of(tmp_path / "in", "a.png"), drawn, words, start=drawn)

    def test_labels_that_are_given_twice(self, tmp_path: Path) -> None:
        drawn = table(tmp_path / "drawn.csv", f"a,organ,,{BOX}")
        options = OutlineOptions(classes=("organ", "organ"))
        refused(folder_of(tmp_path / "in", "a.png"), drawn, ["labels: some are alike"], options)

    def test_an_out_that_holds_something(self, tmp_path: Path) -> None:
        folder, drawn = folder_of(tmp_path / "in", "a.png"), table(tmp_path / "drawn.csv", f"a,organ,,{BOX}")
        folder_of(tmp_path / "out", "mine.png")
        refused(folder, drawn, ["choose another folder"])

    def test_volumes(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.eye(4)), tmp_path / "in" / "a.nii.gz")
        refused(
            tmp_path / "in",
            table(tmp_path / "drawn.csv", f"a,organ,,{BOX}"),
            ["a.nii.gz: is no picture", "as PNG"],
        )

    def test_an_image_that_was_drawn_on_in_another_size(self, tmp_path: Path) -> None:
        content = {
            "imagePath": "a.png", "imageHeight": 40, "imageWidth": 60,
            "shapes": [{"label": "organ", "points": [[1, 1], [9, 1], [5, 5]]}],
        }  # fmt: skip
        (tmp_path / "a.json").write_text(json.dumps(content))
        words = ["a.png, shape 1: drawn on 60 x 40 pixels, but the image has 30 x 20"]
        refused(folder_of(tmp_path / "in", "a.png"), tmp_path / "a.json", words, start=tmp_path / "a.json")

    def test_a_damaged_image(self, tmp_path: Path) -> None:
        folder = folder_of(tmp_path / "in", "a.png", "b.jpg")
        (folder / "b.jpg").write_bytes(b"\xff\xd8 no picture")
        refused(folder, table(tmp_path / "drawn.csv", f"a,organ,,{BOX}"), ["b.jpg", "damaged"])


def test_a_mask_is_what_the_outline_marks(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in", "a.png")
    converted(folder, table(tmp_path / "drawn.csv", f"a,organ,,{BOX}"), tmp_path / "out")
    with Image.open(tmp_path / "out" / "labelsTr" / "a.png") as mask:
        marked = pixels_of(Outline("a", "organ", None, rectangle(5, 4, 15, 12, "")), (HEIGHT, WIDTH))
        np.testing.assert_array_equal(np.asarray(mask), marked.astype(np.uint8))
