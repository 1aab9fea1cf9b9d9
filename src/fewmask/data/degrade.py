"""Images made worse in fixed ways and degrees: a segmenter is tried on them, and goes wrong to every extent."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from fewmask.shapes import Images

Kind = Literal["contrast", "dark", "bright", "blur", "noise", "bias", "inversion", "resolution"]


@dataclass(frozen=True)
class Degradation:
    """A way to make an image worse, and how far: a `degree` near 0 leaves it as it is, 1 leaves little or nothing."""

    kind: Kind
    degree: float


DEGREES = (1.0 / 3.0, 2.0 / 3.0, 1.0)

DEGRADATIONS: tuple[Degradation, ...] = tuple(
    Degradation(kind, degree)
    for degree in DEGREES
    for kind in ("contrast", "dark", "bright", "blur", "noise", "bias", "inversion", "resolution")
)
"""All kinds in every degree; any eight in a row have each kind once."""


def degraded(images: Images, degradation: Degradation, seed: int) -> Images:
    """Images (N, C, S, S) in [-1, 1] made worse, all channels alike; `seed` decides noise and the bias's direction.

    contrast: towards the image's mean, to a tenth. dark, bright: intensities in [0, 1] to the power of 8 and of 1/8.
    blur: a Gaussian of 8 % of the side. noise: normal, half of the range. bias: a ramp of the range added across the
    image. inversion: blended towards 1 minus the image. resolution: averaged over 8 x 8 squares. Each in the degree 1.
    """
    unit = (images.clamp(-1.0, 1.0) + 1.0) / 2.0
    generator = torch.Generator().manual_seed(seed)
    change: dict[Kind, Callable[[], Tensor]] = {
        "contrast": lambda: _contrast(unit, 10.0**-degradation.degree),
        "dark": lambda: unit ** (2.0 ** (3.0 * degradation.degree)),
        "bright": lambda: unit ** (2.0 ** (-3.0 * degradation.degree)),
        "blur": lambda: _blurred(unit, 0.08 * degradation.degree * unit.shape[-1]),
        "noise": lambda: unit + 0.5 * degradation.degree * _noise(unit, generator),
        "bias": lambda: unit + degradation.degree * _ramp(unit, generator),
        "inversion": lambda: unit + degradation.degree * (1.0 - 2.0 * unit),
        "resolution": lambda: _coarse(unit, round(8.0 / degradation.degree)),
    }
    return change[degradation.kind]().clamp(0.0, 1.0) * 2.0 - 1.0


def _contrast(unit: Tensor, factor: float) -> Tensor:
    mean = unit.mean((1, 2, 3), keepdim=True)
    return mean + (unit - mean) * factor


def _blurred(unit: Tensor, sigma: float) -> Tensor:
    """Blurred by a Gaussian whose kernel is cut off where little is left of it; the rim is mirrored."""
    reach = min(math.ceil(2.5 * sigma), unit.shape[-1] - 1)
    places = torch.arange(-reach, reach + 1, dtype=unit.dtype, device=unit.device)
    kernel = torch.exp(-0.5 * (places / max(sigma, 1e-3)) ** 2)
    kernel = (kernel / kernel.sum()).expand(unit.shape[1], 1, 1, -1)
    padded = functional.pad(unit, (reach,) * 4, mode="reflect")
    across = functional.conv2d(padded, kernel, groups=unit.shape[1])
    return functional.conv2d(across, kernel.transpose(2, 3), groups=unit.shape[1])


def _noise(unit: Tensor, generator: torch.Generator) -> Tensor:
    # Drawn on the CPU: the same on every device.
    return torch.randn(unit.shape, generator=generator).to(unit)


def _ramp(unit: Tensor, generator: torch.Generator) -> Tensor:
    """(S, S) from about -1 to 1 along a direction that is drawn."""
    angle = 2.0 * math.pi * float(torch.rand(1, generator=generator))
    places = torch.linspace(-1.0, 1.0, unit.shape[-1], dtype=unit.dtype, device=unit.device)
    return math.cos(angle) * places + math.sin(angle) * places[:, None]


def _coarse(unit: Tensor, side: int) -> Tensor:
    """Averaged over so many squares a side, and drawn smoothly again."""
    small = functional.interpolate(unit, size=(side, side), mode="area")
    return functional.interpolate(small, size=unit.shape[-2:], mode="bilinear", align_corners=False)
