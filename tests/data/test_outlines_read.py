"""The same objects from every annotation tool's file; every damaged entry is one line with the remedy."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fewmask.data.outlines.pixels import pixels_of
from fewmask.data.outlines.read import read_outlines
from fewmask.data.outlines.run_length import raster
from fewmask.data.outlines.shape import Ellipse, Outline, Polygon, Raster
from fewmask.errors import InputFault

SIZE = (40, 60)
TRIANGLE = [(5.25, 4.5), (50.0, 8.75), (20.5, 35.0)]
CURVE = [(10, 30), (15, 5), (40, 5), (50, 30)]


def saved(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def table(path: Path, *rows: str) -> Path:
    return saved(path, "\n".join(rows) + "\n")


def labelme(*shapes: dict[str, Any], image: str = "a.png") -> dict[str, Any]:
    return {
        "version": "5.4.1",
        "imagePath": image,
        "imageData": None,
        "imageHeight": SIZE[0],
        "imageWidth": SIZE[1],
        "shapes": list(shapes),
    }


def drawn(kind: str, *points: tuple[float, float], label: str = "cervix") -> dict[str, Any]:
    return {"label": label, "points": [list(point) for point in points], "shape_type": kind, "group_id": None}


def coco(*segmentations: Any, **changes: Any) -> dict[str, Any]:
    annotations = [
        {
            "id": index,
            "image_id": 7,
            "category_id": 3,
            "segmentation": segmentation,
            "iscrowd": 0,
            "bbox": [0, 0, 1, 1],
        }
        for index, segmentation in enumerate(segmentations)
    ]
    image = {"id": 7, "file_name": "a.png", "height": SIZE[0], "width": SIZE[1]}
    named = {"id": 3, "name": "cervix", "supercategory": "organ"}
    return {"images": [image], "annotations": annotations, "categories": [named], **changes}


def via(*shapes: dict[str, Any], attributes: dict[str, Any] | None = None) -> dict[str, Any]:
    told = {"label": "cervix"} if attributes is None else attributes
    regions = [{"shape_attributes": shape, "region_attributes": told} for shape in shapes]
    return {"a.png1234": {"filename": "a.png", "size": 1234, "regions": regions, "file_attributes": {}}}


def via_polygon(points: list[tuple[float, float]]) -> dict[str, Any]:
    x, y = zip(*points, strict=True)
    return {"name": "polygon", "all_points_x": list(x), "all_points_y": list(y)}


def runs_of(mask: np.ndarray) -> list[int]:
    """COCO's runs, counted pixel by pixel down the columns."""
    counts, value = [0], False
    for pixel in mask.ravel(order="F"):
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return counts


def packed(counts: list[int]) -> str:
    """COCO's string, number by number."""
    text = ""
    for place, count in enumerate(counts):
        number = count - (counts[place - 2] if place > 2 else 0)
        while True:
            bits, number = number & 31, number >> 5
            last = number == (-1 if bits & 16 else 0)
            text += chr(48 + (bits if last else bits | 32))
            if last:
                break
    return text


def masks(outlines: tuple[Outline, ...]) -> np.ndarray:
    return np.stack([pixels_of(outline, SIZE) for outline in outlines])


def refused(path: Path, *words: str, label: str | None = None) -> None:
    with pytest.raises(InputFault) as fault:
        for outline in read_outlines(path, label):
            pixels_of(outline, SIZE)
    message = str(fault.value)
    assert message.startswith(str(path)) and "\n" not in message and ";" in message, message
    for word in words:
        assert word in message, message


class TestFormats:
    def test_one_polygon_is_the_same_from_every_tool(self, tmp_path: Path) -> None:
        flat = [number for point in TRIANGLE for number in point]
        text = "; ".join(f"{x} {y}" for x, y in TRIANGLE)
        expected = pixels_of(Outline("", "", None, Polygon((np.array(TRIANGLE),))), SIZE)
        runs = {"size": list(SIZE), "counts": runs_of(expected)}
        project = {
            "_via_settings": {},
            "_via_img_metadata": via(via_polygon(TRIANGLE)),
            "_via_attributes": {},
        }
        older = via(via_polygon(TRIANGLE))
        older["a.png1234"]["regions"] = {"0": older["a.png1234"]["regions"][0]}
        files = [
            table(tmp_path / "1.csv", "image,label,kind,points", f"a.png,cervix,polygon,{text}"),
            table(
                tmp_path / "2.txt",
                "Image;Label;Points",
                f'a.png;cervix;"{text.replace(" ", ",").replace(";,", ";")}"',
            ),
            table(
                tmp_path / "3.csv",
                "image,label,kind,x1,y1,x2,y2,x3,y3,x4,y4",
                f"a.png,cervix,polygon,{','.join(map(str, flat))},,",
            ),
            saved(tmp_path / "4.json", labelme(drawn("polygon", *TRIANGLE))),
            saved(tmp_path / "5.json", coco([flat])),
            saved(tmp_path / "6.json", coco(runs)),
            saved(tmp_path / "7.json", coco({**runs, "counts": packed(runs["counts"])})),
            saved(tmp_path / "8.json", "\ufeff" + json.dumps(via(via_polygon(TRIANGLE)))),
            saved(tmp_path / "9.json", project),
            saved(tmp_path / "10.json", older),
        ]
        for path in files:
            (outline,) = read_outlines(path)
            assert (outline.image, outline.label, outline.annotator) == ("a.png", "cervix", None), path
            np.testing.assert_array_equal(masks((outline,))[0], expected, err_msg=str(path))

    def test_the_papers_table_is_an_examination_and_four_control_points(self, tmp_path: Path) -> None:
        row = ",".join(str(number) for point in CURVE for number in point)
        bare = table(tmp_path / "a.csv", "image,x1,y1,x2,y2,x3,y3,x4,y4", f"17,{row}")
        listed = table(
            tmp_path / "b.csv",
            "image,label,annotator,kind,points",
            f"17,cervix,,bezier,{'; '.join(f'{x} {y}' for x, y in CURVE)}",
        )
        (one,), (other,) = read_outlines(bare, "cervix"), read_outlines(listed)
        assert (
            (one.image, one.label, one.annotator)
            == (other.image, other.label, other.annotator)
            == ("17", "cervix", None)
        )
        np.testing.assert_array_equal(*masks((one, other)))
        refused(bare, "no column label; add it")

    def test_rectangles_circles_and_ellipses(self, tmp_path: Path) -> None:
        box = np.zeros(SIZE, bool)
        box[5:15, 10:30] = True
        for content in (
            labelme(drawn("rectangle", (30, 5), (10, 15))),
            labelme(drawn("rectangle", (30, 5), (10, 5), (10, 15), (30, 15))),
            via({"name": "rect", "x": 10, "y": 5, "width": 20, "height": 10}),
        ):
            np.testing.assert_array_equal(masks(read_outlines(saved(tmp_path / "box.json", content)))[0], box)
        circles = [
            read_outlines(saved(tmp_path / "1.json", labelme(drawn("circle", (30, 20), (33, 24))))),
            read_outlines(saved(tmp_path / "2.json", via({"name": "circle", "cx": 30, "cy": 20, "r": 5}))),
            read_outlines(
                table(tmp_path / "3.csv", "image,label,kind,points", "a,cervix,ellipse,30 20; 5 5")
            ),
        ]
        assert [found[0].shape for found in circles] == [Ellipse((30.0, 20.0), (5.0, 5.0))] * 3
        turned = via({"name": "ellipse", "cx": 30, "cy": 20, "rx": 12, "ry": 4, "theta": np.pi / 6})
        (one,) = read_outlines(saved(tmp_path / "4.json", turned))
        (other,) = read_outlines(
            table(tmp_path / "5.csv", "image,label,kind,points", "a,cervix,ellipse,30 20; 12 4; 30")
        )
        assert one.shape == Ellipse((30.0, 20.0), (12.0, 4.0), pytest.approx(np.pi / 6))
        assert other.shape == one.shape

    def test_the_rings_of_a_coco_annotation_are_one_object(self, tmp_path: Path) -> None:
        rings = [[1, 1, 5, 1, 5, 5, 1, 5], [10, 10, 20, 10, 20, 20, 10, 20]]
        (outline,) = read_outlines(saved(tmp_path / "a.json", coco(rings)))
        assert masks((outline,)).sum() == 16 + 100
        assert len(read_outlines(saved(tmp_path / "b.json", coco(rings[:1], rings[1:])))) == 2


class TestRuns:
    @pytest.mark.parametrize(
        ("text", "size", "counts"),
        [
            # Strings that are public as COCO's own.
            ("52203", (4, 4), [5, 2, 2, 2, 5]),
            ("61X13mN000`0", (9, 10), [6, 1, 40, 4, 5, 4, 5, 4, 21]),
            ("e75S10000000ST1", (40, 40), [245, 5, 35, 5, 35, 5, 35, 5, 35, 5, 1190]),
        ],
    )
    def test_published_strings(self, text: str, size: tuple[int, int], counts: list[int]) -> None:
        assert raster(size, text, "").runs.tolist() == counts

    @pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
    def test_any_mask_comes_back_from_both_forms(self, share: float) -> None:
        mask = np.random.default_rng(3).random((37, 53)) < share
        counts = runs_of(mask)
        for form in (counts, packed(counts)):
            back = pixels_of(Outline("a", "b", None, raster(mask.shape, form, "")), mask.shape)
            np.testing.assert_array_equal(back, mask)

    @pytest.mark.parametrize(
        "counts",
        [
            [10, 5],
            [3000],
            [2400, -5, 5],
            "52203",
            packed([2401]),
            "5 2",
            "5220é",
            "e",
            "",
            "oooooooooooooooo0",
            [],
        ],
    )
    def test_runs_that_are_damaged_or_of_the_wrong_length(self, tmp_path: Path, counts: Any) -> None:
        path = saved(tmp_path / "a.json", coco({"size": list(SIZE), "counts": counts}))
        refused(path, "annotation 1, a.png", "its runs", "export")

    def test_runs_of_another_image_size(self, tmp_path: Path) -> None:
        runs = {"size": [60, 40], "counts": [2400]}
        refused(
            saved(tmp_path / "a.json", coco(runs)),
            "a.png",
            "drawn on 40 x 60 pixels, but the image has 60 x 40",
        )


class TestAnnotators:
    def test_a_column_a_key_or_an_attribute_names_them(self, tmp_path: Path) -> None:
        text = "; ".join(f"{x} {y}" for x, y in TRIANGLE)
        rows = [f"a.png,cervix,{name},{text}" for name in ("ann", "bo", "")]
        assert [
            outline.annotator
            for outline in read_outlines(table(tmp_path / "a.csv", "image,label,annotator,points", *rows))
        ] == ["ann", "bo", None]
        content = coco([[1, 1, 5, 1, 5, 5]])
        content["annotations"][0]["annotator"] = "ann"
        assert read_outlines(saved(tmp_path / "a.json", content))[0].annotator == "ann"
        told = via(
            via_polygon(TRIANGLE), attributes={"organ": "cervix", "annotator": "bo", "unsure": {"yes": True}}
        )
        (outline,) = read_outlines(saved(tmp_path / "b.json", told))
        assert (outline.label, outline.annotator) == ("cervix", "bo")

    def test_sub_folders_and_several_files_are_annotators(self, tmp_path: Path) -> None:
        for name in ("ann", "bo"):
            for image in ("a.png", "b.png"):
                content = labelme(drawn("polygon", *TRIANGLE), image=image)
                saved(tmp_path / "labelme" / name / f"{image}.json", content)
        found = read_outlines(tmp_path / "labelme")
        assert [(o.annotator, o.image) for o in found] == [
            (name, image) for name in ("ann", "bo") for image in ("a.png", "b.png")
        ]
        flat = tmp_path / "labelme" / "ann"
        assert {outline.annotator for outline in read_outlines(flat)} == {None}, (
            "a file an image is no annotator"
        )
        for name in ("ann", "bo"):
            saved(tmp_path / "coco" / f"{name}.json", coco([[1, 1, 5, 1, 5, 5]]))
        assert [outline.annotator for outline in read_outlines(tmp_path / "coco")] == ["ann", "bo"]
        (tmp_path / "coco" / "bo.json").unlink()
        saved(tmp_path / "coco" / "dataset.json", {"labels": {}})
        assert [outline.annotator for outline in read_outlines(tmp_path / "coco")] == [None]

    def test_outlines_beside_the_images(self, tmp_path: Path) -> None:
        saved(tmp_path / "a.json", labelme(drawn("polygon", *TRIANGLE)))
        saved(tmp_path / "cases.csv", "case,patient\na,p\n")
        (tmp_path / "a.png").write_bytes(b"")
        assert len(read_outlines(tmp_path)) == 1


class TestFaults:
    @pytest.mark.parametrize(
        ("rows", "words"),
        [
            (("image,label,points",), ["holds no outlines"]),
            (("case,label,points", "a,b,1 1;2 2;3 1"), ["no column image"]),
            (("image,label,kind", "a,b,polygon"), ["no column points"]),
            (
                ("image,label,points", "a.png,b,1 1; 9 2; 3 x"),
                ["row 2: a.png: point 3 (3 x) is no number; mend"],
            ),
            (
                ("image,label,points", "a.png,b,1 1; 9 2; 3"),
                ["row 2: a.png: point 3 has 1 numbers; give x and y"],
            ),
            (("image,label,points", "a.png,b,1 1; 9 2; 3 nan"), ["row 2: a.png: point 3 is not finite"]),
            (("image,label,points", "a.png,b,1 1; 9 2; 3 9", ",b,1 1; 9 2; 3 9"), ["row 3: names no image"]),
            (("image,label,points", "a.png,,1 1; 9 2; 3 9"), ["row 2: a.png: has no label"]),
            (("image,label,points", "a.png,b,1 1; 9 2"), ["row 2: a.png: 2 points enclose nothing; give 3"]),
            (("image,label,kind,points", "a.png,b,polygone,1 1; 9 2; 3 9"), ["did you mean 'polygon'"]),
            (
                ("image,label,kind,points", "a.png,b,ellipse,1 1; 9 2; 3 9"),
                ["not an ellipse; give its points as"],
            ),
            (("image,label,kind,points", "a.png,b,ellipse,9 9; 9 0"), ["a radius of 0; give radii above 0"]),
            (("image,label,kind,points", "a.png,b,ellipse,9 9; 9 4; inf"), ["angle is not finite"]),
            (("image,label,kind,points", "a.png,b,bezier,1 1; 9 2; 3 9"), ["3 Bezier points; give 4"]),
            (
                ("image,label,x1,y1,x2,y2,x3,y3,x4,y4", "a.png,b,1,1,9,2,3,9,4,"),
                ["point 4 (4 ) is no number"],
            ),
            (
                ("image,label,points", "a.png,b,1 1; 90 2; 3 9"),
                ["a.png: point 2 (90, 2) lies outside the image of 60 x 40"],
            ),
        ],
    )
    def test_a_table(self, tmp_path: Path, rows: tuple[str, ...], words: list[str]) -> None:
        refused(table(tmp_path / "a.csv", *rows), *words)

    @pytest.mark.parametrize("kind", ["linestrip", "line", "point", "mask"])
    def test_labelme_shapes_that_enclose_nothing(self, tmp_path: Path, kind: str) -> None:
        path = saved(tmp_path / "a.json", labelme(drawn("polygon", *TRIANGLE), drawn(kind, *TRIANGLE)))
        refused(path, f"a.png, shape 2: is a {kind}, which is no closed outline; draw")

    @pytest.mark.parametrize("kind", ["rectangle", "circle"])
    def test_labelme_shapes_of_two_points(self, tmp_path: Path, kind: str) -> None:
        refused(
            saved(tmp_path / "a.json", labelme(drawn(kind, *TRIANGLE))), f"3 points make no {kind}; give 2"
        )

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (coco([]), ["annotation 1, a.png: is a box without an outline"]),
            (coco([[1, 1, 2, 2, 3]]), ["ring 1 has 5 numbers; give x and y"]),
            (coco([[1, 1, 9, 1, 5, 5], [1, 1, 2, 2]]), ["a.png: 2 points enclose nothing"]),
            (coco([[1, 1, 9, 1, 5, 5]], categories=[]), ["a.png: category_id 3 is not declared; add it"]),
            (coco([[1, 1, 9, 1, 5, 5]], images=[]), ["annotation 1: image_id 7 is not among the images"]),
            (coco([[1, 1, 9, 1, 5, "five"]]), ["annotations.0.segmentation"]),
            (coco([[1, 1, 9, 1, 5, float("nan")]]), ["a.png: point 3 is not finite"]),
        ],
    )
    def test_coco(self, tmp_path: Path, content: Any, words: list[str]) -> None:
        refused(saved(tmp_path / "a.json", content), *words)

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (
                via({"name": "point", "cx": 1, "cy": 1}),
                ["a.png, region 1: is a point, which is no closed outline"],
            ),
            (via({"name": "polyline", "all_points_x": [1], "all_points_y": [1]}), ["is a polyline"]),
            (via({"name": "circle", "cx": 1, "cy": 1}), ["a.png, region 1: r: field required; mend"]),
            (via({"name": "polygon", "all_points_x": [1, 2], "all_points_y": [1]}), ["unlike numbers"]),
            (via(via_polygon(TRIANGLE), attributes={}), ["a.png, region 1: no attribute says what it is"]),
            (via(via_polygon(TRIANGLE), attributes={"a": "x", "b": "y"}), ["no attribute says what it is"]),
        ],
    )
    def test_via(self, tmp_path: Path, content: Any, words: list[str]) -> None:
        refused(saved(tmp_path / "a.json", content), *words)

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ('{"shapes": [', ["not valid JSON", "export it anew"]),
            ("[" * 200_000, ["not valid JSON"]),
            ("[]", ["is not LabelMe's, COCO's or VIA 2's JSON"]),
            ({"features": []}, ["is not LabelMe's"]),
            ({"shapes": []}, ["imagePath: field required"]),
            (labelme({"label": "a", "points": "none"}), ["shapes.0.points"]),
        ],
    )
    def test_json_of_no_known_kind(self, tmp_path: Path, content: Any, words: list[str]) -> None:
        refused(saved(tmp_path / "a.json", content), *words)

    def test_files_that_are_no_text_or_not_there(self, tmp_path: Path) -> None:
        path = tmp_path / "a.xlsx"
        path.write_bytes(b"PK\x03\x04\xff\xfe")
        refused(path, "cannot be read as text")
        refused(tmp_path / "b.csv", "no such file")
        (tmp_path / "empty").mkdir()
        refused(tmp_path / "empty", "holds no outlines")

    def test_quoted_cells_and_line_ends_of_windows(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        with path.open("w", newline="", encoding="utf-8-sig") as file:
            rows = csv.writer(file)
            rows.writerows([["image", "label", "points"], ["a, b.png", "cervix", "1 1; 9 1; 5 5"]])
        assert read_outlines(path)[0].image == "a, b.png"


def test_a_mask_of_runs_is_kept_as_runs() -> None:
    shape = raster((30_000, 30_000), [900_000_000], "")
    assert isinstance(shape, Raster) and len(shape.runs) == 1
