"""The smallest real inputs: two-hospital stores of 32-pixel slices, and every named recipe narrowed to fit them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lightning_fabric import Fabric

from fewmask.config import to_mapping
from fewmask.data.outcomes import OutcomeRule
from fewmask.data.preparation import Intensity, Preparation
from fewmask.data.split import Split
from fewmask.data.store import SliceStore
from fewmask.methods.kinds import KINDS
from fewmask.recipe import Recipe, Stage, recipe_from_mapping
from fewmask.recipes.names import RECIPES
from fewmask.shapes import Task
from fewmask.training.material import Material
from fewmask.training.outcomes import LearntOutcomes

SIZE = 32
CLASSES = ("background", "disc", "ruler")
TASK = Task(3, CLASSES, SIZE)

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


def tiny_recipe(name: str, steps: int = 3) -> Recipe:
    """A named recipe, narrow and short, at 32 pixels."""
    mapping = to_mapping(RECIPES[name](True))
    mapping |= {"size": SIZE, "log_every": 1}
    for stage in mapping["stages"]:
        stage |= {"steps": steps, "batch": 2, "validate_every": 2}
        stage["method"] |= {key: value for key, value in NARROW.items() if key in stage["method"]}
        if "width" in stage["method"].get("attention", {}):
            stage["method"]["attention"]["width"] = 4
        if "network" in stage["method"]:
            stage["method"]["network"]["widths"] = [4, 8]
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
    """A labelled source, every other case with an outcome, and an unlabelled target."""
    stores = {
        "source": write_store(folder / "source", 1, labelled=True),
        "target": write_store(folder / "target", 2, labelled=False),
    }
    names = stores["source"].cases
    splits = {
        "source": Split("source", "patient", 0, names[:5], names[5:], ()),
        "target": Split("target", "patient", 0, names, (), ()),
    }
    preparations = {role: Preparation(role, 3, SIZE, (Intensity("fixed"),) * 3) for role in stores}
    outcomes = {name: float(place % 2) for place, name in enumerate(names)}
    learnt = LearntOutcomes(OutcomeRule("sign", ">=", "1"), {"source": outcomes})
    return Material(TASK, splits, preparations, stores, learnt)


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
    """Each stage of each named recipe, once: recipes share stages, and names are aliases."""
    seen: list[Stage] = []
    found: list[Named] = []
    for name, build in RECIPES.items():
        for number, stage in enumerate(build(True).stages):
            if stage not in seen:
                seen.append(stage)
                found.append(Named(name, number))
    return found
