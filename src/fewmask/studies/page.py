"""A study's pooled table, with the paper's own figures in columns of their own."""

from collections.abc import Sequence

from fewmask.files import write_csv
from fewmask.studies.against import Measure, Scored, against
from fewmask.studies.diagnoses import DiagnosisResult, diagnosis_parts
from fewmask.studies.markup import (
    about,
    figure_words,
    gap_words,
    neighbours,
    seeds_words,
    warnings,
)
from fewmask.studies.order import Order, attended_of
from fewmask.studies.publish import write_sheet
from fewmask.studies.results import RATIOS, RowResult
from fewmask.studies.sheet import Grid, Paragraph, Sheet, columns, paragraph
from fewmask.studies.table import Published

RESULTS, CONFUSION = "results.csv", "confusion.csv"

POOLED = "The ratios above pool the pixels of all images, so that no patient has one; the Dice of each image is tested."


def write_tables(order: Order, results: Sequence[RowResult], diagnoses: Sequence[DiagnosisResult]) -> str:
    """Write the table in every format, `results.csv` (a line a row and seed) and `confusion.csv`.

    Returns the Markdown.
    """
    text = write_sheet(order.out, pooled_sheet(order, results, diagnoses))
    write_csv(
        order.out / RESULTS,
        ("row", "seed", *RATIOS, "dice", "cases", "patients"),
        (
            (
                result.row.name,
                seed,
                *(f"{ratio.by_seed[place]:.6f}" for ratio in result.ratios),
                f"{result.dice.by_seed[place]:.6f}",
                result.cases,
                result.patients,
            )
            for result in results
            for place, seed in enumerate(result.seeds)
        ),
    )
    write_csv(
        order.out / CONFUSION,
        ("row", "truth", *(results[0].classes if results else ())),
        (
            (result.row.name, name, *counts)
            for result in results
            for name, counts in zip(result.classes, result.confusion.tolist(), strict=True)
        ),
    )
    return text


def pooled_sheet(order: Order, results: Sequence[RowResult], diagnoses: Sequence[DiagnosisResult]) -> Sheet:
    """The table, what the numbers are, the differences between neighbouring rows and from the floor, the diagnosis."""
    grid = _grid(order, results)
    on_target = [result for result in results if result.row.scored_on == "target"]
    pairs = [(result.row.title, result.mean_iou) for result in on_target]
    scored = [Scored(result.row.name, result.row.title, result.by_case) for result in on_target]
    parts = (
        _preamble(order, results),
        grid,
        *((neighbours("mean IoU", pairs),) if len(pairs) > 1 else ()),
        *against(order.study.floor, scored, Measure("Dice", "images", 1.0, 3), POOLED),
        *diagnosis_parts(diagnoses),
    )
    return Sheet(order.study.title, parts, grid)


def _preamble(order: Order, results: Sequence[RowResult]) -> Paragraph:
    attended = attended_of(order) or tuple(
        change for change in order.changes if change.startswith("attended=")
    )
    return paragraph(
        f"{about(order)} Classes that MSL's rows may re-draw: "
        f"{attended[0].partition('=')[2] if attended else 'all'}.",
        "Pixel accuracy, mean class accuracy and mean IoU are pooled over the pixels of all test images, as the paper "
        "defines them (mean IoU with its denominator mended: true plus predicted less both); Dice is the mean over "
        "classes and test images. Each is the mean over seeds, +- the seeds' standard deviation, [95 % bootstrap "
        "interval over patients, which says nothing about other seeds]. Gap closed: the share of the way from floor to "
        "ceiling in mean IoU.",
        "Segmenters: the checkpoint that was best on held-out patients of the masks that they learn from. Translators: "
        "their last step. No target mask chose anything but for the ceiling.",
        "The paper's columns are what the paper reports for its own, private images: they can be compared with one "
        "another, not with ours.",
        *warnings(order, [result.row.name for result in results]),
    )


def _grid(order: Order, results: Sequence[RowResult]) -> Grid:
    by_name = {result.row.name: result.mean_iou for result in results}
    floor, ceiling = by_name.get(order.study.floor), by_name.get(order.study.ceiling)
    ours = (
        "row",
        "seeds",
        "n images (patients)",
        "pixel accuracy",
        "mean class accuracy",
        "mean IoU",
        "gap closed",
    )
    body: list[tuple[str, ...]] = []
    for result in results:
        paper = result.row.paper if isinstance(result.row.paper, Published) else Published()
        published = (paper.pixel_accuracy, paper.mean_class_accuracy, paper.mean_iou)
        on_target = result.row.scored_on == "target"
        cells = (
            result.row.title,
            seeds_words(result.mean_iou),
            f"{result.cases} ({result.patients})",
            *(figure_words(ratio) for ratio in result.ratios),
            gap_words(result.mean_iou, floor, ceiling) if on_target else "",
            figure_words(result.dice),
            *("" if value is None else f"{value:.4f}" for value in published),
        )
        body.append(cells)
    papers = ("paper: pixel acc.", "paper: mean acc.", "paper: mean IoU")
    return Grid((*columns((*ours, "Dice")), *columns(papers, published=True)), tuple(body))
