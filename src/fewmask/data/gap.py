"""The gap meter: how far two cohorts' images lie apart, in units of how far images of one cohort do.

1 means that an image of the target differs from one of the source as much as two images of the same cohort
differ. What it measures is what a network would see: every image is first scaled to its own range, and
pictures are compared at one size. Intensity and texture need no mask, and miss one thing: that a structure is
bright in one cohort and dark in the other. Contrast sees that, and needs masks in both.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from fewmask.data.duplicates import middle_grey, resized
from fewmask.data.sampling import sampled

SMALL, LARGE = 1.5, 3.0
"""Below SMALL a gap is called small, from LARGE on large: rules of thumb, see `advice`."""

QUANTILES = 64
SAMPLES = 10_000
SIDE = 128
BANDS = 16
MOST_IMAGES = 500

Vector = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Style:
    """What one image looks like, whatever it shows.

    `quantiles` (C * QUANTILES) are each channel's intensities, 0 and 1 being its 0.5th and 99.5th percentile;
    `bands` (BANDS,) is the log10 power of the middle slice in rings of growing spatial frequency; `extent` is
    the longest side, in the unit of the image's spacing; `contrast` is the share of the surroundings that is
    darker than the median labelled pixel, in [0, 1], or None without a labelled pixel.
    """

    quantiles: Vector
    bands: Vector
    extent: float
    contrast: float | None = None


@dataclass(frozen=True)
class Gap:
    """Distances between two cohorts; intensity, texture and contrast in units of the spread within them.

    `contrast` is None unless both cohorts have labelled pixels. `size` is the ratio of the median longest
    sides, at least 1, or None where one cohort knows mm and the other does not.
    """

    intensity: float
    texture: float
    contrast: float | None
    size: float | None
    advice: str


def style(
    array: NDArray[np.generic], spacing: Sequence[float], labelled: NDArray[np.bool_] | None = None
) -> Style:
    """The style of a (C, *spatial) image; `labelled` (*spatial) marks the pixels of any foreground class.

    A flat image has quantiles 0 and the lowest power in every band.
    """
    quantiles = [_quantiles(channel) for channel in _finite_sample(array)]
    extent = max(side * step for side, step in zip(array.shape[1:], spacing, strict=True))
    contrast = None if labelled is None else _contrast(array, labelled)
    return Style(np.concatenate(quantiles), _bands(middle_grey(array)), float(extent), contrast)


def measure_gap(
    source: Sequence[Style], target: Sequence[Style], same_unit: bool, same_channels: bool = True
) -> Gap:
    """How far the target's images lie from the source's. Either cohort needs at least one image.

    The spread is the mean over both cohorts; a cohort of one image has none, and if neither has one the
    distances are given as they are. `same_channels` says whether the channels' names agree.
    """
    # Cohorts of different channel counts are compared by the mean of their channels.
    mixed = len({entry.quantiles.size for entry in (*source, *target)}) > 1
    intensity = _ratio(_stack_quantiles(source, mixed), _stack_quantiles(target, mixed), least=0.01)
    texture = _ratio(_stack_bands(source), _stack_bands(target), least=0.05)
    contrasts = [_stack_contrasts(side) for side in (source, target)]
    contrast = _ratio(contrasts[0], contrasts[1], least=0.02) if all(map(len, contrasts)) else None
    size = None
    if same_unit:
        ours, theirs = (float(np.median([entry.extent for entry in side])) for side in (source, target))
        size = max(ours, theirs) / min(ours, theirs)
    return Gap(intensity, texture, contrast, size, advice(intensity, texture, contrast, same_channels))


def advice(intensity: float, texture: float, contrast: float | None, same_channels: bool = True) -> str:
    """What to try first, in one line. A rule of thumb, no promise: only a measured floor and ceiling tell.

    Three pairs were looked at whose Dice is known of strong augmentation alone and of the target's own masks.
    Chest X-rays of two hospitals (0.92, 0.95) measure 2.1 at most; nuclei in fluorescence and in stained
    tissue (0.08, 0.90) 7.2 and more; brain FLAIR and T1 (0.03, 0.39) look alike to intensity and texture,
    1.2, and only their contrast tells them apart.
    """
    known = {"intensity": intensity, "texture": texture}
    if contrast is not None:
        known["contrast"] = contrast
    name = max(known, key=lambda measure: known[measure])
    told = f"{name} differs {known[name]:.1f}x the spread within a cohort"
    if known[name] >= LARGE:
        return f"large gap ({told}): adaptation is likely to help; start with cyclegan"
    if known[name] >= SMALL:
        return f"medium gap ({told}): measure the floor with supervised, then see what cyclegan adds"
    if contrast is None and not same_channels:
        return (
            f"no gap seen ({told}), but other channels may show a structure bright in one and dark in the other, "
            "which only masks tell: measure the floor with supervised, and expect adaptation to help"
        )
    unseen = "; the contrast of the structures is not known" if contrast is None else ""
    return (
        f"small gap ({told}{unseen}): strong augmentation alone (supervised) may do; measure the floor first"
    )


def _finite_sample(array: NDArray[np.generic]) -> Vector:
    """At most SAMPLES pixels of (C, *spatial), as finite float32 (C, n)."""
    return np.nan_to_num(sampled(array, SAMPLES).astype(np.float32), posinf=0.0, neginf=0.0)


def _contrast(array: NDArray[np.generic], labelled: NDArray[np.bool_]) -> float | None:
    if not labelled.any() or labelled.all():
        return None
    structure = float(np.median(_finite_sample(array[:, labelled]).mean(axis=0)))
    surroundings = _finite_sample(array[:, ~labelled]).mean(axis=0)
    return float((surroundings < structure).mean() + 0.5 * (surroundings == structure).mean())


def _quantiles(values: Vector) -> Vector:
    low, high = np.percentile(values, (0.5, 99.5))
    if high <= low:
        return np.zeros(QUANTILES, dtype=np.float32)
    scaled = np.clip((values - low) / (high - low), 0.0, 1.0)
    return np.quantile(scaled, (np.arange(QUANTILES) + 0.5) / QUANTILES).astype(np.float32)


def _bands(grey: Vector) -> Vector:
    """The log10 power in rings of the windowed spectrum, at SIDE x SIDE pixels and scaled to [0, 1]."""
    low, high = np.percentile(grey, (0.5, 99.5))
    scaled = np.clip((grey - low) / max(float(high - low), 1e-12), 0.0, 1.0)
    picture = resized(scaled, SIDE, SIDE)
    window = np.hanning(SIDE)
    power = np.abs(np.fft.rfft2((picture - picture.mean()) * window[:, None] * window[None])) ** 2 / SIDE**2
    rows, columns = np.meshgrid(np.fft.fftfreq(SIDE), np.fft.rfftfreq(SIDE), indexing="ij")
    frequency = np.hypot(rows, columns)
    # Rings are even in log frequency, from one cycle a picture to the finest; a log sees faint texture too.
    edges = np.geomspace(1.0 / SIDE, 0.5, BANDS + 1)
    ring = np.digitize(frequency.ravel(), edges)
    kept = (ring >= 1) & (ring <= BANDS)
    total = np.bincount(ring[kept] - 1, power.ravel()[kept], minlength=BANDS)
    count = np.bincount(ring[kept] - 1, minlength=BANDS)
    return np.log10(total / np.maximum(count, 1) + 1e-6).astype(np.float32)


def _stack_quantiles(styles: Sequence[Style], mixed: bool) -> Vector:
    rows = [entry.quantiles for entry in styles]
    return np.stack([row.reshape(-1, QUANTILES).mean(axis=0) if mixed else row for row in rows])


def _stack_bands(styles: Sequence[Style]) -> Vector:
    return np.stack([entry.bands for entry in styles])


def _stack_contrasts(styles: Sequence[Style]) -> Vector:
    known = [entry.contrast for entry in styles if entry.contrast is not None]
    return np.array(known, dtype=np.float32)[:, None]


def _ratio(source: Vector, target: Vector, least: float) -> float:
    """Mean distance across over mean distance within; `least` keeps identical images from dividing by 0.

    The distance is the mean absolute difference; of quantiles that is the Wasserstein-1 distance of
    histograms.
    """
    source, target = _thinned(source), _thinned(target)
    within = [_within(side) for side in (source, target) if len(side) > 1]
    spread = max(float(np.mean(within)), least) if within else 1.0
    return float(cdist(source, target, "cityblock").mean()) / source.shape[1] / spread


def _within(rows: Vector) -> float:
    return float(cdist(rows, rows, "cityblock").sum()) / rows.shape[1] / (len(rows) * (len(rows) - 1))


def _thinned(rows: Vector) -> Vector:
    """At most MOST_IMAGES rows, evenly spaced, so that the comparison stays quick for large cohorts."""
    return rows if len(rows) <= MOST_IMAGES else rows[np.linspace(0, len(rows) - 1, MOST_IMAGES).astype(int)]
