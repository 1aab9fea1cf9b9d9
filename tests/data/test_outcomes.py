from dataclasses import replace

import pytest

from fewmask.config import from_mapping, to_mapping
from fewmask.data.case import Case
from fewmask.data.outcomes import OutcomeRule, outcome_rule, outcomes_of, require_both
from fewmask.errors import InputFault


def cases(*cells: str, column: str = "fir") -> list[Case]:
    return [Case(f"case{i}", (), columns={column: cell, "site": "a"}) for i, cell in enumerate(cells)]


def found(expression: str, *cells: str) -> list[float]:
    given = cases(*cells)
    return list(outcomes_of(outcome_rule(expression, given), given).values())


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("fir>=2", [0, 0, 1, 1]),
        ("fir>2", [0, 0, 0, 1]),
        ("fir<=1", [1, 1, 0, 0]),
        ("fir<1", [1, 0, 0, 0]),
        ("fir==2", [0, 0, 1, 0]),
        (" fir  >=  1.5 ", [0, 0, 1, 1]),
    ],
)
def test_comparisons(expression: str, expected: list[float]) -> None:
    assert found(expression, "0", "1", "2.0", "3") == expected


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (("0", "1", "1"), [0, 1, 1]),
        (("10", "9", "9"), [1, 0, 0]),
        (("Yes", "no", "YES"), [1, 0, 1]),
        (("false", "true"), [0, 1]),
        (("malignant", "benign"), [1, 0]),
        (("1", "1.0", "0"), [1, 1, 0]),
    ],
)
def test_a_column_of_two_values(cells: tuple[str, ...], expected: list[float]) -> None:
    assert found("fir", *cells) == expected


def test_a_word_can_be_named() -> None:
    assert found("fir==normal", "normal", "abnormal", "Normal") == [1, 0, 1]
    assert found("fir==abnormal", "normal", "abnormal", "odd") == [0, 1, 0]


@pytest.mark.parametrize("empty", ["", "NA", "nan", " n/a "])
def test_an_empty_cell_has_no_outcome(empty: str) -> None:
    given = cases("3", empty, "0")
    rule = outcome_rule("fir>=2", given)
    assert outcomes_of(rule, given) == {"case0": 1.0, "case2": 0.0}
    assert rule.of(Case("without a row", ())) is None
    assert found("fir", "1", "0", empty) == [1, 0]


def test_a_rule_survives_json() -> None:
    rule = outcome_rule("fir", cases("yes", "no"))
    assert from_mapping(OutcomeRule, to_mapping(rule), "here") == rule
    assert str(rule) == "fir==yes" and rule.other == "no"


@pytest.mark.parametrize(
    ("expression", "needles"),
    [
        ("fri>=2", ("'fri'", "did you mean 'fir'?")),
        ("fir=2", ("did you mean 'fir'?",)),
        ("zygosity", ("known: fir, site",)),
        ("fir>=high", ("'high' is no number",)),
        ("fir", ("4 values (0, 1, 2, 3)", '--outcome "fir>=3"')),
        ("site", ("is a wherever it is known",)),
    ],
)
def test_faulty_expressions(expression: str, needles: tuple[str, ...]) -> None:
    with pytest.raises(InputFault) as fault:
        outcome_rule(expression, cases("0", "1", "2", "3"))
    assert all(needle in str(fault.value) for needle in needles), str(fault.value)
    assert "\n" not in str(fault.value)


def test_no_table_at_all() -> None:
    with pytest.raises(InputFault, match=r"add a cases\.csv"):
        outcome_rule("fir>=2", [Case("a", ())])


def test_text_in_a_numeric_comparison() -> None:
    with pytest.raises(InputFault, match="fir>=2: case case1 has 'high', which is no number"):
        found("fir>=2", "1", "high")


def test_a_third_value_where_two_were_learnt() -> None:
    rule = outcome_rule("fir", cases("yes", "no"))
    with pytest.raises(InputFault, match="'maybe', which is neither yes nor no"):
        rule.of(cases("maybe")[0])
    with pytest.raises(InputFault, match="'2', which is neither 1 nor 0"):
        outcome_rule("fir", cases("0", "1")).of(cases("2")[0])


@pytest.mark.parametrize(
    ("cells", "needle"), [(("0", "1"), "all 2 cases are 0"), (("9", "9"), "all 2 cases are 1")]
)
def test_one_class_only(cells: tuple[str, ...], needle: str) -> None:
    given = cases(*cells)
    rule = outcome_rule("fir>=9", given)
    with pytest.raises(InputFault, match=needle) as fault:
        require_both(rule, outcomes_of(rule, given), "cases", "lower it")
    assert str(fault.value).startswith("fir>=9: ") and str(fault.value).endswith("lower it")
    with pytest.raises(InputFault, match="none of the cases has an outcome"):
        require_both(rule, {}, "cases", "")
    both = [*given, replace(cases("0", "9")[0], name="x"), replace(cases("9")[0], name="y")]
    require_both(rule, outcomes_of(rule, both), "cases", "")
