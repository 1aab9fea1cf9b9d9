"""What a critic and those whom it judges each want: two readings of the same verdicts."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from fewmask.shapes import Verdicts

Adversarial = Literal["least_squares", "log"]
"""Least squares (Mao et al. 2017) or the original logarithms (Goodfellow et al. 2014, verdicts as logits)."""

REAL, FAKE = 1.0, 0.0


def fool(verdicts: Verdicts, adversarial: Adversarial = "least_squares") -> Tensor:
    """What the judged network minimises: 0 when the critic takes all of its work for real.

    Least squares: <(D(fake) - 1)^2>, Mao et al. 2017, Eq. 9. Differs: without its 1/2, as Zhu et al. 2017
    have it. Log: -<ln sigmoid(D(fake))>, the form that does not saturate (Goodfellow et al. 2014, section 3).
    """
    return _distance(verdicts, REAL, adversarial)


def tell_apart(
    verdicts_real: Verdicts, verdicts_fake: Verdicts, adversarial: Adversarial = "least_squares"
) -> Tensor:
    """What the critic minimises: 0 when it calls every real patch real and every fake one fake.

    Least squares: 1/2 [<(D(real) - 1)^2> + <D(fake)^2>], Mao et al. 2017, Eq. 9; an undecided critic (0.5)
    pays 0.25. Log: 1/2 [-<ln sigmoid(D(real))> - <ln(1 - sigmoid(D(fake)))>]; an undecided critic (0) pays ln
    2. Differs from Goodfellow et al. 2014, Eq. 1: halved, so that both forms let the critic learn at a like
    pace.
    """
    return 0.5 * (_distance(verdicts_real, REAL, adversarial) + _distance(verdicts_fake, FAKE, adversarial))


def _distance(verdicts: Verdicts, wanted: float, adversarial: Adversarial) -> Tensor:
    """The mean distance of the verdicts from the wanted one."""
    precise = verdicts.to(torch.promote_types(verdicts.dtype, torch.float32))
    if adversarial == "least_squares":
        return (precise - wanted).square().mean()
    return functional.binary_cross_entropy_with_logits(precise, torch.full_like(precise, wanted))
