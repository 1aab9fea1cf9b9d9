"""A finished run as something that segments: its last stage's chosen network and how its images are prepared."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from lightning_fabric import Fabric

from fewmask.data.preparation import Preparation
from fewmask.errors import InputFault
from fewmask.methods.base import Method
from fewmask.recipe import Recipe
from fewmask.shapes import Task
from fewmask.training.checkpoint import Checkpoints, load_networks
from fewmask.training.material import class_names, kept_preparations
from fewmask.training.run import Run
from fewmask.training.train import build_method, make_fabric

Which = Literal["chosen", "latest"]


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


def load_trained(folder: Path, which: Which = "chosen", device: str = "auto") -> Trained:
    """Load a run's networks. Raises InputFault where it has none yet, or where they are not ours."""
    run = Run(folder)
    recipe = run.recipe()
    preparations = kept_preparations(run)
    if preparations is None:
        raise InputFault(
            f"{folder}: the run was stopped before its data were prepared; run the same `train` again"
        )
    role = next(role for role in ("target", "masks", "source") if role in preparations)
    stage = recipe.stages[-1]
    task = Task(preparations[role].channels, class_names(run), recipe.size)
    method = build_method(recipe, stage, task, None)
    checkpoints = Checkpoints(run.stage_folder(recipe, stage.name), stage.name)
    origin = load_networks(method, checkpoints.chosen if which == "chosen" else checkpoints.latest)
    fabric = make_fabric(device, 1, recipe.precision)
    method.to(fabric.device).eval()
    return Trained(run, recipe, method, preparations[role], origin.step, origin.rule, fabric)


@torch.no_grad()
def probabilities_of(trained: Trained, images: torch.Tensor) -> torch.Tensor:
    """Class probabilities (N, K, S, S), float32 on the CPU, for prepared images (N, C, S, S)."""
    with trained.fabric.autocast():
        logits = trained.method.segment(images.to(trained.fabric.device))
    return logits.float().softmax(1).cpu()
