"""The study of selection: its rows look twelve times, and its page says what the rules lost, and ORACLE."""

from pathlib import Path

from fewmask.evaluation.accuracy_check import Checked
from fewmask.evaluation.choices import Choice
from fewmask.studies.choices import RowChoices
from fewmask.studies.order import Order
from fewmask.studies.renderings import html, markdown
from fewmask.studies.selection import LOOKS, SELECTION
from fewmask.studies.selection_page import Believed, sheet_of

ORDER = Order(SELECTION, Path("out"), Path("hospital_a"), Path("hospital_b"), small=True)
CHOICES = (
    RowChoices(
        "SIFA v2",
        0,
        (
            Choice("last", 600, 600.0, 0.70, 0.10, 0.25),
            Choice("ensemble", 300, 0.9, 0.78, 0.02, 0.75),
            Choice("ORACLE", 350, 0.8, 0.80, 0.0, None),
        ),
    ),
)


def test_every_row_is_looked_at_as_often() -> None:
    for row in SELECTION.rows:
        assert row.recipe is not None and row.candidates
        for small in (True, False):
            last = row.recipe(small).stages[-1]
            assert LOOKS <= last.steps // last.validate_every <= LOOKS + 1


def test_the_page_tells_the_rule_that_lost_least() -> None:
    sheet = sheet_of(ORDER, CHOICES, (Believed("SIFA v2", 0, Checked(47, 0.5, 0.04, 0.01, 0.8)),))
    text = markdown(sheet)
    assert "loses least among those that every run can ask: **ensemble** (mean regret 2.0;" in text
    assert "default of every adaptation, 10.0)" in text
    assert "| SIFA v2 | 0 | ORACLE | 350 | 80.0 | 0.0 |  |" in text
    assert "| SIFA v2 | 0 | 47 | +0.50 | 0.040 | +0.010 | 80% |" in text
    assert "**ORACLE**" in text and "ORACLE" in html(sheet)


def test_a_page_without_runs_says_so() -> None:
    assert "No run is finished yet." in markdown(sheet_of(ORDER, (), ()))
