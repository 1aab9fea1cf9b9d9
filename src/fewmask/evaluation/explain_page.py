"""The page of an explanation: means, shares, and examples of every way in which a call can turn out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

import fewmask
from fewmask.evaluation.case_pictures import data_uri
from fewmask.evaluation.explain_gallery import GAP, LONGEST_SIDE
from fewmask.evaluation.explain_record import MAPS, MEANS, Explained, Explanation, Question
from fewmask.evaluation.explain_words import CAMS, percent_words, share_sentence, side_titles, times_words
from fewmask.evaluation.page import rendered
from fewmask.evaluation.tags_gallery import heat_stops
from fewmask.files import write_text

PAGE, TEMPLATE = "explanation.html", "explain.html.jinja"

EXAMPLES = 6
"""So many examples of each kind at most."""


@dataclass(frozen=True)
class Cell:
    """A figure and its interval, "" where it has none."""

    text: str
    interval: str


@dataclass(frozen=True)
class ShareRow:
    """One group of cases in the table of shares, and in a sentence."""

    title: str
    cases: int
    measured: int
    cells: tuple[Cell, ...]
    empty_maps: int
    sentence: str


@dataclass(frozen=True)
class Example:
    """A case as a picture (data URI), with what was told of it."""

    name: str
    slice_note: str
    probability: str
    shares: str
    photo: str


@dataclass(frozen=True)
class Shelf:
    """Examples of one kind, and how many cases are of it."""

    title: str
    cases: int
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Page:
    """Everything that the template shows."""

    explanation: Explanation
    folder: str
    cam: str
    rows: tuple[ShareRow, ...]
    means: str | None
    shelves: tuple[Shelf, ...]
    heat: tuple[str, ...]
    volumes: bool
    version: str


def write_page(folder: Path, explanation: Explanation, rows: Sequence[Explained]) -> None:
    """Write the page beside the pictures that it shows."""
    means = folder / MEANS
    page = Page(
        explanation=explanation,
        folder=Path(explanation.run).name,
        cam=CAMS[explanation.cam],
        rows=_share_rows(explanation),
        means=_photo(means, 1000) if means.exists() else None,
        shelves=tuple(
            Shelf(title, len(cases), tuple(_example(row, folder) for row in cases[:EXAMPLES]))
            for title, cases in kinds_of(explanation.question, rows)
        ),
        heat=heat_stops(),
        volumes=any(row.slice_note for row in rows),
        version=fewmask.__version__,
    )
    write_text(folder / PAGE, rendered(TEMPLATE, page))


def kinds_of(question: Question, rows: Sequence[Explained]) -> list[tuple[str, list[Explained]]]:
    """The cases by what they are and what they were called, those furthest from the threshold first.

    A case without an outcome is in none, where others have one. No kind is empty.
    """
    name = question.name
    if question.outcomes_known:
        titles = {
            (True, True): f"{name} present, and called so",
            (True, False): f"{name} present, and missed",
            (False, True): f"{name} absent, but called so",
            (False, False): f"{name} absent, and not called",
        }
    else:
        positive, negative = side_titles(question)
        titles = {(True, True): positive, (False, False): negative}
    ranked = sorted(rows, key=lambda row: (-abs(row.probability - question.threshold), row.case))
    kinds = [
        (title, [row for row in ranked if (question.side(row), question.called(row)) == kind])
        for kind, title in titles.items()
    ]
    return [(title, cases) for title, cases in kinds if cases]


def _share_rows(explanation: Explanation) -> tuple[ShareRow, ...]:
    return tuple(
        ShareRow(
            title=group.title,
            cases=group.cases,
            measured=group.measured,
            cells=tuple(
                Cell(*words)
                for words in (
                    percent_words(group.share_inside),
                    percent_words(group.area_share),
                    times_words(group.enrichment),
                    percent_words(group.peak_inside),
                )
            ),
            empty_maps=group.empty_maps,
            sentence=share_sentence(group, explanation.structures),
        )
        for group in explanation.groups
    )


def _example(row: Explained, folder: Path) -> Example:
    inside, area, peak = row.measured
    if row.empty_map:
        shares = "the map is all zero"
    elif inside is None or area is None:
        shares = "" if area is None else "the mask is empty"
    else:
        top = "" if peak is None else f"; its peak lies {'inside' if peak else 'outside'}"
        shares = f"{100 * inside:.0f} % of the map inside {100 * area:.0f} % of the image{top}"
    photo = _photo(folder / MAPS / f"{row.case}.png", 2 * LONGEST_SIDE + GAP)
    return Example(row.case, row.slice_note, f"{row.probability:.3f}", shares, photo)


def _photo(path: Path, longest: int) -> str:
    with Image.open(path) as picture:
        return data_uri(picture.convert("RGB"), longest)
