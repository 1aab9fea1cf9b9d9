"""How far each pseudo-label may be trusted, as tables: which to accept, to review and to reject."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fewmask.data.case import Case
from fewmask.data.prepared_case import PreparedCase
from fewmask.data.slice_tags import file_slices
from fewmask.files import write_csv
from fewmask.pseudo_labels.audit import Doubts, rank_doubts
from fewmask.training.pseudo_label import CaseLabels

AUDIT, SEEDS = "audit.csv", "seeds.csv"

AUDIT_HEAD = (
    "case",
    "patient",
    "slice",
    "part",
    "tag",
    "classifier_score",
    "decision",
    "doubt",
    "reason",
    "entropy",
    "disagreement",
    "geodesic_margin",
    "components",
    "largest_share",
    "area_share",
    "corrected",
)
SEEDS_HEAD = ("case", "slice", "threshold", "seed_row", "seed_column", "top", "left", "bottom", "right")


@dataclass(frozen=True)
class _Slice:
    """A slice's own cells of the audit, and its doubts."""

    case: Case
    number: int
    part: str
    tag: float | None
    score: float
    corrected: bool
    doubts: Doubts


@dataclass
class AuditTable:
    """Grows case by case; ranks are taken over all slices at the end."""

    slices: list[_Slice] = field(default_factory=list)
    seeds: list[tuple[object, ...]] = field(default_factory=list)

    def add(
        self,
        prepared: PreparedCase,
        labels: CaseLabels,
        tags: Sequence[float | None],
        trains: bool,
        corrected: np.ndarray,
    ) -> None:
        """Note the slices of a case; slices are numbered as slices.csv numbers them."""
        case, part = prepared.case, "train" if trains else "validation"
        for place, number in enumerate(file_slices(prepared.original, prepared.preparation)):
            doubts, score = labels.doubts[place], float(labels.scores[place])
            changed = bool(corrected[place])
            self.slices.append(_Slice(case, number, part, tags[place], score, changed, doubts))
            if labels.boxes[place, 0] >= 0:
                self.seeds.append(_seed_row(prepared, labels, place, number))

    def write(self, folder: Path, tell: Callable[[str], None]) -> None:
        """Write audit.csv, the most doubtful slice first, and seeds.csv (places in pixels of the prepared square)."""
        verdicts = rank_doubts([one.doubts for one in self.slices])
        ranked = sorted(zip(self.slices, verdicts, strict=True), key=lambda pair: -pair[1].score)
        rows = [
            (
                one.case.name,
                one.case.patient,
                one.number,
                one.part,
                one.tag,
                one.score,
                verdict.decision,
                verdict.score,
                verdict.reason,
                one.doubts.entropy,
                one.doubts.disagreement,
                one.doubts.geodesic_margin,
                one.doubts.components,
                one.doubts.largest_share,
                one.doubts.area_share,
                int(one.corrected),
            )
            for one, verdict in ranked
        ]
        write_csv(folder / AUDIT, AUDIT_HEAD, rows)
        write_csv(folder / SEEDS, SEEDS_HEAD, self.seeds)
        counts = Counter(verdict.decision for one, verdict in ranked if one.doubts.positive)
        told = ", ".join(f"{counts[decision]} to {decision}" for decision in ("accept", "review", "reject"))
        tell(f"pseudo-labels of slices that show it: {told} ({AUDIT})")


def _seed_row(prepared: PreparedCase, labels: CaseLabels, place: int, number: int) -> tuple[object, ...]:
    pixel, box = labels.pixels[place].tolist(), labels.boxes[place].tolist()
    return (prepared.case.name, number, float(labels.thresholds[place]), *pixel, *box)
