"""The pooled ratios and their intervals against a plain loop over draws of patients."""

import numpy as np
import pytest

from fewmask.metrics import interval
from fewmask.metrics.confusion import mean_class_accuracy, mean_iou, pixel_accuracy
from fewmask.metrics.interval import bootstrap_interval, resampled_sums
from fewmask.metrics.pooled import pooled_ratios


def _cases(seed, cases=11, patients=4, classes=3):
    random = np.random.default_rng(seed)
    confusions = [random.integers(0, 50, size=(classes, classes)) for _ in range(cases)]
    return confusions, [f"p{index % patients}" for index in range(cases)]


def _draws(confusions, patients, draws, seed):
    """The summed matrix of each draw, one draw and one case at a time."""
    random = np.random.default_rng(seed)
    names = sorted(set(patients))
    for _ in range(draws):
        total = np.zeros_like(confusions[0])
        for index in random.integers(len(names), size=len(names)):
            for matrix, owner in zip(confusions, patients, strict=True):
                if owner == names[index]:
                    total = total + matrix
        yield total


def _quantiles(values):
    return np.quantile([value for value in values if value is not None], [0.025, 0.975]).tolist()


@pytest.mark.parametrize("rare", [False, True])
def test_equals_a_plain_loop(rare):
    """With a rare class, which only one patient has, draws without that patient leave it out of their mean."""
    confusions, patients = _cases(3)
    if rare:
        for matrix, patient in zip(confusions, patients, strict=True):
            if patient != "p2":
                matrix[2, :] = matrix[:, 2] = 0
    found = pooled_ratios(confusions, patients, draws=200, seed=7)
    totals = list(_draws(confusions, patients, 200, 7))
    pooled = np.sum(confusions, axis=0)
    assert found.pixel_accuracy.value == pixel_accuracy(pooled)
    assert found.mean_class_accuracy.value == mean_class_accuracy(pooled).mean
    assert found.mean_iou.value == mean_iou(pooled).mean
    for ratio, of_draw in (
        (found.pixel_accuracy, pixel_accuracy),
        (found.mean_class_accuracy, lambda total: mean_class_accuracy(total).mean),
        (found.mean_iou, lambda total: mean_iou(total).mean),
    ):
        expected = _quantiles(of_draw(total) for total in totals)
        assert [ratio.interval.low, ratio.interval.high] == pytest.approx(expected)
        assert ratio.interval.low < ratio.interval.high


def test_by_hand():
    """Two patients: one all right, one half right; a draw is one of them twice, or both."""
    right, half = np.array([[8, 0], [0, 2]]), np.array([[4, 4], [1, 1]])
    found = pooled_ratios([right, half], ["a", "b"])
    assert found.pixel_accuracy.value == pytest.approx(15 / 20)
    assert found.mean_class_accuracy.value == pytest.approx((12 / 16 + 3 / 4) / 2)
    assert found.mean_iou.value == pytest.approx((12 / 17 + 3 / 8) / 2)
    assert (found.pixel_accuracy.interval.low, found.pixel_accuracy.interval.high) == (0.5, 1.0)
    assert (found.mean_iou.interval.low, found.mean_iou.interval.high) == pytest.approx(
        ((4 / 9 + 1 / 6) / 2, 1)
    )


def test_absent_classes_and_one_patient():
    matrix = np.array([[5, 0, 1], [0, 0, 0], [0, 0, 0]])
    found = pooled_ratios([matrix, matrix], ["a", "a"])
    assert found.pixel_accuracy.interval is None
    assert found.mean_class_accuracy.left_out == (1, 2)
    assert found.mean_iou.left_out == (1,)  # class 2 was drawn where there is none: IoU 0
    assert found.mean_iou.value == pytest.approx((5 / 6 + 0) / 2)
    empty = pooled_ratios([np.zeros((2, 2), int)] * 2, ["a", "b"])
    assert (empty.pixel_accuracy.value, empty.mean_iou.interval) == (None, None)


def test_sums_are_those_of_the_draws_of_the_mean(monkeypatch):
    random = np.random.default_rng(0)
    values, patients = random.random(30), [f"p{index % 9}" for index in range(30)]
    totals = np.zeros((9, 2))
    for value, patient in zip(values, patients, strict=True):
        totals[int(patient[1:])] += (value, 1)
    sums = resampled_sums(totals)
    low, high = np.percentile(sums[:, 0] / sums[:, 1], [2.5, 97.5])
    expected = bootstrap_interval(values.tolist(), patients)
    assert (low, high) == pytest.approx((expected.low, expected.high))
    monkeypatch.setattr(interval, "_BLOCK", 100)
    assert np.allclose(resampled_sums(totals), sums)


def test_many_patients_are_fast_and_exact():
    """Counts beyond 2**31 stay whole, and a thousand patients take no longer than a moment."""
    matrices = [np.full((4, 4), 3_000_000_001) for _ in range(1000)]
    patients = [str(index) for index in range(1000)]
    found = pooled_ratios(matrices, patients)
    assert found.pixel_accuracy.value == 0.25
    assert (found.pixel_accuracy.interval.low, found.pixel_accuracy.interval.high) == (0.25, 0.25)
