"""What each rule that chooses a checkpoint costs, over several runs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fewmask.evaluation.choices import LAST, Choice
from fewmask.evaluation.compare import ORACLE


@dataclass(frozen=True)
class RuleSummary:
    """A rule over the runs in which it could tell: regrets are Dice in [0, 1], lost against the ORACLE's choice.

    `last` is the mean regret of the last step in the same runs. `correlation` is the mean of Spearman's over the
    `correlated` runs in which it is defined, None where there is none.
    """

    rule: str
    runs: int
    regret: float
    worst: float
    last: float
    correlation: float | None
    correlated: int


def summarise_rules(runs: Sequence[Sequence[Choice]]) -> tuple[RuleSummary, ...]:
    """Each rule over the choices that it made in several runs, the least mean regret first; the ORACLE is left out.

    Rules that need more than the others (two heads, translators both ways) are told over fewer runs, so a rule is
    best compared with the last step in its own runs.
    """
    rules = dict.fromkeys(choice.rule for choices in runs for choice in choices if choice.rule != ORACLE)
    return tuple(sorted((_summary(rule, runs) for rule in rules), key=lambda each: (each.regret, each.rule)))


def _summary(rule: str, runs: Sequence[Sequence[Choice]]) -> RuleSummary:
    by_rule = [{choice.rule: choice for choice in choices} for choices in runs]
    own = [choices for choices in by_rule if rule in choices]
    regrets = [choices[rule].regret for choices in own]
    correlations = [value for choices in own if (value := choices[rule].correlation) is not None]
    return RuleSummary(
        rule=rule,
        runs=len(own),
        regret=float(np.mean(regrets)),
        worst=max(regrets),
        last=float(np.mean([choices[LAST].regret for choices in own])),
        correlation=float(np.mean(correlations)) if correlations else None,
        correlated=len(correlations),
    )


def least_regret(summaries: Sequence[RuleSummary]) -> RuleSummary | None:
    """The rule that loses least, among those that could tell in every run; None without runs."""
    if not summaries:
        return None
    most = max(each.runs for each in summaries)
    return min((each for each in summaries if each.runs == most), key=lambda each: each.regret)
