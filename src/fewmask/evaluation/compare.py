"""Runs beside each other: which is the floor, which the ceiling, and what may be said about the first of them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from fewmask.data.split import SAME_PATIENT
from fewmask.evaluation.run_record import RunRecord, Scores
from fewmask.evaluation.summary import Statistic
from fewmask.evaluation.tags_record import chosen_by_masks
from fewmask.metrics.interval import Interval, bootstrap_interval
from fewmask.recipe import Recipe

Role = Literal["floor", "method", "ceiling", "other"]
Tone = Literal["plain", "good", "doubt", "bad"]

ORDER: tuple[Role, ...] = ("floor", "method", "ceiling", "other")
"""How runs stand beside each other in tables and pictures."""

ORACLE, FEW_SHOT = "ORACLE", "few-shot"

SUPERVISED = "supervised"
"""The `kind` of the method that floors and ceilings are trained by."""

FLOOR = "a segmenter that learnt the source alone"


@dataclass(frozen=True)
class Entry:
    """A run with its part in the comparison and the name that the page gives it."""

    record: RunRecord
    role: Role
    label: str


@dataclass(frozen=True)
class Sentence:
    """A sentence of the verdict; `tone` says whether it is good news."""

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True)
class Paired:
    """The mean difference of Dice between two runs on the same cases, and its interval over patients.

    `left_out` counts cases that only one of the two has a Dice for: a rightly empty mask beside a false alarm.
    """

    cases: int
    left_out: int
    difference: float
    interval: Interval | None


def role_of(record: RunRecord, first: RunRecord) -> Role:
    """What a run is beside the first one.

    The floor is a supervised training on the first run's source alone, the ceiling one on its target's masks. The
    ceiling of a run that learns from tags is one on the masks of the same images.
    """
    if record.folder.resolve() == first.folder.resolve():
        return "method"
    if not _supervised_alone(record.recipe):
        return "other"
    labelled, wanted = _labelled(record), first.recipe.cohorts
    if wanted.tags is not None:
        return "ceiling" if labelled == {(wanted.tags, wanted.tags_channel)} else "other"
    # Where source and target are two channels of one folder, only the channel tells them apart.
    by_channel = wanted.source is not None and wanted.source == wanted.target
    learnt = labelled if by_channel else {(folder, None) for folder, _ in labelled}
    floor = {(wanted.source, wanted.source_channel if by_channel else None)}
    ceiling = {(wanted.target, wanted.target_channel if by_channel else None)}
    if floor != ceiling and learnt == floor:
        return "floor"
    if floor != ceiling and learnt == ceiling:
        return "ceiling"
    return "other"


def _supervised_alone(recipe: Recipe) -> bool:
    """Whether a run is a single training on masks, of fresh networks and without a target."""
    fresh = recipe.start_from is None and recipe.cohorts.target is None
    return fresh and len(recipe.stages) == 1 and recipe.stages[0].method.kind == SUPERVISED


def _labelled(record: RunRecord) -> set[tuple[Path, str | None]]:
    """The folders whose masks a run learns, each with its channel."""
    cohorts = record.recipe.cohorts
    found = {(cohorts.masks, None), (cohorts.source, cohorts.source_channel)}
    return {(folder, channel) for folder, channel in found if folder is not None}


def flags(record: RunRecord) -> tuple[str, ...]:
    """The words that every page about this run must show, because its scores mean something else."""
    found: list[str] = []
    if any(ORACLE in choice.rule.upper() for choice in record.choices):
        found.append(ORACLE)
    remarks = [remark for split in record.splits.values() for remark in split.remarks]
    if any(SAME_PATIENT in remark for remark in remarks):
        found.append(SAME_PATIENT)
    if _few_shot(record.recipe) or any(FEW_SHOT in remark for remark in remarks):
        found.append(FEW_SHOT)
    return tuple(found)


def _few_shot(recipe: Recipe) -> bool:
    """Whether a run was given a labelled cohort beside its source or its target."""
    cohorts = recipe.cohorts
    return cohorts.masks is not None and not (cohorts.source is None and cohorts.target is None)


def case_dice(scores: Scores) -> dict[str, float | None]:
    """Each case's mean Dice over its foreground classes; None where all are rightly empty."""
    found: dict[str, list[float]] = defaultdict(list)
    for row in scores.rows:
        found[row.case] += [] if row.dice is None else [row.dice]
    return {case: float(np.mean(values)) if values else None for case, values in found.items()}


def paired_difference(scores: Scores, other: Scores) -> Paired | None:
    """How much higher the Dice of `scores` is than that of `other`, case by case; None without a common case."""
    mine, theirs = case_dice(scores), case_dice(other)
    patients = {row.case: row.patient for row in scores.rows}
    common = [case for case in mine if case in theirs]
    differences: list[float] = []
    whose: list[str] = []
    left_out = 0
    for case in common:
        here, there = mine[case], theirs[case]
        if here is None or there is None:
            left_out += here is not there
            continue
        differences.append(here - there)
        whose.append(patients[case])
    if not differences:
        return None
    interval = bootstrap_interval(differences, whose)
    return Paired(len(differences), left_out, float(np.mean(differences)), interval)


def gap_closed(method: Scores, floor: Scores, ceiling: Scores) -> float | None:
    """The share of the way from floor to ceiling that the method goes, over the cases that all three have.

    0 is the floor, 1 the ceiling; it may be negative or above 1. None where the ceiling is not above the floor.
    """
    columns = [case_dice(scores) for scores in (method, floor, ceiling)]
    common = set(columns[0]) & set(columns[1]) & set(columns[2])
    means: list[float] = []
    for column in columns:
        values = [value for case in common if (value := column[case]) is not None]
        if not values:
            return None
        means.append(float(np.mean(values)))
    gap = means[2] - means[1]
    return (means[0] - means[1]) / gap if gap > 0 else None


def verdict(entries: Sequence[Entry]) -> tuple[Sentence, ...]:
    """What the scores of the method's run say, in plain words. Empty where it has none."""
    record = next(entry.record for entry in entries if entry.role == "method")
    by_role = {
        entry.role: entry.record.scores for entry in reversed(entries) if entry.record.scores is not None
    }
    if record.scores is None:
        return ()
    floor, ceiling = by_role.get("floor"), by_role.get("ceiling")
    found = [_headline(record, record.scores), *_failures(record.scores)]
    if floor is not None:
        found += _against_floor(record.scores, floor)
    elif record.recipe.cohorts.target is not None:
        text = "No scored floor is among the runs, so this page cannot say whether the adaptation helped."
        found.append(Sentence(text, "doubt"))
    if floor is not None and ceiling is not None:
        found.append(_between(record.scores, floor, ceiling))
    if ceiling is not None and record.recipe.cohorts.tags is not None:
        found += _beside_ceiling(record.scores, ceiling)
    return (*found, *_doubts(record, record.scores))


def _headline(record: RunRecord, scores: Scores) -> Sentence:
    dice = scores.summary.overall.metrics.dice
    who = _people(record, scores)
    if dice.mean is None:
        return Sentence(f"On {who} there is nothing to score: the structures occur in none.", "doubt")
    return Sentence(
        f"On {who} the masks of {record.recipe.name} overlap the truth with a mean Dice of "
        f"{dice.mean:.3f} ({_interval_words(dice)}). 1 is perfect, 0 is no overlap."
    )


def _people(record: RunRecord, scores: Scores) -> str:
    summary = scores.summary
    test = {case for split in record.splits.values() for case in split.test}
    part = "test " if all(file.case in test for file in scores.files) else ""
    if not summary.patients_known:
        return f"{summary.cases} {part}case{'s' * (summary.cases != 1)} (each counted as one patient)"
    people = f"{summary.patients} {part}patient{'s' * (summary.patients != 1)}"
    return people if summary.cases == summary.patients else f"{people} ({summary.cases} images)"


def _interval_words(statistic: Statistic) -> str:
    if statistic.low is None:
        return "one patient, so no interval"
    return f"95 % interval {statistic.low:.3f} to {statistic.high:.3f}"


def _failures(scores: Scores) -> list[Sentence]:
    counts = scores.summary.overall.counts
    missed = f"missed altogether {_times(counts.missed)}" if counts.missed else ""
    alarms = f"drawn where there is none {_times(counts.false_alarm)}" if counts.false_alarm else ""
    words = " and ".join(word for word in (missed, alarms) if word)
    return [Sentence(f"A structure was {words}.", "doubt")] if words else []


def _times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number} times")


def _against_floor(scores: Scores, floor: Scores) -> list[Sentence]:
    paired = paired_difference(scores, floor)
    if paired is None:
        return [Sentence("The floor was scored on other cases and cannot be compared.", "doubt")]
    interval = paired.interval
    span = f", 95 % interval {interval.low:+.3f} to {interval.high:+.3f}" if interval else ""
    where = f"{paired.difference:+.3f} Dice over {paired.cases} paired cases{span}"
    if paired.difference <= 0:
        return [Sentence(f"It does not beat its floor, {FLOOR} ({where}).", "bad")]
    if interval is None or interval.low <= 0:
        text = f"It is above its floor, {FLOOR} ({where}), but the difference may be chance."
        return [Sentence(text, "doubt")]
    return [Sentence(f"It beats its floor, {FLOOR} ({where}).", "good")]


def _between(scores: Scores, floor: Scores, ceiling: Scores) -> Sentence:
    share = gap_closed(scores, floor, ceiling)
    if share is None:
        return Sentence("The ceiling is not above the floor here, so there is no gap to close.", "doubt")
    if share <= 0:
        return Sentence("It closes none of the gap between floor and ceiling.", "bad")
    return Sentence(f"The method closes {100 * share:.0f} % of the gap between floor and ceiling.")


def _beside_ceiling(scores: Scores, ceiling: Scores) -> list[Sentence]:
    """How near a run that learns from tags comes to one that learns from masks, over the cases that both have."""
    mine, theirs = case_dice(scores), case_dice(ceiling)
    pairs = [(here, theirs[case]) for case, here in mine.items() if case in theirs]
    both = [(here, there) for here, there in pairs if here is not None and there is not None]
    total = sum(there for _, there in both)
    if not total:
        return [Sentence("The ceiling has no Dice on these cases and cannot be compared.", "doubt")]
    share = sum(here for here, _ in both) / total
    text = f"It reaches {100 * share:.0f} % of the Dice of its ceiling, which learnt the masks of the same images"
    return [Sentence(f"{text} ({len(both)} paired cases).")]


def _doubts(record: RunRecord, scores: Scores) -> list[Sentence]:
    """What would make the score mean less than it seems to."""
    found: list[Sentence] = []
    learnt = cases_learnt(record, scores)
    if learnt:
        share = f"{learnt} of the {len(scores.files)} scored cases"
        text = f"{share} were used in training with their masks: this score flatters."
        found.append(Sentence(text, "bad"))
    choice = record.choice(record.recipe.stages[-1].name)
    if choice is not None and scores.drawn_at_step not in (None, choice.step):
        drawn = f"These masks were drawn by step {scores.drawn_at_step}"
        found.append(Sentence(f"{drawn}, not by the chosen checkpoint (step {choice.step}).", "doubt"))
    return found


def cases_learnt(record: RunRecord, scores: Scores) -> int:
    """How many of the scored cases trained the run, or chose something in it, with their masks."""
    folders: Mapping[str, Path | None] = {
        "masks": record.recipe.cohorts.masks,
        "source": record.recipe.cohorts.source,
        "tags": record.recipe.cohorts.tags if chosen_by_masks(record.recipe) else None,
    }
    count = 0
    for role, folder in folders.items():
        split = record.splits.get(role)
        if folder is None or split is None:
            continue
        # Of patients who train by their tags the masks stay closed.
        seen = {*split.validation} if role == "tags" else {*split.train, *split.validation}
        here = folder.resolve()
        count += sum(file.case in seen and file.truth.is_relative_to(here) for file in scores.files)
    return count
