"""Draws swap.png: nuclei and ground exchanged by MSL without its attention consistency, and not by MSL.

A row a test image (the first three); from the left: the image; translation and masks of `msl`; the same of
`msl_without_attention_consistency`; the true masks. Needs the study of nuclei in docs/results.md; its images are of
the Data Science Bowl 2018 (CC0). From the repository's root:
.venv/bin/python docs/pictures/swap.py results/nuclei TARGET_DATASET
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROWS = ("msl", "msl_without_attention_consistency")
SIDE = 160
GAP = 6


def row(target: Path, study: Path, name: str) -> np.ndarray:
    """All panels of one case, side by side."""
    panels = [_picture(target / "imagesTs" / f"{name}_0000.png")]
    for method in ROWS:
        made = study / "cells" / method / "fold-0" / "seed-0" / "predictions"
        panels += [_picture(made / "translations" / f"{name}.png"), _mask(made / f"{name}.png")]
    panels.append(_mask(target / "labelsTs" / f"{name}.png"))
    gap = np.full((SIDE, GAP, 3), 255, np.uint8)
    return np.hstack([part for panel in panels for part in (panel, gap)][:-1])


def _picture(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def _mask(path: Path) -> np.ndarray:
    inside = np.asarray(Image.open(path).resize((SIDE, SIDE), Image.Resampling.NEAREST)) > 0
    return np.where(inside[..., None], [240, 228, 66], [38, 38, 46]).astype(np.uint8)


def main() -> None:
    """Write the picture beside this file."""
    study, target = Path(sys.argv[1]), Path(sys.argv[2])
    names = sorted(path.name.removesuffix("_0000.png") for path in (target / "imagesTs").iterdir())[:3]
    rows = [row(target, study, name) for name in names]
    gap = np.full((GAP, rows[0].shape[1], 3), 255, np.uint8)
    picture = Image.fromarray(np.vstack([part for line in rows for part in (line, gap)][:-1]))
    picture.quantize(128, dither=Image.Dither.NONE).save(Path(__file__).with_suffix(".png"), optimize=True)


if __name__ == "__main__":
    main()
