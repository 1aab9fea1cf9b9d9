"""What a run leaves beside its networks: what is usual, how it calls cases, what it knows of its accuracy."""

from collections.abc import Callable
from pathlib import Path

from lightning_fabric import Fabric

from fewmask.console import Progress
from fewmask.data.store import load_store
from fewmask.errors import InputFault
from fewmask.methods.base import Method
from fewmask.recipe import Recipe, Stage
from fewmask.shapes import Task
from fewmask.training.accuracy import FILE, Accuracy, NotEstimated, keep_accuracy
from fewmask.training.calibrate import calibrated
from fewmask.training.cohorts import read_cohorts
from fewmask.training.material import Material, assemble
from fewmask.training.prognosis import keep_prognosis
from fewmask.training.run import Run
from fewmask.training.trials import HeldOut
from fewmask.training.usual_classes import keep_usual_classes

Trained = Callable[[Task], Method]
"""Gives the last stage's method with its chosen networks."""


def conclude(
    fabric: Fabric, run: Run, recipe: Recipe, material: Material, trained: Trained, progress: Progress
) -> None:
    """Write all of it; the run is then finished."""
    keep_usual_classes(run, material)
    if recipe.stages[-1].learns_outcome:
        with fabric.autocast():  # As `segment` will: a threshold is one of the scores.
            keep_prognosis(run, material, trained(material.task).to(fabric.device))
    keep_accuracy(run, _accuracy(fabric, run, recipe, material, trained, progress))


def conclude_again(
    fabric: Fabric,
    run: Run,
    recipe: Recipe,
    cache: Path,
    trained: Trained,
    progress: Progress,
    tell: Callable[[str], None],
) -> None:
    """Write what a run lacks that was finished by an earlier version; where its images have gone, say so."""
    if (run.folder / FILE).exists():
        return
    try:
        material = assemble(recipe, run, cache, progress, tell)
        keep_accuracy(run, _accuracy(fabric, run, recipe, material, trained, progress))
    except InputFault as fault:
        tell(f"{run.folder}: its accuracy cannot be estimated now: {fault}")


def _accuracy(
    fabric: Fabric, run: Run, recipe: Recipe, material: Material, trained: Trained, progress: Progress
) -> Accuracy | NotEstimated:
    stage = recipe.stages[-1]
    if stage.method.reads in ("tagged", "soft"):
        return NotEstimated(
            "the run learnt from tags, and no mask of its held-out patients is opened for this"
        )
    method = trained(material.task)
    if not method.draws_masks:
        return NotEstimated("the run draws no masks")
    with fabric.autocast():  # As `segment` will.
        return calibrated(
            method.to(fabric.device), _held_out(run, recipe, stage, material), fabric.device, progress
        )


def _held_out(run: Run, recipe: Recipe, stage: Stage, material: Material) -> HeldOut:
    adapts = stage.method.reads == "adaptation"
    role = "masks" if "masks" in material.stores and not adapts else "source"
    store = material.stores[role]
    if stage.restyled_by is not None and role == "source":
        folder = run.folder / "stages" / stage.name / "restyled"
        if not folder.exists():
            raise InputFault(f"{folder}: the re-drawn images are gone; train into another --out")
        store = load_store(folder)
    split = material.splits[role]
    patients = {case.name: case.patient for case in read_cohorts(recipe)[0][role].cases}
    return HeldOut(store, split.validation, patients, split.train, adapts)
