"""How tags become masks: which maps are looked at, how they are fused, and how a map becomes a pseudo-label.

Plain options that a recipe holds; `fewmask.pseudo_labels` acts on them.
"""

from dataclasses import dataclass
from typing import Literal

from fewmask.errors import InputFault

Cam = Literal["cam", "gradcam", "gradcam_pp", "scorecam", "ablationcam"]
"""A way to ask a classifier where it looks; the methods are described in `fewmask.pseudo_labels.activation_map`."""

Weighting = Literal["inverse_entropy", "exponential", "equal"]
"""How several maps are averaged: by the inverse of each pixel's entropy, by exp(-entropy), or all alike."""

Cost = Literal["gradient", "mixed", "geodistk"]
"""What a step of a geodesic path costs, see `fewmask.pseudo_labels.geodesic`."""

Slices = Literal["positive", "all", "predicted_positive"]
"""The slices that train a segmenter: those tagged as positive, all (negative ones as empty masks), or those that are
tagged as positive and that the classifier too finds positive."""


@dataclass(frozen=True)
class CamMaps:
    """Class activation maps of a classifier at one or more layers ("block1" to "block5", or "head", its last one).

    Fu et al. 2023 (UM-CAM), Sec. 2.1, use M = 4 layers without naming them; these four are a reconstruction, and were
    chosen before blocks 2 to 4 and the head on the phantom's held-out patients.
    """

    kind: Literal["cam_maps"] = "cam_maps"
    cam: Cam = "gradcam"
    layers: tuple[str, ...] = ("block3", "block4", "block5", "head")

    def __post_init__(self) -> None:
        if not self.layers or len(set(self.layers)) < len(self.layers):
            raise InputFault(
                f"maps.layers={list(self.layers)}: name at least one layer, each once, e.g. [block4, head]"
            )


@dataclass(frozen=True)
class OwnMaps:
    """The map that a method makes by itself, being trained to (DRS, AMR); there is one a slice."""

    kind: Literal["own_maps"] = "own_maps"


@dataclass(frozen=True)
class Expansion:
    """Geodesic expansion of seeds (GSE), Fu et al. 2023, Sec. 2.2.

    `margin` is in pixels, around the box whose corners are seeds of the background. `mix` is the share of the
    intensity in the mixed cost, in [0, 1]. `sweeps` stops the geodesic distance early; None is exact. `ratio` is the
    factor of the distance inside the exponential. `form` is how the two exponential maps become one pseudo-label:
    "share" is F / (F + B), "fused" the form of the method's second paper, which falls back on the map far from seeds.
    """

    margin: int = 5
    cost: Cost = "gradient"
    mix: float = 0.5
    sweeps: int | None = None
    ratio: float = 1.0
    form: Literal["share", "fused"] = "share"

    def __post_init__(self) -> None:
        if self.margin < 0 or self.ratio <= 0.0 or not 0.0 <= self.mix <= 1.0:
            raise InputFault("expansion: margin must be at least 0, ratio above 0, mix from 0 to 1")
        if self.sweeps is not None and self.sweeps < 1:
            raise InputFault(
                f"expansion.sweeps={self.sweeps}: must be at least 1, or null for exact distances"
            )


@dataclass(frozen=True)
class PseudoLabels:
    """From a trained classifier's maps to pseudo-labels that a segmenter learns from.

    `threshold`, in (0, 1), is where a map becomes a mask: a number, the best of a grid by the Dice of the pseudo-masks
    that it leads to on held-out patients ("validation", which needs their masks), or for each slice the one that leaves
    least variance of the intensity inside and outside ("least_variance", the rule of the method's second paper; on our
    data it mostly takes the ends of its grid). Without an `expansion` the fused map itself is the label.
    """

    maps: CamMaps | OwnMaps = CamMaps()
    weighting: Weighting = "exponential"
    threshold: Literal["validation", "least_variance"] | float = 0.5
    expansion: Expansion | None = Expansion()
    slices: Slices = "positive"

    @property
    def only_positive(self) -> bool:
        """Whether the segmenter meets no slice without the object: then a classifier must tell it which show it."""
        return self.slices != "all"

    def __post_init__(self) -> None:
        if isinstance(self.threshold, float) and not 0.0 < self.threshold < 1.0:
            raise InputFault(
                f"threshold={self.threshold:g}: a map lies in [0, 1]; give a number between, e.g. 0.5"
            )
