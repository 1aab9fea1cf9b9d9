"""What a run that learns from tags left on disk about its pseudo-labels: the tags, the audit, the seeds."""

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from fewmask.config import from_mapping
from fewmask.errors import InputFault
from fewmask.evaluation.run_record import RunRecord
from fewmask.files import read_json
from fewmask.recipe import Recipe, Stage
from fewmask.training.audit_table import AUDIT, SEEDS
from fewmask.training.relabel import CHOSEN, FOLDER, Chosen
from fewmask.training.run import Run
from fewmask.training.tagged_cohort import reads_tags
from fewmask.training.tags import LearntTags, kept_tags

T = TypeVar("T")


@dataclass(frozen=True)
class AuditedSlice:
    """One line of audit.csv. `positive`: tagged as showing the object. `doubt` in [0, 1] is 1 for the worst.

    `score` is the classifier's, a logit. `number` counts slices as slices.csv does, from 0.
    """

    case: str
    patient: str
    number: int
    trains: bool
    positive: bool
    score: float
    decision: str
    doubt: float
    reason: str
    corrected: bool


@dataclass(frozen=True)
class SliceSeeds:
    """One line of seeds.csv, in pixels of the prepared square: rows run down. `box` is top, left, bottom, right."""

    threshold: float
    row: int
    column: int
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class PseudoLabelled:
    """A stage that learns pseudo-labels, and what was made for it. `audit` has the most doubtful slice first.

    `seeds` go by case and slice; a slice without any, and a run without an expansion, has none there.
    """

    stage: Stage
    folder: Path
    chosen: Chosen
    audit: tuple[AuditedSlice, ...]
    seeds: Mapping[tuple[str, int], SliceSeeds]


@dataclass(frozen=True)
class TagsRecord:
    """The tags of a run, None where it was stopped before it read them, and the stages that have pseudo-labels."""

    learnt: LearntTags | None
    stages: tuple[PseudoLabelled, ...]


def read_tags(record: RunRecord) -> TagsRecord | None:
    """What a run made of its tags; None for a run that learns none. Raises InputFault for a damaged file."""
    if not reads_tags(record.recipe):
        return None
    stages: list[PseudoLabelled] = []
    for stage in record.recipe.stages:
        folder = record.folder / "stages" / stage.name / FOLDER
        if stage.pseudo_labels is None or not folder.exists():
            continue
        chosen = from_mapping(Chosen, read_json(folder / CHOSEN), str(folder / CHOSEN))
        audit = _table(folder / AUDIT, _audited)
        seeds = dict(_table(folder / SEEDS, _seeds))
        stages.append(PseudoLabelled(stage, folder, chosen, audit, seeds))
    return TagsRecord(kept_tags(Run(record.folder)), tuple(stages))


def chosen_by_masks(recipe: Recipe) -> tuple[str, ...]:
    """What held-out patients' masks choose in a run that learns from tags, in words; empty where that is nothing."""
    found: list[str] = []
    for stage in recipe.stages:
        if stage.pseudo_labels is not None and stage.pseudo_labels.threshold == "validation":
            found.append("the threshold")
        if stage.method.reads == "soft" and stage.choose == "validation":
            found.append(f"the checkpoint of stage {stage.name}")
    return tuple(dict.fromkeys(found))


def _table(path: Path, read: Callable[[Mapping[str, str]], T]) -> tuple[T, ...]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return tuple(read(line) for line in csv.DictReader(file))
    except (OSError, KeyError, TypeError, ValueError):
        raise InputFault(f"{path}: is missing or damaged; restore it, or train into another --out") from None


def _audited(line: Mapping[str, str]) -> AuditedSlice:
    return AuditedSlice(
        case=line["case"],
        patient=line["patient"],
        number=int(line["slice"]),
        trains=line["part"] == "train",
        positive=line["tag"] == "1.0",
        score=float(line["classifier_score"]),
        decision=line["decision"],
        doubt=float(line["doubt"]),
        reason=line["reason"],
        corrected=line["corrected"] == "1",
    )


def _seeds(line: Mapping[str, str]) -> tuple[tuple[str, int], SliceSeeds]:
    top, left, bottom, right = (int(line[edge]) for edge in ("top", "left", "bottom", "right"))
    seeds = SliceSeeds(
        float(line["threshold"]), int(line["seed_row"]), int(line["seed_column"]), (top, left, bottom, right)
    )
    return (line["case"], int(line["slice"])), seeds
