"""Overlap against counting by hand and against MONAI's Dice."""

import numpy as np
import torch
from monai.metrics import compute_dice, compute_iou

from fewmask.metrics.overlap import count_overlap

torch.set_num_threads(1)


def test_a_drawn_example():
    truth = np.array([[1, 1, 0], [1, 0, 0]], dtype=bool)
    predicted = np.array([[1, 0, 0], [1, 1, 1]], dtype=bool)
    overlap = count_overlap(truth, predicted)
    assert (overlap.true_positive, overlap.false_positive, overlap.false_negative, overlap.true_negative) == (
        2,
        2,
        1,
        1,
    )
    assert overlap.dice == 4 / 7
    assert overlap.iou == 2 / 5
    assert overlap.sensitivity == 2 / 3
    assert overlap.precision == 2 / 4
    assert (overlap.voxels_truth, overlap.voxels_predicted) == (3, 4)


def test_ignored_voxels_are_in_no_count():
    truth = np.array([1, 0, 0, 0], dtype=bool)
    assert count_overlap(truth, truth, ignored=2).true_negative == 1


def test_nothing_to_divide_by_is_none():
    empty, full = np.zeros((2, 2), bool), np.ones((2, 2), bool)
    both = count_overlap(empty, empty)
    assert (both.dice, both.iou, both.sensitivity, both.precision) == (None, None, None, None)
    assert count_overlap(empty, full).sensitivity is None
    assert count_overlap(full, empty).precision is None


def test_equals_monai():
    random = np.random.default_rng(0)
    for shape in ((13, 9), (5, 8, 7)):
        truth, predicted = random.random((2, *shape)) < 0.4
        ours = count_overlap(truth, predicted)
        tensors = [torch.from_numpy(mask)[None, None].float() for mask in (predicted, truth)]
        assert abs(ours.dice - float(compute_dice(*tensors, include_background=True))) < 1e-6
        assert abs(ours.iou - float(compute_iou(*tensors, include_background=True))) < 1e-6
