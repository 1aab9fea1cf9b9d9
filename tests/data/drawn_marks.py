"""A drawn scan (speckle and bright layers), and marks on it whose every pixel is known."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

YELLOW, GREEN, WHITE = (255, 255, 0), (0, 255, 0), (226, 226, 226)
FINE = 4
"""How many times finer than a pixel marks are drawn."""

Pen = Callable[[ImageDraw.ImageDraw], None]


def scan(size: int, seed: int) -> np.ndarray:
    """Grey values (size, size), 8 bits: speckle that is wider than high, bright layers, a dark cyst, a black margin."""
    draws = np.random.default_rng(seed)
    fine = size / 256
    blur = (0.8 * fine, 1.8 * fine)
    parts = [ndimage.gaussian_filter(draws.normal(size=(size, size)), blur) for _ in range(2)]
    envelope = np.hypot(*parts) / np.std(parts[0])
    rows, columns = np.mgrid[:size, :size] / size
    tissue = np.full((size, size), 105.0)
    for height in (0.2, 0.33, 0.75):
        tissue += 90 * np.exp(-(((rows - height - 0.04 * np.sin(6 * columns)) / 0.008) ** 2))
    tissue[(rows - 0.55) ** 2 + (columns - 0.4) ** 2 < 0.02] = 25
    tissue = ndimage.gaussian_filter(tissue, blur)
    values = tissue + 22 * np.log(envelope + 0.2)
    values[:, columns[0] > 0.9] = 0
    return np.clip(values, 0, 255).astype(np.uint8)


def coverage(size: int, pen: Pen) -> np.ndarray:
    """The share of each pixel (size, size) that the pen covers: smooth edges, as machines draw them."""
    canvas = Image.new("L", (size * FINE, size * FINE))
    pen(ImageDraw.Draw(canvas))
    return np.asarray(canvas, dtype=np.float64).reshape(size, FINE, size, FINE).mean(axis=(1, 3)) / 255


def burnt(grey: np.ndarray, covered: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """An RGB picture (3, H, W) with the colour burnt in where it covers."""
    under = np.broadcast_to(grey, (3, *grey.shape)).astype(np.float64)
    over = np.array(colour, dtype=np.float64)[:, None, None]
    return np.rint(under * (1 - covered) + over * covered).astype(np.uint8)


def cross(pen: ImageDraw.ImageDraw, row: float, column: float, arm: float, width: float) -> None:
    """An upright cross around a point, in pixels of the picture."""
    half = width / 2
    for left, top in ((arm, half), (half, arm)):
        box = (column - left, row - top, column + left, row + top)
        pen.rectangle([FINE * edge for edge in box], fill=255)


def dotted(
    pen: ImageDraw.ImageDraw, start: tuple[float, float], end: tuple[float, float], step: float, width: float
) -> None:
    """Round dots from one point (row, column) to another."""
    length = float(np.hypot(end[0] - start[0], end[1] - start[1]))
    for share in np.arange(step, length, step) / length:
        row, column = (a + share * (b - a) for a, b in zip(start, end, strict=True))
        box = (column - width / 2, row - width / 2, column + width / 2, row + width / 2)
        pen.ellipse([FINE * edge for edge in box], fill=255)


def callipers(size: int) -> Pen:
    """Two measured diameters, a third cross that the picture's corner cuts, and one on its right edge."""
    arm, width, step = size / 50, max(1.2, size / 250), size / 60
    first, second = (0.4 * size, 0.15 * size), (0.61 * size, 0.72 * size)
    third, fourth = (0.3 * size, 0.45 * size), (0.8 * size, 0.4 * size)

    def pen(draw: ImageDraw.ImageDraw) -> None:
        for place in (first, second, third, fourth, (1.5, 2.5), (0.5 * size, size - 1.0)):
            cross(draw, *place, arm, width)
        dotted(draw, first, second, step, width)
        dotted(draw, third, fourth, step, width)

    return pen


def word(text: str, row: float, column: float, height: float) -> Pen:
    """Letters of so many pixels."""

    def pen(draw: ImageDraw.ImageDraw) -> None:
        font = ImageFont.load_default(height * FINE)
        draw.text((column * FINE, row * FINE), text, fill=255, font=font)

    return pen
