"""Calibration against sums by hand, a plain loop over draws of patients, and probabilities that are true risks."""

import numpy as np
import pytest
from scipy.stats import binomtest

from fewmask.metrics.calibration import calibration_curve, calibration_figures, wilson_interval


@pytest.mark.parametrize(("many", "n"), [(0, 7), (3, 7), (7, 7), (85, 126), (0, 1)])
def test_wilsons_interval_is_scipys(many, n):
    for confidence in (0.8, 0.95):
        expected = binomtest(many, n).proportion_ci(confidence, "wilson")
        interval = wilson_interval(many, n, confidence)
        assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_two_bins_by_hand():
    told = [0.1, 0.2, 0.3, 0.6, 0.8, 1.0]
    found = [False, False, True, True, False, True]
    low, high = calibration_curve(told, found, bins=2)
    assert (low.n, low.with_outcome, low.share) == (3, 1, 1 / 3)
    assert (high.n, high.with_outcome, high.share) == (3, 2, 2 / 3)
    assert (low.mean_probability, high.mean_probability) == (pytest.approx(0.2), pytest.approx(0.8))
    assert low.interval == wilson_interval(1, 3)
    figures = calibration_figures(told, found, list("abcdef"), bins=2)
    assert figures.expected_error.value == pytest.approx((abs(1 / 3 - 0.2) + abs(2 / 3 - 0.8)) / 2)
    squares = 0.1**2 + 0.2**2 + 0.7**2 + 0.4**2 + 0.8**2 + 0
    assert figures.brier.value == pytest.approx(squares / 6)
    assert figures.brier_of_prevalence.value == pytest.approx(0.25)
    assert figures.brier_skill.value == pytest.approx(1 - squares / 6 / 0.25)
    assert (figures.prevalence.value, figures.mean_probability.value) == (0.5, pytest.approx(0.5))
    assert figures.excess.value == pytest.approx(0)


def test_the_prevalence_for_everybody_has_no_skill_and_no_error():
    found = np.arange(40) < 4
    figures = calibration_figures(np.full(40, 0.1), found, [str(index) for index in range(40)])
    values = (figures.brier.value, figures.brier_skill.value, figures.expected_error.value)
    assert values == pytest.approx((0.09, 0, 0))
    (only,) = calibration_curve(np.full(40, 0.1), found)
    assert (only.n, only.with_outcome) == (40, 4)


def test_bins_hold_ten_or_more_and_equal_probabilities_stay_together():
    random = np.random.default_rng(0)
    for n, bins in ((7, 1), (35, 3), (99, 9), (500, 10)):
        curve = calibration_curve(random.random(n), random.random(n) < 0.5)
        assert len(curve) == bins and sum(found.n for found in curve) == n
        assert n < 10 or min(found.n for found in curve) >= 10
        assert np.all(np.diff([found.mean_probability for found in curve]) > 0)
    tied = np.array([0.2] * 50 + [0.9] * 5)
    assert [found.n for found in calibration_curve(tied, tied > 0.5, bins=5)] == [50, 5]


def test_intervals_are_those_of_a_plain_bootstrap_over_patients():
    random = np.random.default_rng(1)
    owner = np.repeat(np.arange(9), random.integers(1, 4, 9))
    found = (np.arange(9) < 3)[owner]
    told = np.clip(random.random(len(owner)) * 0.7 + 0.3 * found, 0, 1)
    patients = [f"p{index}" for index in owner]
    figures = calibration_figures(told, found, patients, bins=3, draws=200)
    edges = np.quantile(told, [1 / 3, 2 / 3])
    draw, values = np.random.default_rng(0), []
    for _ in range(200):
        places = np.concatenate([np.flatnonzero(owner == index) for index in draw.integers(9, size=9)])
        mine, there = told[places], found[places]
        bins = [mine <= edges[0], (mine > edges[0]) & (mine <= edges[1]), mine > edges[1]]
        brier, share = np.mean((mine - there) ** 2), there.mean()
        error = sum(abs(mine[inside].sum() - there[inside].sum()) for inside in bins) / len(mine)
        reference = share * (1 - share)
        skill = 1 - brier / reference if reference else np.nan
        values.append((brier, reference, skill, mine.mean(), share, mine.mean() - share, error))
    names = ("brier", "brier_of_prevalence", "brier_skill", "mean_probability", "prevalence", "excess")
    for name, column in zip((*names, "expected_error"), np.array(values).T, strict=True):
        estimate, kept = getattr(figures, name), column[np.isfinite(column)]
        assert estimate.left_out == len(column) - len(kept), name
        expected = tuple(np.percentile(kept, [2.5, 97.5]))
        assert (estimate.interval.low, estimate.interval.high) == pytest.approx(expected), name
    assert figures.brier_skill.left_out > 0 == figures.brier.left_out


def test_true_risks_are_found_calibrated_and_too_high_ones_are_not():
    random = np.random.default_rng(2)
    risk = random.beta(1, 6, 2000)
    found = random.random(2000) < risk
    patients = [str(index) for index in range(2000)]
    right = calibration_figures(risk, found, patients, draws=300)
    assert right.excess.interval.low < 0 < right.excess.interval.high
    assert right.expected_error.value < 0.025 and right.brier_skill.interval.low > 0
    alarming = 9 * risk / (1 + 8 * risk)
    wrong = calibration_figures(alarming, found, patients, draws=300)
    assert wrong.excess.interval.low > 0.1 and wrong.brier_skill.value < 0
    assert wrong.expected_error.value == pytest.approx(wrong.excess.value)


def test_bins_of_true_risks_cover_their_mean_as_often_as_they_say():
    random, covered = np.random.default_rng(3), []
    for _ in range(200):
        risk = random.beta(2, 6, 400)
        for part in calibration_curve(risk, random.random(400) < risk):
            covered.append(part.interval.low <= part.mean_probability <= part.interval.high)
    # Four standard errors of a share over 2000 bins, on either side of 0.95.
    assert len(covered) == 2000 and abs(np.mean(covered) - 0.95) < 0.02


def test_a_single_patient_has_no_interval():
    figures = calibration_figures([0.2, 0.9], [False, True], ["a", "a"])
    assert figures.brier.interval is None and figures.brier.value == pytest.approx(0.025)


@pytest.mark.parametrize("told", [[], [0.5, 1.2], [-0.1, 0.5]])
def test_what_is_no_probability_is_an_error(told):
    with pytest.raises(ValueError, match="from 0 to 1"):
        calibration_curve(told, [True, False][: len(told)])
