"""The report: one page about a run that works without a network, for a clinician to read and an engineer to check."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

import fewmask
from fewmask.errors import InputFault
from fewmask.evaluation.accuracy_section import AccuracySection, accuracy_section
from fewmask.evaluation.case_gallery import Gallery, gallery
from fewmask.evaluation.case_pictures import draw_sample
from fewmask.evaluation.compare import ORDER, Entry, Sentence, case_dice, role_of, verdict
from fewmask.evaluation.confusion_tables import ConfusionTables, confusion_tables
from fewmask.evaluation.facts import (
    Chosen,
    Division,
    Flag,
    chosen_of,
    divisions_of,
    flags_of,
    prepared,
    state,
    target_unopened,
)
from fewmask.evaluation.figures import Chart, Strip, loss_charts, strip_chart, validation_chart
from fewmask.evaluation.naming import Names, Roster, names_of, read_rosters
from fewmask.evaluation.page import rendered
from fewmask.evaluation.prognosis_section import PrognosisSection, prognosis_section
from fewmask.evaluation.run_record import RunRecord, read_run
from fewmask.evaluation.safety_section import SafetySection, safety_section
from fewmask.evaluation.score_table import Block, headings, score_blocks
from fewmask.evaluation.tags_section import TagsSection, tags_section
from fewmask.evaluation.translation_gallery import TranslationGallery, translation_gallery
from fewmask.files import write_text

PAGE, TEMPLATE = "report.html", "report.html.jinja"

SAMPLE_COLUMNS = 3
"""Image, translation and segmentation lie beside each other in a sample picture of a run that translates."""


@dataclass(frozen=True)
class Translation:
    """The last picture of a stage that translates, as a data URI (None: it cannot be read)."""

    stage: str
    step: int
    photo: str | None


@dataclass(frozen=True)
class Page:
    """Everything that the template shows."""

    name: str
    folder: str
    pseudonyms: bool
    state: str
    flags: tuple[Flag, ...]
    verdict: tuple[Sentence, ...]
    unscored: tuple[str, ...]
    headings: tuple[str, ...]
    blocks: tuple[Block, ...]
    score_remarks: tuple[str, ...]
    interval: str
    strip: Chart | None
    accuracy: AccuracySection | None
    gallery: Gallery
    confusion: ConfusionTables
    prognosis: PrognosisSection | None
    redrawn: TranslationGallery
    safety: SafetySection | None
    tags: TagsSection | None
    classes: tuple[str, ...]
    translations: tuple[Translation, ...]
    validations: tuple[Chart, ...]
    losses: tuple[Chart, ...]
    chosen: tuple[Chosen, ...]
    target_unopened: bool
    divisions: tuple[Division, ...]
    preparations: tuple[str, ...]
    recipe_yaml: str
    environment: tuple[tuple[str, str], ...]
    version: str


def write_report(runs: Sequence[Path], out: Path | None = None, *, pseudonyms: bool = False) -> Path:
    """Write a page about the first run, with the others as rows and columns beside it; returns the page's path.

    `out` is the page to write, or a folder for it; by default it lies in the first run's folder. With
    `pseudonyms` cases are numbered, and no name of a case, a patient, a site or a folder is written. Pictures
    are shown as they are, whatever is burnt into them. Raises InputFault for a folder that is no run.
    """
    if not runs:
        raise InputFault("report: no run given; name one or more run folders")
    folders = {folder.resolve(): folder for folder in runs}
    records = [read_run(folder) for folder in folders.values()]
    path = out or records[0].folder / PAGE
    path = path / PAGE if path.is_dir() else path
    rosters = read_rosters(records[:1] if not pseudonyms else records)
    names = names_of(records, rosters, pseudonyms)
    write_text(path, rendered(TEMPLATE, _page(records, rosters, names)))
    return path


def _page(records: Sequence[RunRecord], rosters: Mapping[Path, Roster], names: Names) -> Page:
    first = records[0]
    entries = _entries(records, names)
    summaries = [record.scores.summary for record in records if record.scores is not None]
    summary = first.scores.summary if first.scores else None
    unit = summaries[0].unit if summaries else "px"
    validations = (validation_chart(curve, first.choice(curve.stage)) for curve in first.validations)
    return Page(
        name=first.recipe.name,
        folder=names.run(first, 1),
        pseudonyms=names.pseudonyms,
        state=state(first),
        flags=flags_of(first),
        verdict=verdict(entries),
        unscored=tuple(entry.label for entry in entries if entry.record.scores is None),
        headings=headings(unit),
        blocks=score_blocks(entries, unit),
        score_remarks=_score_remarks(entries, names),
        interval=summaries[0].interval if summaries else "",
        strip=_strip(entries),
        accuracy=accuracy_section(first, names),
        gallery=gallery(entries, names),
        confusion=confusion_tables(entries),
        prognosis=prognosis_section(first, names),
        redrawn=translation_gallery(entries, names),
        safety=safety_section(first, names),
        tags=tags_section(first, names),
        classes=tuple(part.name for part in summary.classes) if summary else (),
        translations=tuple(
            Translation(sample.stage, sample.step, draw_sample(sample, SAMPLE_COLUMNS))
            for sample in first.translations
        ),
        validations=tuple(validations),
        losses=tuple(loss_charts(first.losses)),
        chosen=chosen_of(first, names),
        target_unopened=target_unopened(first),
        divisions=divisions_of(first, rosters, names),
        preparations=tuple(prepared(role, rule) for role, rule in first.preparations.items()),
        recipe_yaml=yaml.safe_dump(names.recipe(first.recipe), sort_keys=False, allow_unicode=True),
        environment=tuple((key, names.text(value)) for key, value in first.environment),
        version=fewmask.__version__,
    )


def _entries(records: Sequence[RunRecord], names: Names) -> list[Entry]:
    """The runs in the order of their roles, then as given."""
    entries = [
        Entry(record, role_of(record, records[0]), names.run(record, number))
        for number, record in enumerate(records, start=1)
    ]
    return sorted(entries, key=lambda entry: ORDER.index(entry.role))


def _score_remarks(entries: Sequence[Entry], names: Names) -> tuple[str, ...]:
    """What `evaluate` said, and whether the runs were scored on the same cases and in the same unit."""
    method = next(entry.record for entry in entries if entry.role == "method")
    if method.scores is None:
        return ()
    remarks = [names.text(remark) for remark in method.scores.summary.remarks]
    cases = {file.case for file in method.scores.files}
    for entry in entries:
        scores = entry.record.scores
        if scores is None:
            continue
        if {file.case for file in scores.files} != cases:
            remarks.append(f"{entry.label} was scored on other cases: its row cannot be compared")
        if scores.summary.unit != method.scores.summary.unit:
            remarks.append(f"distances of {entry.label} are in {scores.summary.unit}")
    return tuple(remarks)


def _strip(entries: Sequence[Entry]) -> Chart | None:
    strips: list[Strip] = []
    for entry in entries:
        scores = entry.record.scores
        if scores is None:
            continue
        scored = [(case, dice) for case, dice in case_dice(scores).items() if dice is not None]
        failed = {row.case for row in scores.rows if row.status in ("missed", "false_alarm")}
        strips.append(
            Strip(
                entry.label,
                tuple(dice for _, dice in scored),
                tuple(case in failed for case, _ in scored),
                scores.summary.overall.metrics.dice,
            )
        )
    return strip_chart(strips) if strips else None
