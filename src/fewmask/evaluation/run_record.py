"""A run folder as one frozen value: what was trained, on whom, how it was chosen and how it scored."""

import csv
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewmask.config import from_mapping
from fewmask.data.preparation import Preparation
from fewmask.data.split import Split, read_splits
from fewmask.errors import InputFault
from fewmask.evaluation.segment import MANIFEST
from fewmask.evaluation.summary import ClassSummary, MetricStatistics, Pooled, StatusCounts, Summary
from fewmask.metrics.score import METRICS
from fewmask.recipe import Recipe
from fewmask.training.checkpoint import CHOSEN, read_checkpoint
from fewmask.training.material import class_names, kept_preparations
from fewmask.training.run import Run

PREDICTIONS = "predictions"

_SAMPLE = re.compile(r"(?P<stage>.+)_(?P<name>[^_]+)_(?P<step>\d+)\.png")
_TRANSLATED = "target"
"""Pictures of a run that translates are named so."""


@dataclass(frozen=True)
class CaseRow:
    """One line of scores.csv: a case and a class. None is an empty cell."""

    case: str
    patient: str
    class_name: str
    dice: float | None
    hd95: float | None
    status: str


@dataclass(frozen=True)
class CaseFiles:
    """Where a scored case lies. `images` is empty where `segment` did not write the prediction."""

    case: str
    images: tuple[Path, ...]
    truth: Path
    prediction: Path


@dataclass(frozen=True)
class Scores:
    """What `evaluate` left in the folder, and the step of the checkpoint that drew the masks."""

    summary: Summary
    rows: tuple[CaseRow, ...]
    files: tuple[CaseFiles, ...]
    drawn_at_step: int | None


@dataclass(frozen=True)
class Curve:
    """One quantity over the steps of a stage: a player's loss term, or the validation score."""

    stage: str
    player: str
    term: str
    steps: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Choice:
    """The checkpoint that a stage kept, and the rule that chose it; `score` is what the rule looked at."""

    stage: str
    step: int
    rule: str
    score: float | None


@dataclass(frozen=True)
class Sample:
    """A picture that training drew: images, translated where the run does so, and segmented, beside each other."""

    stage: str
    step: int
    path: Path


@dataclass(frozen=True)
class RunRecord:
    """Everything that a page says about one run. Parts that do not exist yet are empty or None."""

    folder: Path
    recipe: Recipe
    seconds: float | None
    environment: tuple[tuple[str, str], ...]
    splits: Mapping[str, Split]
    preparations: Mapping[str, Preparation]
    classes: tuple[str, ...]
    losses: tuple[Curve, ...]
    validations: tuple[Curve, ...]
    choices: tuple[Choice, ...]
    translations: tuple[Sample, ...]
    scores: Scores | None

    def choice(self, stage: str) -> Choice | None:
        """What a stage kept, or None where it has kept nothing yet."""
        return next((choice for choice in self.choices if choice.stage == stage), None)


def read_run(folder: Path) -> RunRecord:
    """Read a run folder, finished or not. Raises InputFault where it is none, or where a file in it is damaged."""
    run = Run(folder)
    recipe = run.recipe()
    losses, validations = _curves(run.log)
    seconds = _json(folder / "finished.json").get("seconds") if run.finished() else None
    environment = _json(folder / "environment.json") if (folder / "environment.json").exists() else {}
    return RunRecord(
        folder=folder,
        recipe=recipe,
        seconds=seconds,
        environment=tuple((key, str(value)) for key, value in environment.items()),
        splits=_splits(run, recipe),
        preparations=kept_preparations(run) or {},
        classes=class_names(run) if run.material.exists() else (),
        losses=losses,
        validations=validations,
        choices=_choices(run, recipe),
        translations=last_samples(folder / "samples", _TRANSLATED),
        scores=_scores(folder),
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise InputFault(f"{path}: not valid JSON; write it again, or remove it") from None
    if not isinstance(content, dict):
        raise InputFault(f"{path}: expected one JSON object; write it again, or remove it")
    return content


def _splits(run: Run, recipe: Recipe) -> dict[str, Split]:
    """The splits by role: split.json lists them in the order of the recipe's cohorts."""
    if not run.splits.exists():
        return {}
    roles = [
        role for role in ("tags", "masks", "source", "target") if getattr(recipe.cohorts, role) is not None
    ]
    if run.material.exists():
        roles = [role for role in _json(run.material).get("roles", roles) if role != "held_out"]
    return dict(zip(roles, read_splits(run.splits), strict=False))


def _choices(run: Run, recipe: Recipe) -> tuple[Choice, ...]:
    found: list[Choice] = []
    for stage in recipe.stages:
        path = run.stage_folder(recipe, stage.name) / CHOSEN
        if path.exists():
            content = read_checkpoint(path)
            found.append(Choice(stage.name, int(content["step"]), str(content["rule"]), content["score"]))
    return tuple(found)


def _curves(log: Path) -> tuple[tuple[Curve, ...], tuple[Curve, ...]]:
    """The loss terms and the validation scores in log.jsonl, without numbers that are not finite."""
    losses: dict[tuple[str, str, str], list[tuple[int, float]]] = {}
    validations: dict[tuple[str, str, str], list[tuple[int, float]]] = {}
    for entry in _log_entries(log):
        stage, step = str(entry["stage"]), int(entry["step"])
        for key, value in entry.get("losses", {}).items():
            player, _, term = key.partition("/")
            losses.setdefault((stage, player, term), []).append((step, float(value)))
        for measure in ("Dice", "AUC", "F1"):
            if (key := f"validation_{measure.lower()}") in entry:
                points = validations.setdefault((stage, "validation", measure), [])
                points.append((step, float(entry[key])))
    return _as_curves(losses), _as_curves(validations)


def _log_entries(log: Path) -> list[dict[str, Any]]:
    if not log.exists():
        return []
    entries: list[dict[str, Any]] = []
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:  # The line that a killed or a running process is writing.
            continue
        if isinstance(entry, dict) and {"stage", "step"} <= entry.keys():
            entries.append(entry)
    return entries


def _as_curves(points: Mapping[tuple[str, str, str], list[tuple[int, float]]]) -> tuple[Curve, ...]:
    curves: list[Curve] = []
    for (stage, player, term), pairs in points.items():
        kept = [(step, value) for step, value in pairs if math.isfinite(value)]
        if kept:
            steps, values = zip(*kept, strict=True)
            curves.append(Curve(stage, player, term, steps, values))
    return tuple(curves)


def last_samples(folder: Path, name: str) -> tuple[Sample, ...]:
    """The last picture of that name of each stage: "target" of one that translates, "batch" of one that does not."""
    last: dict[str, Sample] = {}
    for path in sorted(folder.glob("*.png")) if folder.is_dir() else ():
        match = _SAMPLE.fullmatch(path.name)
        if match is not None and match["name"] == name:
            sample = Sample(match["stage"], int(match["step"]), path)
            if sample.stage not in last or last[sample.stage].step < sample.step:
                last[sample.stage] = sample
    return tuple(last.values())


def _scores(folder: Path) -> Scores | None:
    table, summary_file = folder / "scores.csv", folder / "summary.json"
    if not (table.exists() and summary_file.exists()):
        return None
    content = _json(summary_file)
    try:
        rows = _rows(table)
        summary = _summary(content, str(summary_file))
        images, step = _manifest(folder)
        cases = list(dict.fromkeys(row.case for row in rows))
        files = tuple(
            CaseFiles(case, images.get(case, ()), Path(entry["reference_file"]), _prediction(folder, entry))
            for case, entry in zip(cases, content["metric_per_case"], strict=True)
        )
    except (KeyError, TypeError, ValueError):
        raise InputFault(
            f"{folder}: scores.csv and summary.json are not of one `evaluate`; run `fewmask evaluate` again"
        ) from None
    return Scores(summary, rows, files, step)


def _rows(table: Path) -> tuple[CaseRow, ...]:
    with table.open(newline="", encoding="utf-8") as file:
        return tuple(
            CaseRow(
                line["case"],
                line["patient"],
                line["class"],
                _number(line["dice"]),
                _number(line["hd95"]),
                line["status"],
            )
            for line in csv.DictReader(file)
        )


def _number(cell: str) -> float | None:
    return float(cell) if cell else None


def _summary(content: Mapping[str, Any], where: str) -> Summary:
    return Summary(
        cases=content["cases"],
        patients=content["patients"],
        patients_known=content["patients_known"],
        classes=tuple(_class(name, entry, where) for name, entry in content["classes"].items()),
        overall=_class("overall", content["overall"], where),
        unit=content["unit"],
        nsd_tolerance=content["nsd_tolerance"],
        unmatched_predictions=content["unmatched_predictions"],
        remarks=tuple(content["remarks"]),
        pooled=from_mapping(Pooled, content["pooled"], where) if "pooled" in content else None,
        interval=content["interval"],
    )


def _class(name: str, entry: Mapping[str, Any], where: str) -> ClassSummary:
    measured = {metric: entry[metric] for metric in METRICS if metric in entry}
    metrics = from_mapping(MetricStatistics, measured, where)
    return ClassSummary(name, entry["label"], metrics, from_mapping(StatusCounts, entry["counts"], where))


def _manifest(folder: Path) -> tuple[dict[str, tuple[Path, ...]], int | None]:
    """The images of each predicted case, and the step of the checkpoint that segmented them."""
    path = folder / PREDICTIONS / MANIFEST
    if not path.exists():
        return {}, None
    content = _json(path)
    images = {
        entry["case"]: tuple(Path(image) for image in entry["images"]) for entry in content.get("cases", [])
    }
    return images, content.get("checkpoint", {}).get("step")


def _prediction(folder: Path, entry: Mapping[str, Any]) -> Path:
    """Where the prediction lies: as recorded, or beside the scores where the whole run has moved."""
    recorded = Path(entry["prediction_file"])
    return recorded if recorded.exists() else folder / PREDICTIONS / recorded.name
