"""A finished run as something that segments: its last stage's chosen network and how its images are prepared.

Its earlier stages can be loaded alike.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from lightning_fabric import Fabric

from fewmask.data.preparation import Preparation
from fewmask.errors import InputFault
from fewmask.methods.base import Method
from fewmask.networks.attended import Translation
from fewmask.recipe import Recipe
from fewmask.shapes import Task
from fewmask.training.checkpoint import Checkpoints, load_networks
from fewmask.training.material import class_names, kept_preparations
from fewmask.training.run import Run
from fewmask.training.train import build_method, make_fabric

Which: TypeAlias = str
"""Which of a run's networks: "chosen", "latest", or a candidate that it kept, such as "step_000100"."""


@dataclass(frozen=True)
class Trained:
    """A method in evaluation mode, the preparation of the images that it segments, and the rule that chose it."""

    run: Run
    recipe: Recipe
    method: Method
    preparation: Preparation
    step: int
    rule: str
    fabric: Fabric


def load_trained(
    folder: Path, which: Which = "chosen", device: str = "auto", stage_name: str | None = None
) -> Trained:
    """Load a run's networks, of its last stage where none is named.

    Raises InputFault where it has none yet, or where they are not ours.
    """
    run = Run(folder)
    recipe = run.recipe()
    preparations = kept_preparations(run)
    if preparations is None:
        raise InputFault(
            f"{folder}: the run was stopped before its data were prepared; run the same `train` again"
        )
    role = next(role for role in ("target", "masks", "source", "tags") if role in preparations)
    stage = recipe.stages[-1] if stage_name is None else recipe.stage(stage_name)
    prepared = preparations[role]
    task = Task(prepared.inputs, class_names(run), recipe.size, neighbours=prepared.neighbours)
    method = build_method(recipe, stage, task, None)
    checkpoints = Checkpoints(run.stage_folder(recipe, stage.name), stage.name)
    origin = load_networks(method, checkpoints.named(which))
    fabric = make_fabric(device, 1, recipe.precision)
    method.to(fabric.device).eval()
    return Trained(run, recipe, method, preparations[role], origin.step, origin.rule, fabric)


@dataclass(frozen=True)
class View:
    """What a run makes of prepared images (N, C, S, S): class probabilities (N, K, S, S), float32 on the CPU.

    Where the run re-draws images before it segments them, `translation` is what it segmented and `untranslated` the
    probabilities that the same segmenter gives to the images as they are; else both are None. `outcome` (N,) is the
    probability of the outcome where the run tells one.
    """

    probabilities: torch.Tensor
    translation: Translation | None = None
    untranslated: torch.Tensor | None = None
    outcome: torch.Tensor | None = None


@torch.no_grad()
def scores_of(trained: Trained, images: torch.Tensor) -> torch.Tensor | None:
    """The score (N,) of prepared images for an outcome or a tag, float32 on the CPU; None where the run tells none."""
    with trained.fabric.autocast():
        scores = trained.method.judge(images.to(trained.fabric.device))
    return None if scores is None else scores.float().cpu()


@torch.no_grad()
def view_of(trained: Trained, images: torch.Tensor) -> View:
    """Segment prepared images, and keep what a re-drawing did to them."""
    there = images.to(trained.fabric.device)
    with trained.fabric.autocast():
        logits, translation, outcome = trained.method.segment_with_translation(there)
    probabilities = logits.float().softmax(1).cpu()
    if translation is None:
        return View(probabilities, outcome=None if outcome is None else outcome.double().sigmoid().cpu())
    with trained.fabric.autocast():
        untranslated = trained.method.validate_segment(there)
    shown = Translation(translation.image.float().cpu(), translation.attention.float().cpu())
    return View(probabilities, shown, untranslated.float().softmax(1).cpu())
