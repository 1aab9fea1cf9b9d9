import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics.meaniou import compute_iou

from fewmask.metrics.confusion import confusion_matrix, mean_class_accuracy, mean_iou, pixel_accuracy
from fewmask.metrics.score import score_case

torch.set_num_threads(1)

TRUTH = np.array([[0, 0, 0, 1], [1, 1, 2, 255]], dtype=np.uint8)
PREDICTED = np.array([[0, 0, 1, 1], [1, 2, 0, 2]], dtype=np.uint8)


def drawn(seed: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    truth = random.integers(classes, size=(5, 6)).astype(np.uint8)
    truth[random.uniform(size=truth.shape) < 0.2] = 255
    return truth, random.integers(classes, size=(5, 6)).astype(np.uint8)


def test_by_hand() -> None:
    confusion = confusion_matrix(TRUTH, PREDICTED, 3)
    assert confusion.dtype == np.int64
    assert confusion.tolist() == [[2, 1, 0], [0, 2, 1], [1, 0, 0]]
    assert pixel_accuracy(confusion) == pytest.approx(4 / 7)
    assert mean_class_accuracy(confusion).mean == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert mean_iou(confusion).by_class == pytest.approx((2 / 4, 2 / 4, 0 / 2))
    assert mean_iou(confusion).mean == pytest.approx(1 / 3)
    assert mean_iou(confusion).left_out == ()


def test_iou_is_not_the_printed_one() -> None:
    """MSL's denominator counts missed pixels twice and false alarms never."""
    confusion = np.array([[6, 2], [0, 4]])
    printed = 0.5 * (6 / (8 + 2) + 4 / (4 + 0))
    assert mean_iou(confusion).mean == pytest.approx(0.5 * (6 / 8 + 4 / 6))
    assert mean_iou(confusion).mean != pytest.approx(printed)


@given(st.integers(0, 10_000), st.integers(2, 5))
@settings(max_examples=30, deadline=None)
def test_counts_are_those_of_torch(seed: int, classes: int) -> None:
    truth, predicted = drawn(seed, classes)
    kept = torch.from_numpy(truth) != 255
    expected = torch.zeros(classes, classes, dtype=torch.int64)
    pairs = torch.from_numpy(truth)[kept].long(), torch.from_numpy(predicted)[kept].long()
    expected.index_put_(pairs, torch.ones(int(kept.sum()), dtype=torch.int64), accumulate=True)
    assert confusion_matrix(truth, predicted, classes).tolist() == expected.tolist()


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_iou_is_monais(seed: int) -> None:
    truth, predicted = drawn(seed, 3)
    truth[truth == 255] = 0
    one_hot = [
        torch.nn.functional.one_hot(torch.from_numpy(mask).long(), 3).movedim(-1, 0)[None]
        for mask in (predicted, truth)
    ]
    theirs = compute_iou(*one_hot, include_background=True, ignore_empty=False)[0].tolist()
    assert mean_iou(confusion_matrix(truth, predicted, 3)).by_class == pytest.approx(theirs)


def test_one_case_agrees_with_its_scores() -> None:
    truth, predicted = drawn(3, 4)
    scores = score_case(truth, predicted, 4, (1.0, 1.0))
    confusion = confusion_matrix(truth, predicted, 4)
    assert mean_iou(confusion).by_class[1:] == pytest.approx([score.iou for score in scores])
    found = mean_class_accuracy(confusion).by_class[1:]
    assert found == pytest.approx([score.sensitivity for score in scores])


def test_cases_are_pooled_by_adding() -> None:
    pairs = [drawn(seed, 3) for seed in range(4)]
    added = sum(confusion_matrix(truth, predicted, 3) for truth, predicted in pairs)
    together = confusion_matrix(*(np.stack(masks) for masks in zip(*pairs, strict=True)), 3)
    assert np.array_equal(added, together)


def test_absent_classes_are_left_out_and_said() -> None:
    """Class 2 is nowhere; class 3 is predicted without being there."""
    confusion = confusion_matrix(np.array([0, 0, 1, 1]), np.array([0, 3, 1, 1]), 4)
    accuracy, iou = mean_class_accuracy(confusion), mean_iou(confusion)
    assert (accuracy.mean, accuracy.left_out) == (pytest.approx(0.75), (2, 3))
    assert (iou.mean, iou.left_out) == (pytest.approx((0.5 + 1 + 0) / 3), (2,))
    assert iou.by_class == (0.5, 1.0, None, 0.0)


def test_nothing_but_ignored_pixels() -> None:
    confusion = confusion_matrix(np.full((2, 2), 255), np.zeros((2, 2), dtype=int), 2)
    assert pixel_accuracy(confusion) is None
    assert mean_iou(confusion).mean is None
    assert mean_class_accuracy(confusion).left_out == (0, 1)


def test_a_prediction_that_is_no_class_is_background() -> None:
    assert confusion_matrix(np.array([0, 1]), np.array([7, 255]), 2).tolist() == [[1, 0], [1, 0]]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        confusion_matrix(np.zeros((2, 2), dtype=int), np.zeros((2, 3), dtype=int), 2)
    with pytest.raises(ValueError, match=r"in 0\.\.1, found 0\.\.2"):
        confusion_matrix(np.array([0, 2]), np.array([0, 1]), 2)
