"""Exactly what a training step may see. An unlabelled batch has no field for masks, so none can leak."""

from dataclasses import dataclass

from torch import Tensor

from fewmask.shapes import Images, Masks, Outcomes, SoftMasks, Tags


@dataclass(frozen=True)
class Labelled:
    """Images with a class for every pixel."""

    images: Images
    masks: Masks


@dataclass(frozen=True)
class Unlabelled:
    """Images alone."""

    images: Images


@dataclass(frozen=True)
class Adaptation:
    """A labelled source batch beside an unpaired, unlabelled target batch."""

    source: Labelled
    target: Unlabelled


@dataclass(frozen=True)
class Diagnosed:
    """Images with a class for every pixel, and what was found in each image's patient."""

    images: Images
    masks: Masks
    outcomes: Outcomes


@dataclass(frozen=True)
class PartlyLabelled:
    """Images of which some have no mask and some no outcome; `has_mask` and `has_outcome` (B,) bool say which have.

    Without a mask every pixel is `IGNORED`; without an outcome there stands a 0 that means nothing.
    """

    images: Images
    masks: Masks
    has_mask: Tensor
    outcomes: Outcomes
    has_outcome: Tensor


@dataclass(frozen=True)
class Tagged:
    """Images, and for each whether it shows the object; where it lies in the image nobody has said."""

    images: Images
    tags: Tags


@dataclass(frozen=True)
class SoftlyLabelled:
    """Images with two pseudo-labels each: the fused activation map, and the label grown from its seeds."""

    images: Images
    maps: SoftMasks
    labels: SoftMasks


Batch = Labelled | Unlabelled | Adaptation | Diagnosed | PartlyLabelled | Tagged | SoftlyLabelled
