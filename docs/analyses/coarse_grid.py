"""How well masks survive a grid as coarse as SIFA's features: the best that its heads could say at a given size.

True masks of the test cases, in slices of SIZE pixels, are averaged over 8 x 8 pixels and drawn out again as SIFA's
heads draw out their scores. Run from the repository's root:
.venv/bin/python docs/analyses/coarse_grid.py results/cardiac/phantom/Dataset906_CardiacCT 64 128 256
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from fewmask.data.case import Case, Cohort
from fewmask.data.layouts import read_cohort
from fewmask.data.raster import read_classes
from fewmask.networks.shared_encoder import REDUCTION


def main() -> None:
    """Print the Dice of each class, and their mean, for each size."""
    cohort = read_cohort(Path(sys.argv[1]))
    for size in map(int, sys.argv[2:]):
        dice = np.mean([survived(cohort, case, size) for case in cohort.part("test")], axis=0)
        words = ", ".join(f"{name} {value:.3f}" for name, value in zip(cohort.classes[1:], dice, strict=True))
        print(f"{size} pixels: {words}, mean {dice.mean():.3f}")


def survived(cohort: Cohort, case: Case, size: int) -> list[float]:
    """The Dice of each foreground class of one volume, cut across its last axis."""
    truth = torch.from_numpy(np.moveaxis(read_classes(cohort, case), -1, 0).astype(np.int64))
    hot = functional.one_hot(truth, len(cohort.classes)).movedim(-1, 1).float()
    hot = functional.interpolate(hot, (size, size), mode="area")
    coarse = functional.avg_pool2d(hot, REDUCTION)
    fine = functional.interpolate(coarse, truth.shape[1:], mode="bilinear", align_corners=False).argmax(1)
    return [
        float(
            2 * ((fine == index) & (truth == index)).sum() / ((fine == index).sum() + (truth == index).sum())
        )
        for index in range(1, len(cohort.classes))
    ]


if __name__ == "__main__":
    main()
