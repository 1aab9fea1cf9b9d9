"""The tables of masks from tags as Markdown and CSV, with the paper's own figures in columns of their own."""

from collections.abc import Sequence

from fewmask.files import write_csv, write_text
from fewmask.studies.cells import Order
from fewmask.studies.markup import figure_words, seeds_words, warnings
from fewmask.studies.page import RESULTS, TABLE
from fewmask.studies.results import Figure
from fewmask.studies.table import Printed, PublishedTags
from fewmask.studies.tagged_results import Part, TagRow, paired_p

MARKED = 0.05
"""A paired difference with a smaller p has the paper's star."""


def write_tagged_tables(order: Order, results: Sequence[TagRow]) -> str:
    """Write `table.md` and `results.csv` (a line a row, part and seed); returns the Markdown."""
    shown = [result.row.name for result in results]
    parts = [
        f"# {order.study.title}",
        "\n".join([*_preamble(order), *warnings(order, shown)]),
        "## Pseudo-masks, slice by slice (2D)\n\n" + _pseudo_table(results),
        "## Masks of volumes (3D)\n\n" + _volume_table(order, results),
        "## Against the row of the method\n\n" + _comparisons(order, results),
        *_chosen_values(order, results),
    ]
    text = "\n\n".join(parts) + "\n"
    write_text(order.out / TABLE, text)
    write_csv(
        order.out / RESULTS,
        ("row", "part", "seed", "dice", "hd95_px", "hd95_mm", "cases", "patients", "missed", "false_alarms"),
        [line for result in results for line in _lines(result)],
    )
    return text


def _preamble(order: Order) -> list[str]:
    return [
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
    ]


def _pseudo_table(results: Sequence[TagRow]) -> str:
    lines = [
        "| row | seeds | validation: n slices (patients) | Dice | HD95, px | missed | test: n slices (patients) | Dice "
        "| HD95, px | missed | paper, validation: Dice | HD95 |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        if result.pseudo_validation is None or result.pseudo_test is None:
            continue
        paper = _paper(result).pseudo
        cells = (
            result.row.title,
            seeds_words(result.pseudo_test.dice),
            *_part_cells(result.pseudo_validation),
            *_part_cells(result.pseudo_test),
            *_printed(paper),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _volume_table(order: Order, results: Sequence[TagRow]) -> str:
    ceiling = next((result for result in results if result.row.name == order.study.ceiling), None)
    lines = [
        "| row | seeds | validation: n (patients) | Dice | HD95, px | missed | test: n (patients) | Dice | HD95, px "
        "| missed | HD95, mm | share of FullySup's Dice | paper, validation: Dice | HD95 | paper, test: Dice | HD95 |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        paper = _paper(result)
        mm = result.test.hd95_mm
        share = "" if ceiling is None else _share(result.test.dice, ceiling.test.dice)
        cells = (
            result.row.title,
            seeds_words(result.test.dice),
            *_part_cells(result.validation),
            *_part_cells(result.test),
            "" if mm is None else figure_words(mm, places=1),
            share,
            *_printed(paper.validation),
            *_printed(paper.test),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _comparisons(order: Order, results: Sequence[TagRow]) -> str:
    """The subject against each other row on the test volumes, with the paper's mark."""
    subject = next((result for result in results if result.row.name == order.study.subject), None)
    if subject is None:
        return "The method's own row is not there yet."
    lines = [
        f"{subject.row.title} less each other row, Dice of test volumes in %, and the p of Wilcoxon's signed-rank test "
        f"over volumes (a volume's Dice is the mean over its seeds); * where p < {MARKED}, as the paper marks it.",
        "",
        "| row | difference | p |",
        "|---|---|---|",
    ]
    for result in results:
        if result is subject:
            continue
        change = 100.0 * (subject.test.dice.mean - result.test.dice.mean)
        p = paired_p(subject.test, result.test)
        mark = "*" if p is not None and p < MARKED else ""
        lines.append(
            f"| {result.row.title} | {change:+.1f}{mark} | {'too few' if p is None else f'{p:.3f}'} |"
        )
    return "\n".join(lines)


def _chosen_values(order: Order, results: Sequence[TagRow]) -> list[str]:
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
            f"- {sweep.option} = {best} (Dice of held-out volumes in %, {figures}). That row's test volumes have "
            f"{figure_words(test, 100.0, 1)}{share}."
        )
    return ["## What held-out patients choose\n\n" + "\n".join(lines)] if lines else []


def _part_cells(part: Part) -> tuple[str, str, str, str]:
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
