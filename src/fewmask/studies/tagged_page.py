"""The tables of masks from tags, with the paper's own figures in columns of their own."""

from collections.abc import Sequence

from fewmask.files import write_csv
from fewmask.studies.against import Measure, Scored, against
from fewmask.studies.markup import figure_words, seeds_words, warnings
from fewmask.studies.order import Order
from fewmask.studies.page import RESULTS
from fewmask.studies.publish import write_sheet
from fewmask.studies.results import Figure
from fewmask.studies.sheet import Grid, Heading, Paragraph, Part, Points, Sheet, columns, paragraph
from fewmask.studies.table import Printed, PublishedTags
from fewmask.studies.tagged_results import Part as Masks
from fewmask.studies.tagged_results import TagRow, paired_p

MARKED = 0.05
"""A paired difference with a smaller p has the paper's star."""


def write_tagged_tables(order: Order, results: Sequence[TagRow]) -> str:
    """Write the tables in every format and `results.csv` (a line a row, part and seed); returns the Markdown."""
    text = write_sheet(order.out, tagged_sheet(order, results))
    write_csv(
        order.out / RESULTS,
        ("row", "part", "seed", "dice", "hd95_px", "hd95_mm", "cases", "patients", "missed", "false_alarms"),
        [line for result in results for line in _lines(result)],
    )
    return text


def tagged_sheet(order: Order, results: Sequence[TagRow]) -> Sheet:
    """Pseudo-masks, masks, the method and the baseline against the other rows, and what held-out patients choose."""
    volumes = _volume_grid(order, results)
    scored = [Scored(result.row.name, result.row.title, result.test.by_case) for result in results]
    parts = (
        _preamble(order, results),
        Heading("Pseudo-masks, slice by slice (2D)"),
        _pseudo_grid(results),
        Heading("Masks of volumes (3D)"),
        volumes,
        Heading("Against the row of the method"),
        *_comparisons(order, results),
        *against(order.study.floor, scored, Measure("Dice of test volumes in %", "volumes", 100.0, 1)),
        *_chosen_values(order, results),
    )
    return Sheet(order.study.title, parts, volumes)


def _preamble(order: Order, results: Sequence[TagRow]) -> Paragraph:
    return paragraph(
        f"Tagged cohort {order.target.name}; up to {order.seeds} seed{'s' * (order.seeds > 1)}"
        f"{', small recipes' if order.small else ''}; changes: {' '.join(order.changes) or 'none'}. No ImageNet "
        "weights: every classifier starts from nothing.",
        "Dice in %, HD95 (the greater of the two directed 95th percentiles) in pixels of the image's own grid. What is "
        "missed counts as Dice 0 and as the image's diagonal, a false alarm on an empty slice as well; empty on both "
        "sides is no case. Pseudo-masks are scored in 2D over every slice, masks in 3D over every slice of a volume; "
        "which slices show the object the classifier says, not the truth. Each figure is the mean over seeds, +- the "
        "seeds' standard deviation, [95 % bootstrap interval over patients, which says nothing about other seeds].",
        "Chosen by the held-out (validation) patients' masks, as in the paper, but for rows that say otherwise: the "
        "threshold of pseudo-masks and each segmenter's checkpoint; that is why validation figures flatter. Held-out "
        "tags choose the classifiers' checkpoints. `Nothing chosen by masks` has the threshold 0.5 and the second "
        "paper's row one from each slice's own intensities; both keep their last step. No test mask chose anything.",
        "Segmenters of pseudo-labels learn from positive slices alone; at work the classifier empties the others.",
        *warnings(order, [result.row.name for result in results]),
    )


def _pseudo_grid(results: Sequence[TagRow]) -> Grid:
    body: list[tuple[str, ...]] = []
    for result in results:
        if result.pseudo_validation is None or result.pseudo_test is None:
            continue
        cells = (
            result.row.title,
            seeds_words(result.pseudo_test.dice),
            *_part_cells(result.pseudo_validation),
            *_part_cells(result.pseudo_test),
            *_printed(_paper(result).pseudo),
        )
        body.append(cells)
    ours = ("n slices (patients)", "Dice", "HD95, px", "missed")
    heads = (
        *columns(("row", "seeds")),
        *columns(ours, "validation"),
        *columns(ours, "test"),
        *columns(("Dice", "HD95"), "paper, validation", published=True),
    )
    return Grid(heads, tuple(body))


def _volume_grid(order: Order, results: Sequence[TagRow]) -> Grid:
    ceiling = next((result for result in results if result.row.name == order.study.ceiling), None)
    body: list[tuple[str, ...]] = []
    for result in results:
        paper = _paper(result)
        mm = result.test.hd95_mm
        cells = (
            result.row.title,
            seeds_words(result.test.dice),
            *_part_cells(result.validation),
            *_part_cells(result.test),
            "" if mm is None else figure_words(mm, places=1),
            "" if ceiling is None else _share(result.test.dice, ceiling.test.dice),
            *_printed(paper.validation),
            *_printed(paper.test),
        )
        body.append(cells)
    ours = ("n (patients)", "Dice", "HD95, px", "missed")
    heads = (
        *columns(("row", "seeds")),
        *columns(ours, "validation"),
        *columns((*ours, "HD95, mm", "share of FullySup's Dice"), "test"),
        *columns(("Dice", "HD95"), "paper, validation", published=True),
        *columns(("Dice", "HD95"), "paper, test", published=True),
    )
    return Grid(heads, tuple(body))


def _comparisons(order: Order, results: Sequence[TagRow]) -> tuple[Part, ...]:
    """The subject against each other row on the test volumes, with the paper's mark."""
    subject = next((result for result in results if result.row.name == order.study.subject), None)
    if subject is None:
        return (paragraph("The method's own row is not there yet."),)
    body: list[tuple[str, ...]] = []
    for result in results:
        if result is subject:
            continue
        change = 100.0 * (subject.test.dice.mean - result.test.dice.mean)
        p = paired_p(subject.test, result.test)
        mark = "*" if p is not None and p < MARKED else ""
        body.append((result.row.title, f"{change:+.1f}{mark}", "too few" if p is None else f"{p:.3f}"))
    return (
        paragraph(
            f"{subject.row.title} less each other row, Dice of test volumes in %, and the p of Wilcoxon's signed-rank "
            f"test over volumes (a volume's Dice is the mean over its seeds); * where p < {MARKED}, as the paper marks "
            "it."
        ),
        Grid(columns(("row", "difference", "p")), tuple(body)),
    )


def _chosen_values(order: Order, results: Sequence[TagRow]) -> tuple[Part, ...]:
    """Which value of each option the held-out patients choose, where all its rows are there."""
    by_name = {result.row.name: result for result in results}
    ceiling = by_name.get(order.study.ceiling)
    lines: list[str] = []
    for sweep in order.study.sweeps:
        if not all(name in by_name for _, name in sweep.rows):
            continue
        held_out = {value: by_name[name].validation.dice.mean for value, name in sweep.rows}
        best = max(held_out, key=lambda value: held_out[value])
        test = by_name[dict(sweep.rows)[best]].test.dice
        share = "" if ceiling is None else f", {_share(test, ceiling.test.dice)} of FullySup's"
        figures = ", ".join(f"{value}: {100.0 * dice:.1f}" for value, dice in held_out.items())
        lines.append(
            f"{sweep.option} = {best} (Dice of held-out volumes in %, {figures}). That row's test volumes have "
            f"{figure_words(test, 100.0, 1)}{share}."
        )
    return (Heading("What held-out patients choose"), Points(tuple(lines))) if lines else ()


def _part_cells(part: Masks) -> tuple[str, str, str, str]:
    return (
        f"{part.cases} ({part.patients})",
        figure_words(part.dice, 100.0, 1),
        figure_words(part.hd95_px, places=1),
        f"{part.missed}" + (f" + {part.false_alarms} false" if part.false_alarms else ""),
    )


def _share(figure: Figure, ceiling: Figure) -> str:
    return "" if ceiling.mean == 0.0 else f"{100.0 * figure.mean / ceiling.mean:.0f} %"


def _paper(result: TagRow) -> PublishedTags:
    return result.row.paper if isinstance(result.row.paper, PublishedTags) else PublishedTags()


def _printed(pair: tuple[Printed, Printed] | None) -> tuple[str, str]:
    if pair is None:
        return "", ""
    return f"{pair[0][0]:.2f} +- {pair[0][1]:.2f}", f"{pair[1][0]:.2f} +- {pair[1][1]:.2f}"


def _lines(result: TagRow) -> list[tuple[object, ...]]:
    named = {
        "pseudo_validation": result.pseudo_validation,
        "pseudo_test": result.pseudo_test,
        "validation": result.validation,
        "test": result.test,
    }
    return [
        (
            result.row.name,
            name,
            seed,
            f"{part.dice.by_seed[place]:.6f}",
            f"{part.hd95_px.by_seed[place]:.4f}",
            "" if part.hd95_mm is None else f"{part.hd95_mm.by_seed[place]:.4f}",
            part.cases,
            part.patients,
            part.missed,
            part.false_alarms,
        )
        for name, part in named.items()
        if part is not None
        for place, seed in enumerate(part.dice.seeds)
    ]
