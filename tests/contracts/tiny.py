"""The smallest real inputs: two-hospital stores of 32-pixel slices, and every named recipe narrowed to fit them."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from lightning_fabric import Fabric

from fewmask.config import to_mapping
from fewmask.data.outcomes import OutcomeRule
from fewmask.data.preparation import Intensity, Preparation
from fewmask.data.soft_labels import SoftLabels
from fewmask.data.split import Split
from fewmask.data.store import SliceStore
from fewmask.methods.kinds import KINDS
from fewmask.recipe import Recipe, Stage, recipe_from_mapping
from fewmask.recipes.names import RECIPES
from fewmask.shapes import Task
from fewmask.training.material import Material
from fewmask.training.outcomes import LearntOutcomes
from fewmask.training.tags import LearntTags

SIZE = 32
CLASSES = ("background", "disc", "ruler")
TASK = Task(3, CLASSES, SIZE)
TAG_TASK = Task(3, ("background", "disc"), SIZE, 0.6)

NARROW: dict[str, Any] = {
    "width": 4,
    "translator_width": 4,
    "translator_blocks": 1,
    "encoder_width": 2,
    "decoder_width": 2,
    "critic_width": 4,
    "critic_layers": 2,
    "replay": 3,
}
"""Widths for the tests, applied wherever a method's config has a field of that name."""


NARROW_NETWORK: dict[str, Any] = {"widths": [4, 8], "width": 1 / 16}
"""The same for the config of a method's one network."""


def task_of(stage: Stage) -> Task:
    """What a stage is asked for on the tiny stores: one tagged object, or all classes."""
    return TAG_TASK if stage.method.reads in ("tagged", "soft") else TASK


def tiny_recipe(name: str, steps: int = 3) -> Recipe:
    """A named recipe, narrow and short, at 32 pixels."""
    mapping = to_mapping(RECIPES[name](True))
    mapping |= {"size": SIZE, "log_every": 1}
    for stage in mapping["stages"]:
        stage |= {"steps": steps, "batch": 2, "validate_every": 2}
        stage["method"] |= {key: value for key, value in NARROW.items() if key in stage["method"]}
        if "width" in stage["method"].get("attention", {}):
            stage["method"]["attention"]["width"] = 4
        network = stage["method"].get("network", {})
        network |= {key: value for key, value in NARROW_NETWORK.items() if key in network}
    return recipe_from_mapping(mapping, KINDS, name)


def write_store(folder: Path, seed: int, labelled: bool, count: int = 7) -> SliceStore:
    """A store of discs on noise, one slice a case."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    masks = np.zeros((count, SIZE, SIZE), np.uint8)
    images = rng.uniform(-0.3, 0.3, (count, 3, SIZE, SIZE))
    for index in range(count):
        row, column = rng.uniform(10, 22, 2)
        masks[index][(rows - row) ** 2 + (columns - column) ** 2 < 36] = 1
        masks[index][:, :4] = 2
        images[index] += np.where(masks[index] == 1, 0.6, 0.0) - np.where(masks[index] == 2, 0.5, 0.0)
    folder.mkdir(parents=True)
    np.save(folder / "images.npy", images.astype(np.float16))
    if labelled:
        np.save(folder / "masks.npy", masks)
    return SliceStore(folder, tuple(f"case{i}" for i in range(count)), tuple(range(count)))


def tiny_material(folder: Path) -> Material:
    """A labelled source, every other case with an outcome, an unlabelled target, and a cohort with tags.

    Two of three cases of that one are tagged as showing the disc; all have pseudo-labels.
    """
    stores = {
        "source": write_store(folder / "source", 1, labelled=True),
        "target": write_store(folder / "target", 2, labelled=False),
        "tags": write_store(folder / "tags", 3, labelled=False),
        "held_out": write_store(folder / "held_out", 3, labelled=True),
    }
    names = stores["source"].cases
    splits = {
        "source": Split("source", "patient", 0, names[:5], names[5:], ()),
        "target": Split("target", "patient", 0, names, (), ()),
        "tags": Split("tags", "patient", 0, names[:5], names[5:], ()),
    }
    preparations = {role: Preparation(role, 3, SIZE, (Intensity("fixed"),) * 3) for role in stores}
    outcomes = {name: float(place % 2) for place, name in enumerate(names)}
    learnt = LearntOutcomes(OutcomeRule("sign", ">=", "1"), {"source": outcomes})
    held_out = folder / "held_out" / "masks.npy"
    np.save(held_out, (np.load(held_out) == 1).astype(np.uint8))
    tags = LearntTags("disc", {name: (float(place % 3 > 0),) for place, name in enumerate(names)})
    soft = SoftLabels(folder / "soft_labels.npy", tuple(range(5)))
    discs = stores["source"].masks(np.arange(len(names))) == 1
    np.save(soft.path, np.stack([0.8 * discs, 0.9 * discs], axis=1).astype(np.float16))
    return Material(TASK, splits, preparations, stores, learnt, tags, soft)


def cpu() -> Fabric:
    """One process on the CPU."""
    return Fabric(accelerator="cpu", devices=1)


@dataclass(frozen=True)
class Named:
    """A recipe's stage by name, for test ids."""

    recipe: str
    stage: int

    def __str__(self) -> str:
        return f"{self.recipe}-{self.stage}"


def every_stage() -> list[Named]:
    """Each stage of each named recipe, once: recipes share stages, and names are aliases.

    Where its pseudo-labels come from does not change how a stage trains.
    """
    seen: list[Stage] = []
    found: list[Named] = []
    for name, build in RECIPES.items():
        for number, stage in enumerate(build(True).stages):
            training = replace(stage, labelled_by=None, pseudo_labels=None)
            if training not in seen:
                seen.append(training)
                found.append(Named(name, number))
    return found
