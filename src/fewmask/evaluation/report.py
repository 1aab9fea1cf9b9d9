"""The report: one page about a run that works without a network, for a clinician to read and an engineer to check."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import jinja2
import yaml
from markupsafe import Markup

import fewmask
from fewmask.data.preparation import Preparation
from fewmask.data.split import Split
from fewmask.errors import InputFault
from fewmask.evaluation.case_gallery import Gallery, gallery
from fewmask.evaluation.case_pictures import draw_sample
from fewmask.evaluation.compare import (
    FEW_SHOT,
    ORACLE,
    ORDER,
    Entry,
    Sentence,
    case_dice,
    flags,
    role_of,
    verdict,
)
from fewmask.evaluation.figures import Chart, Strip, loss_charts, strip_chart, validation_chart
from fewmask.evaluation.naming import Names, Roster, cohort_folders, names_of, read_rosters
from fewmask.evaluation.run_record import Choice, RunRecord, read_run
from fewmask.evaluation.score_table import Block, headings, score_blocks
from fewmask.files import write_text

PAGE, TEMPLATE = "report.html", "report.html.jinja"

SAMPLE_COLUMNS = 3
"""Image, translation and segmentation lie beside each other in a sample picture of a run that translates."""

_FLAG_WORDS = {
    ORACLE: "This checkpoint was chosen with masks that the method must not see; the score is an upper bound.",
    FEW_SHOT: "This run was given a few masks of the target.",
}
_SAME_PATIENT_WORDS = "Images of one patient are in training and in the test; the score flatters."


@dataclass(frozen=True)
class Flag:
    """A word that must not be overlooked, and what it means."""

    word: str
    meaning: str


@dataclass(frozen=True)
class Chosen:
    """How one stage's checkpoint was chosen; `choice` is None where there is none yet."""

    stage: str
    steps: int
    choice: Choice | None
    rule: str


@dataclass(frozen=True)
class Division:
    """How one cohort was divided, in words for the table."""

    role: str
    folder: str
    train: str
    validation: str
    test: str
    split: Split
    remarks: tuple[str, ...]


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
    gallery: Gallery
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
    write_text(path, _html(_page(records, rosters, names)))
    return path


def _html(page: Page) -> str:
    source = resources.files("fewmask.evaluation").joinpath(TEMPLATE).read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    # The charts are our own markup, with every name in them escaped; all else is escaped here.
    environment.filters["inline"] = Markup
    return environment.from_string(source).render(page=page)


def _page(records: Sequence[RunRecord], rosters: Mapping[Path, Roster], names: Names) -> Page:
    first = records[0]
    entries = _entries(records, names)
    summary = first.scores.summary if first.scores else None
    validations = (validation_chart(curve, first.choice(curve.stage)) for curve in first.validations)
    return Page(
        name=first.recipe.name,
        folder=names.run(first, 1),
        pseudonyms=names.pseudonyms,
        state=_state(first),
        flags=_flags(first),
        verdict=verdict(entries),
        unscored=tuple(entry.label for entry in entries if entry.record.scores is None),
        headings=headings(summary.unit if summary else "px"),
        blocks=score_blocks(entries),
        score_remarks=_score_remarks(entries, names),
        interval=summary.interval if summary else "",
        strip=_strip(entries),
        gallery=gallery(entries, names),
        classes=tuple(part.name for part in summary.classes) if summary else (),
        translations=tuple(
            Translation(sample.stage, sample.step, draw_sample(sample, SAMPLE_COLUMNS))
            for sample in first.translations
        ),
        validations=tuple(validations),
        losses=tuple(loss_charts(first.losses)),
        chosen=_chosen(first, names),
        target_unopened=_target_unopened(first),
        divisions=_divisions(first, rosters, names),
        preparations=tuple(_prepared(role, rule) for role, rule in first.preparations.items()),
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


def _state(record: RunRecord) -> str:
    """Whether the training has come to its end, and how long it took."""
    if record.seconds is not None:
        return f"The training is finished ({_duration(record.seconds)} since it was last started)."
    reached = [f"{curve.stage} at step {curve.steps[-1]}" for curve in record.losses[-1:]]
    total = {stage.name: stage.steps for stage in record.recipe.stages}
    where = f": {reached[0]} of {total.get(record.losses[-1].stage, '?')}" if reached else ""
    return f"The training has not finished{where}. What this page shows may change."


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _flags(record: RunRecord) -> tuple[Flag, ...]:
    return tuple(Flag(word, _FLAG_WORDS.get(word, _SAME_PATIENT_WORDS)) for word in flags(record))


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


def _chosen(record: RunRecord, names: Names) -> tuple[Chosen, ...]:
    return tuple(
        Chosen(stage.name, stage.steps, choice, names.text(choice.rule) if choice else "")
        for stage in record.recipe.stages
        for choice in [record.choice(stage.name)]
    )


def _target_unopened(record: RunRecord) -> bool:
    """Whether the run adapted to a target without a single mask of it."""
    cohorts = record.recipe.cohorts
    seen = {cohorts.masks} | ({cohorts.source} if cohorts.source != cohorts.target else set())
    return cohorts.target is not None and cohorts.target not in seen and not {ORACLE, FEW_SHOT} & set(flags(record))


def _divisions(record: RunRecord, rosters: Mapping[Path, Roster], names: Names) -> tuple[Division, ...]:
    folders = cohort_folders(record.recipe)
    return tuple(
        Division(
            role=role,
            folder=names.folder(folders[role], role) if role in folders else names.text(split.cohort),
            train=_people(split.train, rosters.get(folders.get(role, Path()))),
            validation=_people(split.validation, rosters.get(folders.get(role, Path()))),
            test=_people(split.test, rosters.get(folders.get(role, Path()))),
            split=split,
            remarks=tuple(names.text(remark) for remark in split.remarks),
        )
        for role, split in record.splits.items()
    )


def _people(cases: Sequence[str], roster: Roster | None) -> str:
    """How many patients and cases, where patients are known; else how many cases."""
    if not cases:
        return "none"
    count = f"{len(cases)} case{'s' * (len(cases) != 1)}"
    if roster is None or not roster.patients_known or not set(cases) <= roster.patients.keys():
        return count
    patients = len({roster.patients[case] for case in cases})
    return f"{patients} patient{'s' * (patients != 1)}, {count}"


def _prepared(role: str, rule: Preparation) -> str:
    """How a cohort's images became network input, in a sentence."""
    first = rule.intensity[0]
    own = "each image's own 0.5th to 99.5th percentile"
    channels: list[str] = [
        own if channel.rule == "own_percentiles" else f"{channel.low:g} to {channel.high:g}"
        for channel in rule.intensity
    ]
    values = channels[0] if all(channel == first for channel in rule.intensity) else "; ".join(channels)
    cut = ""
    if rule.slice_axis is not None:
        view = ("sagittal", "coronal", "axial")[rule.slice_axis]
        cut = f"cut into {view} slices, "
    pixel = f"pixels of {rule.pixel_mm:.3g} mm" if rule.pixel_mm else "the longest side filling the square"
    number = f"{rule.channels} channel{'s' * (rule.channels != 1)}"
    return (
        f"{role.capitalize()}: {number}, {cut}brought to {rule.size} x {rule.size} with {pixel} and the aspect kept; "
        f"intensities of {values} became -1 to 1, and what lies beyond was clipped."
    )
