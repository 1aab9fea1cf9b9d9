"""Scores slice by slice: by hand, against MONAI, and the rule for empty slices."""

import csv
import json
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.metrics import compute_hausdorff_distance
from PIL import Image

from fewmask.errors import InputFault
from fewmask.evaluation.slice_scores import COLUMNS, slice_scores

torch.set_num_threads(1)


def volume(path: Path, values: np.ndarray, spacing: tuple[float, ...] = (0.5, 0.5, 6.0)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.asarray(values, np.uint8), np.diag([*spacing, 1.0])), path)


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "slice_scores.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def one_of_each_kind() -> tuple[np.ndarray, np.ndarray]:
    """Slices of 8 x 6: absent, ok (a bar of 4, and one pixel of it), missed, false alarm."""
    truth, predicted = np.zeros((2, 8, 6, 4), np.uint8)
    truth[2:6, 1, 1] = 1
    predicted[2, 1, 1] = 1
    truth[1:3, 1:3, 2] = 1
    predicted[4, 4, 3] = 1
    return truth, predicted


def test_every_slice_by_hand(tmp_path: Path) -> None:
    truth, predicted = one_of_each_kind()
    volume(tmp_path / "truth" / "a.nii.gz", truth, (0.5, 0.8, 6.0))
    volume(tmp_path / "masks" / "a.nii.gz", predicted, (0.5, 0.8, 6.0))
    summary = slice_scores(tmp_path / "masks", tmp_path / "truth", tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    assert tuple(rows[0]) == COLUMNS
    assert ",".join(COLUMNS) == "case,patient,class,slice,dice,hd95_px,hd95_mm,status"
    assert [(row["case"], row["slice"]) for row in rows] == [("a", str(number)) for number in range(4)]
    assert [row["status"] for row in rows] == ["absent", "ok", "missed", "false_alarm"]
    assert [rows[0][name] for name in ("dice", "hd95_px", "hd95_mm")] == ["", "", ""]
    # The bar's pixels lie 0, 1, 2 and 3 px from the one pixel: their 95th percentile is 2.85 px of 0.5 mm.
    found = [[float(row[name]) for name in ("dice", "hd95_px", "hd95_mm")] for row in rows[1:]]
    worst = [0, np.hypot(8, 6), np.hypot(8 * 0.5, 6 * 0.8)]
    assert np.allclose(found, [[0.4, 2.85, 1.425], worst, worst])
    (entry,) = summary.classes.values()
    assert (summary.slices, entry.slices, entry.patients) == (4, 3, 1)
    assert vars(entry.counts) == {"ok": 1, "missed": 1, "false_alarm": 1, "absent": 1}
    assert entry.dice.n == 3 and entry.dice.mean == pytest.approx(0.4 / 3)
    assert entry.dice.std == pytest.approx(np.std([0.4, 0, 0], ddof=1))
    assert entry.hd95_px.mean == pytest.approx((2.85 + 20) / 3)
    assert entry.dice.low is None, "one patient says nothing about others"


def test_slices_equal_monai(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    truth, predicted = (random.random((2, 20, 17, 6)) < 0.35).astype(np.uint8)
    spacing = (0.7, 0.7, 5.0)
    volume(tmp_path / "truth" / "a.nii.gz", truth, spacing)
    volume(tmp_path / "masks" / "a.nii.gz", predicted, spacing)
    slice_scores(tmp_path / "masks", tmp_path / "truth", tmp_path / "out")
    for row in rows_of(tmp_path / "out"):
        number = int(row["slice"])
        both = [torch.from_numpy(mask[..., number])[None, None] for mask in (predicted, truth)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            in_px = float(compute_hausdorff_distance(*both, percentile=95, include_background=True))
        assert float(row["hd95_px"]) == pytest.approx(in_px, abs=1e-4)
        assert float(row["hd95_mm"]) == pytest.approx(0.7 * in_px, abs=1e-4)
        shared = (truth * predicted)[..., number].sum()
        assert float(row["dice"]) == pytest.approx(
            2 * shared / (truth[..., number].sum() + predicted[..., number].sum())
        )


def test_intervals_are_over_patients_and_means_over_slices(tmp_path: Path) -> None:
    """Patient A has three perfect slices in two cases, patient B a missed one."""
    truth = np.zeros((8, 6, 3), np.uint8)
    truth[2:5, 2:5, 1] = 1
    thick = truth.copy()
    thick[2:5, 2:5, 2] = 1
    for name, true, drawn in (("a1", thick, thick), ("a2", truth, truth), ("b", truth, 0 * truth)):
        volume(tmp_path / "data" / "labelsTs" / f"{name}.nii.gz", true)
        volume(tmp_path / "data" / "imagesTs" / f"{name}_0000.nii.gz", true)
        volume(tmp_path / "masks" / f"{name}.nii.gz", drawn)
    content = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "brain": 1}, "numTraining": 0}
    (tmp_path / "data" / "dataset.json").write_text(json.dumps(content | {"file_ending": ".nii.gz"}))
    (tmp_path / "data" / "cases.csv").write_text("case,patient\na1,A\na2,A\nb,B\n")
    summary = slice_scores(tmp_path / "masks", tmp_path / "data", tmp_path / "out")
    brain = summary.classes["brain"]
    assert (summary.cases, summary.patients, summary.patients_known) == (3, 2, True)
    assert (brain.slices, brain.patients, brain.dice.mean) == (4, 2, 0.75)
    assert (brain.dice.low, brain.dice.high) == (0, 1), "a draw may have one of the two patients alone"
    written = json.loads((tmp_path / "out" / "slice_summary.json").read_text())
    assert written["classes"]["brain"]["dice"]["mean"] == 0.75
    assert written["classes"]["brain"]["counts"] == {"ok": 3, "missed": 1, "false_alarm": 0, "absent": 5}
    assert (written["slices"], written["interval"]) == (9, "95 % bootstrap over patients, 2000 draws")


def test_pictures_are_one_slice_and_have_no_mm(tmp_path: Path) -> None:
    mask = np.zeros((16, 12), np.uint8)
    mask[2:8, 3:9] = 1
    for folder, values in (("truth", mask), ("masks", 255 * mask)):
        (tmp_path / folder).mkdir()
        Image.fromarray(values).save(tmp_path / folder / "a.png")
    summary = slice_scores(tmp_path / "masks", tmp_path / "truth", tmp_path / "out")
    (row,) = rows_of(tmp_path / "out")
    assert (row["slice"], row["dice"], row["hd95_px"], row["hd95_mm"]) == ("0", "1.0", "0.0", "")
    assert summary.classes["class_1"].hd95_mm.n == 0
    assert any("remapped" in remark for remark in summary.remarks)


def test_classes_are_scored_apart_and_ignored_pixels_not_at_all(tmp_path: Path) -> None:
    truth, predicted = np.zeros((2, 8, 8, 2), np.uint8)
    truth[0:2, 0:4, 0], predicted[0:2, 0:2, 0] = 1, 1
    truth[5:7, 5:7, 0], predicted[5:7, 5:7, 0] = 2, 1
    truth[..., 1], predicted[3, 3, 1] = 3, 2
    for folder in ("labelsTs", "imagesTs"):
        ending = "" if folder == "labelsTs" else "_0000"
        volume(tmp_path / "data" / folder / f"a{ending}.nii.gz", truth)
    volume(tmp_path / "masks" / "a.nii.gz", predicted)
    labels = {"background": 0, "organ": 1, "vessel": 2, "ignore": 3}
    content = {"channel_names": {"0": "MR"}, "labels": labels, "numTraining": 0, "file_ending": ".nii.gz"}
    (tmp_path / "data" / "dataset.json").write_text(json.dumps(content))
    slice_scores(tmp_path / "masks", tmp_path / "data", tmp_path / "out")
    found = {(row["class"], row["slice"]): row for row in rows_of(tmp_path / "out")}
    assert list(found) == [("organ", "0"), ("vessel", "0"), ("organ", "1"), ("vessel", "1")]
    assert float(found["organ", "0"]["dice"]) == pytest.approx(2 * 4 / (8 + 8))
    assert [found["vessel", "0"][name] for name in ("status", "dice")] == ["missed", "0.0"]
    assert [found[name, "1"]["status"] for name in ("organ", "vessel")] == ["absent", "absent"]


def test_bad_input_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    truth, predicted = one_of_each_kind()
    volume(tmp_path / "truth" / "a.nii.gz", truth)
    volume(tmp_path / "truth" / "b.nii.gz", truth)
    volume(tmp_path / "masks" / "a.nii.gz", predicted)
    for message, name, values in (
        ("1 of 2 cases have no prediction .*segment them too", "a", predicted),
        (r"b\.nii\.gz: size 8 x 6 x 3, but its truth has 8 x 6 x 4", "b", predicted[..., :3]),
        (r"b\.nii\.gz: value 7 is no class of the truth", "b", 7 * predicted),
    ):
        volume(tmp_path / "masks" / f"{name}.nii.gz", values)
        with pytest.raises(InputFault, match=message):
            slice_scores(tmp_path / "masks", tmp_path / "truth", tmp_path / "out")
    with pytest.raises(InputFault, match="no such folder"):
        slice_scores(tmp_path / "nowhere", tmp_path / "truth", tmp_path / "out")
    assert not (tmp_path / "out").exists()
