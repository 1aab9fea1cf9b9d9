"""What `explain` measures of each map, and the files that it is kept in."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fewmask.config import to_mapping
from fewmask.evaluation.summary import INTERVAL
from fewmask.files import write_csv, write_json
from fewmask.metrics.estimate import Estimate, estimates, patient_sums, shares

SUMMARY, TABLE, MEANS, MAPS = "explanation.json", "explanation.csv", "mean_maps.png", "maps"
OWN_MASKS = "the run's own"
"""What masks are called that the explained run draws."""

COLUMNS = ("case", "patient", "outcome", "probability", "share_inside", "area_share", "peak_inside")

DEFINITIONS = {
    "share_inside": "the part of the map's sum that lies inside the mask; unknown without a mask, with an empty one, "
    "and for a map that is all zero",
    "area_share": "the part of the image (of a volume: of all its slices) that the mask fills; a map without any "
    "preference would have as much inside",
    "enrichment": "mean share_inside / mean area_share, over cases that have both; 1 is no preference",
    "peak_inside": "whether the map is highest inside the mask; of a volume in the slice with the highest score",
    "maps": "what raises the score of the outcome, or of the object; each slice's map is in shares of its own peak",
}


class Measured(NamedTuple):
    """How a case's map lies to its mask; None where that cannot be said, see `DEFINITIONS`."""

    share_inside: float | None
    area_share: float | None
    peak_inside: bool | None


UNMEASURED = Measured(None, None, None)


def measured(heat: NDArray[np.floating], mask: NDArray[np.bool_], shown: int) -> Measured:
    """Hold a map (N, H, W), not negative, against a mask (N, H, W); the peak is looked for in the slice `shown`."""
    total, area = float(heat.sum(dtype=np.float64)), float(mask.mean())
    if total == 0.0 or area == 0.0:
        return Measured(None, area, None)
    inside = float(heat.sum(dtype=np.float64, where=mask)) / total
    peak = int(heat[shown].argmax())
    return Measured(inside, area, bool(mask[shown].flat[peak]) if heat[shown].any() else None)


@dataclass(frozen=True)
class Explained:
    """One case: its outcome (1 or 0; None where it is not known), its probability, and how its map lies.

    `slice_note` names the slice of a volume that is shown.
    """

    case: str
    patient: str
    outcome: float | None
    probability: float
    empty_map: bool
    measured: Measured = UNMEASURED
    slice_note: str = ""


@dataclass(frozen=True)
class Question:
    """What a classifier tells: an outcome or, if `is_tag`, that an object is shown; called so from `threshold` on.

    `outcomes_known` counts the cases whose outcome is known; with none, cases are divided by what they are called.
    """

    name: str
    is_tag: bool
    threshold: float
    threshold_rule: str
    outcomes_known: int

    def called(self, row: Explained) -> bool:
        """Whether the case is called positive."""
        return row.probability >= self.threshold

    def side(self, row: Explained) -> bool | None:
        """Whether the case belongs to the positive ones; None where outcomes are known, but not its own."""
        if not self.outcomes_known:
            return self.called(row)
        return None if row.outcome is None else row.outcome == 1.0


@dataclass(frozen=True)
class MapGroup:
    """Where the maps of some cases lie: means over the `measured` ones, whose map and mask both hold something.

    `empty_maps` are all zero; `no_mask` have none, or an empty one. Intervals are over patients.
    """

    title: str
    cases: int
    patients: int
    measured: int
    no_mask: int
    empty_maps: int
    empty_share: float
    share_inside: Estimate
    area_share: Estimate
    enrichment: Estimate
    peak_inside: Estimate


@dataclass(frozen=True)
class Explanation:
    """What `explain` found; `groups` begin with all cases.

    `masks` says whose masks the maps were held against, and `structures` what these outline; "" and () for none.
    """

    run: str
    recipe: str
    stage: str
    checkpoint_step: int
    checkpoint_rule: str
    layers: tuple[str, ...]
    cam: str
    question: Question
    masks: str
    structures: tuple[str, ...]
    groups: tuple[MapGroup, ...]
    remarks: tuple[str, ...]
    interval: str = INTERVAL


def group_of(title: str, rows: Sequence[Explained]) -> MapGroup:
    """The counts and means of some cases, at least one."""
    known = [row for row in rows if row.measured.share_inside is not None]
    inside, area, enrichment, peak = _means(known)
    return MapGroup(
        title=title,
        cases=len(rows),
        patients=len({row.patient for row in rows}),
        measured=len(known),
        no_mask=sum(not row.measured.area_share for row in rows),
        empty_maps=sum(row.empty_map for row in rows),
        empty_share=float(np.mean([row.empty_map for row in rows])),
        share_inside=inside,
        area_share=area,
        enrichment=enrichment,
        peak_inside=peak,
    )


def _means(rows: Sequence[Explained]) -> tuple[Estimate, ...]:
    """The mean share inside and of the area, their ratio, and how often the peak lies inside."""
    if not rows:
        return (Estimate(None, None),) * 4
    sums = [
        (1.0, inside or 0.0, area or 0.0, float(peak is not None), float(peak is True))
        for inside, area, peak in (row.measured for row in rows)
    ]
    return estimates(_figures, patient_sums(np.array(sums), [row.patient for row in rows]))


def _figures(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    count, inside, area, with_peak, peaks = sums.T
    return np.stack(
        [shares(inside, count), shares(area, count), shares(inside, area), shares(peaks, with_peak)], axis=1
    )


def write_record(folder: Path, explanation: Explanation, rows: Sequence[Explained]) -> None:
    """Write `explanation.csv`, a row a case, and `explanation.json`."""
    write_csv(folder / TABLE, COLUMNS, (_line(row) for row in rows))
    write_json(folder / SUMMARY, {**to_mapping(explanation), "definitions": DEFINITIONS})


def _line(row: Explained) -> tuple[object, ...]:
    inside, area, peak = row.measured
    outcome = None if row.outcome is None else int(row.outcome)
    peak_words = None if peak is None else "yes" if peak else "no"
    return (row.case, row.patient, outcome, row.probability, inside, area, peak_words)
