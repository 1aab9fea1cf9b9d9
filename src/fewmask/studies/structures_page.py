"""The structures' table, in the layout of SIFA's papers, with their figures marked as theirs."""

from collections.abc import Sequence

from fewmask.files import write_csv
from fewmask.studies.against import Measure, Scored, against
from fewmask.studies.choices import RowChoices, choice_parts
from fewmask.studies.markup import (
    about,
    figure_words,
    gap_words,
    neighbours,
    seeds_words,
    warnings,
)
from fewmask.studies.order import Order
from fewmask.studies.page import RESULTS
from fewmask.studies.publish import write_sheet
from fewmask.studies.results import Figure
from fewmask.studies.sheet import Column, Grid, Heading, Paragraph, Part, Sheet, columns, paragraph
from fewmask.studies.structures import Measured, StructureRow
from fewmask.studies.table import PublishedStructures

PAPERS = (
    "What the papers print for their own images (Dice in %, ASD in voxels): they can be compared with one another, "
    "not with ours. GLUA's figures were never at hand: n/a (abstract only)."
)


def write_structure_tables(order: Order, rows: Sequence[StructureRow], choices: Sequence[RowChoices]) -> str:
    """Write the table in every format and `results.csv` (a line a row, seed and structure); returns the Markdown."""
    text = write_sheet(order.out, structure_sheet(order, rows, choices))
    write_csv(
        order.out / RESULTS,
        ("row", "seed", "structure", "dice", "masd_voxels", "cases", "patients"),
        (
            (row.row.name, seed, name, f"{dice.by_seed[place]:.6f}", f"{distance.by_seed[place]:.6f}",
             row.cases, row.patients)
            for row in rows
            for name, dice, distance in zip(
                (*row.structures, "mean"),
                (*row.dice.structures, row.dice.mean),
                (*row.distance.structures, row.distance.mean),
                strict=True,
            )
            for place, seed in enumerate(dice.seeds)
        ),
    )  # fmt: skip
    return text


def structure_sheet(order: Order, rows: Sequence[StructureRow], choices: Sequence[RowChoices]) -> Sheet:
    """Dice, distances, the differences between neighbouring rows and from the floor, and what the numbers are."""
    dice = _dice_grid(order, rows)
    on_target = [row for row in rows if row.row.scored_on == "target"]
    scored = [Scored(row.row.name, row.row.title, row.by_case) for row in on_target]
    parts: list[Part] = [_preamble(order, rows)]
    if rows:
        parts += [Heading("Dice, %"), dice, Heading("Surface distance, voxels"), _distance_grid(rows)]
    if _papers_structures(order, rows):
        parts += [Heading("The papers' own figures"), paragraph(PAPERS), _paper_grid(order)]
    if len(on_target) > 1:
        pairs = [(row.row.title, row.dice.mean) for row in on_target]
        parts += [Heading("Each row against the one above it"), neighbours("Dice, %,", pairs, 100.0, 1)]
    parts += against(
        order.study.floor, scored, Measure("Dice in %, mean over structures", "volumes", 100.0, 1)
    )
    parts += choice_parts(choices)
    return Sheet(order.study.title, tuple(parts), dice)


def _preamble(order: Order, rows: Sequence[StructureRow]) -> Paragraph:
    return paragraph(
        about(order),
        "Dice and surface distance (MASD: the mean of the two directed average distances, in voxels, which is what "
        "the papers call ASD or ASSD) are taken in 3D on each test volume's own grid; a structure's figure is the mean "
        "over test cases, `mean` the mean over structures. A structure that was not found counts as Dice 0 and as "
        "the volume's diagonal, where the papers print NA. Each figure is the mean over seeds, +- the seeds' standard "
        "deviation, [95 % bootstrap interval over patients, which says nothing about other seeds]. Gap closed: the "
        "share of the way from floor to ceiling in mean Dice.",
        "Checkpoints: a U-Net trained on masks keeps the one that was best on held-out patients of those masks; all "
        "other rows keep their last step. No target mask chose anything but for the ceiling, and where ORACLE is "
        "written.",
        *warnings(order, [row.row.name for row in rows]),
    )


def _dice_grid(order: Order, rows: Sequence[StructureRow]) -> Grid:
    by_name = {row.row.name: row.dice.mean for row in rows}
    floor, ceiling = by_name.get(order.study.floor), by_name.get(order.study.ceiling)
    structures = rows[0].structures if rows else ()
    head = ("row", "seeds", "n volumes (patients)", *structures, "mean", "gap closed", "missed")
    body = tuple(
        (
            row.row.title,
            seeds_words(row.dice.mean),
            f"{row.cases} ({row.patients})",
            *_means(row.dice, 100.0),
            figure_words(row.dice.mean, 100.0, 1),
            gap_words(row.dice.mean, floor, ceiling) if row.row.scored_on == "target" else "",
            str(row.missed),
        )
        for row in rows
    )
    return Grid(columns(head), body)


def _distance_grid(rows: Sequence[StructureRow]) -> Grid:
    body = tuple(
        (
            row.row.title,
            seeds_words(row.distance.mean),
            *_means(row.distance, 1.0),
            figure_words(row.distance.mean, 1.0, 1),
        )
        for row in rows
    )
    return Grid(columns(("row", "seeds", *rows[0].structures, "mean")), body)


def _means(measured: Measured, scale: float) -> list[str]:
    """A structure's mean and spread alone: its interval would fill the table."""
    return [figure_words(_without_interval(figure), scale, 1) for figure in measured.structures]


def _without_interval(figure: Figure) -> Figure:
    return Figure(figure.mean, figure.std, None, figure.seeds, figure.by_seed)


def _papers_structures(order: Order, rows: Sequence[StructureRow]) -> bool:
    return bool(rows) and rows[0].structures == order.study.structures and bool(_published(order))


def _published(order: Order) -> list[tuple[str, PublishedStructures]]:
    own = [(row.title, row.paper) for row in order.study.rows if isinstance(row.paper, PublishedStructures)]
    return own + [(row.title, row.paper) for row in order.study.paper_rows]


def _paper_grid(order: Order) -> Grid:
    structures = order.study.structures
    head = (*(f"paper: {name}" for name in structures), "paper: mean",
            *(f"paper: {name}, ASD" for name in structures), "paper: mean ASD")  # fmt: skip
    body = tuple(
        (title, *(_number(value) for value in (*paper.dice, paper.mean_dice)),
         *(_number(value) for value in (*paper.distance, paper.mean_distance)))
        for title, paper in _published(order)
    )  # fmt: skip
    return Grid((Column("paper's row"), *columns(head, published=True)), body)


def _number(value: float | None) -> str:
    return "NA" if value is None else f"{value:.1f}"
