"""`measure`: the lengths of outlined objects, with the unit that is known."""

import csv
import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from fewmask import cli
from fewmask.errors import InputFault
from fewmask.evaluation.measure import measure
from fewmask.metrics.markers import NAMES, markers_of


def bar(length: int, width: int, shape: tuple[int, int] = (60, 80)) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[20 : 20 + width, 10 : 10 + length] = 1
    return mask


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    folder = tmp_path / "masks"
    folder.mkdir()
    both = bar(50, 10)
    both[45:55, 5:70] = 2
    Image.fromarray(both).save(folder / "a.png")
    Image.fromarray(bar(30, 10)).save(folder / "b.png")
    Image.fromarray(np.full((60, 80), 255, np.uint8)).save(folder / "ignored.png")
    return folder


def test_every_class_of_every_case_has_a_row(masks: Path, tmp_path: Path) -> None:
    found = {(entry.case, entry.value): entry.markers for entry in measure(masks, tmp_path / "out")}
    assert set(found) == {(case, value) for case in ("a", "b", "ignored") for value in (1, 2)}
    assert found["a", 1] == markers_of(bar(50, 10) == 1, None)
    assert found["b", 2] is None and found["ignored", 1] is None
    rows = rows_of(tmp_path / "out" / "measures.csv")
    assert [(row["case"], row["value"], row["unit"]) for row in rows[:2]] == [
        ("a", "1", "px"),
        ("a", "2", "px"),
    ]
    assert float(rows[0]["length"]) == pytest.approx(50, rel=0.02)
    assert all(rows[3][name] == "" for name in ("unit", *NAMES))


def test_a_pictures_pixel_is_as_large_as_the_table_says(masks: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "imagesTr").mkdir(parents=True)
    for case in "ab":
        Image.fromarray(bar(5, 5)).save(data / "imagesTr" / f"{case}_0000.png")
    content = {"channel_names": {"0": "US"}, "labels": {"background": 0, "cervix": 1}, "file_ending": ".png"}
    (data / "dataset.json").write_text(json.dumps(content | {"numTraining": 2}))
    (data / "cases.csv").write_text("case,pixel_mm\na,0.5\nb,\n")
    found = {
        (entry.case, entry.value): entry.markers for entry in measure(masks, tmp_path / "out", dataset=data)
    }
    first, second = found["a", 1], found["b", 1]
    assert first is not None and second is not None
    assert (first.unit, second.unit) == ("mm", "px"), "nobody knows the size of b's pixels"
    assert first.length == pytest.approx(25, rel=0.02) and first.area == pytest.approx(125)
    for cell in ("0", "-1", "wide", "inf"):
        (data / "cases.csv").write_text(f"case,pixel_mm\na,{cell}\n")
        with pytest.raises(InputFault, match="positive number of mm"):
            measure(masks, tmp_path / "out", dataset=data)


def test_a_volume_of_one_slice_is_flat_and_has_its_own_spacing(tmp_path: Path) -> None:
    folder = tmp_path / "volumes"
    folder.mkdir()
    image = nib.Nifti1Image(bar(50, 10)[:, None], np.diag([0.5, 3.0, 0.25, 1.0]))
    image.header.set_xyzt_units("mm")
    nib.save(image, folder / "flat.nii.gz")
    (entry,) = measure(folder, tmp_path / "out")
    assert entry.markers is not None and entry.markers.unit == "mm"
    assert entry.markers.area == pytest.approx(500 * 0.125)
    nib.save(nib.Nifti1Image(np.repeat(bar(50, 10)[:, None], 3, 1), np.eye(4)), folder / "deep.nii.gz")
    with pytest.raises(InputFault, match=r"deep.*volume"):
        measure(folder, tmp_path / "out")


def test_no_masks_and_the_command(masks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputFault, match="no masks in it"):
        measure(tmp_path / "nowhere", tmp_path / "out")
    words = ["fewmask", "measure", str(masks), "--out", str(tmp_path / "told")]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    assert len(rows_of(tmp_path / "told" / "measures.csv")) == 6
