"""One measure of every test case, seed by seed, so that two rows can be compared patient by patient."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fewmask.metrics.paired import PairedTest, paired_test


class SeedCases(NamedTuple):
    """One seed's cases, whose each is, and what each scored in [0, 1]; NaN where it was rightly left empty."""

    cases: Sequence[str]
    patients: Sequence[str]
    values: NDArray[np.float64]


@dataclass(frozen=True)
class PerCase:
    """What a row scored, (seeds, cases) in [0, 1]; NaN where a case was rightly left empty, as are those not named."""

    seeds: tuple[int, ...]
    patients: dict[str, str]
    values: NDArray[np.float64]

    def mean(self) -> dict[str, float]:
        """Each case's mean over the seeds that scored it."""
        scored = np.isfinite(self.values)
        sums, counts = np.where(scored, self.values, 0.0).sum(axis=0), scored.sum(axis=0)
        return {
            case: float(total / count)
            for case, total, count in zip(self.patients, sums, counts, strict=True)
            if count
        }


class Compared(NamedTuple):
    """A paired test, None for fewer than two patients, and how many seeds both rows have."""

    test: PairedTest | None
    seeds: int


def per_case(seeds: tuple[int, ...], scored: Sequence[SeedCases]) -> PerCase:
    """The cases of several seeds side by side."""
    patients = {
        case: patient for one in scored for case, patient in zip(one.cases, one.patients, strict=True)
    }
    place = {case: index for index, case in enumerate(patients)}
    values = np.full((len(seeds), len(patients)), np.nan)
    for row, one in zip(values, scored, strict=True):
        row[[place[case] for case in one.cases]] = one.values
    return PerCase(seeds, patients, values)


def compared(one: PerCase, other: PerCase) -> Compared:
    """`one` against `other` over the seeds that both have and the patients that either scores."""
    seeds = [seed for seed in one.seeds if seed in other.seeds]
    patients = one.patients | other.patients
    if not seeds:
        return Compared(None, 0)
    first, second = (_values(row, seeds, tuple(patients)) for row in (one, other))
    return Compared(paired_test(first, second, tuple(patients.values())), len(seeds))


def _values(row: PerCase, seeds: Sequence[int], cases: Sequence[str]) -> NDArray[np.float64]:
    place = {case: index for index, case in enumerate(row.patients)}
    values = np.full((len(seeds), len(cases)), np.nan)
    named = [index for index, case in enumerate(cases) if case in place]
    own = row.values[[row.seeds.index(seed) for seed in seeds]]
    values[:, named] = own[:, [place[cases[index]] for index in named]]
    return values
