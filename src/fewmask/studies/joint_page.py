"""The tables of masks and an outcome, with the paper's own figures in columns of their own."""

from collections.abc import Sequence

from fewmask.files import write_csv
from fewmask.studies.against import Measure, Scored, against
from fewmask.studies.joint_results import JointRow, Part
from fewmask.studies.markup import figure_words, interval_words, seeds_words, warnings
from fewmask.studies.order import Order
from fewmask.studies.page import RESULTS
from fewmask.studies.publish import write_sheet
from fewmask.studies.results import Figure, difference
from fewmask.studies.sheet import Grid, Heading, Paragraph, Sheet, columns, paragraph
from fewmask.studies.table import MaybePrinted, OfParts, PublishedJoint

PARTS = ("train", "validation", "test")

PAPERS_CALLS = ("the paper's joint U-Net", "85", "41", "40", "1105")


def write_joint_tables(order: Order, results: Sequence[JointRow]) -> str:
    """Write the tables in every format and `results.csv` (a line a row, part and seed); returns the Markdown."""
    text = write_sheet(order.out, joint_sheet(order, results))
    write_csv(
        order.out / RESULTS,
        ("row", "part", "seed", "iou", "dice", "recall", "precision", "specificity", "auc"),
        [line for result in results for line in _lines(result)],
    )
    return text


def joint_sheet(order: Order, results: Sequence[JointRow]) -> Sheet:
    """Masks, outcomes and calls, the joint network against the others, and all masks against the U-Net's."""
    outcomes = _outcome_grid(results)
    scored = [
        Scored(result.row.name, result.row.title, result.test.masks.by_case)
        for result in results
        if result.test.masks is not None
    ]
    parts = (
        _preamble(order, results),
        Heading("Masks (the paper's Table 1)"),
        _mask_grid(results),
        Heading("Outcome (the paper's Tables 2 and 3)"),
        outcomes,
        Heading("Calls on the test part (the paper's Table 4)"),
        paragraph("Images over all seeds together."),
        _call_grid(results),
        Heading("The joint network against the others, on the test part"),
        _differences(order, results),
        *against(order.study.floor, scored, Measure("IoU of test images", "images", 1.0, 3)),
    )
    return Sheet(order.study.title, parts, outcomes)


def _preamble(order: Order, results: Sequence[JointRow]) -> Paragraph:
    division = (
        "each site tested once, by networks that never saw it" if order.by_site else "its own test part"
    )
    return paragraph(
        f"{order.target.name}, outcome {order.outcome}, {division}; up to {order.seeds} seed"
        f"{'s' * (order.seeds > 1)}{', small recipes' if order.small else ''}; changes: "
        f"{' '.join(order.changes) or 'none'}; precision {order.precision or 'of the recipes'}. No ImageNet weights: "
        "every network starts from nothing.",
        "IoU and Dice of the foreground, a mean over images; what is missed and what is a false alarm count as 0, an "
        "image that is rightly left empty is no case. Outcomes are told image by image; recall (sensitivity), "
        "precision and specificity at the threshold with the greatest sensitivity + specificity on held-out patients. "
        "Each figure is the mean over seeds, +- the seeds' standard deviation, [95 % bootstrap interval over patients, "
        "which says nothing about other seeds].",
        "Held-out (validation) patients choose each checkpoint (by the Dice, the AUC, or the mean of both) and each "
        "threshold: their figures flatter, and those of the training part more so. The test part chose nothing. "
        "Training images of the rarer outcome are drawn as often as the others; held-out and test images are as they "
        "are (the paper balances every part by copies).",
        *warnings(order, [result.row.name for result in results]),
    )


def _mask_grid(results: Sequence[JointRow]) -> Grid:
    body: list[tuple[str, ...]] = []
    for result in results:
        masks = [part.masks for part in (result.train, result.validation, result.test)]
        test = masks[2]
        if test is None:
            continue
        cells = (
            result.row.title,
            seeds_words(test.iou),
            f"{test.images} ({test.patients})",
            *("" if part is None else figure_words(part.iou) for part in masks),
            figure_words(test.dice),
            *_printed(_paper(result).iou),
        )
        body.append(cells)
    ours = ("row", "seeds", "test: n (patients)", "IoU, train", "IoU, validation", "IoU, test", "Dice, test")
    return Grid((*columns(ours), *columns(PARTS, "paper", published=True)), tuple(body))


def _outcome_grid(results: Sequence[JointRow]) -> Grid:
    body: list[tuple[str, ...]] = []
    for result in results:
        paper = _paper(result)
        for place, name in enumerate(PARTS):
            part: Part = getattr(result, name)
            if part.told is None:
                continue
            told = part.told
            figures = (told.recall, told.precision, told.specificity, told.auc)
            printed = (paper.recall, paper.precision, paper.auc, paper.iou)
            cells = (
                result.row.title,
                name,
                f"{told.images} ({told.with_outcome}; {told.patients})",
                *map(figure_words, figures),
                "" if part.masks is None else figure_words(part.masks.iou),
                *(_printed(of_parts)[place] for of_parts in printed),
            )
            body.append(cells)
    ours = ("row", "part", "n (with outcome; patients)", "recall", "precision", "specificity", "AUC", "IoU")
    papers = ("recall", "precision", "AUC", "IoU")
    return Grid((*columns(ours), *columns(papers, "paper", published=True)), tuple(body))


def _call_grid(results: Sequence[JointRow]) -> Grid:
    body = [
        (result.row.title, *map(str, result.test.told.calls.sum(axis=0).tolist()))
        for result in results
        if result.test.told is not None
    ]
    heads = (
        "row",
        "with outcome, called so",
        "with outcome, missed",
        "without, called so",
        "without, not called",
    )
    return Grid(columns(heads), (*body, PAPERS_CALLS), published_rows=(len(body),))


def _differences(order: Order, results: Sequence[JointRow]) -> Grid | Paragraph:
    """The subject less each other row in what both do, over the seeds that both have and on the same patients."""
    subject = next((result for result in results if result.row.name == order.study.subject), None)
    if subject is None:
        return paragraph("The method's own row is not there yet.")
    body: list[tuple[str, ...]] = []
    for result in results:
        if result is not subject:
            pairs = zip(_figures(subject.test), _figures(result.test), strict=True)
            body.append((result.row.title, *(_less(one, other) for one, other in pairs)))
    heads = ("less", "IoU", "Dice", "recall", "precision", "specificity", "AUC")
    return Grid(columns(heads), tuple(body))


def _figures(part: Part) -> tuple[Figure | None, ...]:
    """IoU, Dice, recall, precision, specificity and AUC."""
    masks, told = part.masks, part.told
    return (
        *((masks.iou, masks.dice) if masks else (None, None)),
        *((told.recall, told.precision, told.specificity, told.auc) if told else (None,) * 4),
    )


def _less(one: Figure | None, other: Figure | None) -> str:
    found = None if one is None or other is None else difference(one, other)
    return "" if found is None else f"{found.mean:+.3f}{interval_words(found.interval, sign='+')}"


def _paper(result: JointRow) -> PublishedJoint:
    return result.row.paper if isinstance(result.row.paper, PublishedJoint) else PublishedJoint()


def _printed(of_parts: OfParts) -> tuple[str, str, str]:
    train, validation, test = (_words(printed) for printed in of_parts)
    return train, validation, test


def _words(printed: MaybePrinted) -> str:
    if printed is None:
        return ""
    mean, deviation = printed
    return f"{mean:.3f}" if deviation is None else f"{mean:.3f} +- {deviation:.3f}"


def _lines(result: JointRow) -> list[tuple[object, ...]]:
    lines: list[tuple[object, ...]] = []
    for name in PARTS:
        figures = _figures(getattr(result, name))
        seeds = next(figure.seeds for figure in figures if figure is not None)
        lines += [
            (
                result.row.name,
                name,
                seed,
                *("" if figure is None else f"{figure.by_seed[place]:.6f}" for figure in figures),
            )
            for place, seed in enumerate(seeds)
        ]
    return lines
