"""How likely an outcome is by a trained classifier: from the whole image, and from some of its classes alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from fewmask.console import Progress, silent
from fewmask.data.case import Case, Cohort
from fewmask.data.declared import declared_labels, read_dataset_json
from fewmask.data.geometry import Raster
from fewmask.data.layouts import read_cohort
from fewmask.data.listing import mask_index
from fewmask.data.orientation import canonical
from fewmask.data.outcomes import OutcomeRule, has_column, outcomes_of
from fewmask.data.preparation import EIGHT_BIT, place_masks, slices_of
from fewmask.data.prepared_case import SLICES_AT_ONCE, PreparedCase, prepare_case
from fewmask.data.raster import read_classes
from fewmask.errors import InputFault
from fewmask.evaluation.diagnosis_record import Diagnosis, Judged, compare, write_diagnosis
from fewmask.evaluation.safety_record import TRANSLATIONS
from fewmask.evaluation.trained import Trained, Which, load_trained, scores_of
from fewmask.evaluation.truth import of_last_segment
from fewmask.methods.outcome import class_numbers, keep_only
from fewmask.shapes import Masks
from fewmask.training.outcomes import kept_outcomes


def diagnose(
    run: Path,
    images: Path,
    predictions: Path,
    out: Path,
    *,
    kept: Sequence[str] | None = None,
    every_case: bool = False,
    translated: bool = False,
    which: Which = "chosen",
    device: str = "auto",
    progress: Progress = silent,
) -> Diagnosis:
    """Judge each case twice, write `outcomes.csv`, `diagnosis.json` and `roc.png` into `out`, and compare the AUCs.

    The arguments are those of `judge`. Raises InputFault as it does, and for outcomes that are all alike.
    """
    diagnosis, rows = judge(
        run,
        images,
        predictions,
        kept=kept,
        every_case=every_case,
        translated=translated,
        which=which,
        device=device,
        progress=progress,
    )
    known = [row.outcome for row in rows if row.outcome is not None]
    if out.resolve() == predictions.resolve():
        raise InputFault(f"{out}: holds the masks; choose another --out")
    if known and len(set(known)) < 2:
        raise InputFault(
            f"{diagnosis.outcome}: all {len(known)} cases are {int(known[0])}; an AUC needs both; add cases, or take "
            "the column out for probabilities alone"
        )
    diagnosis = replace(diagnosis, comparison=compare(rows))
    write_diagnosis(out, diagnosis, rows)
    return diagnosis


def judge(
    run: Path,
    images: Path,
    predictions: Path,
    *,
    kept: Sequence[str] | None = None,
    every_case: bool = False,
    translated: bool = False,
    which: Which = "chosen",
    device: str = "auto",
    progress: Progress = silent,
) -> tuple[Diagnosis, tuple[Judged, ...]]:
    """Judge each case twice; nothing is compared or written yet, so that folds can be put together first.

    `images` is a dataset folder (its test part where it has one; with `every_case`, every case that has a prediction).
    Masks in `predictions` hold class numbers, as `segment` writes them; pixels of classes that are not `kept` (None:
    what the run was trained to see) are set to mid grey. With `translated` the classifier is shown what `segment` left
    in `predictions/translations` instead of the images. A volume's probability is the mean of its slices'.
    Where the folder has no outcome column there are probabilities alone. Raises InputFault for a run that tells no
    outcome, and for a missing mask or translation.
    """
    trained = load_trained(run, which, device)
    learnt = kept_outcomes(trained.run)
    if learnt is None:
        raise InputFault(f"{run}: tells no outcome; give the run of `fewmask train diagnosis --outcome ...`")
    cohort = read_cohort(images, masks=False)
    cohort = cohort.with_channel(trained.preparation.channel)
    masks = of_last_segment(predictions, mask_index(predictions)) if predictions.is_dir() else {}
    if translated and any(rule != EIGHT_BIT for rule in trained.preparation.intensity):
        raise InputFault(
            "--translated needs 8-bit pictures, for translations are kept in 8 bits; leave it out"
        )
    cases = _cases(cohort, masks, predictions, every_case)
    outcomes = _known_outcomes(learnt.rule, cases)
    looking = _looking(trained, cohort, kept)
    shown = [_translation_of(case, predictions) if translated else case for case in cases]
    rows: list[Judged] = []
    blanks = 0
    with progress("judging", len(cases)) as done:
        for case in shown:
            whole, part, blank = looking.twice(replace(case, mask=masks[case.name]))
            rows.append(Judged(case.name, case.patient, outcomes.get(case.name), whole, part))
            blanks += blank
            done()
    found = Diagnosis(
        outcome=str(learnt.rule),
        kept_classes=looking.kept,
        shown="images as translated to the source" if translated else "images as they are",
        cases=len(rows),
        checkpoint_step=trained.step,
        checkpoint_rule=trained.rule,
        comparison=None,
        remarks=(*_remarks(trained, cohort, cases, outcomes, learnt.rule), *_blank_remark(blanks)),
    )
    return found, tuple(rows)


@dataclass(frozen=True)
class _Looking:
    """A classifier, and which classes it is shown in its second look; `cohort` reads masks of class numbers."""

    trained: Trained
    cohort: Cohort
    kept: tuple[str, ...]
    visible: tuple[int, ...]

    def twice(self, case: Case) -> tuple[float, float, bool]:
        """The probability of the outcome from the whole image and from the kept classes, and whether none was kept."""
        prepared = prepare_case(case, self.trained.preparation)
        masks = self._masks(prepared)
        looks: list[torch.Tensor] = []
        for images, own in zip(prepared.chunks(), masks.split(SLICES_AT_ONCE), strict=True):
            both = (images, keep_only(images, own, self.visible))
            looks.append(torch.stack([self._probabilities(shown) for shown in both]))
        whole, part = torch.cat(looks, dim=1).mean(dim=1).tolist()
        return whole, part, not bool(torch.isin(masks, torch.tensor(self.visible)).any())

    def _masks(self, prepared: PreparedCase) -> Masks:
        """The case's classes in the prepared square (N, S, S), padded as its images are."""
        like, preparation = prepared.original, prepared.preparation
        classes = Raster(read_classes(self.cohort, prepared.case)[None], like.spacing, like.unit, like.affine)
        slices = slices_of(canonical(classes).array, preparation)[:, 0]
        return place_masks(slices, prepared.place, preparation.size)

    def _probabilities(self, images: torch.Tensor) -> torch.Tensor:
        logits = scores_of(self.trained, images)
        if logits is None:
            raise InputFault(f"{self.trained.run.folder}: its method tells no outcome; train `diagnosis`")
        return logits.double().sigmoid()


def _looking(trained: Trained, cohort: Cohort, kept: Sequence[str] | None) -> _Looking:
    classes = _classes(cohort, trained)
    chosen = tuple(kept or getattr(trained.recipe.stages[-1].method, "kept", None) or ())
    if not chosen:
        raise InputFault(f"no class is kept; give e.g. --keep {','.join(classes[1:3])}")
    numbered = replace(cohort, classes=classes, label_values=tuple(range(len(classes))))
    return _Looking(trained, numbered, chosen, class_numbers(chosen, classes))


def _classes(cohort: Cohort, trained: Trained) -> tuple[str, ...]:
    """The classes that the masks' numbers mean: the run's, with which a dataset.json of the images must agree."""
    own = trained.method.task.classes
    path = cohort.root / "dataset.json"
    content = read_dataset_json(cohort.root) if path.is_file() else {}
    declared = declared_labels(content, path).classes if content.get("labels") else own
    if any(one != other for one, other in zip(declared, own, strict=False)):
        raise InputFault(
            f"{path}: its labels ({', '.join(declared)}) are numbered otherwise than the run's ({', '.join(own)}), so "
            "the masks' numbers are not clear; give both the same labels"
        )
    return max(declared, own, key=len)


def _cases(cohort: Cohort, masks: dict[str, Path], predictions: Path, every_case: bool) -> tuple[Case, ...]:
    """The cases to judge, each of which has a mask."""
    if not masks:
        raise InputFault(f"{predictions}: no masks in it; give the folder that `fewmask segment` wrote")
    if every_case:
        cases = tuple(case for case in cohort.cases if case.name in masks)
        if not cases:
            example = cohort.cases[0].name
            raise InputFault(f"{predictions}: no mask is named as a case of {cohort.root} (first: {example})")
        return cases
    cases = cohort.part("test") or cohort.cases
    missing = [case.name for case in cases if case.name not in masks]
    if missing:
        raise InputFault(
            f"{predictions}: {len(missing)} of {len(cases)} cases have no mask (first: {missing[0]}); segment them "
            "too, or judge those that have one with --all"
        )
    return cases


def _known_outcomes(rule: OutcomeRule, cases: Sequence[Case]) -> dict[str, float]:
    """The outcomes of the cases that have one; none where the folder has no such column."""
    if not has_column(rule.column, cases):
        return {}
    return dict(outcomes_of(rule, cases))


def _blank_remark(blanks: int) -> tuple[str, ...]:
    if not blanks:
        return ()
    return (f"{blanks} masks hold none of the kept classes: of those images nothing was left to see",)


def _translation_of(case: Case, predictions: Path) -> Case:
    """The case with its translation in the image's place."""
    path = predictions / TRANSLATIONS / f"{case.name}.png"
    if not path.is_file():
        raise InputFault(
            f"{path}: no such translation; segment with a run that translates, or leave --translated out"
        )
    return replace(case, images=(path,))


def _remarks(
    trained: Trained,
    cohort: Cohort,
    cases: Sequence[Case],
    outcomes: dict[str, float],
    rule: OutcomeRule,
) -> tuple[str, ...]:
    remarks = list(cohort.remarks)
    if not outcomes:
        remarks.append(
            f"{cohort.root} has no outcome in a column {rule.column}: there are probabilities alone"
        )
    elif len(outcomes) < len(cases):
        remarks.append(f"{len(cases) - len(outcomes)} cases have no {rule.column} and are in no AUC")
    patients = [case.patient for case in cases if case.name in outcomes]
    if len(set(patients)) < len(patients):
        remarks.append(
            "some patients have several images, which DeLong's test takes for independent; trust the bootstrap"
        )
    folders = trained.recipe.cohorts
    learnt = kept_outcomes(trained.run)
    for role, folder in (("masks", folders.masks), ("source", folders.source)):
        if learnt is not None and folder is not None and folder.resolve() == cohort.root.resolve():
            seen = sum(case.name in learnt.of(role) for case in cases)
            if seen:
                remarks.append(f"{seen} of these cases trained or chose the classifier; their scores flatter")
    return tuple(remarks)
