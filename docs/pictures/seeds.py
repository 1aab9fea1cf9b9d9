"""Draws seeds.png: pseudo-labels of UM-CAM that grew from a seed beside the brain, on the fetal phantom, seed 0.

A row a volume: the first three, by name, that have such a slice, and of each its first one. From the left: the slice
with its seed (yellow) and the box whose corners are the background's seeds (blue), the fused map, the soft label grown
from the seeds, the pseudo-mask, and the true mask, which nothing was learnt from. Needs the study's cell `umcam`,
which `make results` makes, or
fewmask study fetal-brain --small --precision bf16 --rows umcam --out results/fetal_brain
From the repository's root:
.venv/bin/python docs/pictures/seeds.py results/fetal_brain
"""

import csv
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import matplotlib
import nibabel
import numpy as np
from panels import grey_panel, save, side_by_side
from PIL import Image

SIDE = 140
PREPARED = 96
"""Pixels of the prepared square's side, in which `seeds.csv` counts."""

YELLOW, BLUE = (240, 228, 66), (86, 180, 233)
MASK_COLOURS = np.array([[38, 38, 46], YELLOW], np.uint8)
ROWS = 3

Seed = Mapping[str, str]
"""A line of `seeds.csv`."""


def axial(path: Path, at: int) -> np.ndarray:
    """An axial slice as the network sees it: from right to left along columns, from back to front along rows."""
    return np.asarray(nibabel.as_closest_canonical(nibabel.load(path)).dataobj)[:, :, at].squeeze().T


def place(seed: Seed, row: str, column: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """Where a place of the prepared square lies in a slice of this shape."""
    scales = [side / PREPARED for side in shape]
    at = [int((int(seed[key]) + 0.5) * scale) for key, scale in zip((row, column), scales, strict=True)]
    return at[0], at[1]


def missed(study: Path, run: Path) -> Iterator[Seed]:
    """Of each volume the first slice that shows the brain and whose seed lies beside it."""
    done: set[str] = set()
    with (_made(run) / "seeds.csv").open(encoding="utf-8") as lines:
        for seed in csv.DictReader(lines):
            truth = axial(_phantom(study) / "labelsTr" / f"{seed['case']}.nii.gz", int(seed["slice"])) > 0
            if seed["case"] in done or not truth.any():
                continue
            if not truth[place(seed, "seed_row", "seed_column", truth.shape)]:
                done.add(seed["case"])
                yield seed


def row(study: Path, run: Path, seed: Seed) -> np.ndarray:
    """All panels of one slice, side by side."""
    made, name, at = _made(run), seed["case"], int(seed["slice"])
    grey = grey_panel(axial(_phantom(study) / "imagesTr" / f"{name}_0000.nii.gz", at).astype(np.float64))
    heat = matplotlib.colormaps["inferno"]
    soft = [axial(made / folder / f"{name}_probabilities.nii.gz", at) for folder in ("fused", "soft")]
    masks = [
        axial(made / "Dataset001_pseudo" / "labelsTr" / f"{name}.nii.gz", at) == 1,
        axial(_phantom(study) / "labelsTr" / f"{name}.nii.gz", at) == 1,
    ]
    panels = [_marked(grey, seed)]
    panels += [(heat(values)[..., :3] * 255).astype(np.uint8) for values in soft]
    panels += [MASK_COLOURS[mask.astype(np.int64)] for mask in masks]
    return side_by_side([_enlarged(panel) for panel in panels])


def _marked(grey: np.ndarray, seed: Seed) -> np.ndarray:
    marked, shape = grey.copy(), grey.shape[:2]
    (top, left), (bottom, right) = place(seed, "top", "left", shape), place(seed, "bottom", "right", shape)
    marked[[top, bottom], left : right + 1] = BLUE
    marked[top : bottom + 1, [left, right]] = BLUE
    down, across = place(seed, "seed_row", "seed_column", shape)
    marked[down - 1 : down + 2, across - 1 : across + 2] = YELLOW
    return marked


def _enlarged(panel: np.ndarray) -> np.ndarray:
    """Front up, as radiologists look at it."""
    return np.asarray(Image.fromarray(panel[::-1, ::-1]).resize((SIDE, SIDE), Image.Resampling.NEAREST))


def _made(run: Path) -> Path:
    return run / "stages" / "segmenter" / "pseudo_labels"


def _phantom(study: Path) -> Path:
    return study / "phantom" / "Dataset909_FetalBrain"


def main() -> None:
    """Write the picture beside this file."""
    study = Path(sys.argv[1])
    run = study / "cells" / "umcam" / "fold-0" / "seed-0"
    shown = [seed for _, seed in zip(range(ROWS), missed(study, run), strict=False)]
    save([row(study, run, seed) for seed in shown], Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main()
