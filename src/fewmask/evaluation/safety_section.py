"""The report's section on translation safety: the verdict, the measures, and the worst cases as pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fewmask.data.case import Case
from fewmask.data.preparation import scaled
from fewmask.data.raster import read_case
from fewmask.errors import InputFault
from fewmask.evaluation.case_pictures import data_uri
from fewmask.evaluation.naming import Names
from fewmask.evaluation.run_record import PREDICTIONS, RunRecord
from fewmask.evaluation.safety import KEPT_CHANGE, RANK_CHANGE, CaseSafety, worst_first
from fewmask.evaluation.safety_record import ATTENTION, TRANSLATIONS, UNTRANSLATED, read_safety
from fewmask.evaluation.segment import MANIFEST
from fewmask.files import read_json

WORST = 10
"""So many cases are shown."""

LONGEST_SIDE = 160
"""Pixels of a picture's longest side: five lie side by side, and a map of classes stays exact."""

PALETTE = ("#14181c", "#56b4e9", "#ffb000", "#00c48c", "#f0e442", "#e58fc0", "#ff7a3d", "#ffffff")
"""Background, then the classes, which share seven colours in turn, as the page's outlines do."""


@dataclass(frozen=True)
class Measure:
    """One row of the table, in words; a dash stands for what there is not."""

    name: str
    median: str
    worst: str
    threshold: str
    suspicious: str


@dataclass(frozen=True)
class Panel:
    """One picture of a case as a data URI, and what it is."""

    title: str
    photo: str


@dataclass(frozen=True)
class WorstCase:
    """A case with what is suspicious about it (empty: nothing), its measures in words, and its pictures."""

    name: str
    reasons: tuple[str, ...]
    measures: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class SafetySection:
    """What the template shows. `legend` has a class and its colour."""

    verdict: str
    suspicious: bool
    measures: tuple[Measure, ...]
    worst: tuple[WorstCase, ...]
    cases: int
    legend: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _Files:
    """Where a case's image and mask lie, as `segment` recorded them."""

    images: tuple[Path, ...]
    mask: Path


def safety_section(record: RunRecord, names: Names) -> SafetySection | None:
    """The section about the masks in the run's `predictions` folder.

    None where the run does not translate, or where its last `segment` has not come to its end.
    """
    predictions = record.folder / PREDICTIONS
    safety = read_safety(predictions)
    files = _files(predictions)
    if safety is None or not {case.case for case in safety.cases} <= files.keys():
        return None
    worst = worst_first(safety.cases)[:WORST]
    return SafetySection(
        verdict=safety.verdict,
        suspicious=any(case.reasons for case in safety.cases),
        measures=_measures(safety.cases),
        worst=tuple(
            WorstCase(
                _name(case.case, number, names),
                case.reasons,
                _in_words(case),
                _panels(record, predictions, case.case, files[case.case]),
            )
            for number, case in enumerate(worst, start=1)
        ),
        cases=len(safety.cases),
        legend=tuple((name, _colour(index)) for index, name in enumerate(record.classes)),
    )


def _name(case: str, number: int, names: Names) -> str:
    """As elsewhere on the page; a case that was not scored has no number there, and gets its place among the worst."""
    return f"image {number}" if names.pseudonyms and case not in names.cases else names.case(case)


def _files(predictions: Path) -> dict[str, _Files]:
    if not (predictions / MANIFEST).exists():
        return {}
    return {
        entry["case"]: _Files(tuple(map(Path, entry["images"])), predictions / entry["mask"])
        for entry in read_json(predictions / MANIFEST).get("cases", [])
    }


def _measures(cases: Sequence[CaseSafety]) -> tuple[Measure, ...]:
    """The rows of the table; a measure that was taken of no case has none."""

    def row(
        name: str, of: Callable[[CaseSafety], float | None], threshold: float | None
    ) -> tuple[Measure, ...]:
        values = [value for case in cases if (value := of(case)) is not None]
        if not values:
            return ()
        worst = min(values) if threshold is None else max(values)
        above = "–" if threshold is None else str(sum(value > threshold for value in values))
        limit = "–" if threshold is None else f"above {threshold:g}"
        return (Measure(name, f"{np.median(values):.3f}", f"{worst:.3f}", limit, above),)

    swapped = str(sum(bool(case.swapped) for case in cases))
    return (
        *row("Same class before and after, share of pixels", lambda case: case.agreement, None),
        *row("Overlap of structures before and after, Dice", lambda case: case.dice, None),
        *row("Change where it does not attend", lambda case: case.change_unattended, KEPT_CHANGE),
        *row("Change inside classes to be kept", lambda case: case.change_kept_classes, KEPT_CHANGE),
        *row("Change of what stands out", lambda case: case.saliency_rank_change, RANK_CHANGE),
        Measure("Swapped classes", "–", "–", "any sign", swapped),
    )


def _in_words(case: CaseSafety) -> str:
    changes = (
        ("change where it does not attend", case.change_unattended),
        ("change inside classes to be kept", case.change_kept_classes),
        ("change of what stands out", case.saliency_rank_change),
    )
    words = [f"same class in {100 * case.agreement:.0f} % of pixels"]
    words += [f"{name} {value:.3f}" for name, value in changes if value is not None]
    if case.swapped:
        words.append(f"swapped {', '.join(case.swapped)} (by {', '.join(case.swapped_by)})")
    return "; ".join(words)


def _panels(record: RunRecord, predictions: Path, case: str, files: _Files) -> tuple[Panel, ...]:
    """The pictures of a case that are there: none of a volume, no image that has moved."""
    if not (predictions / TRANSLATIONS / f"{case}.png").exists():
        return ()
    pictures = (
        ("image", _original(record, case, files)),
        ("attention", _picture(predictions / ATTENTION / f"{case}.png")),
        ("translation", _picture(predictions / TRANSLATIONS / f"{case}.png")),
        ("segmentation before", _class_map(predictions / UNTRANSLATED / f"{case}.png")),
        ("segmentation after", _class_map(files.mask)),
    )
    return tuple(Panel(title, photo) for title, photo in pictures if photo is not None)


def _original(record: RunRecord, case: str, files: _Files) -> str | None:
    """The image in the intensities that the networks were given, so that it may be held against the translation."""
    if "target" not in record.preparations:
        return None
    try:
        values = scaled(read_case(Case(case, files.images)), record.preparations["target"])
    except InputFault:
        return None
    levels = np.rint((values + 1.0) * 127.5).astype(np.uint8)
    pixels = levels.transpose(1, 2, 0) if len(levels) == 3 else levels[0]
    return data_uri(Image.fromarray(np.ascontiguousarray(pixels)), LONGEST_SIDE)


def _pixels(path: Path) -> NDArray[np.uint8] | None:
    try:
        with Image.open(path) as picture:
            return np.asarray(picture)
    except OSError:
        return None


def _picture(path: Path) -> str | None:
    pixels = _pixels(path)
    return None if pixels is None else data_uri(Image.fromarray(pixels), LONGEST_SIDE)


def _class_map(path: Path) -> str | None:
    """A mask in the palette's colours."""
    classes = _pixels(path)
    if classes is None or classes.ndim != 2:
        return None
    height, width = classes.shape
    shrunk = min(1.0, LONGEST_SIDE / max(height, width))
    rows, columns = (np.arange(max(1, round(side * shrunk))) / shrunk for side in (height, width))
    nearest = classes[np.ix_(rows.astype(int), columns.astype(int))]
    colours = np.array([[int(_colour(index)[at : at + 2], 16) for at in (1, 3, 5)] for index in range(256)])
    return data_uri(Image.fromarray(colours.astype(np.uint8)[nearest]), LONGEST_SIDE)


def _colour(index: int) -> str:
    return PALETTE[0] if index == 0 else PALETTE[(index - 1) % (len(PALETTE) - 1) + 1]
