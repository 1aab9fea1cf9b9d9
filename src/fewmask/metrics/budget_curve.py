"""Dice against the number of labels: a law through what was tried, and how many more a wanted Dice would need."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewmask.metrics.interval import DRAWS, Interval, percentile_interval, resampled_sums

FEWEST_BUDGETS = 3
"""The law has three parameters."""

HORIZON = 10
"""Beyond so many times the largest budget that was tried the curve says nothing."""

SLOWEST, FASTEST = 0.1, 3.0
"""The rates that a fit may take: outside of them a ceiling is a wish, and a curve a step."""

_ROUNDS, _RATES = 6, 17
"""Each round looks at so many rates and narrows the search to the neighbours of the best."""


@dataclass(frozen=True)
class Trained:
    """One training: how many patients' labels it used, and the Dice of each test case, NaN where it has none."""

    budget: int
    dice: tuple[float, ...]


@dataclass(frozen=True)
class Law:
    """Dice of n labels = ceiling - gap * n**-rate: it rises, ever slower, towards `ceiling`."""

    ceiling: float
    gap: float
    rate: float

    def dice(self, n: float) -> float:
        """The Dice at `n` labels, not below 0."""
        return max(0.0, self.ceiling - self.gap * n**-self.rate)

    def needed(self, dice: float) -> float:
        """The labels at which the curve reaches `dice`; infinite where it never does."""
        if dice >= self.ceiling:
            return math.inf
        with np.errstate(over="ignore"):
            return float(np.float64(self.gap / (self.ceiling - dice)) ** (1.0 / self.rate))


@dataclass(frozen=True)
class Needed:
    """The fewest labels for a Dice, and the interval of that number; None is more than the curve can say.

    Never fewer than the smallest budget that was tried. An end of the interval is infinite where it lies beyond the
    horizon; there is no interval where the curve has no draws.
    """

    n: int | None
    interval: Interval | None


@dataclass(frozen=True)
class BudgetCurve:
    """The law through the mean Dice of each budget, and the laws of the draws behind its band.

    `trainings` counts those of each budget. `drawn` is empty with fewer than two test patients.
    """

    budgets: tuple[int, ...]
    dice: tuple[float, ...]
    trainings: tuple[int, ...]
    law: Law
    drawn: tuple[Law, ...]

    @property
    def horizon(self) -> int:
        """The number of labels beyond which the curve says nothing."""
        return HORIZON * self.budgets[-1]

    def band(self, n: float) -> Interval | None:
        """Where the curve at `n` labels could lie, had other test patients and other trainings come."""
        if not self.drawn:
            return None
        return percentile_interval(np.array([law.dice(n) for law in self.drawn]))

    def needed(self, dice: float) -> Needed:
        """How many labels the curve needs for `dice`."""
        n = self._within(self.law.needed(dice))
        if not self.drawn:
            return Needed(None if math.isinf(n) else int(n), None)
        drawn = np.sort([self._within(law.needed(dice)) for law in self.drawn])
        # Of numbers some of which are infinite, percentiles are taken as they lie, not between two.
        low, high = np.percentile(drawn, [2.5, 97.5], method="nearest")
        return Needed(None if math.isinf(n) else int(n), Interval(float(low), float(high)))

    def _within(self, n: float) -> float:
        """A whole number of labels, no fewer than were tried, infinite beyond the horizon."""
        return math.inf if n > self.horizon else float(max(self.budgets[0], math.ceil(n - 1e-9)))


def fit_budget_curve(
    trained: Sequence[Trained], patients: Sequence[str], draws: int = DRAWS, seed: int = 0
) -> BudgetCurve | None:
    """The curve through the trainings, or None for fewer than three different budgets.

    `patients[i]` is whose the test case i is, in every training alike. A budget counts by its number of trainings.
    The law is the least-squares one with a ceiling of at most 1 and a rate from 0.1 to 3. A draw takes test patients
    with replacement, the same for all trainings, and then trainings of each budget; with one training a budget it knows
    nothing of what another would have given. Raises ValueError for what is no Dice, and for a training without any.
    """
    dice, budgets = _checked(trained, patients), [training.budget for training in trained]
    order = sorted(set(budgets))
    if len(order) < FEWEST_BUDGETS:
        return None
    places = [np.flatnonzero(np.array(budgets) == budget) for budget in order]
    counts = np.array([len(place) for place in places])
    means = np.array([[np.nanmean(dice[:, place], axis=0).mean() for place in places]])
    law = _laws(np.array(order), means, counts)[0]
    drawn: tuple[Law, ...] = ()
    if len(set(patients)) > 1:
        by_training = _drawn_means(dice, patients, draws, seed)
        random = np.random.default_rng(seed)
        chosen = [place[random.integers(len(place), size=(draws, len(place)))] for place in places]
        rows = np.arange(draws)[:, None]
        by_budget = np.column_stack([by_training[rows, columns].mean(axis=1) for columns in chosen])
        drawn = tuple(_laws(np.array(order), by_budget[np.isfinite(by_budget).all(axis=1)], counts))
    return BudgetCurve(tuple(order), tuple(means[0].tolist()), tuple(counts.tolist()), law, drawn)


def _checked(trained: Sequence[Trained], patients: Sequence[str]) -> NDArray[np.float64]:
    """The Dice as (cases, trainings)."""
    if any(training.budget < 1 for training in trained):
        raise ValueError("a budget of at least one label is needed")
    if any(len(training.dice) != len(patients) for training in trained):
        raise ValueError("every training needs one Dice for each test case, in one order")
    dice = np.array([training.dice for training in trained], dtype=np.float64)
    dice = dice.reshape(len(trained), len(patients)).T
    scored = np.isfinite(dice)
    if not scored.any(axis=0).all():
        raise ValueError("every training needs a Dice")
    if (dice[scored] < 0.0).any() or (dice[scored] > 1.0).any():
        raise ValueError("a Dice lies from 0 to 1")
    return dice


def _drawn_means(
    dice: NDArray[np.float64], patients: Sequence[str], draws: int, seed: int
) -> NDArray[np.float64]:
    """The mean Dice of each training in each draw of patients, (draws, trainings); NaN where none of them is scored."""
    owner = np.unique(np.asarray(patients, dtype=np.str_), return_inverse=True)[1]
    scored = np.isfinite(dice)
    totals = np.zeros((owner.max() + 1, 2 * dice.shape[1]))
    np.add.at(totals, owner, np.concatenate([np.where(scored, dice, 0.0), scored], axis=1))
    sums, counts = np.split(resampled_sums(totals, draws, seed), 2, axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _laws(budgets: NDArray[np.int_], dice: NDArray[np.float64], weights: NDArray[np.int_]) -> list[Law]:
    """The law of each row of `dice` (draws, budgets) that has the least weighted squares.

    For a given rate the law is linear in ceiling and gap, and its best two are known; the rate alone is searched.
    """
    share, relative = weights / weights.sum(), np.log(budgets / budgets[0])
    rows = np.arange(len(dice))
    low, high = (np.full(len(dice), math.log(end)) for end in (SLOWEST, FASTEST))
    for _ in range(_ROUNDS):
        tried = np.linspace(low, high, _RATES, axis=1)
        fallen = np.exp(-np.exp(tried)[:, :, None] * relative)
        ceiling, gap = _best_line(fallen, dice[:, None, :], share)
        missed = dice[:, None, :] - (ceiling[..., None] - gap[..., None] * fallen)
        best = (share * missed**2).sum(axis=2).argmin(axis=1)
        low, high = (tried[rows, np.clip(best + step, 0, _RATES - 1)] for step in (-1, 1))
    rate = np.exp((low + high) / 2.0)
    ceiling, gap = _best_line(np.exp(-rate[:, None] * relative), dice, share)
    # The gap is that at the smallest budget; the law counts it from one label.
    from_one = gap * budgets[0] ** rate
    return [Law(*map(float, three)) for three in zip(ceiling, from_one, rate, strict=True)]


def _best_line(
    fallen: NDArray[np.float64], dice: NDArray[np.float64], share: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ceiling (at most 1) and gap (at least 0) of the weighted least squares of `dice` = ceiling - gap * `fallen`."""
    x, y = (share * fallen).sum(axis=-1), (share * dice).sum(axis=-1)
    spread = (share * fallen**2).sum(axis=-1) - x**2
    gap = np.maximum(0.0, (x * y - (share * fallen * dice).sum(axis=-1)) / spread)
    ceiling = y + gap * x
    # Where the ceiling would be above 1 the best lies on that bound: a convex problem of two numbers.
    at_one = (share * fallen * (1.0 - dice)).sum(axis=-1) / (share * fallen**2).sum(axis=-1)
    above = ceiling > 1.0
    return np.where(above, 1.0, ceiling), np.where(above, at_one, gap)
