"""The smallest real input of tags: eight volumes of thick slices, a bright disc in the middle two of each."""

import csv
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np

from fewmask.files import write_csv, write_json
from fewmask.methods.kinds import KINDS
from fewmask.recipe import Cohorts, Recipe, override
from fewmask.recipes.names import RECIPES

DEPTH, SIDE = 5, 24
SHOWN = (2, 3)

SHORT = (
    "size=32",
    "steps=3",
    "batch=2",
    "validate_every=2",
    "classifier.method.network.width=0.03125",
    "segmenter.method.network.widths=[4,8]",
)
"""Changes that make a recipe of tags take a second."""


def write_tagged(folder: Path, cases: int = 8, masks: bool = True, flipped: bool = False) -> Path:
    """Write the dataset: the last two cases are the test part. `flipped` files run from the head downwards."""
    affine = np.diag((0.6, 0.6, -6.0 if flipped else 6.0, 1.0))
    tags: list[tuple[object, ...]] = []
    for number in range(cases):
        rng = np.random.default_rng(number)
        name, part = f"stack{number}", "Tr" if number < cases - 2 else "Ts"
        volume = rng.uniform(0.0, 40.0, (SIDE, SIDE, DEPTH)).astype(np.float32)
        mask = np.zeros(volume.shape, np.uint8)
        across, down = np.mgrid[:SIDE, :SIDE]
        centre = rng.uniform(9, 15, 2)
        mask[(across - centre[0]) ** 2 + (down - centre[1]) ** 2 < 30, SHOWN[0] : SHOWN[1] + 1] = 1
        volume[mask == 1] += 150.0
        _save(volume, affine, folder / f"images{part}" / f"{name}_0000.nii.gz")
        if masks:
            _save(mask, affine, folder / f"labels{part}" / f"{name}.nii.gz")
        tags += [(name, index, int(index in SHOWN)) for index in range(DEPTH)]
    write_csv(folder / "slices.csv", ("case", "slice", "brain"), tags)
    write_csv(folder / "cases.csv", ("case", "patient"), [(f"stack{i}", f"p{i}") for i in range(cases)])
    labels = {"background": 0, "brain": 1}
    described = {"channel_names": {"0": "T2w"}, "labels": labels, "file_ending": ".nii.gz"}
    write_json(folder / "dataset.json", described | {"numTraining": cases - 2})
    return folder


def _save(values: np.ndarray, affine: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, affine), path)


def short(name: str, tags: Path, *changes: str, corrections: Path | None = None) -> Recipe:
    """A named recipe of tags, narrow and short."""
    recipe = override(RECIPES[name](True), (*SHORT, *changes), KINDS)
    return replace(recipe, cohorts=Cohorts(tags=tags, corrections=corrections))


def change_tags(folder: Path, change: dict[tuple[str, int], str | None]) -> None:
    """Give slices another tag, or none at all (None removes the row)."""
    with (folder / "slices.csv").open(newline="", encoding="utf-8") as file:
        rows = [(row["case"], int(row["slice"]), row["brain"]) for row in csv.DictReader(file)]
    kept = [(case, index, change.get((case, index), tag)) for case, index, tag in rows]
    write_csv(folder / "slices.csv", ("case", "slice", "brain"), [row for row in kept if row[2] is not None])
