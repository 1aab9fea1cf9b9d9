"""Signs of accuracy against numbers counted by hand."""

import numpy as np
import pytest

from fewmask.metrics.agreement import (
    agreement_by_class,
    dice_by_class,
    expected_dice,
    share_by_class,
    size_fit,
)


def line(*classes: int) -> np.ndarray:
    return np.array(classes, dtype=np.uint8).reshape(1, 1, -1)


def test_dice_of_each_class_is_pooled_over_the_slices() -> None:
    one = np.concatenate([line(1, 1, 0, 2), line(1, 0, 0, 0)])
    other = np.concatenate([line(1, 0, 0, 0), line(1, 1, 0, 0)])
    assert dice_by_class(one, other, 4) == pytest.approx([2 * 2 / (3 + 3), 0.0, np.nan], nan_ok=True)


def test_agreement_is_the_mean_over_drawings_and_none_where_nothing_was_drawn() -> None:
    drawn, others = line(1, 1, 0, 0), [line(1, 1, 0, 0), line(1, 0, 2, 0), line(0, 0, 0, 0)]
    assert agreement_by_class(drawn, others, 3) == pytest.approx([(1 + 2 / 3 + 0) / 3, np.nan], nan_ok=True)


def test_expected_dice_by_hand() -> None:
    drawn = line(1, 1, 0)
    certainty = np.array([0.9, 0.6, 0.8], dtype=np.float32).reshape(1, 1, -1)
    summed = np.array([0.9 + 0.6 + 0.2])
    assert expected_dice(drawn, certainty, summed, 2) == pytest.approx([2 * 1.5 / (1.7 + 2)])
    assert np.isnan(expected_dice(line(0, 0, 0), certainty, summed, 2)).all()


def test_a_sure_and_whole_drawing_promises_everything() -> None:
    assert expected_dice(line(1, 1, 0), np.ones((1, 1, 3), np.float32), np.array([2.0]), 2) == [1.0]


def test_shares_and_how_usual_they_are() -> None:
    shares = share_by_class(line(1, 1, 2, 0), 8, 4)
    assert shares == pytest.approx([0.25, 0.125, np.nan], nan_ok=True)
    fit = size_fit(shares, np.array([0.1, 0.25, 0.1]), np.array([0.2, 0.5, 0.2]))
    assert fit == pytest.approx([0.8, 0.5, np.nan], nan_ok=True)
