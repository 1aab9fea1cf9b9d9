"""The report's section on a run that learns from tags: how a tag became a mask, how far to trust it, how to mend it."""

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from fewmask.data.pseudo_cohort import FOLDER
from fewmask.data.split import Split
from fewmask.evaluation.case_pictures import draw_sample
from fewmask.evaluation.naming import Names
from fewmask.evaluation.run_record import RunRecord, last_samples
from fewmask.evaluation.tags_gallery import DoubtShelf, Plate, ShownSlice, doubt_shelves, heat_stops
from fewmask.evaluation.tags_record import (
    AuditedSlice,
    PseudoLabelled,
    chosen_by_masks,
    read_tags,
)
from fewmask.evaluation.tags_words import (
    expansion_in_words,
    fusion_in_words,
    joined,
    layers_of,
    loss_in_words,
    maps_in_words,
    percent,
    slices_in_words,
    start_in_words,
    threshold_in_words,
)
from fewmask.pseudo_labels.audit import DEFAULT_RULE
from fewmask.training.relabel import FOLDER as LABELS
from fewmask.training.tags import LearntTags

BATCH_COLUMNS = 2
"""Image and segmentation lie beside each other in a sample picture of a run that does not translate."""

_DECISIONS = {
    "accept": "the rest",
    "review": f"the {percent(DEFAULT_RULE.review)} that follow",
    "reject": f"the most doubtful {percent(DEFAULT_RULE.reject)}, and labels that are empty or cover more than "
    f"{percent(DEFAULT_RULE.largest_area)} of the slice",
}
_REASONS = {
    "rank": "by its rank among the others",
    "empty": "it is tagged as showing it and nothing is labelled",
    "too large": f"more than {percent(DEFAULT_RULE.largest_area)} of the slice is labelled",
    "no object": "nothing to show",
}


@dataclass(frozen=True)
class TagCount:
    """How one part of the tagged cohort is tagged; `share` is that of the positive among the tagged, in words."""

    part: str
    cases: int
    tagged: int
    positive: int
    share: str
    untagged: int


@dataclass(frozen=True)
class DecisionCount:
    """How many slices that show it the audit accepts, reviews or rejects."""

    decision: str
    meaning: str
    training: int
    validation: int


@dataclass(frozen=True)
class Mending:
    """Where the pseudo-masks lie in the run folder, and the command that trains again from mended ones."""

    folder: str
    command: str


@dataclass(frozen=True)
class NamedSlice:
    """A slice with its caption; `plate` is None where a file is missing or damaged. `mended` is by a person."""

    key: str
    name: str
    number: int
    part: str
    decision: str
    words: str
    mended: bool
    plate: Plate | None


@dataclass(frozen=True)
class Shelf:
    """Slices that are alike in how doubtful they are."""

    title: str
    slices: tuple[NamedSlice, ...]


@dataclass(frozen=True)
class StageSection:
    """One stage that learns pseudo-labels: its options as (term, sentences), its audit, its pictures.

    `audited` slices show it, and `mended` ones have a person's mask. `missing` of `wanted` slices cannot be drawn.
    `upright`: they are of volumes, which are turned to be looked at.
    `sample` is the last picture that it drew while it trained, None where there is none, from step `sample_step`.
    """

    name: str
    facts: tuple[tuple[str, tuple[str, ...]], ...]
    audit: tuple[DecisionCount, ...]
    audited: int
    mended: int
    layers: tuple[str, ...]
    shelves: tuple[Shelf, ...]
    missing: int
    wanted: int
    upright: bool
    sample: str | None
    sample_step: int


@dataclass(frozen=True)
class TagsSection:
    """What the template shows. `chosen_by_masks` says what held-out masks chose, "" for nothing."""

    tag: str
    counts: tuple[TagCount, ...]
    left_out: tuple[str, ...]
    chosen_by_masks: str
    mended: int
    mending: Mending | None
    stages: tuple[StageSection, ...]
    heat: tuple[str, ...]


def tags_section(record: RunRecord, names: Names) -> TagsSection | None:
    """The section about a run's tags and pseudo-labels, as far as it has come; None for a run that learns no tags.

    True masks are never opened: what is drawn are the run's own pseudo-masks, and those that a person mended.
    """
    tags = read_tags(record)
    if tags is None:
        return None
    learnt, split = tags.learnt, record.splits.get("tags")
    known = learnt is not None and split is not None
    return TagsSection(
        tag=learnt.tag if learnt is not None else "",
        counts=_counts(learnt, split) if learnt is not None and split is not None else (),
        left_out=tuple(names.text(remark) for remark in split.remarks if "have no tag" in remark)
        if split
        else (),
        chosen_by_masks=joined(chosen_by_masks(record.recipe)),
        mended=max((len(made.chosen.corrected) for made in tags.stages), default=0),
        mending=_mending(record, tags.stages[-1], names) if tags.stages else None,
        stages=tuple(_stage(record, made, learnt, names) for made in tags.stages) if known else (),
        heat=heat_stops(),
    )


def _counts(learnt: LearntTags, split: Split) -> tuple[TagCount, ...]:
    """How the training and the held-out patients' slices are tagged."""
    found: list[TagCount] = []
    for part, cases in (("Training", split.train), ("Validation", split.validation)):
        tags = [tag for case in cases for tag in learnt.by_case.get(case, ())]
        positive, negative = tags.count(1.0), tags.count(0.0)
        tagged = positive + negative
        share = percent(positive / tagged) if tagged else "–"
        found.append(TagCount(part, len(cases), tagged, positive, share, len(tags) - tagged))
    return tuple(found)


def _mending(record: RunRecord, made: PseudoLabelled, names: Names) -> Mending:
    """The run's own recipe file is what is trained again: a recipe's name would forget `--small` and every `--set`."""
    run, tags = "RUN", "DATASET"
    if not names.pseudonyms:
        run = shlex.quote(record.folder.resolve().name)
        folder = record.recipe.cohorts.tags
        tags = shlex.quote(folder.name) if folder is not None else tags
    return Mending(
        f"stages/{made.stage.name}/{LABELS}/{FOLDER}/labelsTr",
        f"fewmask train {run}/recipe.yaml --tags {tags} --corrections DIR --start-from {run} --out NEW",
    )


def _stage(record: RunRecord, made: PseudoLabelled, learnt: LearntTags | None, names: Names) -> StageSection:
    options = made.stage.pseudo_labels
    assert options is not None and learnt is not None
    shelves = _shelves(made, doubt_shelves(made, record.preparations["tags"]), names)
    drawn = [one.plate is not None for shelf in shelves for one in shelf.slices]
    samples = last_samples(record.folder / "samples", "batch")
    sample = next((sample for sample in samples if sample.stage == made.stage.name), None)
    return StageSection(
        name=made.stage.name,
        facts=_facts(record, made, learnt),
        audit=_decisions(made.audit),
        audited=sum(one.positive for one in made.audit),
        mended=sum(one.corrected for one in made.audit),
        layers=layers_of(options.maps),
        shelves=shelves,
        missing=drawn.count(False),
        wanted=len(drawn),
        upright=record.preparations["tags"].slice_axis is not None,
        sample=draw_sample(sample, BATCH_COLUMNS) if sample is not None else None,
        sample_step=sample.step if sample is not None else 0,
    )


def _facts(
    record: RunRecord, made: PseudoLabelled, learnt: LearntTags
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    options, chosen = made.stage.pseudo_labels, made.chosen
    assert options is not None
    told = "its F1 and AUC cannot be told, for the held-out slices are all tagged alike"
    if chosen.f1 is not None and chosen.auc is not None:
        told = f"on the held-out tagged slices its F1 is {chosen.f1:.3f} and its AUC {chosen.auc:.3f}"
    loss = loss_in_words(made)
    return (
        ("Classifier", (f"Stage {made.stage.labelled_by}, {start_in_words(record.recipe)}; {told}.",)),
        ("Maps", (f"{_sentence(maps_in_words(options.maps))}.",)),
        ("Fusion", (f"{_sentence(fusion_in_words(made))}.",)),
        ("Threshold", (f"{_sentence(threshold_in_words(made))}.",)),
        ("Expansion", expansion_in_words(options.expansion)),
        ("Trained on", (_trained_on(made, learnt),)),
        *((("Learns", (f"{_sentence(loss)}.",)),) if loss is not None else ()),
    )


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def _trained_on(made: PseudoLabelled, learnt: LearntTags) -> str:
    """How many slices a stage learns from, and which. Rows of the slice store follow the cases in their order."""
    tags = [tag for slices in learnt.by_case.values() for tag in slices]
    kinds = Counter(tags[row] for row in made.chosen.rows)
    several = f"{kinds[1.0]} that show it and {kinds[0.0]} that do not"
    untagged = f", and {kinds[None]} that nobody tagged and a person outlined" if kinds[None] else ""
    mended = [one for one in made.audit if one.corrected and one.trains]
    person = f" In {len(mended)} of them a person's mask takes the place of the run's own." if mended else ""
    return f"{len(made.chosen.rows)} training slices ({several}{untagged}): {slices_in_words(made)}.{person}"


def _decisions(audit: Sequence[AuditedSlice]) -> tuple[DecisionCount, ...]:
    """The audit of the slices that are tagged as showing it."""
    counts = Counter((one.decision, one.trains) for one in audit if one.positive)
    return tuple(
        DecisionCount(decision, meaning, counts[decision, True], counts[decision, False])
        for decision, meaning in _DECISIONS.items()
    )


def _shelves(made: PseudoLabelled, shelves: Sequence[DoubtShelf], names: Names) -> tuple[Shelf, ...]:
    """The slices with their captions; a case without a number elsewhere on the page gets its place among the tagged."""
    numbers = {case: place for place, case in enumerate(sorted({one.case for one in made.audit}), start=1)}
    keys = count(1)

    def named(shown: ShownSlice) -> NamedSlice:
        one = shown.audited
        hidden = names.pseudonyms and one.case not in names.cases
        return NamedSlice(
            key=f"{made.stage.name}-slice-{next(keys)}",
            name=f"tagged case {numbers[one.case]}" if hidden else names.case(one.case),
            number=one.number,
            part="training" if one.trains else "validation",
            decision=one.decision,
            words=f"doubt {one.doubt:.2f}, {_REASONS.get(one.reason, one.reason)}",
            mended=one.corrected,
            plate=shown.plate,
        )

    return tuple(Shelf(shelf.title, tuple(named(shown) for shown in shelf.slices)) for shelf in shelves)
