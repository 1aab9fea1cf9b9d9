"""What not looking costs: the checkpoint that each rule would take, beside the one that the target's masks would.

ORACLE: this opens the target's test masks and scores every candidate on them. It is made to judge the rules when the
training is over; nothing here is given back to a run.
"""

import csv
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from fewmask.console import Progress, silent
from fewmask.errors import InputFault
from fewmask.evaluation.compare import ORACLE
from fewmask.evaluation.evaluate import mean_dice
from fewmask.evaluation.segment import segment
from fewmask.files import write_csv, write_text
from fewmask.metrics.monotone import rank_correlation
from fewmask.training.candidates import Candidate
from fewmask.training.rescore import rescore
from fewmask.training.rules import RULES
from fewmask.training.run import Run

TABLE, PAGE, SCORED = "choices.csv", "choices.md", "candidates.csv"

LAST = "last"

WORDS = {
    LAST: "the last step",
    "validation": "Dice on held-out source patients",
    "information": "information on bare target images",
    "agreement": "agreement of two heads on bare target images",
    "density": "soft neighbourhood density on bare target images",
    "cycle": "masks before and after a translation there and back, on bare target images",
    "ensemble": "masks from several perspectives, on bare target images",
    ORACLE: "best Dice on the target's test masks",
}


@dataclass(frozen=True)
class Choice:
    """What one rule takes: its step, and the mean foreground Dice of that step on the target's test cases, in [0, 1].

    `score` is what the rule looked at: the step itself for "last", the Dice for the oracle. `regret` is the oracle's
    Dice less this one. `correlation` is Spearman's between the rule's score and the true Dice over all candidates,
    in [-1, 1]; None for the oracle, for fewer than three candidates, and where one of both never changes.
    """

    rule: str
    step: int
    score: float
    dice: float
    regret: float
    correlation: float | None


@dataclass(frozen=True)
class ScoredCandidate:
    """A candidate and its mean foreground Dice on the target's test cases: over classes, then over cases."""

    candidate: Candidate
    dice: float


def compare_choices(
    run: Path,
    truth: Path,
    out: Path,
    *,
    channel: str | None = None,
    cache: Path | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> tuple[Choice, ...]:
    """Segment and score every candidate of a run's last stage on the test masks of the dataset folder `truth`.

    Rules that the run was not asked for are asked now, of the bare training images of its target, or of `truth` where
    it has none. Writes into `out`: `choices.csv` and `choices.md` (a row a rule, ORACLE last), `candidates.csv` (one a
    candidate), and each candidate's masks in a folder of its own. A rule that has no scores has no row.
    Raises InputFault for a run that is not finished or kept no candidates, and for masks that `evaluate` refuses.
    """
    candidates = rescore(Run(run), truth, cache=cache, device=device)
    scored: list[ScoredCandidate] = []
    with progress("scoring candidates", len(candidates)) as done:
        for candidate in candidates:
            scored.append(_scored(run, candidate, truth, out / candidate.name, channel, device))
            done()
    choices = choices_of(scored)
    write_csv(out / TABLE, [field.name for field in fields(Choice)], [astuple(choice) for choice in choices])
    rows = [_candidate_cells(each, repr) for each in scored]
    write_csv(out / SCORED, ["step", *RULES, f"{ORACLE} dice"], rows)
    write_text(out / PAGE, _page(choices, scored))
    return choices


def _scored(
    run: Path, candidate: Candidate, truth: Path, out: Path, channel: str | None, device: str
) -> ScoredCandidate:
    masks = out / "predictions"
    segment(run, truth, masks, which=candidate.name, channel=channel, device=device)
    dice = mean_dice(masks, truth)
    if dice is None:
        raise InputFault(f"{truth}: no test case has a structure, nor has one been drawn; choose other masks")
    return ScoredCandidate(candidate, dice)


def choices_of(scored: Sequence[ScoredCandidate]) -> tuple[Choice, ...]:
    """What each rule takes of the scored candidates, the oracle last; of equals the earliest, as a run does."""
    truth = [each.dice for each in scored]
    found = [_choice(LAST, [float(each.candidate.step) for each in scored], scored)]
    for rule in RULES:
        scores = [getattr(each.candidate.scores, rule) for each in scored]
        if None not in scores:
            found.append(_choice(rule, scores, scored))
    return (*found, _choice(ORACLE, truth, scored))


def _choice(rule: str, scores: Sequence[float], scored: Sequence[ScoredCandidate]) -> Choice:
    place = int(np.argmax(scores))
    truth = [each.dice for each in scored]
    return Choice(
        rule=rule,
        step=scored[place].candidate.step,
        score=scores[place],
        dice=truth[place],
        regret=max(truth) - truth[place],
        correlation=None if rule == ORACLE else rank_correlation(scores, truth),
    )


def read_choices(out: Path) -> tuple[Choice, ...]:
    """What `compare_choices` wrote into a folder. Raises InputFault where it is missing or damaged."""
    path = out / TABLE
    if not path.exists():
        raise InputFault(f"{path}: no such file; compare the run's choices first")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return tuple(_read(line) for line in csv.DictReader(file))
    except (KeyError, TypeError, ValueError):
        raise InputFault(f"{path}: is damaged; compare the run's choices again") from None


def _read(line: dict[str, str]) -> Choice:
    return Choice(
        rule=line["rule"],
        step=int(line["step"]),
        score=float(line["score"]),
        dice=float(line["dice"]),
        regret=float(line["regret"]),
        correlation=float(line["correlation"]) if line["correlation"] else None,
    )


def _candidate_cells(each: ScoredCandidate, text: Callable[[float], str]) -> list[str]:
    values = [*(getattr(each.candidate.scores, rule) for rule in RULES), each.dice]
    return [str(each.candidate.step), *("" if value is None else text(value) for value in values)]


def _page(choices: Sequence[Choice], scored: Sequence[ScoredCandidate]) -> str:
    """The choices, and the candidates behind them, as Markdown."""
    known = {choice.rule for choice in choices}
    silent_rules = [rule for rule in RULES if rule not in known]
    lines = [
        f"**{ORACLE}**: this page was made with the target's test masks. It judges the rules that choose a "
        "checkpoint; no number on it may choose one.",
        "",
        "| rule | looks at | step | mean Dice | regret | rank correlation |",
        "|---|---|---|---|---|---|",
        *(_line(choice) for choice in choices),
        "",
        "Mean Dice: over the foreground classes of a test case, then over the test cases. Regret: the oracle's Dice "
        f"less the rule's. Rank correlation: Spearman's, of the rule's score with the true Dice over {len(scored)} "
        "candidates; - where it is not defined.",
    ]
    if silent_rules:
        lines.append(f"Not possible in this run: {', '.join(silent_rules)}.")
    lines += [
        "",
        f"| step | {' | '.join(RULES)} | {ORACLE} Dice |",
        f"|{'---|' * (len(RULES) + 2)}",
        *(f"| {' | '.join(_candidate_cells(each, lambda value: f'{value:.4f}'))} |" for each in scored),
    ]
    return "\n".join(lines) + "\n"


def _line(choice: Choice) -> str:
    correlation = "-" if choice.correlation is None else f"{choice.correlation:.2f}"
    cells = (
        choice.rule,
        WORDS[choice.rule],
        str(choice.step),
        f"{choice.dice:.4f}",
        f"{choice.regret:.4f}",
        correlation,
    )
    return f"| {' | '.join(cells)} |"
