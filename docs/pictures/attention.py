"""Draws attention.png: what MSL re-draws on the placenta phantom, with and without its cycle on the attention.

A row a test image (the first three); from the left: the image; attention, translation and masks of `msl`; the same of
`msl_cycle_off_attention`; the true masks. Run after `make results`, from the repository's root:
.venv/bin/python docs/pictures/attention.py results/placenta
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = np.array([[38, 38, 46], [204, 102, 96], [240, 228, 66], [86, 180, 233]], np.uint8)
"""Background, disc, cord, ruler; told apart by colour-blind readers too."""

ROWS = ("msl", "msl_cycle_off_attention")
SIDE = 128
GAP = 6


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
    gap = np.full((SIDE, GAP, 3), 255, np.uint8)
    return np.hstack([part for panel in panels for part in (panel, gap)][:-1])


def _picture(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB").resize((SIDE, SIDE), Image.Resampling.NEAREST))


def _classes(path: Path) -> np.ndarray:
    return COLOURS[np.asarray(Image.open(path).resize((SIDE, SIDE), Image.Resampling.NEAREST))]


def main() -> None:
    """Write the picture beside this file."""
    study = Path(sys.argv[1])
    target = study / "phantom" / "Dataset902_PlacentaTarget"
    names = sorted(path.name.removesuffix("_0000.png") for path in (target / "imagesTs").iterdir())[:3]
    rows = [row(target, study, name) for name in names]
    gap = np.full((GAP, rows[0].shape[1], 3), 255, np.uint8)
    picture = Image.fromarray(np.vstack([part for line in rows for part in (line, gap)][:-1]))
    picture.quantize(128, dither=Image.Dither.NONE).save(Path(__file__).with_suffix(".png"), optimize=True)


if __name__ == "__main__":
    main()
