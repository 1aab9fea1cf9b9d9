"""From scored cells to the numbers of a table of masks and an outcome, on three parts of the patients."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fewmask.evaluation.prognosis_record import TABLE
from fewmask.metrics.classification import auc, drawn_areas
from fewmask.metrics.estimate import patient_sums, shares
from fewmask.metrics.interval import resampled_sums
from fewmask.studies.cells import Cell
from fewmask.studies.joint_scores import TRAIN, VALIDATION
from fewmask.studies.per_case import PerCase, SeedCases, per_case
from fewmask.studies.results import Figure, figure_of, finished_cells, score_lines
from fewmask.studies.structures import drawn_means
from fewmask.studies.table import Row, Study


@dataclass(frozen=True)
class Masks:
    """Overlap in [0, 1], a mean over images: foreground IoU and Dice, both 0 where an image is missed or alarmed.

    `by_case` is each image's IoU.
    """

    iou: Figure
    dice: Figure
    images: int
    patients: int
    by_case: PerCase


@dataclass(frozen=True)
class Told:
    """The prognosis of images at the threshold that held-out patients chose; figures in [0, 1].

    `calls` (seeds, 4) counts true positives, false negatives, false positives and true negatives.
    """

    recall: Figure
    precision: Figure
    specificity: Figure
    auc: Figure
    calls: NDArray[np.int64]
    images: int
    with_outcome: int
    patients: int


@dataclass(frozen=True)
class Part:
    """What a row does on one part of the patients; None for an answer that it does not give."""

    masks: Masks | None
    told: Told | None


@dataclass(frozen=True)
class JointRow:
    """One row over its finished seeds."""

    row: Row
    train: Part
    validation: Part
    test: Part


def joint_results(study: Study, cells: Sequence[Cell]) -> tuple[JointRow, ...]:
    """The rows of which a seed is finished, in the table's order."""
    by_row = ((row, finished_cells(row, cells)) for row in study.rows)
    return tuple(
        JointRow(row, _part(own, TRAIN), _part(own, VALIDATION), _part(own, "")) for row, own in by_row if own
    )


def _part(cells: Sequence[Cell], name: str) -> Part:
    """A part of all seeds; a seed's folds together."""
    seeds = tuple(sorted({cell.seed for cell in cells}))
    folders = [[cell.folder / name for cell in cells if cell.seed == seed] for seed in seeds]
    masks = all((folder / "scores.csv").exists() for own in folders for folder in own)
    told = all((folder / TABLE).exists() for own in folders for folder in own)
    return Part(_masks(seeds, folders) if masks else None, _told(seeds, folders) if told else None)


def _lines(folders: Sequence[Path], file: str) -> list[dict[str, str]]:
    return sorted(score_lines([folder / file for folder in folders]), key=lambda line: line["case"])


def _masks(seeds: tuple[int, ...], folders: Sequence[Sequence[Path]]) -> Masks:
    scored = [_lines(own, "scores.csv") for own in folders]
    ious, dice = ([_overlaps(lines, column) for lines in scored] for column in ("iou", "dice"))
    counted = [line for line in scored[0] if line["status"] != "absent"]
    images, patients = ({line[key] for line in counted} for key in ("case", "patient"))
    return Masks(
        _overlap(seeds, ious), _overlap(seeds, dice), len(images), len(patients), per_case(seeds, ious)
    )


def _overlaps(lines: Sequence[dict[str, str]], column: str) -> SeedCases:
    """Each image's overlap, of several classes their mean; an image that is rightly left empty is no case."""
    patients = {line["case"]: line["patient"] for line in lines}
    values: dict[str, list[float]] = {case: [] for case in patients}
    for line in lines:
        if line["status"] != "absent":
            values[line["case"]].append(float(line[column]))
    means = np.array([sum(own) / len(own) if own else np.nan for own in values.values()])
    return SeedCases(tuple(patients), tuple(patients.values()), means)


def _overlap(seeds: tuple[int, ...], scored: Sequence[SeedCases]) -> Figure:
    """The mean over images."""
    by_seed = tuple(float(np.nanmean(one.values)) for one in scored)
    draws = np.stack([drawn_means(one.values[:, None], one.patients)[:, 0] for one in scored])
    return figure_of(seeds, by_seed, draws)


@dataclass(frozen=True)
class _Calls:
    """One seed: of each image its patient, what was found, how likely it was held to be, and (images, 4) calls."""

    patients: tuple[str, ...]
    found: NDArray[np.bool_]
    scores: NDArray[np.float64]
    kinds: NDArray[np.int64]


def _calls(folders: Sequence[Path]) -> _Calls:
    lines = [line for line in _lines(folders, TABLE) if line["outcome"]]
    found = np.array([float(line["outcome"]) > 0 for line in lines])
    called = np.array([line["called_positive"] == "1" for line in lines])
    kinds = np.stack([found & called, found & ~called, ~found & called, ~found & ~called], 1)
    scores = np.array([float(line["probability"]) for line in lines])
    return _Calls(tuple(line["patient"] for line in lines), found, scores, kinds.astype(np.int64))


def _told(seeds: tuple[int, ...], folders: Sequence[Sequence[Path]]) -> Told:
    """Seeds hold other patients out, so but for the test part each has images of its own."""
    by_seed = [_calls(own) for own in folders]
    counts = np.stack([calls.kinds.sum(axis=0) for calls in by_seed])
    drawn = np.stack([resampled_sums(patient_sums(calls.kinds, calls.patients)) for calls in by_seed])
    areas = [area for calls in by_seed if (area := auc(calls.scores, calls.found)) is not None]
    first = by_seed[0]
    return Told(
        recall=_ratio(seeds, counts, drawn, (0,), (0, 1)),
        # Who calls nobody positive shall not be left out of the mean.
        precision=_ratio(seeds, counts, drawn, (0,), (0, 2), empty=0.0),
        specificity=_ratio(seeds, counts, drawn, (3,), (2, 3)),
        auc=figure_of(seeds, tuple(areas), _drawn_areas(by_seed)),
        calls=counts,
        images=len(first.found),
        with_outcome=int(first.found.sum()),
        patients=len(set(first.patients)),
    )


def _drawn_areas(by_seed: Sequence[_Calls]) -> NDArray[np.float64] | None:
    """The areas of each seed in draws of its patients; on the test part a draw is of the same patients for all."""
    drawn = [drawn_areas([calls.scores], calls.found.tolist(), calls.patients) for calls in by_seed]
    present = [areas[0] for areas in drawn if areas is not None]
    if len(present) < len(drawn):
        return None
    # Draws without both outcomes are left out, of other patients in other numbers.
    fewest = min(map(len, present))
    return np.stack([areas[:fewest] for areas in present])


def _ratio(
    seeds: tuple[int, ...],
    counts: NDArray[np.int64],
    drawn: NDArray[np.float64],
    part: tuple[int, ...],
    whole: tuple[int, ...],
    empty: float = np.nan,
) -> Figure:
    """A ratio of calls, by seed and in each draw, which is `empty` where there is nothing to divide by."""
    values, draws = (
        np.nan_to_num(
            shares(*(calls[..., columns].sum(axis=-1, dtype=np.float64) for columns in (part, whole))),
            nan=empty,
        )
        for calls in (counts, drawn)
    )
    return figure_of(seeds, tuple(values.tolist()), draws)
