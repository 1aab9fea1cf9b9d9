"""What rules cost over several runs, by hand."""

import pytest

from fewmask.evaluation.choices import Choice
from fewmask.studies.rule_summary import least_regret, summarise_rules


def choice(rule: str, regret: float, correlation: float | None = None) -> Choice:
    return Choice(rule, 100, 0.5, 0.8 - regret, regret, correlation)


RUNS = (
    (
        choice("last", 0.10, 0.5),
        choice("ensemble", 0.02, 0.9),
        choice("cycle", 0.0, 1.0),
        choice("ORACLE", 0.0),
    ),
    (choice("last", 0.00), choice("ensemble", 0.06, -0.1), choice("ORACLE", 0.0)),
)


def test_means_are_over_the_runs_in_which_a_rule_could_tell() -> None:
    cycle, ensemble, last = summarise_rules(RUNS)
    assert (cycle.rule, cycle.runs, cycle.regret, cycle.last) == ("cycle", 1, 0.0, 0.10)
    assert (ensemble.runs, ensemble.worst, ensemble.last) == (2, 0.06, pytest.approx(0.05))
    assert ensemble.regret == pytest.approx(0.04) and ensemble.correlation == pytest.approx(0.4)
    assert (last.regret, last.correlation, last.correlated) == (pytest.approx(0.05), 0.5, 1)


def test_the_rule_that_loses_least_could_tell_in_every_run() -> None:
    best = least_regret(summarise_rules(RUNS))
    assert best is not None and best.rule == "ensemble", "cycle lost less, but told of one run alone"
    assert least_regret(()) is None and summarise_rules(()) == ()
