"""Rows against a reference, patient by patient: over the seeds and cases that they share, and corrected."""

import numpy as np
import pytest
from scipy.stats import wilcoxon

from fewmask.metrics.paired import holm
from fewmask.studies.against import Measure, Scored, against, p_words
from fewmask.studies.per_case import PerCase, SeedCases, compared, per_case
from fewmask.studies.sheet import Grid, Heading, Paragraph

CASES = tuple(f"case{index:02}" for index in range(24))
PATIENTS = tuple(f"p{index // 2:02}" for index in range(24))
DICE = Measure("Dice in %", "images", 100.0, 1)


def _row(seeds: tuple[int, ...], shift: float = 0.0, noise: int = 0) -> PerCase:
    """Every seed has cases of its own difficulty; a row adds its shift, and its noise."""
    values = [
        np.random.default_rng(seed).uniform(0.3, 0.6, 24)
        + shift
        + np.random.default_rng((noise, seed)).normal(0, 0.05 * bool(noise), 24)
        for seed in seeds
    ]
    return per_case(seeds, [SeedCases(CASES, PATIENTS, value) for value in values])


def test_only_shared_seeds_count() -> None:
    found = compared(_row((1, 2, 5), 0.1), _row((0, 1, 2)))
    assert found.seeds == 2 and found.test is not None
    assert found.test.difference == pytest.approx(0.1) and found.test.interval.low == pytest.approx(0.1)
    assert (found.test.patients, found.test.larger) == (12, 12)
    assert found.test.p == pytest.approx(2.0**-11)
    assert compared(_row((0,)), _row((1,))) == (None, 0)


def test_cases_are_matched_by_name_and_an_unnamed_one_was_rightly_left_empty() -> None:
    one = per_case((0,), [SeedCases(("b", "a"), ("q", "p"), np.array([0.2, 0.9]))])
    other = per_case((0,), [SeedCases(("a", "b", "c"), ("p", "q", "r"), np.array([0.5, 0.4, 0.0]))])
    found = compared(one, other).test
    assert found is not None and found.patients == 3
    assert found.difference == pytest.approx(((0.9 - 0.5) + (0.2 - 0.4) + (1.0 - 0.0)) / 3)
    assert one.mean() == {"b": 0.2, "a": 0.9}


def test_seeds_with_other_cases_stand_side_by_side() -> None:
    both = per_case(
        (0, 3),
        [
            SeedCases(("a", "b"), ("p", "q"), np.array([0.2, np.nan])),
            SeedCases(("c", "b"), ("p", "q"), np.array([0.4, 0.6])),
        ],
    )
    assert both.patients == {"a": "p", "b": "q", "c": "p"}
    assert both.values == pytest.approx(np.array([[0.2, np.nan, np.nan], [np.nan, 0.6, 0.4]]), nan_ok=True)
    assert both.mean() == pytest.approx({"a": 0.2, "b": 0.6, "c": 0.4})


def test_the_section_has_scipys_p_and_its_correction() -> None:
    rows = [
        Scored("one", "One", _row((0, 1), 0.01, 1)),
        Scored("floor", "The floor", _row((0, 1))),
        Scored("two", "Two", _row((0,), -0.02, 2)),
        Scored("same", "Same", _row((0, 1))),
        Scored("late", "Late", _row((7,))),
    ]
    heading, words, grid = against("floor", rows, DICE, "A remark.")
    assert heading == Heading("Each row against The floor")
    assert isinstance(words, Paragraph) and words.lines[1:] == ("A remark.",)
    assert isinstance(grid, Grid)
    changes = [
        (rows[place].by_case.values - rows[1].by_case.values[:seeds]).mean(axis=0).reshape(12, 2).mean(axis=1)
        for place, seeds in ((0, 2), (2, 1))
    ]
    p_values = [wilcoxon(change).pvalue for change in changes] + [1.0]
    lines = {cells[0]: cells[1:] for cells in grid.body}
    assert list(lines) == ["One", "Two", "Same", "Late"]
    for name, p, corrected in zip(("One", "Two", "Same"), p_values, holm(p_values), strict=True):
        assert lines[name][3:] == (p_words(p), p_words(corrected))
    assert lines["One"][0] == "2" and lines["One"][1].startswith(f"{100 * changes[0].mean():+.1f} [")
    assert lines["One"][2] == f"{(changes[0] > 0).sum()} of 12"
    assert lines["Same"][:3] == ("2", "+0.0 [+0.0, +0.0]", "0 of 12")
    assert lines["Late"] == ("0", "", "no seed in common", "", "")


def test_few_patients_are_told_what_they_cannot_show() -> None:
    few = [
        Scored(
            str(place), str(place), per_case((0,), [SeedCases("abcd", "abcd", np.arange(4) / 10 + place / 5)])
        )
        for place in range(3)
    ]
    words = against("0", few, DICE)[1]
    assert isinstance(words, Paragraph)
    assert "with 4 patients and 2 rows no p can be below 0.125, nor below 0.250" in words.lines[-1]


def test_one_patient_is_too_few() -> None:
    alone = per_case((0,), [SeedCases("ab", "pp", np.array([0.2, 0.4]))])
    grid = against("0", [Scored(name, name, alone) for name in "01"], DICE)[2]
    assert isinstance(grid, Grid) and grid.body == (("1", "1", "", "too few patients", "", ""),)


def test_nothing_without_the_reference_or_without_others() -> None:
    row = Scored("one", "One", _row((0,)))
    assert against("floor", [row], DICE) == against("one", [row], DICE) == against("one", [], DICE) == ()
