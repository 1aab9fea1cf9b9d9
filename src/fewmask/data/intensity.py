"""How raw values become [-1, 1]: by physical units, by an image's own percentiles, or by its own mean and spread."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fewmask.data.survey import Look, levels_of
from fewmask.recipe import Scaling

AIR_HU = -500.0
"""Volumes whose darkest tissue lies below this are taken for CT, whose numbers mean the same in every scanner."""


@dataclass(frozen=True)
class Intensity:
    """How raw values become [-1, 1]: `low` maps to -1, `high` to 1, and what lies beyond is clipped.

    `fixed`: low and high are values. `own_percentiles`: each image's own percentiles (0.5 and 99.5) are used.
    `z_score`: low and high are standard deviations from the image's own mean, after its brightest
    `clip_top_percent` of voxels were set to the value above which they lie (Chen et al. 2019 and 2020, SIFA's data).
    Differs: SIFA does not clip what lies beyond low and high. Here images lie in [-1, 1], as its own translators'
    images do, so that no critic can tell an image by values that a translator cannot draw.
    """

    rule: Literal["fixed", "own_percentiles", "z_score"]
    low: float = 0.0
    high: float = 255.0
    clip_top_percent: float = 0.0


EIGHT_BIT = Intensity("fixed", 0.0, 255.0)
"""8-bit pictures keep their full range."""


def intensity(looks: Sequence[Look], channel: int, name: str) -> Intensity:
    """The rule that fits one channel of a cohort: physical units and bytes are kept, all else is each image's own."""
    if all(look.whole_bytes and len(look.shape) == 2 for look in looks):
        return EIGHT_BIT
    low = np.median([look.low[min(channel, look.channels - 1)] for look in looks])
    high = np.median([look.high[min(channel, look.channels - 1)] for look in looks])
    # Only physical units may be carried from one hospital to another; nnU-Net calls such a channel CT.
    if name.upper() == "CT" or low < AIR_HU:
        return Intensity("fixed", float(low), float(high))
    return Intensity("own_percentiles")


def z_score(looks: Sequence[Look], channel: int, role: str, scaling: Scaling) -> Intensity:
    """The z-score rule of one channel of a role's cohort: the recipe's pair, else one that the cohort gives.

    The cohort's pair is the median over its cases of their 0.5th and 99.5th percentile, in standard deviations.
    """
    given = scaling.target if role == "target" else scaling.source
    if given is not None:
        return Intensity("z_score", *given, scaling.clip_top_percent)
    ranges = [look.z_ranges[min(channel, look.channels - 1)] for look in looks]
    low, high = np.median(ranges, axis=0).tolist()
    return Intensity("z_score", low, high, scaling.clip_top_percent)


def mapped(values: NDArray[Any], rule: Intensity, own: tuple[float, float]) -> NDArray[np.float32]:
    """One channel in [-1, 1]; `own` are the `LOW` and `HIGH` percentile of its image."""
    low, high = (rule.low, rule.high) if rule.rule == "fixed" else own
    raw = values.astype(np.float32)
    if rule.rule == "z_score":
        levels = levels_of(values, rule.clip_top_percent)
        low, high = (levels.mean + deviations * levels.deviation for deviations in (rule.low, rule.high))
        raw = np.minimum(raw, np.float32(levels.top))
    span = max(high - low, 1e-6)
    return np.clip((raw - low) / span * 2.0 - 1.0, -1.0, 1.0)
