"""What a run's signs of accuracy are worth: curves and margins from trials on held-out patients."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fewmask.console import Progress, silent
from fewmask.methods.base import Method
from fewmask.metrics.monotone import (
    CONFIDENCE,
    Margins,
    Numbers,
    RisingCurve,
    conformal_margins,
    cross_fitted,
    folds_of,
    rank_correlation,
    rising_curve,
)
from fewmask.training.accuracy import Accuracy, ClassAccuracy, Fit, NotEstimated, Sign, product_of
from fewmask.training.trials import HeldOut, Trial, tried, usual_shares

SIGNS: tuple[tuple[Sign, ...], ...] = (
    ("agreement",),
    ("certainty",),
    ("agreement", "certainty"),
    ("agreement", "size"),
    ("certainty", "size"),
    ("agreement", "certainty", "size"),
)
"""The products of signs that an estimate may be made from, the simplest first."""


def calibrated(
    method: Method, held_out: HeldOut, device: torch.device, progress: Progress = silent
) -> Accuracy | NotEstimated:
    """What the signs of a method's masks are worth, or why that cannot be told.

    The product of signs, the curves and the margins come from the trials alone, patient against patient.
    """
    patients = {held_out.patients[case] for case in held_out.cases}
    if len(patients) < 2:
        return NotEstimated(
            f"held-out patients with masks: {len(patients)}, and two are needed to check one against the other"
        )
    trials = tried(method, held_out, device, progress)
    if not trials:
        return NotEstimated("no held-out patient has a mask")
    names = method.task.classes[1:]
    usual = usual_shares(held_out, len(method.task.classes))
    return accuracy_of(trials, usual, names, _in_words(method, held_out))


def _in_words(method: Method, held_out: HeldOut) -> str:
    if held_out.as_target and type(method).restyle is not Method.restyle:
        return "held-out source images, re-drawn in the target's look and then degraded"
    return f"held-out {'source ' if held_out.as_target else ''}images, as they are and degraded"


@dataclass(frozen=True)
class _Table:
    """Trials as rows: the fold of each (N,), and by class (N, K - 1) its Dice, whether it was drawn, and may teach.

    `taught` (K - 1,) says of which classes there are enough trials to learn from, `present` which ones every case has;
    `usual` (2, K - 1) are their least and greatest usual share.
    """

    trials: Sequence[Trial]
    folds: NDArray[np.intp]
    dice: Numbers
    drawn: NDArray[np.bool_]
    known: NDArray[np.bool_]
    taught: list[bool]
    present: list[bool]
    usual: Numbers


def _table(trials: Sequence[Trial], usual: Numbers) -> _Table:
    folds = folds_of([trial.patient for trial in trials])
    dice = np.array([trial.dice for trial in trials])
    drawn = np.isfinite([trial.signs.agreement for trial in trials])
    known = drawn & np.isfinite(dice)
    taught = [np.unique(folds[own]).size > 1 for own in known.T]
    return _Table(
        trials,
        folds,
        dice,
        drawn,
        known & taught,
        taught,
        [all(own) for own in zip(*(trial.present.tolist() for trial in trials), strict=True)],
        usual,
    )


@dataclass(frozen=True)
class _Chance:
    """A product of signs, its values (N, K - 1), and the estimates that the other patients' curves make of them.

    `errors` has the mean absolute error of each patient.
    """

    signs: tuple[Sign, ...]
    values: Numbers
    estimates: Numbers
    errors: Numbers


def _chance(signs: tuple[Sign, ...], table: _Table) -> _Chance:
    values = np.array([product_of(signs, trial.signs, *table.usual) for trial in table.trials])
    estimates = np.full(values.shape, np.nan)
    for place in np.flatnonzero(table.taught):
        own = table.known[:, place]
        estimates[own, place] = cross_fitted(values[own, place], table.dice[own, place], table.folds[own])
    _, owner = np.unique([trial.patient for trial in table.trials], return_inverse=True)
    owners = np.broadcast_to(owner[:, None], values.shape)[table.known]
    counts = np.bincount(owners)
    sums = np.bincount(owners, np.abs(estimates - table.dice)[table.known])
    return _Chance(signs, values, estimates, sums[counts > 0] / counts[counts > 0])


def _simplest(chances: Sequence[_Chance]) -> _Chance:
    """The first whose error is at most one standard error above the least: a better one may be better by chance.

    Breiman et al. 1984, Sec. 3.4.3 (the rule of one standard error).
    """
    best = min(chances, key=lambda chance: chance.errors.mean())
    bound = best.errors.mean() + best.errors.std(ddof=1) / np.sqrt(best.errors.size)
    return next(chance for chance in chances if chance.errors.mean() <= bound)


def accuracy_of(
    trials: Sequence[Trial], usual: Numbers, names: Sequence[str], images: str
) -> Accuracy | NotEstimated:
    """Choose the signs, and make the curves and margins of the classes `names`, from trials of two patients or more.

    `usual` (2, K - 1) are the least and greatest usual shares, `images` says what was segmented. A class that was drawn
    for fewer than two of them is expected to be drawn wrongly; where all are so nothing is estimated.
    """
    table = _table(trials, usual)
    if not any(table.taught):
        return NotEstimated("nothing was drawn for two held-out patients or more")
    best = _simplest([_chance(signs, table) for signs in SIGNS])
    whole = _whole(best.estimates, table)
    return Accuracy(
        best.signs,
        CONFIDENCE,
        images,
        len({trial.patient for trial in trials}),
        len({trial.case for trial in trials}),
        len(trials),
        tuple(_class_accuracy(name, place, best, table) for place, name in enumerate(names)),
        conformal_margins(*whole),
        _fit(*whole),
    )


def _class_accuracy(name: str, place: int, best: _Chance, table: _Table) -> ClassAccuracy:
    own = table.known[:, place]
    signs, estimates, dice = best.values[own, place], best.estimates[own, place], table.dice[own, place]
    low, high = table.usual[:, place].tolist()
    if not table.taught[place]:
        nothing = RisingCurve((0.0,), (0.0,))
        return ClassAccuracy(
            name, table.present[place], (low, high), 0.0, 0.0, nothing, Margins((), (1.0,)), None
        )
    return ClassAccuracy(
        name,
        table.present[place],
        (low, high),
        float(signs.min()),
        float(signs.max()),
        rising_curve(signs, dice),
        conformal_margins(estimates, dice),
        _fit(estimates, dice),
    )


def _whole(estimates: Numbers, table: _Table) -> tuple[Numbers, Numbers]:
    """The estimated and the true mean over classes of each trial that drew anything, as `estimated` takes it."""
    missed = (~table.drawn & table.present) | (table.drawn & ~np.array(table.taught))
    filled = np.where(missed, 0.0, estimates)
    some = table.drawn.any(axis=1) & np.isfinite(filled).any(axis=1) & np.isfinite(table.dice).any(axis=1)
    return np.nanmean(filled[some], axis=1), np.nanmean(table.dice[some], axis=1)


def _fit(estimates: Numbers, dice: Numbers) -> Fit:
    error = float(np.abs(estimates - dice).mean())
    return Fit(len(dice), error, rank_correlation(estimates.tolist(), dice.tolist()))
