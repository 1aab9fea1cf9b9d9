"""The report's section on estimated accuracy: which cases to look at first, and whether it may be believed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fewmask.evaluation.accuracy_check import Checked, Pair, checked, pairs_of
from fewmask.evaluation.compare import case_dice
from fewmask.evaluation.estimated_dice import Estimate, Ranked, read_estimates
from fewmask.evaluation.naming import Names
from fewmask.evaluation.run_record import PREDICTIONS, RunRecord
from fewmask.training.accuracy import Accuracy, NotEstimated, Sign, kept_accuracy
from fewmask.training.run import Run

MOST = 40
"""So many cases are listed; all of them are in the table beside the masks."""

TOO_FEW_INSIDE, TOO_HIGH = 0.1, 0.1
"""Estimates are called out where the intervals hold so much less than they should, or flatter by so much Dice."""

_SIGNS: dict[Sign, str] = {
    "agreement": "how alike its masks stay when it sees an image turned a little, enlarged, shrunk or re-lit",
    "certainty": "how certain it is of their pixels",
    "size": "how usual their size is",
}


@dataclass(frozen=True)
class Line:
    """A case in the order to look. `low`, `middle` and `high` are per cent of the bar; None where nothing is known."""

    place: int
    name: str
    estimate: str
    low: float | None
    middle: float | None
    high: float | None
    true: str
    true_at: float | None


@dataclass(frozen=True)
class Dot:
    """A case in the chart of true over estimated Dice, both in [0, 1]."""

    estimated: float
    true: float
    inside: bool


@dataclass(frozen=True)
class AccuracySection:
    """What the template shows. `check` is "" where no case has a score; `tone` is "good" or "doubt"."""

    how: str
    learnt: str
    lines: tuple[Line, ...]
    cases: int
    unknown: int
    confidence: int
    check: str
    tone: str
    dots: tuple[Dot, ...]


def accuracy_section(record: RunRecord, names: Names) -> AccuracySection | None:
    """The section about the masks in the run's `predictions` folder; None where nothing was estimated."""
    ranked = read_estimates(record.folder / PREDICTIONS)
    accuracy = kept_accuracy(Run(record.folder))
    if not ranked or isinstance(accuracy, NotEstimated):
        return None
    true = case_dice(record.scores) if record.scores is not None else {}
    pairs = pairs_of([entry.estimate for entry in ranked], true)
    found = checked(pairs)
    return AccuracySection(
        how=_how(accuracy),
        learnt=_learnt(accuracy),
        lines=tuple(_line(entry, true, names) for entry in ranked[:MOST]),
        cases=len(ranked),
        unknown=sum(entry.estimate.dice is None for entry in ranked),
        confidence=round(100 * accuracy.confidence),
        check=_check(found, accuracy),
        tone=_tone(found, accuracy),
        dots=_dots(pairs),
    )


def _how(accuracy: Accuracy) -> str:
    signs = [_SIGNS[sign] for sign in accuracy.signs]
    return "; and by ".join(signs)


def _learnt(accuracy: Accuracy) -> str:
    fit = accuracy.fit
    order = "" if fit.rank_correlation is None else f", rank correlation {fit.rank_correlation:.2f}"
    return (
        f"{accuracy.images}: {accuracy.cases} cases of {accuracy.patients} patients, {accuracy.copies} copies; there, "
        f"patient against patient, the mean absolute error is {fit.mean_absolute_error:.3f}{order}"
    )


def _line(entry: Ranked, true: Mapping[str, float | None], names: Names) -> Line:
    whole, dice = entry.estimate, true.get(entry.estimate.case)
    low, middle, high = (
        None if value is None else 100 * value for value in (whole.low, whole.dice, whole.high)
    )
    return Line(
        entry.look_first,
        _name(whole, entry.look_first, names),
        _in_words(whole),
        low,
        middle,
        high,
        "–" if dice is None else f"{dice:.2f}",
        None if dice is None else 100 * dice,
    )


def _name(whole: Estimate, place: int, names: Names) -> str:
    """As elsewhere on the page; a case that was not scored has no number there, and gets its place in this table."""
    return f"image {place}" if names.pseudonyms and whole.case not in names.cases else names.case(whole.case)


def _in_words(whole: Estimate) -> str:
    if whole.dice is None or whole.low is None or whole.high is None:
        return "unknown: nothing was drawn, which may be right"
    if whole.agreement is None:
        return "0: nothing was drawn"
    return f"{whole.dice:.2f} [{whole.low:.2f}, {whole.high:.2f}]"


def _check(found: Checked, accuracy: Accuracy) -> str:
    if found.mae is None or found.bias is None or found.inside is None:
        return ""
    order = "cannot be told" if found.spearman is None else f"is {found.spearman:.2f}"
    lean = "too high" if found.bias > 0 else "too low"
    return (
        f"Held against the true masks of {found.n} cases: the rank correlation {order} (1 is the right order), the "
        f"mean absolute error is {found.mae:.3f}, estimates are {abs(found.bias):.3f} {lean} on average, and "
        f"{100 * found.inside:.0f} % of the true values lie inside their intervals, where "
        f"{100 * accuracy.confidence:.0f} % should."
    )


def _tone(found: Checked, accuracy: Accuracy) -> str:
    if found.inside is None or found.bias is None:
        return "doubt"
    narrow = found.inside < accuracy.confidence - TOO_FEW_INSIDE
    return "doubt" if narrow or found.bias > TOO_HIGH else "good"


def _dots(pairs: Sequence[Pair]) -> tuple[Dot, ...]:
    return tuple(Dot(pair.estimated, pair.true, pair.inside) for pair in pairs)
