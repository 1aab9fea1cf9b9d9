"""Draws tags.png: every stage from a tag to a mask, on a real fetal brain.

A row a stack (the first three that were learnt from), its middle positive slice; from the left: the slice, the maps of
the classifier's blocks 3, 4 and 5 and of its last layer, their fusion, the soft label grown from its seeds, the
pseudo-mask, the segmenter's mask, and the mask drawn by hand, which nothing was learnt from. With RUN and TAGGED as in
docs/results.md, from the repository's root:
.venv/bin/python docs/pictures/tags.py RUN TAGGED
"""

import sys
from pathlib import Path

import matplotlib
import nibabel
import numpy as np
from panels import grey_panel, save, side_by_side
from PIL import Image

SIDE = 120
MASK_COLOURS = np.array([[38, 38, 46], [240, 228, 66]], np.uint8)


def volume(path: Path) -> np.ndarray:
    """A file's values with its first three axes from left to right, back to front and below to above."""
    return np.asarray(nibabel.as_closest_canonical(nibabel.load(path)).dataobj)


def row(run: Path, name: str, tagged: Path) -> np.ndarray:
    """All panels of one stack's middle positive slice, side by side."""
    made = run / "stages" / "segmenter" / "pseudo_labels"
    truth = volume(tagged / "labelsTr" / f"{name}.nii.gz") > 0
    axis = int(np.argmin(truth.shape))
    shown = np.flatnonzero(truth.any(tuple(other for other in range(3) if other != axis)))
    at = int(shown[len(shown) // 2])

    def cut(values: np.ndarray) -> np.ndarray:
        return np.take(values, at, axis).T[::-1, ::-1]

    soft = [volume(made / folder / f"{name}_probabilities.nii.gz") for folder in ("maps", "fused", "soft")]
    layers = [layer for values in soft for layer in np.moveaxis(values, -1, 0)]
    masks = [
        volume(made / "Dataset001_pseudo" / "labelsTr" / f"{name}.nii.gz") == 1,
        volume(run / "predictions" / f"{name}.nii.gz") == 1,
        truth,
    ]
    grey = cut(volume(tagged / "imagesTr" / f"{name}_0000.nii.gz")).astype(np.float64)
    panels = [grey_panel(grey)]
    heat = matplotlib.colormaps["inferno"]
    panels += [(heat(cut(layer))[..., :3] * 255).astype(np.uint8) for layer in layers]
    panels += [MASK_COLOURS[cut(mask).astype(np.int64)] for mask in masks]
    return side_by_side([_square(panel) for panel in panels])


def _square(panel: np.ndarray) -> np.ndarray:
    """The panel in the middle of a square, as large as fits."""
    picture = Image.fromarray(panel)
    scale = SIDE / max(picture.size)
    picture = picture.resize([round(side * scale) for side in picture.size], Image.Resampling.BILINEAR)
    square = Image.new("RGB", (SIDE, SIDE))
    square.paste(picture, ((SIDE - picture.width) // 2, (SIDE - picture.height) // 2))
    return np.asarray(square)


def main() -> None:
    """Write the picture beside this file."""
    run, tagged = (Path(word) for word in sys.argv[1:3])
    names = sorted(path.name.removesuffix(".nii.gz") for path in (run / "predictions").glob("*.nii.gz"))
    save([row(run, name, tagged) for name in names[:3]], Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main()
