"""Random changes of training images, so that few images stand for many.

A sample's changes are a function of its key alone: it looks the same whatever batch it sits in, and a resumed
run sees what the first one would have seen.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fewmask.recipe import Augmentation
from fewmask.shapes import Images, Masks


@dataclass(frozen=True)
class _Draws:
    """What was drawn for each sample of a batch: (B,) each, on the images' device."""

    rotation: Tensor
    zoom: Tensor
    shift_columns: Tensor
    shift_rows: Tensor
    flipped: Tensor
    exponent: Tensor
    contrast: Tensor
    brightness: Tensor
    noise: Tensor
    noise_seeds: tuple[int, ...]


@torch.no_grad()
def augment(
    images: Images, masks: Masks | None, keys: Tensor, config: Augmentation
) -> tuple[Images, Masks | None]:
    """Images, and their masks where there are any, after random changes in the ranges that `config` gives.

    `keys` is (B,) int64, one a sample; it decides everything. Images are first moved (one rotation, zoom and
    shift, bilinear for images, nearest for masks; what comes in from outside is -1 and background) and
    mirrored left to right, then re-lit: exponent, contrast about the image's mean, brightness, noise, cut to
    [-1, 1]. All channels of an image are re-lit alike, so colours keep their relation; only the noise is
    drawn for each channel. Lighting works on the range scaled to [0, 1], so brightness 0.2 is a fifth of the
    range. Noise is drawn on the images' device: it is the same for a key on every CPU, and another one on a
    GPU.
    """
    draws = _draw(keys, config, images.device)
    if config.rotation or config.scale or config.translation:
        grid = _grid(draws, images)
        # The grid's outside is 0, so images are shifted by 1 to make it their darkest value.
        images = functional.grid_sample(images + 1.0, grid, padding_mode="zeros", align_corners=False) - 1.0
        masks = None if masks is None else _move_masks(masks, grid)
    if config.flip:
        images = torch.where(_column(draws.flipped), images.flip(-1), images)
        masks = None if masks is None else torch.where(draws.flipped[:, None, None], masks.flip(-1), masks)
    return _relight(images, draws, config), masks


@torch.no_grad()
def moved(maps: Tensor, keys: Tensor, config: Augmentation) -> Tensor:
    """Maps (B, M, H, W) in [0, 1] moved and mirrored as `augment` moves the images of these keys.

    They are read bilinearly; what comes in from outside is 0.
    """
    draws = _draw(keys, config, maps.device)
    if config.rotation or config.scale or config.translation:
        maps = functional.grid_sample(maps, _grid(draws, maps), padding_mode="zeros", align_corners=False)
    return torch.where(_column(draws.flipped), maps.flip(-1), maps) if config.flip else maps


def _draw(keys: Tensor, config: Augmentation, device: torch.device) -> _Draws:
    """Every number is drawn, used or not, so switching one change off leaves the others as they are."""
    units: list[np.ndarray] = []
    seeds: list[int] = []
    for key in keys.tolist():
        generator = np.random.Generator(np.random.Philox(key=key % 2**64))
        units.append(generator.uniform(-1.0, 1.0, 9))
        # torch's CPU generator uses 32 bits of a seed alone, so keys themselves could collide.
        seeds.append(int(generator.integers(2**63)))
    drawn = torch.from_numpy(np.stack(units, axis=1).astype(np.float32)).to(device)
    return _Draws(
        rotation=drawn[0] * math.radians(config.rotation),
        zoom=torch.exp2(drawn[1] * config.scale),
        shift_columns=drawn[2] * config.translation,
        shift_rows=drawn[3] * config.translation,
        flipped=drawn[4] > 0.0,
        exponent=torch.exp2(drawn[5] * config.gamma),
        contrast=1.0 + drawn[6] * config.contrast,
        brightness=drawn[7] * config.brightness,
        noise=drawn[8].abs() * config.noise,
        noise_seeds=tuple(seeds),
    )


def _grid(draws: _Draws, images: Images) -> Tensor:
    """Where each output pixel looks, (B, H, W, 2) as (column, row), the image spanning [-1, 1] both ways.

    Written out instead of `affine_grid`: a matrix product may round differently for another batch size, and a
    nearest neighbour that hangs on the last bit would then differ.
    """
    rows, columns = images.shape[-2:]
    across = (2.0 * torch.arange(columns, device=images.device) + 1.0) / columns - 1.0
    down = ((2.0 * torch.arange(rows, device=images.device) + 1.0) / rows - 1.0)[:, None]
    cosine = (torch.cos(draws.rotation) / draws.zoom)[:, None, None]
    sine = (torch.sin(draws.rotation) / draws.zoom)[:, None, None]
    # Turned in pixels, not in fractions of two sides that may differ.
    column = cosine * across - (rows / columns) * sine * down + 2.0 * draws.shift_columns[:, None, None]
    row = (columns / rows) * sine * across + cosine * down + 2.0 * draws.shift_rows[:, None, None]
    return torch.stack([column, row], dim=-1).to(images.dtype)


def _move_masks(masks: Masks, grid: Tensor) -> Masks:
    moved = functional.grid_sample(
        masks[:, None].to(grid.dtype), grid, mode="nearest", padding_mode="zeros", align_corners=False
    )
    return moved[:, 0].to(masks.dtype)


def _relight(images: Images, draws: _Draws, config: Augmentation) -> Images:
    light = ((images + 1.0) / 2.0).clamp(0.0, 1.0)
    if config.gamma:
        light = light.pow(_column(draws.exponent))
    if config.contrast:
        mean = light.mean((1, 2, 3), keepdim=True)
        light = mean + (light - mean) * _column(draws.contrast)
    if config.brightness:
        light = light + _column(draws.brightness)
    if config.noise:
        light = light + _noise(light, draws.noise_seeds) * _column(draws.noise)
    return (light * 2.0 - 1.0).clamp(-1.0, 1.0)


def _noise(like: Tensor, seeds: tuple[int, ...]) -> Tensor:
    """Standard normal noise of the same shape, from a generator for each sample, whatever its batch."""
    noise = torch.empty_like(like)
    for sample, seed in zip(noise, seeds, strict=True):
        sample.normal_(generator=torch.Generator(like.device).manual_seed(seed))
    return noise


def _column(numbers: Tensor) -> Tensor:
    """(B,) as (B, 1, 1, 1), to meet images."""
    return numbers[:, None, None, None]
