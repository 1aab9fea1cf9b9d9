"""Whether estimates of accuracy may be believed: held against the scores, where the true masks are known."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from fewmask.data.tables import read_table
from fewmask.errors import InputFault
from fewmask.evaluation.estimated_dice import TABLE, Estimate, read_estimates
from fewmask.metrics.monotone import rank_correlation


@dataclass(frozen=True)
class Pair:
    """The estimated and the true Dice of one case, each the mean over its classes, and whether the interval held."""

    case: str
    estimated: float
    true: float
    inside: bool


@dataclass(frozen=True)
class Checked:
    """How estimates compare with the truth over `n` cases; the figures are None where no case has both.

    `spearman` is the rank correlation, 1 where the order to look was right (None too where either side is all alike).
    `mae` is the mean absolute error and `bias` the mean of estimated minus true, above 0 where the estimates flatter.
    `inside` is the share of true values within their intervals.
    """

    n: int
    spearman: float | None
    mae: float | None
    bias: float | None
    inside: float | None


def check_estimates(predictions: Path, scores_csv: Path) -> Checked:
    """Hold what `segment` estimated in `predictions` against the Dice that `evaluate` wrote into `scores_csv`.

    Cases without an estimate, or without a Dice (rightly empty masks), are left out. Raises InputFault where either
    table is missing or damaged.
    """
    if not (predictions / TABLE).is_file():
        raise InputFault(
            f"{predictions}: has no {TABLE}; run `fewmask segment` again with a run that estimates"
        )
    wholes = [ranked.estimate for ranked in read_estimates(predictions)]
    return checked(pairs_of(wholes, _true_dice(scores_csv)))


def pairs_of(wholes: Sequence[Estimate], true: Mapping[str, float | None]) -> list[Pair]:
    """The cases that have both an estimate and a true Dice, in the order of the estimates."""
    pairs: list[Pair] = []
    for whole in wholes:
        dice = true.get(whole.case)
        if dice is None or whole.dice is None or whole.low is None or whole.high is None:
            continue
        pairs.append(Pair(whole.case, whole.dice, dice, whole.low <= dice <= whole.high))
    return pairs


def checked(pairs: Sequence[Pair]) -> Checked:
    """The figures over some cases."""
    if not pairs:
        return Checked(0, None, None, None, None)
    differences = [pair.estimated - pair.true for pair in pairs]
    return Checked(
        len(pairs),
        rank_correlation([pair.estimated for pair in pairs], [pair.true for pair in pairs]),
        fmean(map(abs, differences)),
        fmean(differences),
        fmean(pair.inside for pair in pairs),
    )


def _true_dice(table: Path) -> dict[str, float | None]:
    """The mean Dice of each case over the classes that have one."""
    if not table.is_file():
        raise InputFault(f"{table}: no such file; run `fewmask evaluate` first")
    found: defaultdict[str, list[float]] = defaultdict(list)
    try:
        for row in read_table(table):
            found[row["case"]] += [float(row["dice"])] if row["dice"] else []
    except (KeyError, ValueError):
        raise InputFault(f"{table}: is no table of scores; run `fewmask evaluate` again") from None
    return {case: fmean(dice) if dice else None for case, dice in found.items()}
