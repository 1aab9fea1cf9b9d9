"""Which images are copied to make both outcomes equally many, how often, and what a user should know of it."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fewmask.console import Progress
from fewmask.data.case import Case, Cohort
from fewmask.data.convert.dataset import Part
from fewmask.data.duplicates import group_near_duplicates
from fewmask.data.outcomes import OutcomeRule, outcomes_of, require_both
from fewmask.data.split import require_disjoint
from fewmask.errors import InputFault
from fewmask.recipe import Augmentation

COPY_OF = "copy_of"
"""The column of cases.csv that names the case of which a copy was made; it is empty for an original."""

AUGMENTATION = Augmentation(gamma=0.0, contrast=0.2, brightness=0.2)
"""Crops, turns of up to 15 degrees, contrast, brightness and noise; the paper gives no range but that of the turns."""

PARTS: tuple[Part, ...] = ("train", "test")


@dataclass(frozen=True)
class BalancedPart:
    """A part as it was given: its images of which the outcome is 1, 0 or unknown; and how many copies were added."""

    part: Part
    positive: int
    negative: int
    unknown: int
    copies: int


@dataclass(frozen=True)
class Balancing:
    """How copies were made, for conversion.json."""

    outcome: OutcomeRule
    seed: int
    augmentation: Augmentation
    parts: tuple[BalancedPart, ...]


@dataclass(frozen=True)
class Plan:
    """What will be written: the cohort whose images are copied, and `copies` by their original's name.

    In `cohort` near-duplicates of a part are one patient where patients are not known, as a split takes them.
    """

    cohort: Cohort
    balancing: Balancing
    copies: Mapping[str, Sequence[Case]]
    remarks: tuple[str, ...]


def planned(cohort: Cohort, rule: OutcomeRule, seed: int, progress: Progress) -> Plan:
    """Who is copied how often.

    Raises InputFault where all outcomes are alike, for a patient in both parts, and where there are copies already.
    """
    mend = "give each patient one `split` in cases.csv"
    require_disjoint(cohort.part("train"), cohort.part("test"), f"{cohort.root}: train and test", mend)
    outcomes = outcomes_of(rule, cohort.cases)
    require_both(rule, outcomes, "images", "choose another threshold or column")
    cohort = _with_patients(cohort, outcomes, progress)
    parts: list[BalancedPart] = []
    copies: dict[str, list[Case]] = {}
    for part in PARTS:
        cases = cohort.part(part)
        positive, negative = ([case for case in cases if outcomes.get(case.name) == kind] for kind in (1, 0))
        added = _copies(positive, negative, seed)
        for copy in added:
            copies.setdefault(copy.columns[COPY_OF], []).append(copy)
        unknown = len(cases) - len(positive) - len(negative)
        parts.append(BalancedPart(part, len(positive), len(negative), unknown, len(added)))
    _require_originals(cohort, {copy.name for added in copies.values() for copy in added})
    balancing = Balancing(rule, seed, AUGMENTATION, tuple(parts))
    return Plan(cohort, balancing, copies, _remarks(cohort, balancing))


def _with_patients(cohort: Cohort, outcomes: Mapping[str, float], progress: Progress) -> Cohort:
    """The cohort in which near-duplicates are one patient, where patients are not known.

    Those that have both outcomes stay apart, since a patient has one.
    """
    if cohort.patients_known:
        return cohort
    groups: dict[str, str] = {}
    with progress(f"looking for near-duplicates in {cohort.name}", len(cohort.cases)) as advance:
        for part in PARTS:
            groups.update(group_near_duplicates(cohort.part(part), advance))
    both = {groups[name] for name in outcomes if outcomes[name] == 1.0}
    both &= {groups[name] for name in outcomes if outcomes[name] == 0.0}
    patients = {name: name if group in both else group for name, group in groups.items()}
    return replace(cohort, cases=tuple(replace(case, patient=patients[case.name]) for case in cohort.cases))


def _copies(positive: Sequence[Case], negative: Sequence[Case], seed: int) -> tuple[Case, ...]:
    """Copies of the rarer side's cases, in turn, until both sides are equally many; none where a side is empty."""
    rarer, others = sorted((positive, negative), key=len)
    turns = _in_turn(rarer, seed)
    missing = len(others) - len(rarer) if rarer else 0
    return tuple(_copy(turns[place % len(turns)], 1 + place // len(turns)) for place in range(missing))


def _in_turn(cases: Sequence[Case], seed: int) -> list[Case]:
    """The cases in an order that the seed draws, one of each patient before the second of any."""
    earlier: Counter[str] = Counter()
    turns: list[tuple[int, Case]] = []
    for case in sorted(cases, key=lambda case: drawn_number(seed, case.name)):
        turns.append((earlier[case.patient], case))
        earlier[case.patient] += 1
    return [case for _, case in sorted(turns, key=lambda turn: turn[0])]


def _copy(case: Case, number: int) -> Case:
    return replace(case, name=f"{case.name}_copy{number:02d}", columns={**case.columns, COPY_OF: case.name})


def drawn_number(seed: int, name: str) -> int:
    """A number below 2**63 that is drawn for a name."""
    return int.from_bytes(hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=8).digest()) >> 1


def _require_originals(cohort: Cohort, copies: set[str]) -> None:
    """Raise InputFault for a folder that holds copies, or cases that are called like one."""
    given = next((case.name for case in cohort.cases if case.name in copies or COPY_OF in case.columns), None)
    if given is not None:
        raise InputFault(
            f"{cohort.root}: holds copies already (case {given}, or the column {COPY_OF}); give the original folder"
        )


def _remarks(cohort: Cohort, balancing: Balancing) -> tuple[str, ...]:
    """What a user should know, a line each; first what was done to each part, last what to beware of."""
    done = [f"{part.part}: {_done(part, balancing.outcome)}" for part in balancing.parts if _is_uneven(part)]
    copied = [part.part for part in balancing.parts if part.copies]
    beware: list[str] = []
    if copied and not cohort.patients_known:
        beware.append(
            "no patients are known, so that an image counts as one, with its copies and its near-duplicates; name "
            "patients in cases.csv if there are any"
        )
    if copied and any("pixel_mm" in case.columns for case in cohort.cases):
        beware.append(
            f"a copy is zoomed by up to {2**balancing.augmentation.scale - 1:.0%}, but its pixel_mm is its original's; "
            "measure originals alone"
        )
    if copied:
        beware.append(
            "WARNING: only images of one outcome are copied in a part, and a network may know them by what "
            "augmentation leaves (dark corners, noise); score it on the original folder"
        )
    if "test" in copied:
        beware.append(
            "WARNING: the test part now holds copies: n counts copies and not patients, and precision is that of a "
            "prevalence of one half; take figures of record from the original folder"
        )
    return tuple(f"{cohort.root}: {remark}" for remark in (*done, *beware))


def _is_uneven(part: BalancedPart) -> bool:
    """Whether a part had something to balance, or lacks what it takes."""
    return part.positive != part.negative or (part.positive == 0 and part.unknown > 0)


def _done(part: BalancedPart, rule: OutcomeRule) -> str:
    fewer, more = sorted((part.positive, part.negative))
    if part.copies:
        rarer = f"{fewer} of {fewer + more} images have {rule} = {int(part.positive < part.negative)}"
        return f"{rarer}; {part.copies} copies of them make both outcomes {more} images"
    all_alike = f"all {more} images with an outcome have {rule} = {int(part.positive > 0)}"
    return f"{all_alike if more else 'no image has an outcome'}; the part stays as it is"
