"""What `segment` leaves beside the masks about its translations, and how `report` reads it again."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewmask.config import to_mapping
from fewmask.errors import InputFault
from fewmask.evaluation import safety
from fewmask.evaluation.safety import CaseSafety
from fewmask.files import read_json, write_csv, write_json
from fewmask.metrics import class_shares
from fewmask.metrics.class_shares import UsualClasses

TRANSLATIONS, ATTENTION, UNTRANSLATED = "translations", "attention", "untranslated"
FOLDERS = (TRANSLATIONS, ATTENTION, UNTRANSLATED)
"""Of pictures, one a case: the image as it was segmented, where it was re-drawn, and its mask without a re-drawing."""

TABLE, SUMMARY = "safety.csv", "safety.json"

_NUMBERS = ("agreement", "dice", "change_unattended", "change_kept_classes", "saliency_rank_change")
COLUMNS = ("case", *_NUMBERS, "swapped", "swapped_by", "suspicious_for")
"""Several entries of one cell are joined by `;`. An empty cell is a measure that cannot be taken, or no sign."""

DEFINITIONS = {
    "agreement": "share of pixels with the same class in the segmentation of the translated and of the untranslated "
    "image; low where the translation changed the masks, for better or worse, so it raises no suspicion by itself",
    "dice": "mean overlap of these two segmentations over foreground classes; a class that neither has is left out",
    "change_unattended": "mean absolute change, in shares of the range [0, 1], where the attention is at most its "
    "threshold; empty without an attention, or where that is less than 1 % of the image",
    "change_kept_classes": "the same inside the classes that shall not be re-drawn, as segmented after the "
    "translation; empty where all classes may be re-drawn",
    "saliency_rank_change": "1 minus Spearman's rank correlation of frequency-tuned saliency before and after, over "
    "pixels (of a volume: the mean over slices); 0 is the same order, 1 none in common, 2 the reverse",
    "swapped": "pairs of classes that seem to have changed places",
    "swapped_by": "area, border: both take shares of the image, or of its border, that are unusual for them in the "
    "source's masks and usual for each other; regions: most of the large connected regions of the one are the other "
    "after the translation, and the reverse, unless the shares became usual by it; colours: the untranslated image "
    "tells the two apart less than half as surely as any of the source's images does, so the one may have been "
    "painted over the other",
    "grid": "all measures are taken on the prepared image that the networks see, without its padding; those of a "
    "volume over all its slices",
    "screen": "no true mask is used: a wrong translation may pass, and a right one of an unusual image may be named",
}


@dataclass(frozen=True)
class Screened:
    """Everything that is written about one run's translations. `usual` is None where the source's are not known."""

    cases: tuple[CaseSafety, ...]
    classes: tuple[str, ...]
    kept_classes: tuple[int, ...]
    attention_threshold: float | None
    usual: UsualClasses | None
    checkpoint: Any


@dataclass(frozen=True)
class SafetyRecord:
    """What a report shows: the verdict, and the measures of each case in the order of the images."""

    verdict: str
    cases: tuple[CaseSafety, ...]


def forget(out: Path) -> None:
    """Remove what an earlier run left about its translations: it must not stand beside the masks of another."""
    for name in (SUMMARY, TABLE):
        (out / name).unlink(missing_ok=True)
    for folder in FOLDERS:
        for picture in (out / folder).glob("*.png"):
            picture.unlink()


def write_safety(out: Path, screened: Screened) -> None:
    """Write `safety.csv` and `safety.json`; the second, written last, says that both are whole."""
    lines = (
        (
            case.case,
            *(getattr(case, name) for name in _NUMBERS),
            *(";".join(entries) for entries in (case.swapped, case.swapped_by, case.reasons)),
        )
        for case in screened.cases
    )
    write_csv(out / TABLE, COLUMNS, lines)
    write_json(out / SUMMARY, _summary(screened))


def _summary(screened: Screened) -> dict[str, Any]:
    usual, cases = screened.usual, screened.cases
    reasons = [reason for case in cases for reason in case.reasons]
    names = screened.classes
    blind = safety.blind_pairs(usual) if usual else ()
    return {
        "verdict": safety.verdict(cases, usual is not None),
        "checkpoint": screened.checkpoint,
        "cases": len(cases),
        "suspicious": sum(bool(case.reasons) for case in cases),
        "suspicious_for": {reason: reasons.count(reason) for reason in dict.fromkeys(sorted(reasons))},
        "kept_classes": [names[index] for index in screened.kept_classes],
        "usual_in_source": None if usual is None else {"classes": names, **to_mapping(usual)},
        "judged_by_regions_only": [f"{names[first]}/{names[second]}" for first, second in blind],
        "thresholds": {
            "attention": screened.attention_threshold,
            "change in the kept region": safety.KEPT_CHANGE,
            "saliency_rank_change": safety.RANK_CHANGE,
            "smallest region": safety.LEAST_REGION,
            "most of a region": safety.MOST,
            "quantiles of the source's shares": class_shares.QUANTILES,
            "told apart by colours, part of the usual": safety.PART_TOLD_APART,
            "least told apart by colours in the source": safety.LEAST_TOLD_APART,
            "margin around them": {"of their width": class_shares.MARGIN, "least": class_shares.LEAST_MARGIN},
        },
        "definitions": DEFINITIONS,
    }


def read_safety(predictions: Path) -> SafetyRecord | None:
    """What lies beside the masks, or None where the run does not translate or `segment` has not finished.

    Raises InputFault where the two files do not fit each other.
    """
    if not ((predictions / TABLE).exists() and (predictions / SUMMARY).exists()):
        return None
    summary = read_json(predictions / SUMMARY)
    try:
        with (predictions / TABLE).open(newline="", encoding="utf-8") as file:
            cases = tuple(_case(line) for line in csv.DictReader(file))
        if len(cases) != summary["cases"]:
            raise ValueError
        return SafetyRecord(str(summary["verdict"]), cases)
    except (KeyError, TypeError, ValueError):
        raise InputFault(
            f"{predictions}: {TABLE} and {SUMMARY} are not of one `segment`; run `fewmask segment` again"
        ) from None


def _case(line: dict[str, str]) -> CaseSafety:
    numbers: Sequence[float | None] = [float(line[name]) if line[name] else None for name in _NUMBERS]
    agreement, dice, unattended, kept, ranks = numbers
    if agreement is None:
        raise ValueError
    swapped, by = (tuple(line[name].split(";")) if line[name] else () for name in ("swapped", "swapped_by"))
    return CaseSafety(line["case"], agreement, dice, unattended, kept, ranks, swapped, by)
