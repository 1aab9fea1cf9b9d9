"""What a run's classifier of tags says of images: the pseudo-masks that its maps give, and which slices it finds empty.

Fu et al. 2023, Tables 1 and 2, score such pseudo-masks beside the segmenter's masks.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fewmask.data.prepared_case import PreparedCase
from fewmask.errors import InputFault
from fewmask.evaluation.trained import Trained, load_trained, scores_of
from fewmask.files import read_json
from fewmask.recipe import Recipe, Stage
from fewmask.training.pseudo_label import PseudoLabeller
from fewmask.training.relabel import CHOSEN, FOLDER
from fewmask.training.run import Run


@dataclass(frozen=True)
class PseudoMasks:
    """A run's way from images to pseudo-masks; `trained` is the stage whose maps they are made of.

    `gate` is its classifier of tags where that is another stage, as in DRS, which refines its classifier's maps.
    """

    trained: Trained
    labeller: PseudoLabeller
    gate: "Gate | None"

    def of(self, prepared: PreparedCase) -> NDArray[np.uint8]:
        """1 where a case shows the object, else 0, in the axes of its file; made as the run's pseudo-labels were.

        The classifier says which slices show it, for nobody has tagged them; the others are empty.
        """
        tags = None
        if self.gate is not None:
            tags = torch.cat([self.gate.open_for(images) for images in prepared.chunks()]).double().tolist()
        labels = self.labeller.label(prepared, tags)
        return prepared.as_it_lay([prepared.masks_on_own_grid(labels.hard)])[0]


def load_pseudo_masks(folder: Path, device: str = "auto") -> PseudoMasks:
    """A run's pseudo-masks, as soon as it has made its pseudo-labels; its segmenter may still be training.

    Raises InputFault for a run that makes none, or has made none yet.
    """
    recipe = Run(folder).recipe()
    stage = _labelled_stage(folder, recipe)
    assert stage.pseudo_labels is not None  # as for every stage with `labelled_by`
    made = folder / "stages" / stage.name / FOLDER / CHOSEN
    if not made.exists():
        raise InputFault(
            f"{folder}: the run was stopped before its pseudo-labels were made; run the same `train` again"
        )
    threshold: float | None = read_json(made)["threshold"]
    trained = load_trained(folder, "chosen", device, stage.labelled_by)
    labeller = PseudoLabeller(trained.method, stage.pseudo_labels, trained.fabric, threshold)
    assert stage.labelled_by is not None
    learns_tags = recipe.stage(stage.labelled_by).method.reads == "tagged"
    return PseudoMasks(trained, labeller, None if learns_tags else load_gate(folder, device))


@dataclass(frozen=True)
class Gate:
    """The classifier of tags of a run, which finds slices empty in which its segmenter may see something."""

    trained: Trained

    def open_for(self, images: torch.Tensor) -> torch.Tensor:
        """(n,) bool: which prepared slices (n, C, S, S) the classifier finds to show the object."""
        scores = scores_of(self.trained, images)
        if scores is None:
            raise InputFault(f"{self.trained.run.folder}: its classifier gives no scores; leave --gate out")
        return scores > 0


def load_gate(folder: Path, device: str = "auto") -> Gate:
    """The stage of a run that learnt tags. Raises InputFault for a run without one."""
    recipe = Run(folder).recipe()
    stage = _labelled_stage(folder, recipe)
    # A stage between (DRS has one that refines maps) learns from maps; the tags were learnt by the first.
    while stage.labelled_by is not None:
        stage = recipe.stage(stage.labelled_by)
    return Gate(load_trained(folder, "chosen", device, stage.name))


def _labelled_stage(folder: Path, recipe: Recipe) -> Stage:
    stage = recipe.stages[-1]
    if stage.labelled_by is None:
        raise InputFault(
            f"{folder}: recipe {recipe.name} has no classifier of tags whose maps label its images; leave "
            "--pseudo-masks and --gate out, or give a run of `train umcam --tags ...`"
        )
    return stage
