"""Decisions at a threshold, against counts by hand and against a plain loop over draws of patients."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewmask.metrics.classification import auc, auc_interval
from fewmask.metrics.prognosis import (
    Decisions,
    auc_estimate,
    decision_figures,
    decisions,
    point_within,
    sensitivity_within,
    youden_threshold,
)

graded = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=25).filter(
    lambda pairs: len({found for _, found in pairs}) == 2
)


def rates(scores, found, threshold):
    """The share that is found and the share that is alarmed for nothing, exactly."""
    called = [score >= threshold for score in scores]
    hit = sum(c and f for c, f in zip(called, found, strict=True))
    alarm = sum(c and not f for c, f in zip(called, found, strict=True))
    return Fraction(hit, sum(found)), Fraction(alarm, len(found) - sum(found))


def test_the_papers_confusion_matrix():
    """Table 4 of Płotka et al.; its text prints a specificity of 0.951, which the table does not have."""
    told = np.repeat([0.9, 0.1, 0.9, 0.1], [85, 41, 40, 1105])
    found = np.repeat([True, True, False, False], [85, 41, 40, 1105])
    made = decisions(told, found, 0.5)
    assert made == Decisions(85, 41, 40, 1105)
    ours = (made.sensitivity, made.specificity, made.precision, made.accuracy, made.f1)
    assert ours == pytest.approx((0.675, 0.965, 0.680, 0.936, 0.677), abs=5e-4)
    assert made.false_positive_rate == pytest.approx(40 / 1145) == pytest.approx(1 - made.specificity)
    assert made.negative_predictive_value == 1105 / 1146


def test_a_score_at_the_threshold_is_positive():
    assert decisions([0.3, 0.7], [False, True], 0.7) == Decisions(1, 0, 0, 1)
    assert decisions([0.3, 0.7], [False, True], 0.3) == Decisions(1, 0, 1, 0)


def test_ratios_of_nothing_are_none():
    nobody = decisions([0.1, 0.2], [False, False], 0.5)
    assert (nobody.sensitivity, nobody.precision, nobody.f1) == (None, None, None)
    assert (nobody.specificity, nobody.negative_predictive_value, nobody.accuracy) == (1, 1, 1)
    everybody = decisions([0.8, 0.9], [True, True], 0.5)
    assert (everybody.specificity, everybody.false_positive_rate) == (None, None)
    assert (everybody.negative_predictive_value, everybody.f1) == (None, 1)


@given(graded)
@settings(max_examples=150, deadline=None)
def test_youdens_threshold_is_the_best_of_all_that_can_be_tried(pairs):
    scores, found = zip(*pairs, strict=True)

    def worth(threshold):
        hit, alarm = rates(scores, found, threshold)
        return hit - alarm, -alarm

    best = max({*scores, 7}, key=worth)
    threshold = youden_threshold(scores, found)
    if worth(best)[0] == 0:
        assert threshold is None
    else:
        assert threshold == best


def test_youdens_threshold_needs_both_outcomes_and_prefers_fewer_alarms():
    assert youden_threshold([0.2, 0.9], [True, True]) is None
    assert youden_threshold([0.9, 0.1], [False, True]) is None
    # From 0.8 on and from 0.4 on the sum is 1.5; the first alarms nobody.
    assert youden_threshold([0.8, 0.6, 0.4, 0.2], [True, False, True, False]) == 0.8


@given(graded, st.sampled_from([0.05, 0.1, 0.25, 0.5, 0.9]))
@settings(max_examples=150, deadline=None)
def test_sensitivity_within_a_share_of_false_alarms(pairs, allowed):
    scores, found = zip(*pairs, strict=True)
    tried = [rates(scores, found, threshold) for threshold in {*scores, 7}]
    best = max(hit for hit, alarm in tried if alarm <= Fraction(str(allowed)))
    point = point_within(scores, found, allowed)
    assert point is not None
    assert point.sensitivity == pytest.approx(float(best))
    assert point.false_positive_rate <= allowed
    assert rates(scores, found, point.threshold) == (
        best,
        min(alarm for hit, alarm in tried if hit == best),
    )
    estimate = sensitivity_within(scores, found, ["one"] * len(found), allowed, draws=3)
    assert estimate.value == pytest.approx(float(best)) and estimate.interval is None


def test_a_share_that_is_exactly_allowed_is_allowed():
    """3 of 30 false alarms are 10 %, although 0.1 x 30 is not 3 in floating point."""
    scores = np.concatenate([np.linspace(0.9, 0.8, 3), [0.7], np.linspace(0.5, 0.1, 27)])
    found = np.arange(31) == 3
    point = point_within(scores, found, 0.1)
    assert point is not None and (point.sensitivity, point.false_positive_rate) == (1, 0.1)
    assert sensitivity_within(scores, found, ["one"] * 31, 0.1).value == 1


def several_images(seed, patients=12):
    random = np.random.default_rng(seed)
    owner = np.repeat(np.arange(patients), random.integers(1, 4, patients))
    found = (np.arange(patients) < 3)[owner]
    scores = np.round(random.random(len(owner)) + 0.4 * found, 1)
    return scores, found, [f"p{index:02d}" for index in owner]


def drawn(scores, found, patients, draws):
    """The cases of each draw of patients, one draw and one patient at a time."""
    random, names = np.random.default_rng(0), sorted(set(patients))
    for _ in range(draws):
        places = [
            place
            for index in random.integers(len(names), size=len(names))
            for place, owner in enumerate(patients)
            if owner == names[index]
        ]
        yield scores[places], found[places]


def expect(estimate, values):
    kept = [value for value in values if value is not None]
    assert estimate.left_out == len(values) - len(kept)
    bounds = (estimate.interval.low, estimate.interval.high)
    assert bounds == pytest.approx(tuple(np.percentile(kept, [2.5, 97.5])))


@pytest.mark.parametrize("seed", range(3))
def test_intervals_are_those_of_a_plain_bootstrap_over_patients(seed):
    scores, found, patients = several_images(seed)
    draws = list(drawn(scores, found, patients, 150))
    made = [decisions(told, is_there, 0.7) for told, is_there in draws]
    figures = decision_figures(scores, found, patients, 0.7, draws=150)
    here = decisions(scores, found, 0.7)
    for name in (
        "sensitivity",
        "specificity",
        "precision",
        "negative_predictive_value",
        "false_positive_rate",
        "accuracy",
        "f1",
    ):
        estimate = getattr(figures, name)
        assert estimate.value == pytest.approx(getattr(here, name))
        expect(estimate, [getattr(one, name) for one in made])
    assert figures.sensitivity.left_out > 0
    points = [point_within(told, is_there, 0.2) for told, is_there in draws]
    within = sensitivity_within(scores, found, patients, 0.2, draws=150)
    expect(within, [None if point is None else point.sensitivity for point in points])
    area = auc_estimate(scores, found, patients, draws=150)
    assert area.value == auc(scores, found)
    assert area.interval == auc_interval(scores, found, patients, draws=150)
    expect(area, [auc(told, is_there) for told, is_there in draws])


def test_images_many_times_over_are_no_more_patients():
    scores, found, patients = several_images(5)
    once = decision_figures(scores, found, patients, 0.7)
    tenfold = decision_figures(
        np.repeat(scores, 10), np.repeat(found, 10), np.repeat(patients, 10).tolist(), 0.7
    )
    assert once == tenfold


def test_what_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match="outcomes"):
        decisions([0.1, 0.2], [True], 0.5)
    with pytest.raises(ValueError, match="finite"):
        sensitivity_within([0.1, float("nan")], [True, False], ["a", "b"])
