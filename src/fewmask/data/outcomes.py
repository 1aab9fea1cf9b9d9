"""What was found in each patient, from a column of cases.csv: 1 where a rule holds, 0 where it does not."""

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from fewmask.config import STRICT, did_you_mean
from fewmask.data.case import Case
from fewmask.errors import InputFault

Comparison = Literal[">=", "<=", "==", ">", "<"]

_COMPARES: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
_EXPRESSION = re.compile(r"(?P<column>[^<>=]+)(?P<comparison>>=|<=|==|>|<)(?P<value>[^<>=]+)")
EMPTY = ("", "na", "n/a", "nan")
"""What stands, in any spelling of capitals, in a cell that says nothing."""

_SHOWN = 5


@dataclass(frozen=True)
class OutcomeRule:
    """The outcome is 1 where `column comparison value` holds and 0 elsewhere.

    `other` is the word that means 0 in a column of two words: any third one is then a fault. Numbers are compared as
    numbers; words only by ==, and whatever their capitals.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    column: str
    comparison: Comparison
    value: str
    other: str | None = None

    def __str__(self) -> str:
        return f"{self.column}{self.comparison}{self.value}"

    def of(self, case: Case) -> float | None:
        """1.0 or 0.0, or None where the cell is empty (NA and NaN count as empty) or the case has no row.

        Raises InputFault for a word where a number is compared, and for a third word in a column of two.
        """
        cell = case.columns.get(self.column, "").strip()
        if cell.casefold() in EMPTY:
            return None
        given, threshold = _meaning(cell), _meaning(self.value)
        if self.other is not None and given not in (threshold, _meaning(self.other)):
            raise InputFault(
                f"{self}: case {case.name} has {cell!r}, which is neither {self.value} nor {self.other}; mend cases.csv"
            )
        if isinstance(threshold, float) and self.other is None and isinstance(given, str):
            raise InputFault(
                f"{self}: case {case.name} has {cell!r}, which is no number; mend cases.csv, or leave the cell empty"
            )
        return float(_COMPARES[self.comparison](given, threshold))


def outcome_rule(expression: str, cases: Sequence[Case]) -> OutcomeRule:
    """The rule of `COLUMN>=N` (also >, <=, <, ==), or of a column that holds two values, as the cases' table has it.

    Of two numbers the larger is 1; of two words the one that comes later in the alphabet (yes, true, positive,
    malignant), unless COLUMN==WORD names it. Raises InputFault for an unknown column, an order of words, and a bare
    column that holds other than two values.
    """
    found = _EXPRESSION.fullmatch(expression.strip())
    column = found["column"].strip() if found else expression.strip()
    require_column(column, cases)
    if found is None:
        return _of_two_values(column, _values(column, cases))
    rule = OutcomeRule(column, cast(Comparison, found["comparison"]), found["value"].strip())
    if isinstance(_meaning(rule.value), str) and rule.comparison != "==":
        raise InputFault(
            f"{rule}: {rule.value!r} is no number; give one, or compare words with {column}==WORD"
        )
    return rule


def has_column(column: str, cases: Iterable[Case]) -> bool:
    """Whether the cases' table has that column."""
    return any(column in case.columns for case in cases)


def require_column(column: str, cases: Sequence[Case]) -> None:
    """Raise InputFault, with the nearest name, where the cases' table lacks a column."""
    if has_column(column, cases):
        return
    known = {name for case in cases for name in case.columns}
    remedy = did_you_mean(column, known) if known else "add a cases.csv with the columns case and " + column
    raise InputFault(f"outcome {column!r}: cases.csv has no such column; {remedy}")


def outcomes_of(rule: OutcomeRule, cases: Iterable[Case]) -> dict[str, float]:
    """The outcome of each case that has one, by the case's name."""
    found = ((case.name, rule.of(case)) for case in cases)
    return {name: outcome for name, outcome in found if outcome is not None}


def require_both(rule: OutcomeRule, outcomes: Mapping[str, float], whose: str, remedy: str) -> None:
    """Raise InputFault where all outcomes are alike: such a column can neither be learnt nor scored.

    `whose` says which cases they are, as in "training cases".
    """
    if not outcomes:
        raise InputFault(f"{rule}: none of the {whose} has an outcome; fill the column {rule.column}")
    positives = sum(outcomes.values())
    if positives in (0, len(outcomes)):
        raise InputFault(f"{rule}: all {len(outcomes)} {whose} are {int(positives > 0)}; {remedy}")


def require_one_outcome(rule: OutcomeRule, cases: Iterable[Case], root: Path) -> None:
    """Raise InputFault for a patient of whose images one has the outcome and another has not."""
    known: dict[str, tuple[float, str]] = {}
    for case in cases:
        outcome = rule.of(case)
        if outcome is None:
            continue
        before, other = known.setdefault(case.patient, (outcome, case.name))
        if before != outcome:
            raise InputFault(
                f"{root}: patient {case.patient} has {rule} = {int(before)} in {other} and {int(outcome)} in "
                f"{case.name}; mend cases.csv, or take each image for itself with --set split.unit=image"
            )


def _of_two_values(column: str, values: Sequence[str]) -> OutcomeRule:
    if len(values) == 1:
        raise InputFault(
            f"outcome {column!r}: is {values[0]} wherever it is known; add cases of the other kind to cases.csv"
        )
    if len(values) != 2:
        listed = ", ".join(values[:_SHOWN]) + (", ..." if len(values) > _SHOWN else "") or "none"
        last = values[-1] if values else "WORD"
        example = f'"{column}{"==" if isinstance(_meaning(last), str) else ">="}{last}"'
        raise InputFault(
            f"outcome {column!r}: holds {len(values)} values ({listed}) where two are needed; say which are 1, "
            f"e.g. --outcome {example}"
        )
    return OutcomeRule(column, "==", values[1], values[0])


def _values(column: str, cases: Sequence[Case]) -> list[str]:
    """The different values of a column, numbers by size before words by the alphabet; one spelling of each."""
    cells = sorted({case.columns.get(column, "").strip() for case in cases})
    spellings: dict[float | str, str] = {}
    for cell in cells:
        if cell.casefold() not in EMPTY:
            spellings.setdefault(_meaning(cell), cell)
    numbers = sorted(value for value in spellings if isinstance(value, float))
    words = sorted(value for value in spellings if isinstance(value, str))
    return [spellings[value] for value in (*numbers, *words)]


def _meaning(text: str) -> float | str:
    """The number that a cell holds, else its word without regard to capitals."""
    try:
        number = float(text)
    except ValueError:
        return text.casefold()
    return number if math.isfinite(number) else text.casefold()
