"""The rule for empty masks, and what is left out of the scores."""

import numpy as np
import pytest

from fewmask.metrics.score import METRICS, score_case


def _classes(*rows):
    return np.array(rows, dtype=np.uint8)


TRUTH = _classes([0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0])


def test_a_perfect_case():
    (score,) = score_case(TRUTH, TRUTH, 2, (1.0, 1.0))
    assert [getattr(score, metric) for metric in METRICS] == [1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 0]
    assert (score.status, score.voxels_truth, score.voxels_predicted) == ("ok", 4, 4)


def test_missed_scores_the_worst_case():
    (score,) = score_case(TRUTH, np.zeros_like(TRUTH), 2, (2.0, 3.0))
    diagonal = np.hypot(3 * 2.0, 4 * 3.0)
    assert score.status == "missed"
    assert (score.dice, score.iou, score.nsd, score.sensitivity, score.precision) == (0, 0, 0, 0, 0)
    assert (score.hd95, score.hd95_pooled, score.assd, score.masd) == pytest.approx([diagonal] * 4)
    assert (score.masd_voxels, score.hd95_voxels) == pytest.approx([np.hypot(3, 4)] * 2)


def test_false_alarm_counts_against_the_mean():
    (score,) = score_case(np.zeros_like(TRUTH), TRUTH, 2, (2.0, 3.0))
    assert score.status == "false_alarm"
    assert (score.dice, score.iou, score.nsd, score.precision) == (0, 0, 0, 0)
    assert score.sensitivity is None
    assert score.hd95 == pytest.approx(np.hypot(6.0, 12.0))
    assert (score.masd, score.masd_voxels) == (pytest.approx(np.hypot(6.0, 12.0)), pytest.approx(5.0))
    assert score.hd95_voxels == pytest.approx(5.0)


def test_absent_earns_nothing():
    (score,) = score_case(np.zeros_like(TRUTH), np.zeros_like(TRUTH), 2, (1.0, 1.0))
    assert score.status == "absent"
    assert all(getattr(score, metric) is None for metric in METRICS)


def test_no_overlap_is_ok_but_zero():
    (score,) = score_case(TRUTH, _classes([1, 0, 0, 0], [0] * 4, [0] * 4), 2, (1.0, 1.0))
    assert (score.status, score.dice, score.sensitivity, score.precision) == ("ok", 0, 0, 0)
    assert 0 < score.hd95 < 5


def test_classes_come_in_order_and_alone():
    truth, predicted = _classes([1, 1, 2, 0]), _classes([1, 0, 2, 2])
    scores = score_case(truth, predicted, 4, (1.0, 1.0))
    assert [score.dice for score in scores] == [2 / 3, 2 / 3, None]
    assert [score.status for score in scores] == ["ok", "ok", "absent"]


def test_ignored_voxels_leave_both_masks():
    truth = _classes([1, 255, 0, 255], [0, 0, 0, 0])
    predicted = _classes([1, 1, 0, 0], [0, 0, 0, 0])
    (score,) = score_case(truth, predicted, 2, (1.0, 1.0))
    assert (score.dice, score.voxels_predicted, score.hd95) == (1, 1, 0)
    overlap = score.overlap
    assert overlap.true_negative == 5
    (only_there,) = score_case(_classes([255, 0]), _classes([1, 0]), 2, (1.0, 1.0))
    assert only_there.status == "absent"


def test_a_predicted_value_that_is_no_class_is_background():
    (score,) = score_case(_classes([1, 1, 0]), _classes([1, 255, 255]), 2, (1.0, 1.0))
    assert (score.voxels_predicted, score.dice) == (1, 2 / 3)


def test_one_slice_is_a_picture():
    random = np.random.default_rng(3)
    truth, predicted = (random.random((2, 20, 30)) < 0.8).astype(np.uint8)
    flat = score_case(truth, predicted, 2, (2.0, 3.0))
    for axis in (0, 1, 2):
        lengths = [2.0, 3.0]
        lengths.insert(axis, 9.0)
        thick = score_case(np.expand_dims(truth, axis), np.expand_dims(predicted, axis), 2, lengths)
        assert thick == flat


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="do not fit"):
        score_case(TRUTH, TRUTH.T, 2, (1.0, 1.0))
    with pytest.raises(ValueError, match="do not fit"):
        score_case(TRUTH, TRUTH, 2, (1.0, 1.0, 1.0))
