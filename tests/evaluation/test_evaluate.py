"""`evaluate` end to end on tiny folders of pictures and volumes, and on bad input."""

import csv
import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from fewmask.errors import InputFault
from fewmask.evaluation.evaluate import COLUMNS, evaluate, mean_dice
from fewmask.evaluation.summary import format_summary, table
from fewmask.metrics.score import METRICS

SHARED = Path(__file__).parents[3] / "shared" / "data"


def _picture(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, dtype=np.uint8)).save(path)


def _volume(path, values, spacing=(1.0, 1.0, 4.0), shift=0.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([*spacing, 1.0])
    affine[0, 3] = shift
    nibabel.save(nibabel.Nifti1Image(np.asarray(values, dtype=np.uint8), affine), path)


def _square(low, high, value=1, size=16):
    mask = np.zeros((size, size), np.uint8)
    mask[low:high, low:high] = value
    return mask


def _rows(out):
    with (out / "scores.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def dataset(tmp_path):
    """Three test cases of two patients and one training case, classes organ and vessel; and predictions."""
    root = tmp_path / "Dataset900_Toy"
    truths = {"a1": _square(2, 8), "a2": _square(4, 12), "b1": np.zeros((16, 16), np.uint8)}
    truths["a1"][12:14, 12:14] = 2
    for name, mask in truths.items():
        _picture(root / "imagesTs" / f"{name}_0000.png", mask * 50)
        _picture(root / "labelsTs" / f"{name}.png", mask)
    _picture(root / "imagesTr" / "t1_0000.png", truths["a1"] * 50)
    _picture(root / "labelsTr" / "t1.png", truths["a1"])
    labels = {"background": 0, "organ": 1, "vessel": 2}
    content = {"channel_names": {"0": "grey"}, "labels": labels, "numTraining": 1, "file_ending": ".png"}
    (root / "dataset.json").write_text(json.dumps(content))
    (root / "cases.csv").write_text("case,patient,split\na1,A,test\na2,A,test\nb1,B,test\nt1,T,train\n")
    predictions = tmp_path / "predictions"
    _picture(predictions / "a1.png", _square(2, 9))  # the vessel is missed
    _picture(predictions / "a2.png", _square(4, 12))
    _picture(predictions / "b1.png", _square(3, 5))  # a false alarm
    (predictions / "predictions.json").write_text("{}")
    return root, predictions


def test_scores_of_a_dataset(dataset, tmp_path):
    root, predictions = dataset
    summary = evaluate(predictions, root, tmp_path / "out")
    rows = _rows(tmp_path / "out")
    assert tuple(rows[0]) == COLUMNS
    assert ",".join(COLUMNS) == (
        "case,patient,class,dice,iou,hd95,hd95_pooled,assd,nsd,sensitivity,precision,"
        "voxels_truth,voxels_predicted,status,unit,masd,masd_voxels,hd95_voxels"
    )
    found = {(row["case"], row["class"]): row for row in rows}
    assert len(found) == len(rows) == 6
    assert [found[case, "organ"]["status"] for case in ("a1", "a2", "b1")] == ["ok", "ok", "false_alarm"]
    assert [found[case, "vessel"]["status"] for case in ("a1", "a2", "b1")] == ["missed", "absent", "absent"]
    assert float(found["a1", "organ"]["dice"]) == 2 * 36 / (36 + 49)
    assert float(found["a1", "organ"]["precision"]) == 36 / 49
    assert float(found["a1", "organ"]["hd95_pooled"]) > 0
    assert found["b1", "organ"]["sensitivity"] == ""
    assert float(found["b1", "organ"]["hd95"]) == np.hypot(16, 16)
    assert all(found["a2", "vessel"][metric] == "" for metric in METRICS)
    assert found["a1", "organ"]["patient"] == "A"
    assert {row["unit"] for row in rows} == {"px"}
    organ, vessel = summary.classes
    assert organ.metrics.dice.mean == pytest.approx((2 * 36 / 85 + 1 + 0) / 3)
    assert (organ.counts.ok, organ.counts.false_alarm, organ.metrics.dice.n) == (2, 1, 3)
    assert organ.metrics.dice.std == pytest.approx(np.std([2 * 36 / 85, 1, 0], ddof=1))
    assert organ.metrics.sensitivity.n == 2
    assert (vessel.counts.missed, vessel.counts.absent, vessel.metrics.dice.mean) == (1, 2, 0)
    assert vessel.metrics.dice.low is None  # one patient
    assert summary.overall.metrics.dice.mean == pytest.approx((36 / 85 + 1 + 0) / 3)
    assert (summary.cases, summary.patients, summary.patients_known) == (3, 2, True)
    assert any("test part" in remark for remark in summary.remarks)


def test_the_quick_mean_dice_is_that_of_the_summary(dataset, tmp_path):
    folder, predictions = dataset
    summary = evaluate(predictions, folder, tmp_path / "out")
    assert mean_dice(predictions, folder) == pytest.approx(summary.overall.metrics.dice.mean, abs=1e-12)


def test_summary_json_has_both_sets_of_keys(dataset, tmp_path):
    root, predictions = dataset
    evaluate(predictions, root / "labelsTs", tmp_path / "out", nsd_tolerance=1.5)
    text = (tmp_path / "out" / "summary.json").read_text()
    content = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in summary.json"))
    assert {"Dice", "IoU", "FN", "FP", "TN", "TP", "n_pred", "n_ref"} == set(content["foreground_mean"])
    assert content["mean"]["1"]["Dice"] == pytest.approx((72 / 85 + 1) / 3)
    assert content["foreground_mean"]["Dice"] == pytest.approx((72 / 85 + 1) / 3 / 2)
    entries = {Path(entry["prediction_file"]).name: entry for entry in content["metric_per_case"]}
    a1 = entries["a1.png"]["metrics"]["1"]
    assert (a1["TP"], a1["FP"], a1["FN"], a1["TN"]) == (36, 13, 0, 256 - 49)
    assert (a1["n_pred"], a1["n_ref"]) == (49, 36)
    assert entries["a2.png"]["metrics"]["2"]["Dice"] is None
    assert Path(entries["a1.png"]["reference_file"]) == (root / "labelsTs" / "a1.png").resolve()
    organ = content["classes"]["organ"]
    assert organ["counts"] == {"ok": 2, "missed": 0, "false_alarm": 1, "absent": 0}
    assert set(organ["dice"]) == {"mean", "std", "low", "high", "n"}
    assert set(METRICS) <= set(organ)
    assert set(METRICS) <= set(content["overall"])
    assert (content["cases"], content["patients"], content["unit"]) == (3, 2, "px")
    assert content["nsd_tolerance"] == 1.5
    assert content["interval"] == "95 % bootstrap over patients, 2000 draws"


def test_table_for_the_terminal(dataset, tmp_path):
    root, predictions = dataset
    summary = evaluate(predictions, root, tmp_path / "out")
    rows = table(summary)
    assert [row[0] for row in rows] == ["class", "organ", "vessel", "overall"]
    assert rows[1][-2:] == ("0", "1")
    assert rows[1][2].startswith("0.616 [")
    text = format_summary(summary)
    assert "2 patient(s)" in text
    assert "HD95 (px)" in text


def test_volumes_are_measured_in_mm(tmp_path):
    truth, predicted = np.zeros((2, 12, 12, 6), np.uint8)
    truth[3:6, 3:6, 1:3] = 1
    predicted[3:6, 3:6, 2:4] = 1  # one slice too high: 4 mm
    _volume(tmp_path / "truth" / "case.nii.gz", truth)
    _volume(tmp_path / "predicted" / "case.nii.gz", predicted)
    summary = evaluate(tmp_path / "predicted", tmp_path / "truth", tmp_path / "out")
    (row,) = _rows(tmp_path / "out")
    assert row["unit"] == summary.unit == "mm"
    assert row["class"] == "class_1"
    assert float(row["hd95"]) == 4.0
    assert float(row["hd95_voxels"]) == summary.overall.metrics.hd95_voxels.mean == 1.0
    assert float(row["assd"]) == 2.0
    assert float(row["dice"]) == 0.5


@pytest.mark.parametrize(("one", "two"), [(85, 170), (2, 3), (2, 1)])
def test_class_numbers_are_taken_where_the_truth_uses_other_values(tmp_path, one, two):
    """Masks that `segment` listed hold class numbers; without its list they hold the truth's values."""
    truth, numbers = np.zeros((2, 8, 8), np.uint8)
    truth[1:4, 1:4], truth[5:7, 5:7] = one, two
    numbers[1:4, 1:4], numbers[5:7, 5:7] = (1, 2) if one < two else (2, 1)
    _picture(tmp_path / "truth" / "case.png", truth)
    _picture(tmp_path / "values" / "case.png", truth)
    _picture(tmp_path / "numbers" / "case.png", numbers)
    (tmp_path / "numbers" / "predictions.json").write_text("{}")
    for name in ("values", "numbers"):
        summary = evaluate(tmp_path / name, tmp_path / "truth", tmp_path / name / "out")
        assert summary.overall.metrics.dice.mean == 1.0
    assert [entry.name for entry in summary.classes] == ["class_1", "class_2"]
    assert not summary.patients_known
    assert summary.classes[0].metrics.dice.low is None


def test_the_list_of_predictions_decides_what_an_ambiguous_mask_means(tmp_path):
    """With labels 0, 2 and 3 a mask of 0 and 2 is the first class by value and the second by number."""
    truth = _square(2, 6, 2)
    truth[8:12, 8:12] = 3
    _picture(tmp_path / "truth" / "x.png", truth)
    _picture(tmp_path / "predicted" / "x.png", _square(2, 6, 2))
    summary = evaluate(tmp_path / "predicted", tmp_path / "truth", tmp_path / "out")
    assert [entry.metrics.dice.mean for entry in summary.classes] == [1, 0]
    (tmp_path / "predicted" / "predictions.json").write_text("{}")
    summary = evaluate(tmp_path / "predicted", tmp_path / "truth", tmp_path / "out")
    assert [entry.counts.missed for entry in summary.classes] == [1, 0]
    assert [entry.metrics.dice.mean for entry in summary.classes] == [0, 0]
    _picture(tmp_path / "predicted" / "x.png", truth)
    _fault(
        tmp_path / "predicted", tmp_path / "truth", tmp_path / "none", "value 3", "0 to 2", "predictions.json"
    )


def test_class_numbers_of_a_0_255_truth_are_not_remapped(tmp_path):
    _picture(tmp_path / "truth" / "x.png", _square(2, 8, 255))
    _picture(tmp_path / "predicted" / "x.png", _square(2, 8, 1))
    (tmp_path / "predicted" / "predictions.json").write_text("{}")
    summary = evaluate(tmp_path / "predicted", tmp_path / "truth", tmp_path / "out")
    assert summary.overall.metrics.dice.mean == 1
    assert not any("remapped" in remark for remark in summary.remarks)


def test_masks_of_0_and_255(tmp_path):
    """A bare folder of 0/255 masks holds one structure; the prediction may be 0/1 or 0/255."""
    for name, value in (("x", 1), ("y", 255)):
        _picture(tmp_path / "truth" / f"{name}.png", _square(2, 8, 255))
        _picture(tmp_path / "predicted" / f"{name}.png", _square(2, 8, value))
    summary = evaluate(tmp_path / "predicted", tmp_path / "truth", tmp_path / "out")
    assert [row["dice"] for row in _rows(tmp_path / "out")] == ["1.0", "1.0"]
    assert any("255" in remark for remark in summary.remarks)
    assert any("remapped" in remark for remark in summary.remarks)


def test_prediction_of_0_and_255_for_a_0_1_truth(tmp_path):
    _picture(tmp_path / "truth" / "x.png", _square(2, 8, 1))
    _picture(tmp_path / "predicted" / "x.png", _square(2, 8, 255))
    summary = evaluate(tmp_path / "predicted", tmp_path / "truth", tmp_path / "out")
    assert summary.overall.metrics.dice.mean == 1
    assert any("remapped" in remark for remark in summary.remarks)


@pytest.mark.parametrize("on", [1, 255])
def test_a_dataset_whose_masks_are_0_and_255(tmp_path, on):
    root = tmp_path / "Dataset901_White"
    for name in ("x", "y"):
        _picture(root / "imagesTr" / f"{name}_0000.png", _square(2, 8))
        _picture(root / "labelsTr" / f"{name}.png", _square(2, 8, 255))
        _picture(tmp_path / "predicted" / f"{name}.png", _square(2, 8, on))
    labels = {"background": 0, "lung": 1}
    content = {"channel_names": {"0": "grey"}, "labels": labels, "numTraining": 2, "file_ending": ".png"}
    (root / "dataset.json").write_text(json.dumps(content))
    summary = evaluate(tmp_path / "predicted", root, tmp_path / "out")
    assert summary.classes[0].metrics.dice.mean == 1
    assert any("255" in remark for remark in summary.remarks)


def test_a_folder_of_masks_beside_its_table_of_patients(tmp_path):
    for name in ("x", "y", "z"):
        for folder in ("data/images", "data/masks", "predicted"):
            _picture(tmp_path / folder / f"{name}.png", _square(2, 8))
    (tmp_path / "data" / "dataset.json").write_text('{"labels": {"background": 0, "lung": 1}}')
    summary = evaluate(tmp_path / "predicted", tmp_path / "data" / "masks", tmp_path / "out")
    assert [entry.name for entry in summary.classes] == ["lung"]
    (tmp_path / "data" / "cases.csv").write_text("case,patient\nx,A\ny,A\nz,B\n")
    for truth in ("data", "data/masks"):
        summary = evaluate(tmp_path / "predicted", tmp_path / truth, tmp_path / "out")
        assert (summary.cases, summary.patients, summary.patients_known) == (3, 2, True)


def test_the_target_of_a_folder_of_two_domains(tmp_path):
    for folder, top in (("trainA", 2), ("labelsA", 2), ("trainB", 4), ("labelsB", 4)):
        _picture(tmp_path / "pair" / folder / f"case{folder[-1]}.png", _square(top, 10))
    _picture(tmp_path / "predicted" / "caseB.png", _square(4, 10))
    summary = evaluate(tmp_path / "predicted", tmp_path / "pair", tmp_path / "out")
    assert (summary.cases, summary.overall.metrics.dice.mean) == (1, 1)


def test_ignored_pixels_do_not_score(tmp_path):
    truth = np.where(_square(8, 16) == 1, 255, _square(2, 6))
    _picture(tmp_path / "truth" / "x.png", truth)
    _picture(tmp_path / "predicted" / "x.png", _square(2, 6) | _square(9, 14))
    evaluate(tmp_path / "predicted", tmp_path / "truth", tmp_path / "out")
    (row,) = _rows(tmp_path / "out")
    assert (row["dice"], row["voxels_predicted"]) == ("1.0", "16")


def test_predictions_without_a_mask_are_counted(dataset, tmp_path):
    root, predictions = dataset
    _picture(predictions / "zz.png", _square(1, 2))
    summary = evaluate(predictions, root, tmp_path / "out")
    assert (summary.cases, summary.unmatched_predictions) == (3, 1)


def test_both_parts_when_both_were_predicted(dataset, tmp_path):
    root, predictions = dataset
    shutil.copy(root / "labelsTr" / "t1.png", predictions / "t1.png")
    assert evaluate(predictions, root, tmp_path / "out").cases == 4
    assert evaluate(predictions, root / "labelsTr", tmp_path / "out").cases == 1


def _fault(predictions, truth, out, *needles):
    with pytest.raises(InputFault) as caught:
        evaluate(predictions, truth, out)
    message = str(caught.value)
    assert "\n" not in message
    for needle in needles:
        assert needle in message
    assert not out.exists()


def test_missing_prediction(dataset, tmp_path):
    root, predictions = dataset
    (predictions / "a2.png").unlink()
    _fault(predictions, root, tmp_path / "out", "1 of 3", "a2")


def test_no_name_in_common(dataset, tmp_path):
    root, predictions = dataset
    for path in list(predictions.glob("*.png")):
        path.rename(path.with_name("p" + path.name))
    _fault(predictions, root / "labelsTs", tmp_path / "out", "labelsTs", "a1")


def test_another_size(dataset, tmp_path):
    root, predictions = dataset
    _picture(predictions / "a2.png", _square(2, 8, size=20))
    _fault(predictions, root, tmp_path / "out", "a2.png", "20 x 20", "16 x 16")


def test_a_value_that_is_no_class(dataset, tmp_path):
    root, predictions = dataset
    _picture(predictions / "a2.png", _square(2, 8, 7))
    _fault(predictions, root, tmp_path / "out", "a2.png", "value 7 is no class number")
    (predictions / "predictions.json").unlink()
    _fault(predictions, root, tmp_path / "out", "a2.png", "value 7 is no class of the truth (0, 1, 2)")


@pytest.mark.parametrize(
    "change", [{"shift": 0.5}, {"spacing": (1.0, 1.0, 3.0)}, {"spacing": (-1.0, 1.0, 4.0), "shift": 7.0}]
)
def test_another_geometry(tmp_path, change):
    mask = np.zeros((8, 8, 4), np.uint8)
    mask[2:5, 2:5, 1:3] = 1
    _volume(tmp_path / "truth" / "case.nii.gz", mask)
    _volume(tmp_path / "predicted" / "case.nii.gz", mask, **change)
    _fault(tmp_path / "predicted", tmp_path / "truth", tmp_path / "out", "case.nii.gz", "resample")


def test_rounding_in_a_header_is_no_other_geometry(tmp_path):
    mask = np.zeros((8, 8, 4), np.uint8)
    mask[2:5, 2:5, 1:3] = 1
    _volume(tmp_path / "truth" / "case.nii.gz", mask)
    _volume(tmp_path / "predicted" / "case.nii.gz", mask, shift=0.01)
    assert evaluate(tmp_path / "predicted", tmp_path / "truth", tmp_path / "out").cases == 1


def test_a_flat_volume_is_the_picture_that_it_shows(tmp_path):
    """A mask of a picture kept as NIfTI (x, y, 1), as some tools do, scores a PNG prediction in its own mm."""
    mask = np.zeros((10, 14), np.uint8)
    mask[2:5, 3:11] = 1
    _volume(tmp_path / "truth" / "x.nii.gz", mask.T[:, :, None], spacing=(2.0, 0.5, 1.0))
    _picture(tmp_path / "predicted" / "x.png", np.roll(mask, 1, axis=1))
    evaluate(tmp_path / "predicted", tmp_path / "truth", tmp_path / "out")
    (row,) = _rows(tmp_path / "out")
    assert (float(row["dice"]), float(row["hd95"]), row["unit"]) == (7 / 8, 2.0, "mm")


def test_pictures_and_volumes_together(tmp_path):
    for folder in ("truth", "predicted"):
        _picture(tmp_path / folder / "x.png", _square(2, 8))
        _volume(tmp_path / folder / "y.nii.gz", np.ones((4, 4, 4)))
    _fault(tmp_path / "predicted", tmp_path / "truth", tmp_path / "out", "mm", "px")


def test_folders_that_are_no_use(dataset, tmp_path):
    root, predictions = dataset
    (tmp_path / "empty").mkdir()
    _fault(tmp_path / "nowhere", root, tmp_path / "out", "nowhere")
    _fault(predictions, tmp_path / "nowhere", tmp_path / "out", "nowhere")
    _fault(tmp_path / "empty", root, tmp_path / "out", "empty")
    _fault(predictions, tmp_path / "empty", tmp_path / "out", "empty")
    _picture(tmp_path / "blank" / "x.png", np.zeros((4, 4)))
    _fault(tmp_path / "blank", tmp_path / "blank", tmp_path / "out", "every mask is empty")
    with pytest.raises(InputFault, match="nsd_tolerance"):
        evaluate(predictions, root, tmp_path / "out", nsd_tolerance=-1.0)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data beside the repository")
@pytest.mark.parametrize(("folder", "part", "unit"), [("Dataset102_COVIDCXR", "labelsTs", "px")])
def test_a_real_test_part_against_itself(tmp_path, folder, part, unit):
    """Truth as prediction is perfect, and the patients are those of cases.csv, by each way to name the truth."""
    labels = SHARED / folder / part
    summary = evaluate(labels, labels, tmp_path / "by_labels")
    assert (summary.overall.metrics.dice.mean, summary.overall.metrics.hd95.mean) == (1, 0)
    assert summary.cases == len(list(labels.glob("*.png")))
    assert summary.patients_known
    assert summary.patients < summary.cases
    assert [entry.name for entry in summary.classes] == ["lung"]
    assert summary.unit == unit
    assert evaluate(labels, SHARED / folder, tmp_path / "by_dataset").overall == summary.overall


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data beside the repository")
def test_real_volumes_of_two_structures(tmp_path):
    for path in sorted((SHARED / "Task04_Hippocampus" / "labelsTr").glob("[!.]*"))[:3]:
        (tmp_path / "masks").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "masks" / path.name)
    summary = evaluate(tmp_path / "masks", tmp_path / "masks", tmp_path / "out")
    assert [entry.label for entry in summary.classes] == [1, 2]
    assert summary.overall.metrics.assd.mean == 0
    assert summary.unit == "mm"


def test_a_manifest_is_truth_too(tmp_path):
    for name in ("one", "two"):
        _picture(tmp_path / "pixels" / f"{name}.png", _square(2, 8, 90))
        _picture(tmp_path / "drawn" / f"{name}_by_hand.png", _square(2, 8))
        _picture(tmp_path / "predictions" / f"{name}.png", _square(2, 8))
    lines = [f"{name},pixels/{name}.png,drawn/{name}_by_hand.png,p" for name in ("one", "two")]
    manifest = tmp_path / "my.csv"
    manifest.write_text("\n".join(["case,image,mask,patient", *lines]) + "\n")
    evaluate(tmp_path / "predictions", manifest, tmp_path / "out")
    rows = _rows(tmp_path / "out")
    assert [(row["case"], row["patient"], float(row["dice"])) for row in rows] == [
        ("one", "p", 1),
        ("two", "p", 1),
    ]
    manifest.write_text("case,image\none,pixels/one.png\n")
    with pytest.raises(InputFault, match=r"my\.csv: lists no masks; "):
        evaluate(tmp_path / "predictions", manifest, tmp_path / "out2")
    with pytest.raises(InputFault, match="no such folder"):
        evaluate(tmp_path / "predictions", tmp_path / "none.csv", tmp_path / "out3")
