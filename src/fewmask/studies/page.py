"""A study's table as Markdown and CSV, with the paper's own figures in columns of their own."""

import csv
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from fewmask.files import replaced, write_text
from fewmask.metrics.interval import Interval
from fewmask.studies.cells import Order, attended_of
from fewmask.studies.diagnoses import DiagnosisResult, diagnosis_markdown
from fewmask.studies.results import RATIOS, Figure, RowResult, difference

TABLE, RESULTS, CONFUSION = "table.md", "results.csv", "confusion.csv"


def write_tables(order: Order, results: Sequence[RowResult], diagnoses: Sequence[DiagnosisResult]) -> str:
    """Write `table.md`, `results.csv` (a line a row and seed) and `confusion.csv`; returns the Markdown."""
    text = markdown(order, results)
    if diagnoses:
        text += f"\n{diagnosis_markdown(diagnoses)}\n"
    write_text(order.out / TABLE, text)
    _write_csv(
        order.out / RESULTS,
        ("row", "seed", *RATIOS, "dice", "cases", "patients"),
        (
            (
                result.row.name,
                seed,
                *(f"{ratio.by_seed[seed]:.6f}" for ratio in result.ratios),
                f"{result.dice.by_seed[seed]:.6f}",
                result.cases,
                result.patients,
            )
            for result in results
            for seed in range(result.seeds)
        ),
    )
    _write_csv(
        order.out / CONFUSION,
        ("row", "truth", *(results[0].classes if results else ())),
        (
            (result.row.name, name, *counts)
            for result in results
            for name, counts in zip(result.classes, result.confusion.tolist(), strict=True)
        ),
    )
    return text


def _write_csv(path: Path, head: Sequence[str], lines: Iterable[Sequence[object]]) -> None:
    with replaced(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(head)
        table.writerows(lines)


def markdown(order: Order, results: Sequence[RowResult]) -> str:
    """The table, the differences between neighbouring rows, and what the numbers are."""
    parts = [f"# {order.study.title}", _preamble(order, results), _table(order, results)]
    if len(results) > 1:
        parts.append(_neighbours(results))
    return "\n\n".join(parts) + "\n"


def _preamble(order: Order, results: Sequence[RowResult]) -> str:
    wanted = order.rows or [row.name for row in order.study.rows]
    missing = len(set(wanted) - {result.row.name for result in results})
    attended = attended_of(order) or tuple(
        change for change in order.changes if change.startswith("attended=")
    )
    lines = [
        f"Source {order.source.name}, target {order.target.name}; {order.seeds} seed{'s' * (order.seeds > 1)}, "
        f"{order.folds} fold{'s' * (order.folds > 1)} over the target{', small recipes' if order.small else ''}; "
        f"changes: {' '.join(order.changes) or 'none'}; precision {order.precision or 'of the recipes'}; classes that "
        f"MSL's rows may re-draw: {attended[0].partition('=')[2] if attended else 'all'}.",
        "Pixel accuracy, mean class accuracy and mean IoU are pooled over the pixels of all test images, as the paper "
        "defines them (mean IoU with its denominator mended: true plus predicted less both); Dice is the mean over "
        "classes and test images. Each is the mean over seeds, +- the seeds' standard deviation, [95 % bootstrap "
        "interval over patients, which says nothing about other seeds]. Gap closed: the share of the way from floor to "
        "ceiling in mean IoU.",
        "Segmenters: the checkpoint that was best on held-out patients of the masks that they learn from. Translators: "
        "their last step. No target mask chose anything but for the ceiling.",
        "The paper's columns are what the paper reports for its own, private images: they can be compared with one "
        "another, not with ours.",
    ]
    if order.folds > 1:
        lines.append(
            "Folds: each patient of the target is tested once; the folder's own division is set aside."
        )
    if any(change.replace(" ", "").endswith("unit=image") for change in order.changes):
        lines.append("**SAME PATIENT ON BOTH SIDES**")
    if missing:
        lines.append(f"**Incomplete: {missing} of {len(wanted)} rows are not there yet.**")
    return "\n".join(lines)


def _table(order: Order, results: Sequence[RowResult]) -> str:
    by_name = {result.row.name: result for result in results}
    floor, ceiling = by_name.get(order.study.floor), by_name.get(order.study.ceiling)
    lines = [
        "| row | n images (patients) | pixel accuracy | mean class accuracy | mean IoU | gap closed | Dice "
        "| paper: pixel acc. | paper: mean acc. | paper: mean IoU |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        paper = result.row.paper
        published = (
            (paper.pixel_accuracy, paper.mean_class_accuracy, paper.mean_iou) if paper else (None, None, None)
        )
        cells = (
            result.row.title,
            f"{result.cases} ({result.patients})",
            *(_figure(ratio) for ratio in result.ratios),
            _closed(result, floor, ceiling),
            _figure(result.dice),
            *("" if value is None else f"{value:.4f}" for value in published),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _figure(figure: Figure) -> str:
    spread = "" if figure.std is None else f" +- {figure.std:.3f}"
    return f"{figure.mean:.3f}{spread}{_range(figure.interval)}"


def _range(interval: Interval | None, sign: str = "") -> str:
    return "" if interval is None else f" [{interval.low:{sign}.3f}, {interval.high:{sign}.3f}]"


def _closed(result: RowResult, floor: RowResult | None, ceiling: RowResult | None) -> str:
    """The share of the way from floor to ceiling, in mean IoU."""
    if floor is None or ceiling is None or result.row.scored_on != "target":
        return ""
    gap = ceiling.mean_iou.mean - floor.mean_iou.mean
    if gap <= 0:
        return "no gap"
    return f"{100.0 * (result.mean_iou.mean - floor.mean_iou.mean) / gap:.0f} %"


def _neighbours(results: Sequence[RowResult]) -> str:
    """Each row against the one above it, on the same patients."""
    lines = ["| mean IoU of | less that of | difference | seeds in which it is larger |", "|---|---|---|---|"]
    on_target = [result for result in results if result.row.scored_on == "target"]
    for before, after in pairwise(on_target):
        mean, interval = difference(after.mean_iou, before.mean_iou)
        pairs = zip(after.mean_iou.by_seed, before.mean_iou.by_seed, strict=True)
        larger = sum(one > other for one, other in pairs)
        cells = (
            after.row.title,
            before.row.title,
            f"{mean:+.3f}{_range(interval, '+')}",
            f"{larger} of {after.seeds}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
