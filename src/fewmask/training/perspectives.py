"""An image seen in several ways: a network that has learnt a structure says nearly the same of each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fewmask.shapes import Images, Logits


@dataclass(frozen=True)
class Perspective:
    """How an image is changed: turned (degrees), enlarged (factor), and its intensities in [0, 1] raised to `gamma`.

    All changes lie within what strong augmentation shows a network in training (`fewmask.recipe.Augmentation`).
    """

    degrees: float
    zoom: float
    gamma: float


PERSPECTIVES = (
    Perspective(degrees=8.0, zoom=1.0, gamma=0.8),
    Perspective(degrees=-8.0, zoom=1.0, gamma=1.25),
    Perspective(degrees=0.0, zoom=1.1, gamma=1.25),
    Perspective(degrees=0.0, zoom=0.9, gamma=0.8),
)
"""Fixed, so that two looks at one image see the same. Not mirrored: a heart has a left and a right."""


def seen_from(images: Images, perspective: Perspective) -> Images:
    """The images as they look from a perspective; what comes in from outside continues the rim."""
    unit = ((images.clamp(-1.0, 1.0) + 1.0) / 2.0) ** perspective.gamma
    return _warped(unit * 2.0 - 1.0, perspective.degrees, perspective.zoom, "bilinear")


def brought_back(probabilities: Tensor, perspective: Perspective) -> Tensor:
    """Probabilities (N, K, S, S) seen from a perspective, on the grid of the image itself."""
    return _warped(probabilities, -perspective.degrees, 1.0 / perspective.zoom, "bilinear")


def probabilities_seen(images: Images, segment: Callable[[Images], Logits]) -> Iterator[Tensor]:
    """The class probabilities (N, K, S, S), float32, from each perspective, on the images' own grid."""
    for perspective in PERSPECTIVES:
        yield brought_back(segment(seen_from(images, perspective)).float().softmax(1), perspective)


def _warped(values: Tensor, degrees: float, zoom: float, mode: str) -> Tensor:
    angle = torch.tensor(degrees, dtype=values.dtype, device=values.device).deg2rad()
    cosine, sine = angle.cos() / zoom, angle.sin() / zoom
    zero = torch.zeros_like(cosine)
    matrix = torch.stack([torch.stack([cosine, -sine, zero]), torch.stack([sine, cosine, zero])])
    grid = functional.affine_grid(matrix.expand(len(values), 2, 3), list(values.shape), align_corners=False)
    return functional.grid_sample(values, grid, mode=mode, padding_mode="border", align_corners=False)
