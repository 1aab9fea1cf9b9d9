"""The paired test against every change of signs, against scipy, and by hand; Holm's correction by its definition."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import permutation_test, rankdata, wilcoxon

from fewmask.metrics.interval import bootstrap_interval
from fewmask.metrics.paired import holm, paired_test, patient_differences, signed_rank_p, smallest_p

PATIENTS = ("a", "a", "b", "c", "c", "c", "d")


def _plain(differences):
    """The share of all changes of signs whose rank sum lies as far from its mean as the true one."""
    changed = [value for value in differences if value]
    ranks = rankdata(np.abs(changed))
    centre = ranks.sum() / 2
    found = abs(sum(rank for rank, value in zip(ranks, changed, strict=True) if value > 0) - centre)
    sums = [
        sum(rank for rank, up in zip(ranks, ups, strict=True) if up)
        for ups in product((0, 1), repeat=len(ranks))
    ]
    return np.mean([abs(total - centre) >= found - 1e-9 for total in sums])


@pytest.mark.parametrize(
    "differences",
    [
        [0.3, -0.1, 0.25, 0.05, 0.4, 0.6],
        [0.1, 0.1, -0.1, 0.2, 0.2, -0.3, 0.1],  # ties
        [0.0, 0.0, 0.2, 0.2, -0.1, 0.0, 0.5, 0.4],  # zeros, and a tie
        [0.2, 0.5],
    ],
)
def test_p_is_that_of_every_change_of_signs(differences):
    values = np.array(differences)
    assert signed_rank_p(values) == pytest.approx(_plain(differences))
    changed = values[values != 0]
    ranked = permutation_test(
        (np.sign(changed) * rankdata(np.abs(changed)),),
        np.sum,
        permutation_type="samples",
        n_resamples=np.inf,
    )
    assert signed_rank_p(values) == pytest.approx(ranked.pvalue)


@pytest.mark.parametrize("count", [7, 40, 120])
def test_p_is_scipys_where_all_differ(count):
    values = np.random.default_rng(count).normal(0.02, 0.1, count)
    assert signed_rank_p(values) == pytest.approx(wilcoxon(values).pvalue)
    assert signed_rank_p(-values) == pytest.approx(signed_rank_p(values))


def test_no_difference_at_all():
    assert signed_rank_p(np.zeros(9)) == 1.0
    assert signed_rank_p(np.full(9, 1e-16)) == 1.0
    found = paired_test(np.full((2, 7), 0.5), np.full((2, 7), 0.5), PATIENTS)
    assert (found.difference, found.p, found.patients) == (0.0, 1.0, 4)
    assert (found.interval.low, found.interval.high) == (0.0, 0.0)


def test_the_smallest_p_is_that_of_patients_who_all_agree():
    for patients in (2, 4, 6, 10):
        assert signed_rank_p(np.arange(1, patients + 1) / 100) == pytest.approx(smallest_p(patients))
    assert smallest_p(5) > 0.05 > smallest_p(6)


def test_a_patient_has_one_vote_however_many_cases_and_seeds():
    random = np.random.default_rng(0)
    one, other = random.random((2, 3, 7))
    by_hand = [
        np.mean([one[seed, case] - other[seed, case] for seed in range(3) for case in cases])
        for cases in ((0, 1), (2,), (3, 4, 5), (6,))
    ]
    assert patient_differences(one, other, PATIENTS) == pytest.approx(by_hand)
    found = paired_test(one, other, PATIENTS)
    assert found.difference == pytest.approx(np.mean(by_hand)) and found.patients == 4
    expected = bootstrap_interval(by_hand, list("abcd"))
    assert (found.interval.low, found.interval.high) == pytest.approx((expected.low, expected.high))
    again = paired_test(np.tile(one, (10, 1)), np.tile(other, (10, 1)), PATIENTS)
    assert again.p == pytest.approx(found.p) and again.difference == pytest.approx(found.difference)


def test_cases_that_were_rightly_left_empty():
    nan = np.nan
    one = np.array([[nan, nan, 0.5, nan], [nan, 0.9, 0.7, nan]])
    other = np.array([[0.0, 0.4, 0.5, nan], [0.0, 0.4, 0.5, nan]])
    # a: 1 less 0 in both seeds; b: (1 - 0.4 + 0.9 - 0.4) / 2; c: (0 + 0.2) / 2; d has no case.
    assert patient_differences(one, other, list("abcd")) == pytest.approx([1.0, 0.55, 0.1])
    assert patient_differences(other, one, list("abcd")) == pytest.approx([-1.0, -0.55, -0.1])


@pytest.mark.parametrize("patients", [("a", "a", "a"), ("a",)])
def test_one_patient_says_nothing(patients):
    values = np.ones((1, len(patients)))
    assert paired_test(values, values * 0, patients) is None
    assert paired_test(values * np.nan, values * np.nan, patients) is None


def test_holm_by_hand():
    # In order 0.005 x 4, 0.01 x 3, 0.03 x 2, 0.04 x 1, the last raised to the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.5, 0.9, 0.7]) == (1.0, 1.0, 1.0)
    assert holm([0.04]) == (0.04,) and holm([]) == ()


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_is_its_definition(p_values):
    """The largest, over the tests that are no less sure, of their p times how many are no surer than they."""
    count = len(p_values)
    rank = {
        place: sorted(range(count), key=lambda at: (p_values[at], at)).index(place) for place in range(count)
    }
    expected = [
        min(1.0, max(p_values[at] * (count - rank[at]) for at in range(count) if rank[at] <= rank[place]))
        for place in range(count)
    ]
    assert holm(p_values) == pytest.approx(expected)
