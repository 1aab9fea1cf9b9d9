"""The best, the middle and the worst cases of a run, drawn side by side for every run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fewmask.evaluation.case_pictures import CasePicture, Wanted, draw_case
from fewmask.evaluation.compare import Entry, case_dice
from fewmask.evaluation.naming import Names
from fewmask.evaluation.run_record import RunRecord, Scores

EACH = 3
"""At most so many best, middle and worst cases."""


@dataclass(frozen=True)
class Panel:
    """One run's outline on a case: its name, its role, and what it scored there in words."""

    label: str
    role: str
    score: str


@dataclass(frozen=True)
class Shown:
    """A case in the gallery; `picture` is None where a file has moved."""

    key: str
    name: str
    picture: CasePicture | None
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Shelf:
    """The best, the middle, or the worst cases."""

    title: str
    cases: tuple[Shown, ...]


@dataclass(frozen=True)
class Gallery:
    """The shelves, and how many cases could not be drawn, of how many."""

    shelves: tuple[Shelf, ...]
    missing: int
    wanted: int


def gallery(entries: Sequence[Entry], names: Names) -> Gallery:
    """Draw the chosen cases of the method's run, with the outlines of every run that scored them."""
    method = next(entry.record for entry in entries if entry.role == "method")
    if method.scores is None:
        return Gallery((), 0, 0)
    scored = [entry for entry in entries if entry.record.scores is not None]
    shelves: list[Shelf] = []
    for title, cases in _chosen(method.scores):
        shown = tuple(_shown(case, method, method.scores, scored, names) for case in cases)
        shelves.append(Shelf(title, shown))
    drawn = [case.picture is not None for shelf in shelves for case in shelf.cases]
    return Gallery(tuple(shelves), drawn.count(False), len(drawn))


def _chosen(scores: Scores) -> list[tuple[str, list[str]]]:
    """Which cases to show; no case twice. Ties are in the order of the names, so a page can be made again."""
    dice = case_dice(scores)
    ranked = sorted(
        (case for case in dice if dice[case] is not None), key=lambda case: (-(dice[case] or 0.0), case)
    )
    if len(ranked) < 3:
        return [("Every case", ranked)] if ranked else []
    each = min(EACH, len(ranked) // 3)
    start = (len(ranked) - each) // 2
    return [
        ("Best", ranked[:each]),
        ("In the middle", ranked[start : start + each]),
        ("Worst", ranked[::-1][:each]),
    ]


def _shown(case: str, method: RunRecord, scores: Scores, entries: Sequence[Entry], names: Names) -> Shown:
    files = next(file for file in scores.files if file.case == case)
    wanted = Wanted(
        files,
        tuple(prediction_of(case, entry) for entry in entries),
        tuple(part.label for part in scores.summary.classes if part.label is not None),
        slice_axis_of(method),
    )
    panels = tuple(Panel(entry.label, entry.role, score_words(case, entry)) for entry in entries)
    number = sorted(file.case for file in scores.files).index(case) + 1
    return Shown(f"case-{number}", names.case(case), draw_case(wanted), panels)


def prediction_of(case: str, entry: Entry) -> Path | None:
    """Where a scored run's mask of a case lies; None where it has none."""
    files = entry.record.scores.files if entry.record.scores else ()
    return next((file.prediction for file in files if file.case == case), None)


def slice_axis_of(record: RunRecord) -> int:
    """The axis that the run cut its volumes across, in RAS order; the last where nothing says so."""
    for role in ("target", "masks", "source", "tags"):
        if role in record.preparations:
            axis = record.preparations[role].slice_axis
            return 2 if axis is None else axis
    return 2


def score_words(case: str, entry: Entry) -> str:
    """What a scored run scored on a case, in words."""
    assert entry.record.scores is not None  # the gallery shows scored runs only
    rows = [row for row in entry.record.scores.rows if row.case == case]
    scored = [row for row in rows if row.dice is not None]
    if not scored:
        return "nothing to find" if rows else "not scored"
    dice = sum(row.dice or 0.0 for row in scored) / len(scored)
    words = {"missed": "missed", "false_alarm": "false alarm"}
    failures = [
        f"{row.class_name} {words[row.status]}" if len(rows) > 1 else words[row.status]
        for row in rows
        if row.status in words
    ]
    return ", ".join([f"Dice {dice:.3f}", *failures])
