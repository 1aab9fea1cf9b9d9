"""Draws sifa_steps.png: SIFA with other sizes and lengths on the cardiac phantom's CT, seed 0.

A row a test volume (the first three), its middle slice; from the left: the CT slice, true masks, SIFA at 64 pixels
with 600 steps (the table's), at 128 pixels with 600 steps, at 64 pixels with 2,000 steps. After `make results` and the
two controlled experiments of docs/results.md, each with its predictions in its run folder, from the repository's root:
.venv/bin/python docs/pictures/sifa_steps.py results/cardiac RUN_AT_128 RUN_OF_2000
"""

import sys
from pathlib import Path

import numpy as np
from cardiac import middle_slice, slice_and_masks
from panels import first_cases, save


def main() -> None:
    """Write the picture beside this file."""
    study, *runs = (Path(word) for word in sys.argv[1:4])
    target = study / "phantom" / "Dataset906_CardiacCT"
    folders = [
        target / "labelsTs",
        *(run / "predictions" for run in (study / "cells" / "sifa" / "fold-0" / "seed-0", *runs)),
    ]
    rows = []
    for name in first_cases(target / "imagesTs", ".nii.gz"):
        masks = [middle_slice(folder / f"{name}.nii.gz").astype(np.int64) for folder in folders]
        rows.append(slice_and_masks(target, name, masks))
    save(rows, Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main()
