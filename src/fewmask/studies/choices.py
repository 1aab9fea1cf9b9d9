"""What it costs to choose a checkpoint without looking at the target's masks: every rule beside the oracle."""

from collections.abc import Sequence
from dataclasses import dataclass

from fewmask.evaluation.choices import Choice, compare_choices, read_choices
from fewmask.studies.cells import Cell
from fewmask.studies.order import Order
from fewmask.studies.pool import Tell
from fewmask.studies.sheet import Grid, Heading, Part, columns, paragraph


@dataclass(frozen=True)
class RowChoices:
    """The rules' choices among the kept networks of one row and seed."""

    title: str
    seed: int
    choices: tuple[Choice, ...]


def choice_results(order: Order, cells: Sequence[Cell], tell: Tell) -> tuple[RowChoices, ...]:
    """Compare the rules in every finished cell whose row keeps candidates. What is done is not done again.

    Opens the target's test masks, as scoring does; nothing that is trained afterwards sees what it says.
    """
    results: list[RowChoices] = []
    for cell in cells:
        row = order.study.row(cell.row)
        if not row.candidates or cell.recipe is None or not cell.done():
            continue
        out = cell.folder / "choices"
        if not (out / "choices.csv").exists():
            tell(f"{cell.name}: ORACLE: scores what each rule would have chosen")
            compare_choices(cell.run, cell.images, out, cache=cell.out / "cache", device=cell.device)
        results.append(RowChoices(row.title, cell.seed, read_choices(out)))
    return tuple(results)


def choice_parts(results: Sequence[RowChoices]) -> tuple[Part, ...]:
    """The comparison as a section, a line a row, seed and rule; nothing where no row keeps candidates."""
    if not results:
        return ()
    return (
        Heading("Choosing a checkpoint without target masks (compared with the ORACLE)"),
        paragraph(
            "Which of the networks that were kept along the training each rule takes, the Dice in % that it then has "
            "on the target's test cases, and what not looking costs: the regret against the best of them, which only "
            "an ORACLE that opens the target's masks can take. Rank correlation: how alike the rule's scores and the "
            "true Dice order the kept networks."
        ),
        choices_grid(results),
    )


def choices_grid(results: Sequence[RowChoices]) -> Grid:
    """A line a row, seed and rule."""
    body = (
        (
            result.title,
            str(result.seed),
            choice.rule,
            str(choice.step),
            f"{100.0 * choice.dice:.1f}",
            f"{100.0 * choice.regret:.1f}",
            "" if choice.correlation is None else f"{choice.correlation:+.2f}",
        )
        for result in results
        for choice in result.choices
    )
    return Grid(
        columns(("row", "seed", "rule", "step", "Dice, %", "regret", "rank correlation")), tuple(body)
    )
