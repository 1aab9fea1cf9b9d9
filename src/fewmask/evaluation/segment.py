"""Masks for images, each in its image's own size, spacing, orientation and file type."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from fewmask.console import Progress, silent
from fewmask.data.case import Case
from fewmask.data.layouts import read_cohort
from fewmask.data.prepared_case import PreparedCase, prepare_case
from fewmask.data.raster import write_classes, write_probabilities
from fewmask.errors import InputFault
from fewmask.evaluation.estimated_dice import forget_estimates
from fewmask.evaluation.estimates import Estimates, estimates_of, no_estimates
from fewmask.evaluation.largest_component import largest_components
from fewmask.evaluation.pseudo_masks import Gate, PseudoMasks, load_gate, load_pseudo_masks
from fewmask.evaluation.safety_record import FOLDERS, forget
from fewmask.evaluation.told_outcomes import Told, ToldCase, forget_told, write_told
from fewmask.evaluation.trained import Trained, Which, load_trained, scores_of, view_of
from fewmask.evaluation.translated import Screen
from fewmask.files import write_json
from fewmask.training.outcomes import kept_outcomes
from fewmask.training.prognosis import kept_prognosis
from fewmask.training.run import Run

MANIFEST = "predictions.json"
"""Beside the masks: which image each was made from, and by which checkpoint."""


@dataclass(frozen=True)
class Segmented:
    """What `segment` wrote: the mask of each case, unless the run draws none, and what was told of an outcome."""

    folder: Path
    masks: tuple[Path, ...]
    told: tuple[ToldCase, ...] = ()


class _Drawn(NamedTuple):
    """What was made of one case: its classes, and the probability of the outcome, where the run gives them."""

    classes: NDArray[np.uint8] | None
    probability: float | None


@dataclass(frozen=True)
class _Wishes:
    """What is asked for beside the masks of the last stage; each is told in the list of predictions."""

    probabilities: bool
    largest_component: bool
    pseudo_masks: bool
    gate: bool | None
    estimate: bool

    def require_compatible(self, run: Path, out: Path, which: Which) -> None:
        """Raise InputFault where pseudo-masks are asked for together with what only a segmenter's masks have."""
        if not self.pseudo_masks:
            return
        if self.gate:
            raise InputFault(
                "--gate: pseudo-masks are empty already where the classifier finds nothing; leave it out"
            )
        if self.probabilities:
            raise InputFault("--probabilities: pseudo-masks have none; leave it out")
        if which != "chosen":
            raise InputFault(
                f"--checkpoint {which}: pseudo-masks are made by the classifier that the run chose; leave it out"
            )
        if out.resolve() == (run / "predictions").resolve():
            raise InputFault(
                f"{out}: there the run's report looks for its segmenter's masks; choose another --out"
            )


@dataclass(frozen=True)
class _Drawing:
    """All that draws the masks of one call: `trained` segments, or with `pseudo_masks` it is their classifier."""

    trained: Trained
    out: Path
    wishes: _Wishes
    pseudo_masks: PseudoMasks | None
    gate: Gate | None
    screen: Screen
    estimates: Estimates


def segment(
    run: Path,
    images: Path,
    out: Path,
    *,
    which: Which = "chosen",
    with_probabilities: bool = False,
    largest_component: bool = False,
    pseudo_masks: bool = False,
    gate: bool | None = None,
    estimate: bool = True,
    channel: str | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> Segmented:
    """Segment an image, a folder of images, or a dataset folder (its test part where it has one).

    Mask files hold class numbers 0..K-1, as nnU-Net's do, whatever values the training masks had. With
    `largest_component` they keep the largest piece of each class (`largest_components`); with `gate` they are empty
    in slices in which the run's classifier of tags finds nothing (that comes first); probabilities stay as they are.
    By default a segmenter that learnt from positive slices alone has the gate, for it finds the object everywhere.
    With `pseudo_masks` they are what the classifier's maps give, not the segmenter's. The list of predictions says so.
    A run that re-draws images first (it translates them) also leaves `safety.csv`, `safety.json` and, for flat
    images, `translations/`, `attention/` (where it has one) and `untranslated/`, see
    `fewmask.evaluation.safety_record`; for volumes the table alone, whose measures are taken over all slices, and no
    pictures. None of it takes a true mask.
    A run that knows what its own drawings are worth (`fewmask.training.calibrate`) leaves `estimated_dice.csv`, see
    `fewmask.evaluation.estimated_dice`, which takes four more passes; with `estimate` False, and where it cannot, the
    list of predictions says so.
    A run that learnt an outcome leaves `outcomes.csv` and `prognosis.json`, see `fewmask.evaluation.told_outcomes`; a
    volume's probability is the mean of its slices'.
    Raises InputFault for unreadable images, a run without a checkpoint, or one without a classifier where one is
    needed; masks that are finished by then stay.
    """
    wishes = _Wishes(with_probabilities, largest_component, pseudo_masks, gate, estimate)
    drawing = _drawing(run, out, which, device, wishes)
    cases = cases_to_segment(images, drawing.trained, channel)
    _require_own_folder(out, run, cases)
    # Results of an earlier run must not stand under this run's name if it is stopped half way.
    if (out / MANIFEST).exists():
        forget(out)
        forget_told(out)
        forget_estimates(out)
    _write_manifest(drawing, [])
    masks: list[tuple[Case, Path]] = []
    told: list[ToldCase] = []
    with progress("segmenting", len(cases)) as done:
        for case in cases:
            classes, probability = _drawn(drawing, case)
            if classes is not None:
                masks.append((case, _write(drawing, case, classes)))
            if probability is not None:
                told.append(ToldCase(case.name, case.patient, probability))
            done()
    drawing.screen.write()
    drawing.estimates.write()
    _write_manifest(drawing, masks)
    if told:
        write_told(out, _how_told(drawing.trained, which), told)
    return Segmented(out, tuple(mask for _, mask in masks), tuple(told))


def _how_told(trained: Trained, which: Which) -> Told:
    """How the run calls cases; a run that was stopped has not decided it, and it decides for one checkpoint."""
    decided = kept_prognosis(trained.run)
    folder = str(trained.run.folder.resolve())
    if decided is None or which != "chosen":
        learnt = kept_outcomes(trained.run)
        why = (
            "the run has not finished" if decided is None else "the run decided it for its chosen checkpoint"
        )
        return Told(str(learnt.rule) if learnt else "", None, f"none: {why}", 0, folder)
    return Told(decided.outcome, decided.threshold, decided.threshold_rule, decided.validation_cases, folder)


def _drawing(run: Path, out: Path, which: Which, device: str, wishes: _Wishes) -> _Drawing:
    wishes.require_compatible(run, out, which)
    if wishes.pseudo_masks:
        made = load_pseudo_masks(run, device)
        estimates = no_estimates(made.trained, out, "pseudo-masks are the classifier's")
        return _Drawing(made.trained, out, wishes, made, None, Screen(made.trained, out), estimates)
    gated = Run(run).recipe().stages[-1].only_positive if wishes.gate is None else wishes.gate
    gate = load_gate(run, device) if gated else None
    trained = load_trained(run, which, device)
    if not trained.method.draws_masks and trained.recipe.stages[-1].method.reads != "partly":
        raise InputFault(
            f"{run}: draws no masks; use `fewmask diagnose` for an outcome, or give a run whose last stage segments"
        )
    estimates = estimates_of(trained, out, which, wishes.estimate, wishes.largest_component)
    return _Drawing(trained, out, wishes, None, gate, Screen(trained, out), estimates)


def _require_own_folder(out: Path, run: Path, cases: tuple[Case, ...]) -> None:
    """Refuse a folder that holds the images, or files of these cases that `segment` did not write: manual masks.

    And the run's own folder, whose prognosis.json is another.
    """
    if out.resolve() == run.resolve():
        raise InputFault(f"{out}: is the run itself; choose another --out, e.g. {out / 'predictions'}")
    own = {out.resolve(), *(out.resolve() / name for name in FOLDERS)}
    if not own.isdisjoint(path.resolve().parent for case in cases for path in case.images):
        raise InputFault(f"{out}: holds the images themselves; choose another --out")
    if not out.is_dir() or (out / MANIFEST).exists():
        return
    names = {case.name for case in cases}
    folders = (out, *(inner for name in FOLDERS if (inner := out / name).is_dir()))
    files = [file for folder in folders for file in folder.iterdir()]
    foreign = [
        str(file.relative_to(out))
        for file in files
        if any(file.name.startswith(f"{name}.") for name in names)
    ]
    if foreign:
        raise InputFault(
            f"{out}: holds {len(foreign)} files of these cases that `segment` did not write ({sorted(foreign)[0]}); "
            "they would be replaced, choose another --out"
        )


def _write_manifest(drawing: _Drawing, written: list[tuple[Case, Path]]) -> None:
    entries = [
        {"case": case.name, "images": [str(path.resolve()) for path in case.images], "mask": mask.name}
        for case, mask in written
    ]
    wishes = drawing.wishes
    content = {
        "checkpoint": {"step": drawing.trained.step, "rule": drawing.trained.rule},
        "largest_component": wishes.largest_component,
        "pseudo_masks": wishes.pseudo_masks,
        "gated": drawing.gate is not None,
        "estimated_dice": drawing.estimates.told,
        "cases": entries,
    }
    write_json(drawing.out / MANIFEST, content)


def _drawn(drawing: _Drawing, case: Case) -> _Drawn:
    prepared = prepare_case(case, drawing.trained.preparation)
    if drawing.pseudo_masks is not None:
        return _Drawn(drawing.pseudo_masks.of(prepared), None)
    if not drawing.trained.method.draws_masks:
        return _Drawn(None, _judged(drawing.trained, prepared))
    return _segmented(drawing, prepared)


def _write(drawing: _Drawing, case: Case, classes: NDArray[np.uint8]) -> Path:
    """Write the mask of one case."""
    numbers = range(len(drawing.trained.method.task.classes))
    if drawing.wishes.largest_component:
        classes = largest_components(classes, len(numbers))
    return write_classes(classes, case.images[0], drawing.out, case.name, numbers)


def _judged(trained: Trained, prepared: PreparedCase) -> float | None:
    """The probability of the outcome alone."""
    parts: list[torch.Tensor] = []
    for images in prepared.chunks():
        scores = scores_of(trained, images)
        if scores is None:
            return None
        parts.append(scores.double().sigmoid())
    return float(torch.cat(parts).mean())


def _segmented(drawing: _Drawing, prepared: PreparedCase) -> _Drawn:
    """The segmenter's classes of one case, in the axes of its file; its probabilities are written where asked for.

    Probabilities are brought back to its own grid, and only then is a class chosen: masks that are enlarged have
    stairs at their rims.
    """
    watch = drawing.screen.watch(prepared)
    estimating = drawing.estimates.watch(prepared)
    parts: list[torch.Tensor] = []
    gates: list[torch.Tensor] = []
    told: list[torch.Tensor] = []
    for images in prepared.chunks():
        view = view_of(drawing.trained, images)
        own = prepared.on_own_grid(view.probabilities)
        parts.append(own if drawing.wishes.probabilities else own.argmax(1, keepdim=True).to(torch.uint8))
        if drawing.gate is not None:
            shown = drawing.gate.open_for(images).to(torch.uint8)
            gates.append(shown[:, None, None, None].expand(-1, 1, *own.shape[2:]))
        if view.outcome is not None:
            told.append(view.outcome)
        watch.see(images, view)
        estimating.see(images, view)
    watch.close()
    estimating.close()
    values = prepared.as_it_lay(parts)
    classes: NDArray[np.uint8] = values[0]
    if drawing.wishes.probabilities:
        write_probabilities(values, prepared.case.images[0], drawing.out, prepared.case.name)
        classes = values.argmax(0).astype(np.uint8)
    if gates:
        classes = classes * prepared.as_it_lay(gates)[0]
    return _Drawn(classes, float(torch.cat(told).mean()) if told else None)


def cases_to_segment(images: Path, trained: Trained, channel: str | None) -> tuple[Case, ...]:
    """The bare cases of a path: a dataset's test part where it has one, else all that is there.

    Of files with several channels the one is used that the run was trained on, unless `channel` names another.
    """
    cohort = read_cohort(images, masks=False)
    index = trained.preparation.channel if channel is None else cohort.channel_index(channel)
    cohort = cohort.with_channel(index)
    return cohort.part("test") or cohort.cases
