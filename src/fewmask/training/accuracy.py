"""What a run knows of its own accuracy: from signs that need no true mask to an expected Dice with its interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from fewmask.config import STRICT, from_mapping, to_mapping
from fewmask.files import read_json, write_json
from fewmask.metrics.agreement import ByClass, size_fit
from fewmask.metrics.monotone import Margins, RisingCurve
from fewmask.training.drawings import Signs
from fewmask.training.run import Run

FILE = "accuracy.json"

Sign = Literal["agreement", "certainty", "size"]


@dataclass(frozen=True)
class Fit:
    """How well estimates did on held-out patients of whom the curve knew nothing; `pairs` were compared.

    `mean_absolute_error` is in Dice; `rank_correlation` is None where all were alike.
    """

    pairs: int
    mean_absolute_error: float
    rank_correlation: float | None


@dataclass(frozen=True)
class ClassAccuracy:
    """What the signs of one class are worth.

    `in_every_case` says whether every held-out case has the class. `usual_share` is the least and the greatest part of
    an image that it takes in a training mask. `lowest` and `highest` are the signs that the curve was made from: beyond
    them it is a guess. `margins` belong to estimates. `fit` is None where no held-out patients could teach a curve: the
    class is then expected to be drawn wrongly.
    """

    name: str
    in_every_case: bool
    usual_share: tuple[float, float]
    lowest: float
    highest: float
    curve: RisingCurve
    margins: Margins
    fit: Fit | None


@dataclass(frozen=True)
class Accuracy:
    """How a run's estimates are made: `signs` are multiplied, and each class's curve makes a Dice of their product.

    `confidence` is the share of true values that the intervals should hold. `images` says what was segmented to learn
    it: `cases` of `patients`, in `copies` altogether of which most are degraded. `margins` and `fit` are those of a
    case's mean over its classes.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    signs: tuple[Sign, ...]
    confidence: float
    images: str
    patients: int
    cases: int
    copies: int
    classes: tuple[ClassAccuracy, ...]
    margins: Margins
    fit: Fit


@dataclass(frozen=True)
class NotEstimated:
    """Why a run can say nothing of its accuracy."""

    __pydantic_config__: ClassVar[Any] = STRICT

    not_estimated: str


class Estimated(NamedTuple):
    """An expected Dice and its interval, each in [0, 1]; None where nothing was drawn and that may be right."""

    dice: float | None
    low: float | None
    high: float | None


UNKNOWN, MISSED = Estimated(None, None, None), Estimated(0.0, 0.0, 0.0)


def product_of(signs: Sequence[Sign], seen: Signs, low: ByClass, high: ByClass) -> ByClass:
    """The sign that counts; NaN where nothing was drawn. `low` and `high` are each class's usual shares."""
    values: dict[Sign, ByClass] = {
        "agreement": seen.agreement,
        "certainty": seen.certainty,
        "size": size_fit(seen.share, low, high),
    }
    return np.prod([values[sign] for sign in signs], axis=0)


def estimated(accuracy: Accuracy, seen: Signs) -> tuple[tuple[Estimated, ...], Estimated]:
    """The estimate of each class of a case, and that of its mean over the classes that have one.

    A class that was not drawn and that every held-out case has is expected to be missed: Dice 0.
    """
    low, high = np.array([entry.usual_share for entry in accuracy.classes]).T
    signs = product_of(accuracy.signs, seen, low, high)
    classes = tuple(_of_class(entry, sign) for entry, sign in zip(accuracy.classes, signs, strict=True))
    if len(classes) == 1:
        return classes, classes[0]
    known = [entry.dice for entry in classes if entry.dice is not None]
    if not known:
        return classes, UNKNOWN
    # Where nothing at all was drawn there is nothing to be unsure of.
    drawn = np.isfinite(signs).any()
    return classes, _with_margin(float(np.mean(known)), accuracy.margins) if drawn else MISSED


def _of_class(entry: ClassAccuracy, sign: float) -> Estimated:
    if np.isnan(sign):
        return MISSED if entry.in_every_case else UNKNOWN
    return _with_margin(float(entry.curve.of(np.array([sign]))[0]), entry.margins)


def _with_margin(dice: float, margins: Margins) -> Estimated:
    margin = float(margins.at(np.array([dice]))[0])
    return Estimated(dice, max(0.0, dice - margin), min(1.0, dice + margin))


def keep_accuracy(run: Run, accuracy: Accuracy | NotEstimated) -> None:
    """Write what a run knows of its accuracy, or why it knows nothing, into its folder."""
    write_json(run.folder / FILE, to_mapping(accuracy))


def kept_accuracy(run: Run) -> Accuracy | NotEstimated:
    """What a run knows of its accuracy, or why it knows nothing. Raises InputFault for a damaged file."""
    path = run.folder / FILE
    if not path.exists():
        again = "run the same `train` again" if run.finished() else "the run has not finished"
        return NotEstimated(f"the run has no {FILE}; {again}")
    content = read_json(path)
    kind = NotEstimated if "not_estimated" in content else Accuracy
    return from_mapping(kind, content, str(path))
