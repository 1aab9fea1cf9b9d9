"""The tensors that pass between rooms: shape, range and meaning, spelt out once.

Letters: B images in a batch, C channels, K classes (background is class 0), H rows, W columns.
"""

from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

Images: TypeAlias = Tensor
"""(B, C, H, W) float in [-1, 1]: prepared images. -1 is the darkest value that the intensity rule keeps."""

Masks: TypeAlias = Tensor
"""(B, H, W) int64 in 0..K-1, or `IGNORED`: one class a pixel."""

Logits: TypeAlias = Tensor
"""(B, K, H, W) float, unbounded: class scores before the softmax."""

Probabilities: TypeAlias = Tensor
"""(B, K, H, W) float in [0, 1], summing to 1 over K."""

Verdicts: TypeAlias = Tensor
"""(B, 1, h, w) float, unbounded: a critic's map, near 1 where it believes the image to be real."""

Tags: TypeAlias = Tensor
"""(B,) float: 1 where the slice shows the tagged object, 0 where not."""

SoftMasks: TypeAlias = Tensor
"""(B, H, W) float in [0, 1]: how much each pixel is taken for the object, 1 being certain."""

ActivationMaps: TypeAlias = Tensor
"""(B, M, H, W) float in [0, 1]: where a classifier looks, one map for each of M layers."""

Outcomes: TypeAlias = Tensor
"""(B,) float: 1 where the patient has the outcome, 0 where not."""

OutcomeLogits: TypeAlias = Tensor
"""(B,) float, unbounded: how strongly each image speaks for the outcome, before the sigmoid."""

IGNORED = 255
"""The label of pixels that neither train nor score (nnU-Net's `ignore`)."""


@dataclass(frozen=True)
class Task:
    """What a cohort asks of a network: `channels` in, `classes` out (background first), square `size` in pixels.

    `prevalence` is the share of training cases that have the outcome, where the run learns one. `neighbours` is how
    many adjacent slices of a volume make up the channels, the slice itself in their middle.
    """

    channels: int
    classes: tuple[str, ...]
    size: int
    prevalence: float | None = None
    neighbours: int = 1
