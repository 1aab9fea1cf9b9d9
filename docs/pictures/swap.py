"""Draws swap.png: nuclei and ground exchanged by MSL without its attention consistency, and not by MSL.

A row a test image (the first three); from the left: the image; translation and masks of `msl`; the same of
`msl_without_attention_consistency`; the true masks. Needs the study of nuclei in docs/results.md; its images are of
the Data Science Bowl 2018 (CC0). From the repository's root:
.venv/bin/python docs/pictures/swap.py results/nuclei TARGET_DATASET
"""

import sys
from pathlib import Path

import numpy as np
from panels import first_cases, mask_panel, panel, save, side_by_side
from PIL import Image

ROWS = ("msl", "msl_without_attention_consistency")
SIDE = 160


def row(target: Path, study: Path, name: str) -> np.ndarray:
    """All panels of one case, side by side."""
    panels = [_picture(target / "imagesTs" / f"{name}_0000.png")]
    for method in ROWS:
        made = study / "cells" / method / "fold-0" / "seed-0" / "predictions"
        panels += [_picture(made / "translations" / f"{name}.png"), mask_panel(made / f"{name}.png", SIDE)]
    panels.append(mask_panel(target / "labelsTs" / f"{name}.png", SIDE))
    return side_by_side(panels)


def _picture(path: Path) -> np.ndarray:
    return np.asarray(panel(path, SIDE, Image.Resampling.BILINEAR).convert("RGB"))


def main() -> None:
    """Write the picture beside this file."""
    study, target = Path(sys.argv[1]), Path(sys.argv[2])
    names = first_cases(target / "imagesTs", ".png")
    save([row(target, study, name) for name in names], Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main()
