"""Where a run's classifier looks, and whether that is where the organ is: a map of each case, shares, and a page."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fewmask.console import Progress, silent
from fewmask.data.case import Case
from fewmask.data.outcomes import has_column, outcomes_of
from fewmask.data.prepared_case import PreparedCase, prepare_case
from fewmask.errors import InputFault
from fewmask.evaluation.aligned_maps import AlignedSum
from fewmask.evaluation.case_pictures import slice_note
from fewmask.evaluation.explain_gallery import draw_map, write_map_picture, write_map_volume, write_means
from fewmask.evaluation.explain_masks import Masks, masks_of
from fewmask.evaluation.explain_page import PAGE, write_page
from fewmask.evaluation.explain_record import (
    MAPS,
    MEANS,
    SUMMARY,
    TABLE,
    UNMEASURED,
    Explained,
    Explanation,
    Question,
    group_of,
    measured,
    write_record,
)
from fewmask.evaluation.explain_words import remarks_of, side_titles
from fewmask.evaluation.looking import CaseMap, Looking, load_looking
from fewmask.evaluation.prognosis import NOT_CHOSEN
from fewmask.evaluation.segment import cases_to_segment
from fewmask.evaluation.tags_gallery import eight_bit, upright
from fewmask.evaluation.trained import load_trained
from fewmask.pseudo_label_config import Cam
from fewmask.training.outcomes import kept_outcomes
from fewmask.training.prognosis import kept_prognosis
from fewmask.training.tags import kept_tags


def explain(
    run: Path,
    images: Path,
    out: Path,
    *,
    layer: str | None = None,
    cam: Cam = "gradcam",
    masks: Path | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> Explanation:
    """Ask the last stage of a run that can say where it looks about an image, a folder of images or a dataset.

    Of a dataset it is the test part where there is one, as for `segment`; no mask of it is opened. Maps are those of
    the deepest layer, or of a named `layer`; where the run labels images by maps, they are made as those, of several
    layers. They are held against the masks that the run itself draws, or those in the folder `masks`.
    Writes into `out`: `maps/CASE.png`, the image and the map laid over it (of a volume the slice with the highest
    score, and `maps/CASE.nii.gz`, the map on the image's own grid); `explanation.csv` and `explanation.json`, what was
    measured; `mean_maps.png`, means over aligned cases; and `explanation.html`, a page. What an earlier call left there
    stays until all is done.
    Raises InputFault for a run without a classifier that can look, for a layer that it does not have, and where files
    of others would be replaced.
    """
    last = load_trained(run, device=device)
    looking = load_looking(last, layer, cam, device)
    cases = cases_to_segment(images, looking.trained, None)
    _require_own_folder(out, cases)
    against = masks_of(last, masks, [case.name for case in cases], device)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".explaining-", dir=out) as temporary:
        asking = _asking(looking, cases, against, Path(temporary))
        rows: list[Explained] = []
        sums = {True: AlignedSum(), False: AlignedSum()}
        with progress("looking", len(cases)) as done:
            for case in cases:
                row, layers = asking.ask(case)
                rows.append(row)
                side = asking.question.side(row)
                if layers is not None and side is not None:
                    sums[side].add(*layers)
                done()
        explanation = asking.explanation(rows)
        _write(Path(temporary), explanation, rows, sums)
        _move(Path(temporary), out)
    return explanation


class _Layers(NamedTuple):
    """What is laid over other cases of the slice that is shown: see `AlignedSum.add`."""

    image: NDArray[np.floating]
    mask: NDArray[np.bool_]
    heat: NDArray[np.floating]
    pixel: tuple[float, float]


@dataclass(frozen=True)
class _Asking:
    """One call of `explain`: who is asked what, what is known of the cases, and whose masks they are held against."""

    looking: Looking
    question: Question
    outcomes: Mapping[str, float]
    masks: Masks | None
    folder: Path

    def ask(self, case: Case) -> tuple[Explained, _Layers | None]:
        """Look at one case, write its maps, and measure how they lie; without a mask there are no layers."""
        prepared = prepare_case(case, self.looking.trained.preparation)
        found = self.looking.map_of(prepared)
        mask = None if self.masks is None else self.masks.of(prepared)
        picture = draw_map(prepared, found.heat, mask, found.shown)
        write_map_picture(self.folder / MAPS / f"{case.name}.png", picture)
        if not prepared.is_picture:
            write_map_volume(self.folder / MAPS / f"{case.name}.nii.gz", prepared, found.heat)
        row = Explained(
            case=case.name,
            patient=case.patient,
            outcome=self.outcomes.get(case.name),
            probability=found.probability,
            empty_map=not found.heat.any(),
            measured=UNMEASURED if mask is None else measured(found.heat, mask, found.shown),
            slice_note=_slice_note(prepared, found.shown),
        )
        return row, None if mask is None else _layers(prepared, mask, found)

    def explanation(self, rows: Sequence[Explained]) -> Explanation:
        """What was found of all cases together."""
        trained, question = self.looking.trained, self.question
        sides = [[row for row in rows if question.side(row) is side] for side in (True, False)]
        titled = [("All cases", rows), *zip(side_titles(question), sides, strict=True)]
        groups = tuple(group_of(title, members) for title, members in titled if members)
        return Explanation(
            run=str(trained.run.folder.resolve()),
            recipe=trained.recipe.name,
            stage=self.looking.stage.name,
            checkpoint_step=trained.step,
            checkpoint_rule=trained.rule,
            layers=self.looking.maps.layers,
            cam=self.looking.maps.cam,
            question=question,
            masks="" if self.masks is None else self.masks.whose,
            structures=() if self.masks is None else self.masks.structures,
            groups=groups,
            remarks=remarks_of(question, groups[0], "" if self.masks is None else self.masks.whose),
        )


def _asking(looking: Looking, cases: Sequence[Case], masks: Masks | None, folder: Path) -> _Asking:
    run = looking.trained.run
    learnt, tags = kept_outcomes(run), kept_tags(run)
    if learnt is None:
        rule = "both answers are equally likely there"
        name = "the object" if tags is None else tags.tag
        return _Asking(looking, Question(name, True, NOT_CHOSEN, rule, 0), {}, masks, folder)
    outcomes = outcomes_of(learnt.rule, cases) if has_column(learnt.rule.column, cases) else {}
    decided = kept_prognosis(run)
    threshold, rule = NOT_CHOSEN, "no validation case could choose it"
    if decided is not None and decided.threshold is not None:
        threshold, rule = decided.threshold, decided.threshold_rule
    question = Question(str(learnt.rule), False, threshold, rule, len(outcomes))
    return _Asking(looking, question, outcomes, masks, folder)


def _slice_note(prepared: PreparedCase, shown: int) -> str:
    axis = prepared.preparation.slice_axis
    return "" if axis is None else slice_note(prepared.original, axis, shown)


def _layers(prepared: PreparedCase, mask: NDArray[np.bool_], found: CaseMap) -> _Layers:
    turned, place = not prepared.is_picture, prepared.place
    image = eight_bit(prepared.slices[found.shown]).mean(axis=2) / 255.0
    grey, inside, heat = (
        upright(layer, turned) for layer in (image, mask[found.shown], found.heat[found.shown])
    )
    pixel = place.height / place.shape[0], place.width / place.shape[1]
    return _Layers(grey, inside, heat, pixel)


def _write(
    folder: Path, explanation: Explanation, rows: Sequence[Explained], sums: Mapping[bool, AlignedSum]
) -> None:
    """Write what all cases have in common: the means, the table, the summary and the page."""
    titles = side_titles(explanation.question)
    means = [(title, sums[side].mean()) for title, side in zip(titles, (True, False), strict=True)]
    drawn = [(title, mean) for title, mean in means if mean is not None]
    if drawn:
        write_means(folder / MEANS, drawn)
    write_record(folder, explanation, rows)
    write_page(folder, explanation, rows)


def _require_own_folder(out: Path, cases: Sequence[Case]) -> None:
    """Refuse a folder that holds the images, or files that `explain` would replace and did not write."""
    if not {out.resolve(), (out / MAPS).resolve()}.isdisjoint(
        path.resolve().parent for case in cases for path in case.images
    ):
        raise InputFault(f"{out}: holds the images themselves; choose another --out")
    if (out / SUMMARY).exists():
        return
    maps = [out / MAPS / f"{case.name}{ending}" for case in cases for ending in (".png", ".nii.gz")]
    foreign = [path for path in (out / TABLE, out / MEANS, out / PAGE, *maps) if path.exists()]
    if foreign:
        raise InputFault(
            f"{out}: holds {len(foreign)} files that `explain` did not write ({foreign[0].relative_to(out)}); they "
            "would be replaced, choose another --out"
        )


def _move(made: Path, out: Path) -> None:
    """Put a whole explanation in the place of an earlier one; the summary comes last and marks the folder as ours."""
    if (out / SUMMARY).exists():
        for old in (
            out / TABLE,
            out / MEANS,
            out / PAGE,
            *(out / MAPS).glob("*.png"),
            *(out / MAPS).glob("*.nii.gz"),
        ):
            old.unlink(missing_ok=True)
    (out / MAPS).mkdir(exist_ok=True)
    for path in (*(made / MAPS).iterdir(), made / TABLE, made / MEANS, made / PAGE, made / SUMMARY):
        if path.exists():
            path.replace(out / path.relative_to(made))
