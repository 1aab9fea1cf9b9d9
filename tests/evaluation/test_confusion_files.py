"""Which class was taken for which, as `evaluate` writes it, against plain loops over the pixels."""

import csv
import json

import nibabel
import numpy as np
import pytest
from PIL import Image

from fewmask.errors import InputFault
from fewmask.evaluation.confusion_files import read_confusion
from fewmask.evaluation.evaluate import evaluate
from fewmask.evaluation.summary import format_summary

CLASSES = ("background", "organ", "vessel")


def _picture(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, dtype=np.uint8)).save(path)


@pytest.fixture
def scored(tmp_path):
    """Five cases of three patients, sizes that differ, ignored pixels, and no vessel but in two cases; scored."""
    random = np.random.default_rng(4)
    root, predictions = tmp_path / "Dataset900_Toy", tmp_path / "predictions"
    masks = {}
    for index in range(5):
        shape = (10 + index, 12)
        truth = random.integers(0, 3 if index < 2 else 2, size=shape)
        truth[random.random(shape) < 0.15] = 255
        masks[f"c{index}"] = truth, random.integers(0, 3, size=shape)
    for name, (truth, predicted) in masks.items():
        _picture(root / "imagesTs" / f"{name}_0000.png", truth)
        _picture(root / "labelsTs" / f"{name}.png", truth)
        _picture(predictions / f"{name}.png", predicted)
    (predictions / "predictions.json").write_text("{}")
    labels = {name: value for value, name in enumerate(CLASSES)}
    content = {"channel_names": {"0": "g"}, "labels": labels, "numTraining": 0, "file_ending": ".png"}
    (root / "dataset.json").write_text(json.dumps(content))
    lines = [f"c{index},p{index % 3},test" for index in range(5)]
    (root / "cases.csv").write_text("\n".join(["case,patient,split", *lines]) + "\n")
    summary = evaluate(predictions, root, tmp_path / "out")
    return masks, summary, tmp_path / "out"


def _counted(masks):
    """Every pixel of every case, one at a time."""
    counts = {}
    for name, (truth, predicted) in masks.items():
        for true, drawn in zip(truth.ravel().tolist(), predicted.ravel().tolist(), strict=True):
            if true != 255:
                key = name, CLASSES[true], CLASSES[drawn]
                counts[key] = counts.get(key, 0) + 1
    return counts


def _rows(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_counts_of_every_case_and_of_all(scored):
    masks, _, out = scored
    counts = _counted(masks)
    head, *rows = _rows(out / "confusion_cases.csv")
    assert head == ["case", "patient", "truth", "predicted", "pixels"]
    assert {(case, true, drawn): int(pixels) for case, _, true, drawn, pixels in rows} == counts
    assert len(rows) == len(counts) < 5 * 9  # pairs without a pixel have no row
    assert {(row[0], row[1]) for row in rows} == {(f"c{index}", f"p{index % 3}") for index in range(5)}
    head, *rows = _rows(out / "confusion.csv")
    assert head == ["truth", *CLASSES]
    assert [row[0] for row in rows] == list(CLASSES)
    for true, row in zip(CLASSES, rows, strict=True):
        for drawn, cell in zip(CLASSES, row[1:], strict=True):
            assert int(cell) == sum(counts.get((case, true, drawn), 0) for case in masks)


def test_ratios_are_those_of_the_paper(scored):
    masks, summary, out = scored
    truth = np.concatenate([true.ravel() for true, _ in masks.values()])
    drawn = np.concatenate([predicted.ravel() for _, predicted in masks.values()])
    drawn, truth = drawn[truth != 255], truth[truth != 255]
    accuracies = [np.mean(drawn[truth == index] == index) for index in range(3)]
    ious = [np.sum((drawn == i) & (truth == i)) / np.sum((drawn == i) | (truth == i)) for i in range(3)]
    pooled = summary.pooled
    assert pooled.pixel_accuracy.value == pytest.approx(np.mean(truth == drawn))
    assert pooled.mean_class_accuracy.value == pytest.approx(np.mean(accuracies))
    assert pooled.mean_iou.value == pytest.approx(np.mean(ious))
    assert pooled.mean_iou.low < pooled.mean_iou.value < pooled.mean_iou.high
    assert pooled.mean_iou.left_out == ()
    content = json.loads((out / "summary.json").read_text())["pooled"]
    assert set(content) == {"pixel_accuracy", "mean_class_accuracy", "mean_iou"}
    iou = pooled.mean_iou
    assert content["mean_iou"] == {"value": iou.value, "low": iou.low, "high": iou.high, "left_out": []}
    # Beside the means over cases, which weigh each case alike.
    assert summary.overall.metrics.iou.mean != pytest.approx(pooled.mean_iou.value)
    (line,) = [line for line in format_summary(summary).splitlines() if line.startswith("Pooled over pixels")]
    accuracy = pooled.pixel_accuracy
    assert f"pixel accuracy {accuracy.value:.3f} [{accuracy.low:.3f}, {accuracy.high:.3f}]" in line
    assert f"mean IoU {iou.value:.3f} [" in line


def test_a_class_that_no_mask_has_is_named(tmp_path):
    _picture(tmp_path / "d" / "labelsTs" / "x.png", np.eye(6))
    _picture(tmp_path / "d" / "imagesTs" / "x_0000.png", np.eye(6))
    _picture(tmp_path / "p" / "x.png", np.eye(6))
    labels = {name: value for value, name in enumerate(CLASSES)}
    content = {"channel_names": {"0": "g"}, "labels": labels, "numTraining": 0, "file_ending": ".png"}
    (tmp_path / "d" / "dataset.json").write_text(json.dumps(content))
    summary = evaluate(tmp_path / "p", tmp_path / "d", tmp_path / "out")
    assert summary.pooled.mean_iou.left_out == ("vessel",)
    assert (summary.pooled.mean_iou.value, summary.pooled.mean_iou.low) == (1.0, None)  # one patient
    assert "mean IoU 1.000 (no true mask has vessel)." in format_summary(summary)
    assert _rows(tmp_path / "out" / "confusion.csv")[3] == ["vessel", "0", "0", "0"]


def test_voxels_of_a_volume_and_a_prediction_of_0_255(tmp_path):
    truth = np.zeros((4, 5, 6), np.uint8)
    truth[1:3, 1:4, 2:5] = 1
    drawn = np.roll(truth, 1, axis=2) * 255
    for folder, values in (("t", truth), ("p", drawn)):
        (tmp_path / folder).mkdir()
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / folder / "v.nii.gz")
    evaluate(tmp_path / "p", tmp_path / "t", tmp_path / "out")
    confusion = read_confusion(tmp_path / "out")
    assert confusion.classes == ("background", "class_1")
    assert confusion.counts.tolist() == [[120 - 18 - 6, 6], [6, 12]]


def test_reading_back(scored, tmp_path):
    masks, _, out = scored
    counts = _counted(masks)
    confusion = read_confusion(out)
    assert confusion.classes == CLASSES
    assert confusion.counts.sum() == sum(counts.values())
    assert confusion.counts[2, 1] == sum(counts.get((case, "vessel", "organ"), 0) for case in masks)
    assert read_confusion(tmp_path / "predictions") is None


@pytest.mark.parametrize(
    "text",
    ["", "truth,a,b\na,1,2\n", "truth,a,b\na,1,2\nc,1,2\n", "truth,a,b\na,1,x\nb,1,2\n", "truth,a\na,-1\n"],
)
def test_a_damaged_table_is_refused(tmp_path, text):
    (tmp_path / "confusion.csv").write_text(text)
    with pytest.raises(InputFault, match=r"confusion\.csv: no square table"):
        read_confusion(tmp_path)


def test_names_with_commas_survive(tmp_path):
    (tmp_path / "confusion.csv").write_text('truth,"a, b",c\n"a, b",1,2\nc,3,4\n')
    assert read_confusion(tmp_path).classes == ("a, b", "c")
