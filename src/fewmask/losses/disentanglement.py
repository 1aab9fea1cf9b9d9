"""What taking images apart into content and style asks for, and what its critics want.

Huang et al. 2018 (MUNIT), Sec. 3, with the sums of the DAR-UNet repository (Yao et al. 2022, stage 1): mean absolute
differences, and least squares summed over a critic's scales without the usual 1/2.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from fewmask.losses.adversarial import fool, tell_apart
from fewmask.shapes import Verdicts


def difference(code: Tensor, again: Tensor) -> Tensor:
    """The mean absolute difference between two of a kind: images, contents or styles. 0 where they are equal."""
    precise = torch.promote_types(code.dtype, torch.float32)
    return (code.to(precise) - again.to(precise)).abs().mean()


def fool_scales(verdicts: Sequence[Verdicts]) -> Tensor:
    """What a translation minimises: the sum over scales of <(D(fake) - 1)^2>."""
    return torch.stack([fool(of_scale) for of_scale in verdicts]).sum()


def tell_apart_scales(real: Sequence[Verdicts], fake: Sequence[Verdicts]) -> Tensor:
    """What an image critic minimises: the sum over scales of <D(fake)^2> + <(D(real) - 1)^2>."""
    parts = [2.0 * tell_apart(of_real, of_fake) for of_real, of_fake in zip(real, fake, strict=True)]
    return torch.stack(parts).sum()


def tell_contents_apart(source: Verdicts, target: Verdicts) -> Tensor:
    """What the content critic minimises: <D(target)^2> + <(D(source) - 1)^2>; 0 when it knows every domain."""
    return 2.0 * tell_apart(source, target)


def swap_contents(source: Verdicts, target: Verdicts) -> Tensor:
    """What the content encoder minimises: <(D(target) - 1)^2> + <D(source)^2>, labels swapped."""
    return 2.0 * tell_apart(target, source)
