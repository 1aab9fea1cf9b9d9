"""The tags that a run learns: read from the table of its tagged cohort, and kept with the run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fewmask.config import STRICT, from_mapping, to_mapping
from fewmask.data.case import Case
from fewmask.data.preparation import Preparation
from fewmask.data.slice_tags import SliceTags, slice_tags
from fewmask.data.split import Split
from fewmask.data.store import SliceStore
from fewmask.errors import InputFault
from fewmask.files import read_json, write_json
from fewmask.training.run import Run

FILE = "learnt_tags.json"


@dataclass(frozen=True)
class LearntTags:
    """What the tag is called, and for each case of the run the tags of its slices in their prepared order."""

    __pydantic_config__: ClassVar[Any] = STRICT

    tag: str
    by_case: Mapping[str, SliceTags]

    def at(self, store: SliceStore, rows: np.ndarray) -> tuple[float | None, ...]:
        """The tag of each row of a store."""
        first = dict(zip(store.cases, store.first_row, strict=True))
        return tuple(
            self.by_case[case][int(row) - first[case]]
            for case, row in zip(store.cases_at(rows), rows, strict=True)
        )

    def prevalence(self, split: Split) -> float:
        """The share of tagged training slices that show the object."""
        tags = self._known(split.train)
        return sum(tags) / len(tags)

    def require_both(self, split: Split) -> None:
        """Raise InputFault where all training slices are tagged alike."""
        tags = self._known(split.train)
        if sum(tags) in (0, len(tags)):
            alike = "all show" if sum(tags) else "none shows"
            raise InputFault(
                f"{split.cohort}: of {len(tags)} tagged training slices {alike} {self.tag}; a classifier needs "
                "both, add slices of the other kind to slices.csv"
            )

    def _known(self, cases: tuple[str, ...]) -> list[float]:
        return [tag for case in cases for tag in self.by_case.get(case, ()) if tag is not None]


def learnt_tags(tag: str, cases: tuple[Case, ...], preparation: Preparation) -> LearntTags:
    """The tags of the cases that a run prepares."""
    return LearntTags(tag, {case.name: slice_tags(case, tag, preparation) for case in cases})


def keep_tags(run: Run, learnt: LearntTags | None, split: Split | None, tell: Callable[[str], None]) -> None:
    """Write the tags into the run folder. Raises InputFault where a run that goes on began with others."""
    if learnt is None or split is None:
        return
    learnt.require_both(split)
    if run.material.exists() and kept_tags(run) != learnt:
        raise InputFault(
            f"{learnt.tag}: the tags in slices.csv have changed since the run began; train into another --out"
        )
    write_json(run.folder / FILE, to_mapping(learnt))
    tell(f"tags: {learnt.prevalence(split):.0%} of the tagged training slices show {learnt.tag}")


def kept_tags(run: Run) -> LearntTags | None:
    """What a run learns, or None where it learns no tag."""
    path = run.folder / FILE
    return from_mapping(LearntTags, read_json(path), str(path)) if path.exists() else None
