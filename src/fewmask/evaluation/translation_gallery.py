"""Test cases as each run re-draws them: the translation, what was segmented in it, and where the run attends."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fewmask.evaluation.case_gallery import prediction_of, score_words, slice_axis_of
from fewmask.evaluation.case_pictures import CasePicture, Wanted, data_uri, draw_case, outline_path
from fewmask.evaluation.compare import Entry, case_dice
from fewmask.evaluation.naming import Names
from fewmask.evaluation.run_record import RunRecord, Scores
from fewmask.evaluation.safety_record import ATTENTION, TRANSLATIONS, UNTRANSLATED
from fewmask.methods.attention_cyclegan import AttentionCycleGANConfig
from fewmask.networks.attention import NoAttention

RANKS = (("best", 0.0), ("worst", 1.0), ("median", 0.5), ("upper quartile", 0.25), ("lower quartile", 0.75))
"""Which cases are shown: their place in the order of Dice. Where cases are few, the first name of a place holds."""

LONGEST_SIDE = 256
"""Pixels of a translation's longest side: several stand beside each other."""

_HEAT = "magma"
_STOPS = 9


@dataclass(frozen=True)
class RedrawingRun:
    """A run that translates, which parts it kept, and the attention from which on a pixel counts as attended."""

    key: str
    label: str
    translates: bool
    attends: bool
    threshold: float | None


@dataclass(frozen=True)
class Redrawn:
    """What one run made of one case; a part that the run did not keep is None.

    `translation` and `attention` are data URIs, `segmentation` has one outline a class, and `attended` is the
    outline of the region where the attention exceeds the run's threshold.
    """

    run: RedrawingRun
    translation: str | None
    segmentation: tuple[str, ...] | None
    score: str
    attention: str | None
    attended: str


@dataclass(frozen=True)
class Plate:
    """One case: its picture with the truth, its segmentation without a translation, and what each run made of it."""

    key: str
    rank: str
    name: str
    picture: CasePicture
    untranslated: tuple[str, ...] | None
    made: tuple[Redrawn, ...]


@dataclass(frozen=True)
class TranslationGallery:
    """The plates, whose `made` is in the order of `runs`; empty where no run kept a translation.

    `untranslated_by` names the run whose segmenter saw the images as they are, "" for none. `heat` is the colour
    scale of the attention from 0 to 1, as CSS colours.
    """

    runs: tuple[RedrawingRun, ...]
    plates: tuple[Plate, ...]
    untranslated_by: str
    heat: tuple[str, ...]


def translation_gallery(entries: Sequence[Entry], names: Names) -> TranslationGallery:
    """Draw cases of the method's run, chosen by `RANKS`, as every scored run re-draws them.

    Volumes, and cases whose image or truth has moved, are left out.
    """
    method = next(entry.record for entry in entries if entry.role == "method")
    scored = [entry for entry in entries if entry.record.scores is not None]
    ranked = _ranked(method.scores) if method.scores is not None else []
    cases = [case for _, case in ranked]
    runs = [(entry, _run(entry, place, cases)) for place, entry in enumerate(scored)]
    redrawing = [(entry, run) for entry, run in runs if run.translates or run.attends]
    plain = next((entry for entry in scored if _kept(entry, UNTRANSLATED, cases)), None)
    if method.scores is None or not redrawing:
        return TranslationGallery((), (), "", ())
    plates = [_plate(rank, case, method, method.scores, redrawing, plain, names) for rank, case in ranked]
    return TranslationGallery(
        runs=tuple(run for _, run in redrawing),
        plates=tuple(plate for plate in plates if plate is not None),
        untranslated_by=plain.label if plain is not None else "",
        heat=_heat_stops(),
    )


def _ranked(scores: Scores) -> list[tuple[str, str]]:
    """The chosen cases from the best to the worst, each with its rank; ties are in the order of the names."""
    dice = {case: value for case, value in case_dice(scores).items() if value is not None}
    order = sorted(dice, key=lambda case: (-dice[case], case))
    chosen: dict[int, str] = {}
    for rank, share in RANKS if order else ():
        chosen.setdefault(round(share * (len(order) - 1)), rank)
    return [(chosen[place], order[place]) for place in sorted(chosen)]


def _beside(entry: Entry, part: str, case: str) -> Path | None:
    """The picture of a case that `segment` kept beside a run's masks, if it did."""
    prediction = prediction_of(case, entry)
    path = prediction.parent / part / f"{case}.png" if prediction is not None else None
    return path if path is not None and path.is_file() else None


def _kept(entry: Entry, part: str, cases: Sequence[str]) -> bool:
    return any(_beside(entry, part, case) is not None for case in cases)


def _run(entry: Entry, place: int, cases: Sequence[str]) -> RedrawingRun:
    methods = (stage.method for stage in entry.record.recipe.stages)
    config = next((method for method in methods if isinstance(method, AttentionCycleGANConfig)), None)
    # Without an attention network the map is 1 everywhere, which tells nothing.
    everywhere = config is not None and isinstance(config.attention, NoAttention)
    return RedrawingRun(
        key=f"run-{place + 1}",
        label=entry.label,
        translates=_kept(entry, TRANSLATIONS, cases),
        attends=_kept(entry, ATTENTION, cases) and not everywhere,
        threshold=config.attention_threshold if config is not None else None,
    )


def _plate(
    rank: str,
    case: str,
    method: RunRecord,
    scores: Scores,
    runs: Sequence[tuple[Entry, RedrawingRun]],
    plain: Entry | None,
    names: Names,
) -> Plate | None:
    untranslated = _beside(plain, UNTRANSLATED, case) if plain is not None else None
    wanted = Wanted(
        next(file for file in scores.files if file.case == case),
        (untranslated, *(prediction_of(case, entry) for entry, _ in runs)),
        tuple(part.label for part in scores.summary.classes if part.label is not None),
        slice_axis_of(method),
    )
    picture = draw_case(wanted)
    if picture is None or picture.slice_note:
        return None
    number = sorted(file.case for file in scores.files).index(case) + 1
    drawn = zip(runs, picture.predictions[1:], strict=True)
    return Plate(
        key=f"plate-{number}",
        rank=rank,
        name=names.case(case),
        picture=picture,
        untranslated=picture.predictions[0],
        made=tuple(_redrawn(case, entry, run, outlines, picture) for (entry, run), outlines in drawn),
    )


def _redrawn(
    case: str,
    entry: Entry,
    run: RedrawingRun,
    segmentation: tuple[str, ...] | None,
    picture: CasePicture,
) -> Redrawn:
    translation = _opened(_beside(entry, TRANSLATIONS, case))
    attention = _opened(_beside(entry, ATTENTION, case)) if run.attends else None
    heat, attended = None, ""
    if attention is not None:
        values = np.asarray(attention.convert("L"))
        heat = data_uri(Image.fromarray(_heat(values)), LONGEST_SIDE)
        there = values / 255.0 > (run.threshold or 0.0)
        attended = outline_path(there, (picture.height / values.shape[0], picture.width / values.shape[1]))
    return Redrawn(
        run=run,
        translation=data_uri(translation, LONGEST_SIDE) if translation is not None else None,
        segmentation=segmentation,
        score=score_words(case, entry),
        attention=heat,
        attended=attended,
    )


def _opened(path: Path | None) -> Image.Image | None:
    """A picture of eight bits, or None where there is none or it is damaged."""
    if path is None:
        return None
    try:
        with Image.open(path) as picture:
            return picture.convert("RGB" if picture.mode in ("RGB", "RGBA", "P") else "L")
    except OSError:
        return None


def _heat(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Colours (H, W, 3) of values (H, W) from 0 to 255."""
    table = matplotlib.colormaps[_HEAT](np.arange(256), bytes=True)
    return np.asarray(table, dtype=np.uint8)[values][..., :3]


def _heat_stops() -> tuple[str, ...]:
    """The colour scale from 0 to 1 in even steps."""
    values = np.linspace(0, 255, _STOPS).round().astype(np.uint8)[None]
    return tuple("#{:02x}{:02x}{:02x}".format(*colour) for colour in _heat(values)[0].tolist())
