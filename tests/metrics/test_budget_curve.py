"""Label-budget curves against known laws, scipy's own fit, and a plain loop over draws."""

import math

import numpy as np
import pytest
from scipy.optimize import curve_fit

from fewmask.metrics.budget_curve import BudgetCurve, Law, Trained, fit_budget_curve

BUDGETS = (1, 2, 5, 10, 20, 60)


def trainings(dice: np.ndarray, budgets: tuple[int, ...] = BUDGETS) -> list[Trained]:
    """One training a budget, every test case with the budget's Dice."""
    return [Trained(n, (float(value),) * 2) for n, value in zip(budgets, dice, strict=True)]


def fitted(trained: list[Trained], patients: list[str] | None = None, draws: int = 20) -> BudgetCurve:
    curve = fit_budget_curve(trained, patients or ["a", "b"], draws=draws)
    assert curve is not None
    return curve


@pytest.mark.parametrize(
    "law", [Law(0.9, 0.5, 0.7), Law(1.0, 0.8, 0.2), Law(0.6, 0.1, 2.0), Law(0.8, 0.8, 1.5)]
)
@pytest.mark.parametrize("budgets", [BUDGETS, (4, 8, 100)])
def test_a_law_is_recovered_from_its_points(law: Law, budgets: tuple[int, ...]) -> None:
    found = fitted(trainings(np.array([law.dice(n) for n in budgets]), budgets)).law
    assert (found.ceiling, found.gap, found.rate) == pytest.approx((law.ceiling, law.gap, law.rate), rel=1e-4)


def test_noisy_points_are_fitted_as_scipy_fits_them() -> None:
    random, numbers = np.random.default_rng(0), np.array(BUDGETS, dtype=float)
    for _ in range(10):
        dice = np.clip(0.9 - 0.4 * numbers**-0.7 + random.normal(0, 0.02, 6), 0, 1)
        times = random.integers(1, 4, 6)
        trained = [one for one, many in zip(trainings(dice), times, strict=True) for _ in range(many)]
        ours = fitted(trained).law

        def law(n: np.ndarray, ceiling: float, gap: float, rate: float) -> np.ndarray:
            return ceiling - gap * n**-rate

        best, _ = curve_fit(
            law, numbers, dice, p0=(0.9, 0.4, 1.0), sigma=times**-0.5, bounds=([0, 0, 0.1], [1, 50, 3])
        )
        assert (ours.ceiling, ours.gap, ours.rate) == pytest.approx(best, abs=1e-3)


def test_noise_of_the_test_patients_is_averaged_out() -> None:
    random, law = np.random.default_rng(1), Law(0.9, 0.4, 0.7)
    patients = [f"p{i}" for i in range(200)]
    trained = [
        Trained(n, tuple(np.clip(law.dice(n) + random.normal(0, 0.05, 200), 0, 1)))
        for n in BUDGETS
        for _ in range(3)
    ]
    curve = fitted(trained, patients, 200)
    assert curve.law.ceiling == pytest.approx(0.9, abs=0.01) and curve.law.rate == pytest.approx(0.7, abs=0.1)
    band = curve.band(120)
    assert band is not None and band.low < law.dice(120) < band.high


@pytest.mark.parametrize("seed", range(8))
def test_a_curve_never_falls_and_stays_within_what_can_be(seed: int) -> None:
    dice = np.random.default_rng(seed).random(6)
    curve = fitted(trainings(dice))
    along = [curve.law.dice(n) for n in range(1, 700, 3)]
    assert np.all(np.diff(along) >= 0.0) and min(along) >= 0.0 and max(along) <= 1.0
    assert 0.1 <= curve.law.rate <= 3.0 and curve.law.gap >= 0.0


def test_where_more_does_not_help_the_curve_is_flat() -> None:
    curve = fitted(trainings(np.array([0.8, 0.79, 0.78, 0.77, 0.76, 0.75])))
    assert curve.law.gap == 0.0 and curve.law.dice(1) == curve.law.dice(600) == pytest.approx(0.775)
    assert curve.needed(0.77).n == 1 and curve.needed(0.78).n is None


def test_needed_is_the_fewest_that_reach_it() -> None:
    law = Law(0.9, 0.4, 0.5)
    curve = fitted(trainings(np.array([law.dice(n) for n in BUDGETS])))
    for dice in (0.55, 0.7, 0.8, 0.85):
        n = curve.needed(dice).n
        assert n is not None and curve.law.dice(n) >= dice - 1e-6 and (n == 1 or curve.law.dice(n - 1) < dice)
    assert curve.needed(0.8).n == 16
    assert curve.horizon == 600 and law.dice(600) == pytest.approx(0.88367, abs=1e-5)
    assert curve.needed(0.8836).n in range(590, 601)
    assert curve.needed(0.885).n is None
    assert curve.needed(0.9).n is None and curve.needed(1.0).n is None
    assert math.isinf(law.needed(0.9)) and law.needed(0.5) == pytest.approx(1.0)


def test_no_fewer_than_were_tried_are_named() -> None:
    law = Law(0.9, 0.4, 0.5)
    curve = fitted(trainings(np.array([law.dice(n) for n in (5, 10, 20)]), (5, 10, 20)))
    assert curve.needed(0.6).n == 5


def test_the_band_is_that_of_a_plain_bootstrap() -> None:
    random = np.random.default_rng(3)
    owner = np.array([0, 0, 1, 2, 3, 3, 4])
    patients = [f"p{i}" for i in owner]
    trained = []
    for n in (2, 5, 20):
        dice = np.clip(0.8 - 0.5 / n + random.normal(0, 0.1, 7), 0, 1)
        dice[random.integers(7)] = np.nan
        trained.append(Trained(n, tuple(dice)))
    curve = fitted(trained, patients, 50)
    draw, at_ten = np.random.default_rng(0), []
    for _ in range(50):
        places = np.concatenate([np.flatnonzero(owner == index) for index in draw.integers(5, size=5)])
        again = [Trained(one.budget, (float(np.nanmean(np.array(one.dice)[places])),)) for one in trained]
        plain = fit_budget_curve(again, ["one"])
        assert plain is not None and plain.drawn == ()
        at_ten.append(plain.law.dice(10))
    band = curve.band(10)
    assert band is not None
    assert (band.low, band.high) == pytest.approx(tuple(np.percentile(at_ten, [2.5, 97.5])))


def test_seeds_widen_the_band() -> None:
    patients = [f"p{i}" for i in range(30)]
    random = np.random.default_rng(4)
    base = random.normal(0, 0.01, 30)

    def trained(shift: float) -> list[Trained]:
        return [
            Trained(n, tuple(0.8 - 0.4 * n**-0.7 + base + sign * shift))
            for n in BUDGETS
            for sign in (-1.0, 1.0)
        ]

    narrow, wide = (fitted(trained(shift), patients, 300) for shift in (0.0, 0.05))
    assert narrow.law.dice(60) == pytest.approx(wide.law.dice(60), abs=1e-6)
    one, other = narrow.band(60), wide.band(60)
    assert one is not None and other is not None
    assert other.high - other.low > 3 * (one.high - one.low)
    spread, tight = wide.needed(0.7).interval, narrow.needed(0.7).interval
    assert spread is not None and tight is not None
    assert spread.low < tight.low <= tight.high < spread.high


def test_one_test_patient_has_no_band() -> None:
    curve = fitted(trainings(np.linspace(0.5, 0.8, 6)), ["a", "a"])
    assert curve.drawn == () and curve.band(5) is None and curve.needed(0.6).interval is None


def test_two_budgets_are_no_curve() -> None:
    trained = [Trained(2, (0.5, 0.6)), Trained(5, (0.7, 0.7)), Trained(5, (0.7, 0.8))]
    assert fit_budget_curve(trained, ["a", "b"]) is None
    assert fit_budget_curve([], []) is None


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Trained(0, (0.5, 0.5)), "at least one"),
        (Trained(3, (0.5,)), "one Dice for each test case"),
        (Trained(3, (0.5, 1.2)), "from 0 to 1"),
        (Trained(3, (-0.1, 0.5)), "from 0 to 1"),
        (Trained(3, (math.nan, math.nan)), "needs a Dice"),
    ],
)
def test_nonsense_is_refused(broken: Trained, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_budget_curve([*trainings(np.linspace(0.5, 0.8, 6)), broken], ["a", "b"])
