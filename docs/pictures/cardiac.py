"""Draws cardiac.png: what the rows of the cardiac table make of the phantom's CT, and what stands in their way.

A row a test volume (the first three), its middle slice; from the left: the CT slice, true masks, masks of the floor,
of SIFA, of GLUA's style transfer alone, of GLUA (reconstructed), and the true masks as they survive a grid of 8 x 8
pixels, which is all that SIFA's heads have at 64 pixels. After `make results`, from the repository's root:
.venv/bin/python docs/pictures/cardiac.py results/cardiac
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import torch
from panels import first_cases, grey_panel, save, side_by_side
from PIL import Image
from torch.nn import functional

from fewmask.networks.shared_encoder import REDUCTION

COLOURS = np.array([[38, 38, 46], [204, 102, 96], [86, 180, 233], [240, 228, 66], [0, 158, 115]], np.uint8)
"""Background, MYO, LAC, LVC, AA; told apart by colour-blind readers too."""

ROWS = ("no_adaptation", "sifa", "glua_style_only", "glua")
SIDE = 140


def row(target: Path, study: Path, name: str) -> np.ndarray:
    """All panels of one volume's middle slice, side by side."""
    truth = middle_slice(target / "labelsTs" / f"{name}.nii.gz").astype(np.int64)
    masks = [truth]
    for method in ROWS:
        made = study / "cells" / method / "fold-0" / "seed-0" / "predictions" / f"{name}.nii.gz"
        masks.append(middle_slice(made).astype(np.int64))
    return slice_and_masks(target, name, [*masks, _coarse(truth)])


def slice_and_masks(target: Path, name: str, masks: Sequence[np.ndarray]) -> np.ndarray:
    """The CT slice of a test volume and masks of it, side by side."""
    grey = middle_slice(target / "imagesTs" / f"{name}_0000.nii.gz").astype(np.float64)
    panels = [grey_panel(grey)]
    panels += [COLOURS[mask] for mask in masks]
    drawn = [
        np.asarray(Image.fromarray(panel).resize((SIDE, SIDE), Image.Resampling.NEAREST)) for panel in panels
    ]
    return side_by_side(drawn)


def middle_slice(path: Path) -> np.ndarray:
    """The middle axial slice, front up and the patient's right on the left."""
    volume = nibabel.as_closest_canonical(nibabel.load(path))
    values = np.asarray(volume.dataobj)
    return values[:, :, values.shape[2] // 2].T[::-1, ::-1]


def _coarse(truth: np.ndarray) -> np.ndarray:
    hot = functional.one_hot(torch.from_numpy(truth.copy()), len(COLOURS)).permute(2, 0, 1)[None].float()
    coarse = functional.avg_pool2d(hot, REDUCTION)
    return functional.interpolate(coarse, truth.shape, mode="bilinear").argmax(1)[0].numpy()


def main() -> None:
    """Write the picture beside this file."""
    study = Path(sys.argv[1])
    target = study / "phantom" / "Dataset906_CardiacCT"
    names = first_cases(target / "imagesTs", ".nii.gz")
    save([row(target, study, name) for name in names], Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main()
