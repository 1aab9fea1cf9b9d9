"""How far apart the features of two domains are, place by place: GLUA's feature critic and the mask made of it.

GLUA (Su et al. 2022) is known from its abstract alone; these are the reconstruction's formulas, after the unused 2D
discriminator in its authors' code of DAR-UNet (Yao et al. 2022).
"""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from fewmask.shapes import Verdicts

GapMeasure = Literal["symmetric", "literal", "entropy"]
"""What the critic is taught, and how its verdicts D become a mask M.

symmetric: source +1, target -1, least squares; M = |tanh D| is 0 where the domains cannot be told apart.
literal: source 1, target 0, least squares; the same M, as in the authors' code. It is no measure of a gap: what is
surely of the target gets 0, what is undecided 0.46, what is surely of the source 0.76.
entropy: D is the logit of "source", logarithms; M = 1 - H(sigmoid D) / ln 2, after Wang et al. 2019 (TADA). Differs:
they favour what is alike, this mask what differs.
"""


def recognise(source: Verdicts, target: Verdicts, measure: GapMeasure = "symmetric") -> Tensor:
    """What the feature critic minimises: 0 when it recognises each domain everywhere.

    Least squares: <(D(f_s) - a)^2> + <(D(f_t) - b)^2> with (a, b) = (1, -1) or, literal, (1, 0). Entropy:
    -<ln sigmoid(D(f_s))> - <ln(1 - sigmoid(D(f_t)))>.
    """
    wanted = -1.0 if measure == "symmetric" else 0.0
    return _distance(source, 1.0, measure) + _distance(target, wanted, measure)


def pass_for_source(target: Verdicts, measure: GapMeasure = "symmetric") -> Tensor:
    """What the encoder minimises on target features: 0 when the critic takes all of them for the source's.

    <(D(f_t) - 1)^2>, or -<ln sigmoid(D(f_t))> with entropy. The same gap costs four times as much with symmetric
    targets as with literal ones, which lie half as far apart.
    """
    return _distance(target, 1.0, measure)


def local_mask(verdicts: Verdicts, measure: GapMeasure = "symmetric") -> Tensor:
    """M, (B, 1, h, w) in [0, 1]: how much each place of the features is to be stressed, see `GapMeasure`.

    No gradient flows through it.
    """
    precise = _precise(verdicts.detach())
    if measure != "entropy":
        return precise.tanh().abs()
    # H = softplus(D) - D sigmoid(D): finite for every D, unlike p ln p.
    entropy = functional.softplus(precise) - precise * precise.sigmoid()
    return (1.0 - entropy / math.log(2.0)).clamp(0.0, 1.0)


def _distance(verdicts: Verdicts, wanted: float, measure: GapMeasure) -> Tensor:
    """The mean distance of the verdicts from the wanted one."""
    precise = _precise(verdicts)
    if measure == "entropy":
        return functional.binary_cross_entropy_with_logits(precise, torch.full_like(precise, wanted))
    return (precise - wanted).square().mean()


def _precise(verdicts: Verdicts) -> Tensor:
    return verdicts.to(torch.promote_types(verdicts.dtype, torch.float32))
