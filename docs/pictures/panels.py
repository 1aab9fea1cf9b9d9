"""What the pictures of this folder are made of: panels side by side, rows below one another."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

GAP = 6
"""White pixels between panels, and between rows."""


def panel(path: Path, side: int, resample: Image.Resampling = Image.Resampling.NEAREST) -> Image.Image:
    """A picture file as a square of `side` pixels."""
    return Image.open(path).resize((side, side), resample)


def mask_panel(path: Path, side: int) -> np.ndarray:
    """A mask file as an RGB panel: the object yellow, the ground dark."""
    inside = np.asarray(panel(path, side)) > 0
    return np.where(inside[..., None], [240, 228, 66], [38, 38, 46]).astype(np.uint8)


def grey_panel(values: np.ndarray) -> np.ndarray:
    """A slice (H, W) as an RGB panel, black below its first percentile and white above its last."""
    low, high = np.percentile(values, [1, 99])
    grey = (np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, 2)


def side_by_side(panels: Sequence[np.ndarray]) -> np.ndarray:
    """RGB panels (S, S, 3) as one row."""
    gap = np.full((panels[0].shape[0], GAP, 3), 255, np.uint8)
    return np.hstack([part for panel in panels for part in (panel, gap)][:-1])


def save(rows: Sequence[np.ndarray], path: Path) -> None:
    """Write the rows as one PNG of few colours."""
    gap = np.full((GAP, rows[0].shape[1], 3), 255, np.uint8)
    picture = Image.fromarray(np.vstack([part for row in rows for part in (row, gap)][:-1]))
    picture.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


def first_cases(images: Path, ending: str) -> list[str]:
    """The names of the first three cases of a folder of images, which end in `_0000` and the ending."""
    return sorted(path.name.removesuffix(f"_0000{ending}") for path in images.iterdir())[:3]
