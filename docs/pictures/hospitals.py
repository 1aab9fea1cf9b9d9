"""Draws hospitals.png: four photographs of each hospital of the placenta phantom, and the source's masks.

Run from the repository's root: .venv/bin/python docs/pictures/hospitals.py
"""

from pathlib import Path

import numpy as np
from PIL import Image

from fewmask.data.phantoms.placenta import HOSPITALS, photograph

COLOURS = np.array([[38, 38, 46], [204, 102, 96], [240, 228, 66], [86, 180, 233]], np.uint8)
"""Background, disc, cord, ruler; told apart by colour-blind readers too."""


def main() -> None:
    """Write the picture beside this file."""
    source, target = HOSPITALS
    photographs = [[photograph(hospital, case, 0, 160) for case in range(5)] for hospital in (source, target)]
    rows = [
        np.hstack([shot.image for shot in photographs[0]]),
        np.hstack([COLOURS[shot.mask] for shot in photographs[0]]),
        np.hstack([shot.image for shot in photographs[1]]),
    ]
    picture = Image.fromarray(np.vstack(rows)).quantize(128, dither=Image.Dither.NONE)
    picture.save(Path(__file__).with_suffix(".png"), optimize=True)


if __name__ == "__main__":
    main()
