"""The bootstrap over patients against a plain loop and against a known standard error."""

import numpy as np
import pytest

from fewmask.metrics import interval
from fewmask.metrics.interval import Interval, bootstrap_interval


def _plain_loop(values, patients, confidence, draws, seed):
    """Draw patients one draw at a time, put all their values in a list, take the mean."""
    random = np.random.default_rng(seed)
    names = sorted(set(patients))
    means = []
    for _ in range(draws):
        drawn = [names[index] for index in random.integers(len(names), size=len(names))]
        means.append(
            np.mean([v for name in drawn for v, owner in zip(values, patients, strict=True) if owner == name])
        )
    return np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])


@pytest.mark.parametrize("confidence", [0.95, 0.5])
def test_equals_a_plain_loop(confidence):
    random = np.random.default_rng(1)
    values, patients = random.random(23).tolist(), [f"p{index}" for index in random.integers(7, size=23)]
    found = bootstrap_interval(values, patients, confidence, draws=300, seed=5)
    assert [found.low, found.high] == pytest.approx(
        _plain_loop(values, patients, confidence, 300, 5).tolist()
    )


def test_blocks_do_not_change_the_draws(monkeypatch):
    values, patients = np.random.default_rng(2).random(40).tolist(), [str(index) for index in range(40)]
    whole = bootstrap_interval(values, patients)
    monkeypatch.setattr(interval, "_BLOCK", 1000)
    assert bootstrap_interval(values, patients) == whole


def test_width_is_that_of_the_standard_error():
    values = np.random.default_rng(3).normal(0.8, 0.1, 400)
    found = bootstrap_interval(values.tolist(), [str(index) for index in range(400)])
    expected = 2 * 1.96 * values.std() / 20
    assert found.high - found.low == pytest.approx(expected, rel=0.1)
    assert found.low < values.mean() < found.high


def test_many_slices_of_few_patients_are_no_evidence():
    """Forty equal slices of each of four patients: the interval is that of four values, not of 160."""
    per_patient = [0.2, 0.5, 0.8, 0.9]
    slices = np.repeat(per_patient, 40).tolist()
    owners = np.repeat(["a", "b", "c", "d"], 40).tolist()
    found, expected = (
        bootstrap_interval(slices, owners),
        bootstrap_interval(per_patient, ["a", "b", "c", "d"]),
    )
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_one_patient_has_no_interval():
    assert bootstrap_interval([0.5, 0.7], ["a", "a"]) is None
    assert bootstrap_interval([], []) is None
    assert bootstrap_interval([0.5, 0.5], ["a", "b"]) == Interval(0.5, 0.5)


def _covered(patients, cohorts=1000):
    """In how many of many cohorts the interval holds the true mean: 1 to 3 cases a patient, Dice skewed to the left."""
    random, hits = np.random.default_rng(patients), 0
    for _ in range(cohorts):
        own = np.repeat(random.beta(6.0, 1.5, patients), cases := random.integers(1, 4, patients))
        values = random.beta(15.0 * own, 15.0 * (1.0 - own))
        owners = np.repeat(np.arange(patients), cases).astype(str)
        found = bootstrap_interval(values, owners, draws=500)
        hits += found.low <= 0.8 <= found.high
    return hits / cohorts


def test_from_forty_patients_on_it_covers_what_it_says():
    assert 0.90 <= _covered(40) <= 0.97


def test_of_four_patients_it_is_too_narrow():
    assert 0.70 <= _covered(4) <= 0.85
