"""The page of the study `selection`: what each rule loses, and whether estimated Dice may be believed."""

from collections.abc import Sequence
from dataclasses import dataclass

from fewmask.evaluation.accuracy_check import Checked, check_estimates
from fewmask.evaluation.choices import WORDS
from fewmask.evaluation.compare import ORACLE
from fewmask.evaluation.estimated_dice import TABLE as ESTIMATES
from fewmask.files import write_csv
from fewmask.metrics.monotone import CONFIDENCE
from fewmask.studies.cells import Cell
from fewmask.studies.choices import RowChoices, choice_results, choices_grid
from fewmask.studies.markup import about
from fewmask.studies.order import Order
from fewmask.studies.publish import write_sheet
from fewmask.studies.rule_summary import RuleSummary, least_regret, summarise_rules
from fewmask.studies.sheet import Grid, Heading, Sheet, columns, paragraph
from fewmask.training.train import tell

RULES_FILE = "rules.csv"


@dataclass(frozen=True)
class Believed:
    """A cell's estimated Dice held against the true one."""

    title: str
    seed: int
    checked: Checked


def selection_tables(order: Order, cells: Sequence[Cell]) -> str:
    """Ask every rule about every finished cell, and write the page, `rules.csv` and the tables of each cell.

    ORACLE: opens the target's test masks, to judge what was chosen without them.
    """
    choices = choice_results(order, cells, tell)
    believed = _believed(order, cells)
    write_csv(
        order.out / RULES_FILE,
        ("row", "seed", "rule", "step", "dice", "regret", "rank_correlation"),
        (
            (
                result.title,
                result.seed,
                choice.rule,
                choice.step,
                choice.dice,
                choice.regret,
                choice.correlation,
            )
            for result in choices
            for choice in result.choices
        ),
    )
    return write_sheet(order.out, sheet_of(order, choices, believed))


def _believed(order: Order, cells: Sequence[Cell]) -> tuple[Believed, ...]:
    """The finished cells whose masks came with estimates."""
    found: list[Believed] = []
    for cell in cells:
        masks = cell.folder / "predictions"
        if cell.done() and (masks / ESTIMATES).is_file():
            checked = check_estimates(masks, cell.folder / "scores.csv")
            found.append(Believed(order.study.row(cell.row).title, cell.seed, checked))
    return tuple(found)


def sheet_of(order: Order, choices: Sequence[RowChoices], believed: Sequence[Believed]) -> Sheet:
    """The page."""
    summaries = summarise_rules([result.choices for result in choices])
    main = rules_grid(summaries)
    return Sheet(
        order.study.title,
        (
            paragraph(
                about(order),
                f"**{ORACLE}**: the target's test masks were opened to make this page, after every rule had chosen. "
                "No number on it may choose a checkpoint of these runs.",
                "Each run keeps its networks at twelve steps. Regret: the best of them, which only the ORACLE knows, "
                "less the rule's, in points of mean Dice (%) on the target's test cases. Rank correlation: Spearman's, "
                "of the rule's score with the true Dice over a run's networks.",
            ),
            Heading("What each rule loses"),
            main,
            paragraph(_best_in_words(summaries)),
            Heading("Every run"),
            choices_grid(choices),
            Heading("Estimated Dice against the true one"),
            paragraph(
                "What `segment` estimated of each test case without its mask, calibrated on held-out source patients. "
                f"Bias: estimated less true. Inside: the share of cases in their {100.0 * CONFIDENCE:.0f} % intervals."
            ),
            believed_grid(believed),
        ),
        main,
    )


def _best_in_words(summaries: Sequence[RuleSummary]) -> str:
    best = least_regret(summaries)
    if best is None:
        return "No run is finished yet."
    return (
        f"The rule that loses least among those that every run can ask: **{best.rule}** (mean regret "
        f"{100.0 * best.regret:.1f}; the last step, which is the default of every adaptation, {100.0 * best.last:.1f})."
    )


def rules_grid(summaries: Sequence[RuleSummary]) -> Grid:
    """A line a rule, the one that loses least first."""
    head = (
        "rule",
        "looks at",
        "runs",
        "mean regret",
        "worst",
        "the last step's in these runs",
        "mean rank correlation",
    )
    return Grid(
        columns(head),
        tuple(
            (
                each.rule,
                WORDS[each.rule],
                str(each.runs),
                f"{100.0 * each.regret:.1f}",
                f"{100.0 * each.worst:.1f}",
                f"{100.0 * each.last:.1f}",
                "" if each.correlation is None else f"{each.correlation:+.2f} (n = {each.correlated})",
            )
            for each in summaries
        ),
    )


def believed_grid(believed: Sequence[Believed]) -> Grid:
    """A line a run: n cases, rank correlation, mean absolute error, bias and share inside the interval."""
    head = ("row", "seed", "n cases", "rank correlation", "mean absolute error", "bias", "inside")
    return Grid(
        columns(head),
        tuple(
            (
                each.title,
                str(each.seed),
                str(each.checked.n),
                *(
                    "" if value is None else f"{value:{form}}"
                    for value, form in (
                        (each.checked.spearman, "+.2f"),
                        (each.checked.mae, ".3f"),
                        (each.checked.bias, "+.3f"),
                        (each.checked.inside, ".0%"),
                    )
                ),
            )
            for each in believed
        ),
    )
