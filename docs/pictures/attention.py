"""Draws attention.png: what MSL re-draws on the placenta phantom, with and without its cycle on the attention.

A row a test image (the first three); from the left: the image; attention, translation and masks of `msl`; the same of
`msl_cycle_off_attention`; the true masks. Run after `make results`, from the repository's root:
.venv/bin/python docs/pictures/attention.py results/placenta
"""

import sys
from pathlib import Path

import numpy as np
from panels import first_cases, panel, save, side_by_side

COLOURS = np.array([[38, 38, 46], [204, 102, 96], [240, 228, 66], [86, 180, 233]], np.uint8)
"""Background, disc, cord, ruler; told apart by colour-blind readers too."""

ROWS = ("msl", "msl_cycle_off_attention")
SIDE = 128


def row(target: Path, study: Path, name: str) -> np.ndarray:
    """All panels of one case, side by side."""
    panels = [_picture(target / "imagesTs" / f"{name}_0000.png")]
    for method in ROWS:
        made = study / "cells" / method / "fold-0" / "seed-0" / "predictions"
        panels += [
            _picture(made / "attention" / f"{name}.png"),
            _picture(made / "translations" / f"{name}.png"),
            _classes(made / f"{name}.png"),
        ]
    panels.append(_classes(target / "labelsTs" / f"{name}.png"))
    return side_by_side(panels)


def _picture(path: Path) -> np.ndarray:
    return np.asarray(panel(path, SIDE).convert("RGB"))


def _classes(path: Path) -> np.ndarray:
    return COLOURS[np.asarray(panel(path, SIDE))]


def main() -> None:
    """Write the picture beside this file."""
    study = Path(sys.argv[1])
    target = study / "phantom" / "Dataset902_PlacentaTarget"
    names = first_cases(target / "imagesTs", ".png")
    save([row(target, study, name) for name in names], Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main()
