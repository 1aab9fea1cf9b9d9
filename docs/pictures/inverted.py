"""Draws inverted.png: what methods across modalities make of nuclei whose contrast turns round.

A row a test image (the first three); from the left: the image; the masks of the floor, of CycleGAN, of GLUA's style
transfer alone (reconstructed) and of SIFA; the true masks. Needs the study of nuclei of the cross-modality table in
docs/results.md:
fewmask study cardiac --small --precision 32 --source SOURCE_DATASET --target TARGET_DATASET \
  --out results/nuclei_modality
Its images are of the Data Science Bowl 2018 (CC0). From the repository's root:
.venv/bin/python docs/pictures/inverted.py results/nuclei_modality TARGET_DATASET
"""

import sys
from pathlib import Path

import numpy as np
from panels import first_cases, mask_panel, panel, save, side_by_side
from PIL import Image

ROWS = ("no_adaptation", "cyclegan", "glua_style_only", "sifa")
SIDE = 160


def row(target: Path, study: Path, name: str) -> np.ndarray:
    """All panels of one case, side by side."""
    image = panel(target / "imagesTs" / f"{name}_0000.png", SIDE, Image.Resampling.BILINEAR)
    made = [study / "cells" / method / "fold-0" / "seed-0" / "predictions" for method in ROWS]
    masks = [*(folder / f"{name}.png" for folder in made), target / "labelsTs" / f"{name}.png"]
    return side_by_side([np.asarray(image.convert("RGB")), *(mask_panel(path, SIDE) for path in masks)])


def main() -> None:
    """Write the picture beside this file."""
    study, target = Path(sys.argv[1]), Path(sys.argv[2])
    names = first_cases(target / "imagesTs", ".png")
    save([row(target, study, name) for name in names], Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main()
