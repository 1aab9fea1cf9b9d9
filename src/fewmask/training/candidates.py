"""Candidates for the choice of a checkpoint: a stage's networks at every validation step, and what each rule says."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from fewmask.errors import InputFault
from fewmask.files import write_csv
from fewmask.training.rules import RULES, RuleScores

FOLDER, TABLE = "candidates", "candidates.csv"

CANDIDATE_RULE = "kept as a candidate, chosen by no rule"
"""Stands in a candidate's file, and in the manifest of masks that it drew."""


@dataclass(frozen=True)
class Candidate:
    """Networks as they were after `step` steps, and the scores that the rules gave to them then."""

    step: int
    path: Path
    scores: RuleScores

    @property
    def name(self) -> str:
        """What `--checkpoint` calls it."""
        return candidate_name(self.step)


def candidate_name(step: int) -> str:
    """The name of the candidate of a step.

    >>> candidate_name(100)
    'step_000100'
    """
    return f"step_{step:06d}"


def candidate_step(name: str) -> int | None:
    """The step that a candidate's name tells, or None where it is no such name.

    >>> candidate_step("step_000100"), candidate_step("step_100"), candidate_step("latest")
    (100, 100, None)
    """
    found = re.fullmatch(r"step_(\d+)", name)
    return int(found[1]) if found else None


class Candidates:
    """The candidates in one stage's folder: `candidates/step_000100.pt`, and their scores in `candidates.csv`."""

    def __init__(self, stage_folder: Path) -> None:
        self.folder = stage_folder / FOLDER
        self.table = self.folder / TABLE

    def path(self, step: int) -> Path:
        """Where the networks of a step lie."""
        return self.folder / f"{candidate_name(step)}.pt"

    def read(self) -> tuple[Candidate, ...]:
        """All candidates whose scores are noted, the earliest first. Raises InputFault for a damaged table."""
        if not self.table.exists():
            return ()
        with self.table.open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        try:
            found = [_candidate(line, self) for line in lines]
        except (KeyError, TypeError, ValueError):
            raise InputFault(f"{self.table}: is damaged; train into another --out, or restore it") from None
        return tuple(sorted(found, key=lambda candidate: candidate.step))

    def note(self, step: int, scores: RuleScores) -> None:
        """Write the scores of a step whose networks are written already; an earlier line of the step is replaced."""
        others = [candidate for candidate in self.read() if candidate.step != step]
        self._write([*others, Candidate(step, self.path(step), scores)])

    def forget_after(self, step: int) -> None:
        """Remove what lies beyond a step: a run that goes on from there writes it again."""
        if not self.folder.exists():
            return
        kept = [candidate for candidate in self.read() if candidate.step <= step]
        if self.table.exists():
            self._write(kept)
        for path in self.folder.glob("step_*.pt"):
            of_path = candidate_step(path.stem)
            if of_path is not None and of_path > step:
                path.unlink()

    def _write(self, candidates: list[Candidate]) -> None:
        in_order = sorted(candidates, key=lambda each: each.step)
        lines = ((each.step, *(getattr(each.scores, rule) for rule in RULES)) for each in in_order)
        write_csv(self.table, ("step", *RULES), lines)


def _candidate(line: dict[str, str], candidates: Candidates) -> Candidate:
    step = int(line["step"])
    scores = RuleScores(*(float(line[rule]) if line.get(rule) else None for rule in RULES))
    return Candidate(step, candidates.path(step), scores)
