import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, norm

from fewmask.metrics.classification import auc, auc_difference, auc_interval, delong, roc_curve

graded = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30).filter(
    lambda pairs: len({found for _, found in pairs}) == 2
)


def people(count: int) -> list[str]:
    return [f"p{i}" for i in range(count)]


@given(graded)
@settings(max_examples=80, deadline=None)
def test_the_area_is_mann_whitneys(pairs: list[tuple[int, bool]]) -> None:
    scores, found = (np.array(side) for side in zip(*pairs, strict=True))
    statistic = mannwhitneyu(scores[found], scores[~found]).statistic
    assert auc(scores, found) == pytest.approx(statistic / (found.sum() * (~found).sum()))


@given(graded)
@settings(max_examples=80, deadline=None)
def test_the_curve_encloses_the_area_and_never_falls(pairs: list[tuple[int, bool]]) -> None:
    scores, found = zip(*pairs, strict=True)
    curve = roc_curve(scores, found)
    assert curve is not None
    across, up = np.array(curve.false_positive_rate), np.array(curve.sensitivity)
    assert np.trapezoid(up, across) == pytest.approx(auc(scores, found))
    assert (np.diff(across) >= 0).all() and (np.diff(up) >= 0).all()
    assert (across[0], up[0], across[-1], up[-1]) == (0, 0, 1, 1)
    assert len(across) == len(set(scores)) + 1


def test_the_curve_by_hand() -> None:
    curve = roc_curve([0.9, 0.6, 0.6, 0.2], [True, True, False, False])
    assert curve is not None
    assert curve.thresholds == (np.inf, 0.9, 0.6, 0.2)
    assert curve.sensitivity == (0, 0.5, 1, 1)
    assert curve.false_positive_rate == (0, 0, 0.5, 1)


@pytest.mark.parametrize("found", [[True, True], [False, False]])
def test_one_outcome_alone_says_nothing(found: list[bool]) -> None:
    assert auc([0.1, 0.9], found) is None and roc_curve([0.1, 0.9], found) is None
    assert auc_interval([0.1, 0.9], found, ["a", "b"]) is None
    assert delong([0.1, 0.9], [0.2, 0.3], found) is None
    assert auc_difference([0.1, 0.9], [0.2, 0.3], found, ["a", "b"]) is None


def test_scores_that_are_no_numbers_are_an_error() -> None:
    with pytest.raises(ValueError, match="finite"):
        auc([0.1, float("nan")], [True, False])
    with pytest.raises(ValueError, match="outcomes"):
        auc([0.1, 0.2, 0.3], [True, False])


def delong_by_pairs(first: np.ndarray, second: np.ndarray, found: np.ndarray) -> tuple[float, float]:
    """DeLong et al. 1988, Eqs. 3 to 6, every pair by itself: the difference and its variance."""
    above: list[list[float]] = []
    below: list[list[float]] = []
    areas: list[float] = []
    for scores in (first, second):
        wins = [
            [1.0 if mine > theirs else 0.5 if mine == theirs else 0.0 for theirs in scores[~found]]
            for mine in scores[found]
        ]
        above.append([sum(row) / len(row) for row in wins])
        below.append([sum(column) / len(column) for column in zip(*wins, strict=True)])
        areas.append(sum(map(sum, wins)) / (len(wins) * len(wins[0])))
    covariance = np.cov(above) / len(above[0]) + np.cov(below) / len(below[0])
    return areas[1] - areas[0], covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]


@pytest.mark.parametrize("levels", [3, 1000])
@pytest.mark.parametrize("seed", range(4))
def test_delong_pair_by_pair(levels: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    found = random.random(25) < 0.4
    first = np.floor(random.random(25) * levels) + found
    second = np.floor(random.random(25) * levels) + 0.3 * levels * found
    difference, variance = delong_by_pairs(first, second, found)
    ours = delong(first, second, found)
    assert ours is not None and ours.p is not None
    assert ours.difference == pytest.approx(difference) and ours.variance == pytest.approx(variance)
    assert ours.p == pytest.approx(2 * norm.sf(abs(difference) / np.sqrt(variance)))
    swapped = delong(second, first, found)
    assert swapped is not None and swapped.difference == -ours.difference and swapped.p == ours.p


def test_delong_without_any_spread() -> None:
    found = [True, True, False, False]
    right, wrong = [1, 1, 0, 0], [0, 0, 1, 1]
    same, opposite = delong(right, right, found), delong(wrong, right, found)
    assert same is not None and (same.difference, same.variance, same.p) == (0, 0, 1)
    assert opposite is not None and (opposite.difference, opposite.variance, opposite.p) == (1, 0, None)


def test_p_is_uniform_where_there_is_no_difference() -> None:
    """Two equally good, correlated scores: p falls below a level as often as the level says."""
    random = np.random.default_rng(1)
    repeats, count = 400, 80
    values = np.empty(repeats)
    for repeat in range(repeats):
        found = np.arange(count) < count // 2
        shared = random.normal(size=count) + found
        test = delong(shared + random.normal(size=count), shared + random.normal(size=count), found)
        assert test is not None and test.p is not None
        values[repeat] = test.p
    for level in (0.05, 0.2, 0.5):
        # Four standard errors of a share over so many repeats.
        assert abs((values < level).mean() - level) < 4 * np.sqrt(level * (1 - level) / repeats)


def test_the_interval_covers_as_often_as_it_says() -> None:
    random = np.random.default_rng(2)
    truth = norm.cdf(1 / np.sqrt(2))
    repeats, covered = 200, 0
    for _ in range(repeats):
        found = np.arange(80) < 40
        interval = auc_interval(random.normal(size=80) + found, found, people(80), draws=300)
        assert interval is not None
        covered += interval.low <= truth <= interval.high
    assert 0.88 <= covered / repeats <= 0.99


def test_intervals_agree_with_a_plain_bootstrap() -> None:
    """Patients with one to three images, ties among the scores; every draw is put together case by case."""
    random = np.random.default_rng(3)
    owner = np.repeat(np.arange(30), random.integers(1, 4, 30))
    found = (random.random(30) < 0.5)[owner]
    first, second = (np.round(random.normal(size=len(owner)) + shift * found, 1) for shift in (0.3, 1.6))
    patients = [f"p{index}" for index in owner]
    plain: list[tuple[float, float]] = []
    for _ in range(1500):
        drawn = np.concatenate([np.flatnonzero(owner == index) for index in random.integers(30, size=30)])
        one, other = auc(first[drawn], found[drawn]), auc(second[drawn], found[drawn])
        assert one is not None and other is not None
        plain.append((one, other - one))
    expected = np.percentile(np.array(plain), [2.5, 97.5], axis=0)
    interval, paired = auc_interval(first, found, patients), auc_difference(first, second, found, patients)
    assert interval is not None and paired is not None
    assert (interval.low, interval.high) == pytest.approx(tuple(expected[:, 0]), abs=0.02)
    assert (paired.interval.low, paired.interval.high) == pytest.approx(tuple(expected[:, 1]), abs=0.02)
    smaller = 2 * min((np.array(plain)[:, 1] <= 0).mean(), (np.array(plain)[:, 1] >= 0).mean())
    assert 0.02 < smaller < 0.3
    assert paired.p == pytest.approx(smaller, abs=0.05)


def test_the_same_score_twice_differs_by_nothing() -> None:
    random = np.random.default_rng(4)
    scores, found = random.random(20), random.random(20) < 0.5
    paired = auc_difference(scores, scores, found, people(20))
    assert paired is not None
    assert (paired.difference, paired.interval.low, paired.interval.high, paired.p) == (0, 0, 0, 1)


def test_many_images_of_a_patient_count_as_one_patient() -> None:
    """Each image ten times over: DeLong's variance shrinks, the bootstrap over patients does not."""
    random = np.random.default_rng(5)
    found = np.arange(40) < 20
    first, second = random.normal(size=40) + 0.6 * found, random.normal(size=40) + 1.1 * found
    once = auc_difference(first, second, found, people(40))
    tenfold = auc_difference(
        *(np.repeat(a, 10) for a in (first, second, found)), np.repeat(people(40), 10).tolist()
    )
    assert once == tenfold
    alone, all_of_them = (
        delong(first, second, found),
        delong(*(np.repeat(a, 10) for a in (first, second, found))),
    )
    assert alone is not None and all_of_them is not None
    assert alone.variance / all_of_them.variance == pytest.approx(10, rel=0.1)


def test_draws_of_one_outcome_are_left_out() -> None:
    interval = auc_interval([0.9, 0.1, 0.3], [True, False, False], ["a", "b", "c"])
    assert interval is not None and (interval.low, interval.high) == (1, 1)
    assert auc_interval([0.9, 0.1], [True, False], ["a", "a"]) is None
