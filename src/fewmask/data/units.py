"""What is kept together when patients are divided, and the order in which it is drawn.

The order is drawn by a hash of a key and the patient's name, so it depends on neither the order of the files nor a
library's random numbers, and one added patient moves few of the others.
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fewmask.data.case import Case, Cohort


def _rank(key: str, unit: str) -> bytes:
    return hashlib.blake2b(f"{key}\0{unit}".encode(), digest_size=16).digest()


@dataclass(frozen=True)
class Unit:
    """What is kept together: a patient, a group of near-duplicates, or a single image.

    A patient seen at several sites counts for the first of them by name, and for the highest outcome; `outcome` is None
    where the run learns none.
    """

    name: str
    site: str
    outcome: float | None
    cases: tuple[str, ...]

    @property
    def stratum(self) -> str:
        """What is held out in proportion."""
        return self.site if self.outcome is None else f"{self.site}\0{self.outcome}"


def units_of(
    cohort: Cohort,
    cases: Iterable[Case],
    unit: str,
    groups: Mapping[str, str] | None,
    outcomes: Mapping[str, float],
) -> tuple[Unit, ...]:
    """The units of some cases, by name; `groups` are those of near-duplicates, used where patients are not known."""
    members: dict[str, list[Case]] = defaultdict(list)
    grouped = groups if groups and not cohort.patients_known else {}
    for case in cases:
        members[case.name if unit == "image" else grouped.get(case.name, case.patient)].append(case)
    return tuple(_unit(name, members[name], outcomes) for name in sorted(members))


def _unit(name: str, cases: Sequence[Case], outcomes: Mapping[str, float]) -> Unit:
    site = min(case.site or "" for case in cases)
    outcome = max(outcomes.get(case.name, 0.0) for case in cases) if outcomes else None
    return Unit(name, site, outcome, tuple(case.name for case in cases))


def named_units(
    cohort: Cohort,
    names: Iterable[str],
    unit: str,
    groups: Mapping[str, str] | None,
    outcomes: Mapping[str, float],
) -> tuple[Unit, ...]:
    """The units of the named cases."""
    wanted = set(names)
    return units_of(cohort, (case for case in cohort.cases if case.name in wanted), unit, groups, outcomes)


def in_order(units: Sequence[Unit], key: str) -> list[Unit]:
    """The units in a row, drawn by `key`, whose every beginning has outcomes and sites in about their proportion."""
    strata: dict[float | None, dict[str, list[Unit]]] = defaultdict(lambda: defaultdict(list))
    for unit in sorted(units, key=lambda unit: _rank(key, unit.name)):
        strata[unit.outcome][unit.site].append(unit)
    outcomes = sorted(strata, key=lambda outcome: -(outcome or 0.0))
    by_outcome = [
        _in_turn(
            [strata[outcome][site] for site in sorted(strata[outcome], key=lambda site: _rank(key, site))],
            0.5,
        )
        for outcome in outcomes
    ]
    return _in_turn(by_outcome, 0.0)


def _in_turn(groups: Sequence[Sequence[Unit]], start: float) -> list[Unit]:
    """The members of all groups, each at its share of its own group; with a `start` of 0 one of each comes first."""
    placed = [
        ((place + start) / len(group), number, unit)
        for number, group in enumerate(groups)
        for place, unit in enumerate(group)
    ]
    return [unit for _, _, unit in sorted(placed, key=lambda entry: entry[:2])]


def choose(units: Sequence[Unit], share: float, key: str) -> tuple[frozenset[str], bool]:
    """The cases of a share of the units, each stratum in proportion, and whether there are several.

    At least one unit is chosen and at least one left. Places go round by largest remainder, so the total is
    that of an unstratified draw.
    """
    strata: dict[str, list[Unit]] = defaultdict(list)
    for unit in sorted(units, key=lambda unit: _rank(key, unit.name)):
        strata[unit.stratum].append(unit)
    total = min(max(math.floor(share * len(units) + 0.5), 1), len(units) - 1)
    exact = {stratum: total * len(members) / len(units) for stratum, members in strata.items()}
    places = {stratum: math.floor(number + 1e-9) for stratum, number in exact.items()}
    late = sorted(strata, key=lambda stratum: (places[stratum] - exact[stratum], _rank(key, stratum)))
    for stratum in late[: total - sum(places.values())]:
        places[stratum] += 1
    chosen = (unit for stratum, members in strata.items() for unit in members[: places[stratum]])
    return frozenset(name for unit in chosen for name in unit.cases), len(strata) > 1
