"""Rising curves against a plain pooling of neighbours, and margins against fresh values."""

import numpy as np
import pytest

from fewmask.metrics.monotone import (
    Margins,
    conformal_margins,
    cross_fitted,
    folds_of,
    rank_correlation,
    rising_curve,
)


def pooled(values: list[float]) -> list[float]:
    """Neighbours that fall are pooled until none does."""
    blocks: list[list[float]] = []
    for value in values:
        blocks.append([value])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    return [float(np.mean(block)) for block in blocks for _ in block]


def test_levels_are_those_of_plain_pooling() -> None:
    random = np.random.default_rng(0)
    signs = np.sort(random.uniform(0.2, 1.0, 60))
    scores = np.clip(signs + random.normal(0.0, 0.2, 60), 0.0, 1.0)
    curve = rising_curve(signs, scores)
    assert curve.value[1:] == pytest.approx(np.unique(np.round(pooled(scores.tolist()), 12)))
    fine = curve.of(np.linspace(0.0, 1.2, 500))
    assert (np.diff(fine) >= 0.0).all()


def test_equal_signs_share_their_mean_and_a_sign_of_nothing_speaks_for_nothing() -> None:
    curve = rising_curve(np.array([0.5, 0.5, 1.0]), np.array([0.2, 0.4, 0.9]))
    assert curve.of(np.array([0.0, 0.25, 0.5, 0.75, 1.0, 2.0])) == pytest.approx(
        [0.0, 0.15, 0.3, 0.6, 0.9, 0.9]
    )


def test_an_order_that_is_wrong_throughout_gives_the_mean() -> None:
    curve = rising_curve(np.array([0.2, 0.4, 0.9]), np.array([0.9, 0.6, 0.3]))
    assert curve.of(np.array([0.5, 0.9])) == pytest.approx([0.6, 0.6])


def test_a_patient_is_judged_by_the_others_alone() -> None:
    random = np.random.default_rng(1)
    patients = [f"p{number // 4}" for number in range(40)]
    signs, scores = random.uniform(0, 1, (2, 40))
    folds = folds_of(patients)
    assert all(len(set(folds[start : start + 4])) == 1 for start in range(0, 40, 4))
    assert np.bincount(folds).tolist() == [8] * 5
    before = cross_fitted(signs, scores, folds)
    changed = scores.copy()
    changed[folds == folds[0]] = 1.0 - changed[folds == folds[0]]
    after = cross_fitted(signs, changed, folds)
    assert np.array_equal(before[folds == folds[0]], after[folds == folds[0]])
    assert not np.array_equal(before, after)
    with pytest.raises(ValueError, match="two patients"):
        cross_fitted(signs, scores, np.zeros(40, dtype=np.intp))


def spread(count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Scores that lie the wider around their sign the lower it is."""
    signs = random.uniform(0.1, 0.9, count)
    return signs, np.clip(signs + random.normal(0.0, 0.15, count) * (1.0 - signs), 0.0, 1.0)


def test_margins_hold_nine_in_ten_fresh_values_in_every_bin() -> None:
    held: list[np.ndarray] = []
    for seed in range(150):
        random = np.random.default_rng(seed)
        margins = conformal_margins(*spread(120, random), confidence=0.9)
        signs, scores = spread(400, random)
        inside = np.abs(scores - signs) <= margins.at(signs)
        held.append(np.array([inside[signs < 0.4].mean(), inside[signs > 0.6].mean(), inside.mean()]))
    assert np.mean(held, axis=0) == pytest.approx(0.91, abs=0.02)


def test_margins_are_wider_where_values_scatter_more() -> None:
    margins = conformal_margins(*spread(400, np.random.default_rng(0)))
    assert len(margins.margin) == 4 and margins.margin[0] > 1.5 * margins.margin[-1]


def test_margins_by_hand() -> None:
    estimates, scores = np.full(19, 0.5), 0.5 + np.arange(19) / 100
    # The 18th of 19 distances: ceil(20 * 0.9).
    assert conformal_margins(estimates, scores, 0.9) == Margins((), (pytest.approx(0.17),))
    assert conformal_margins(estimates[:8], scores[:8], 0.9).margin == (1.0,), "too few to tell"
    assert Margins((0.3, 0.6), (0.4, 0.2, 0.1)).at(np.array([0.0, 0.3, 0.31, 0.9])).tolist() == [
        0.4,
        0.4,
        0.2,
        0.1,
    ]


def test_level_estimates_share_a_bin() -> None:
    margins = conformal_margins(np.repeat([0.2, 0.8], [100, 20]), np.zeros(120), bins=4)
    assert margins.upto == (0.2,) and margins.margin == pytest.approx((0.2, 0.8))


def test_rank_correlation_says_nothing_where_nothing_can_be_said() -> None:
    assert rank_correlation([0.1, 0.2], [0.1, 0.2]) is None
    assert rank_correlation([0.1, 0.1, 0.1], [0.1, 0.2, 0.3]) is None
    assert rank_correlation([0.1, 0.2, 0.4], [0.9, 0.5, 0.2]) == -1.0
