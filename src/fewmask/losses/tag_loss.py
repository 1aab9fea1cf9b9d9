"""What classifiers from tags learn beside the tags themselves: that two maps agree, or what a map looks like.

Sums run over the pixels of the batch and over all processes, as in `fewmask.losses.segmentation`.
"""

import torch
from torch import Tensor

from fewmask.errors import InputFault
from fewmask.ranks import sum_over_ranks


def balancing_weight(prevalence: float | None) -> float:
    """By how much more a positive slice counts than a negative one, so that both kinds weigh alike; 1 if not known.

    `prevalence` is the share of positive slices. Raises InputFault where there is but one kind.

    >>> balancing_weight(0.25)
    3.0
    """
    if prevalence is None:
        return 1.0
    if not 0.0 < prevalence < 1.0:
        kind = "positive" if prevalence > 0.5 else "negative"
        raise InputFault(f"tags: every training slice is {kind}; a classifier needs slices of both kinds")
    return (1.0 - prevalence) / prevalence


def map_distance(spotlight: Tensor, compensation: Tensor) -> Tensor:
    """How far two branches' maps of positive scores differ: <|ReLU(S) - ReLU(C)|> over the places of the batch.

    (B, 1, h, w) each; 0 where they agree. Qin et al. 2022 (AMR). Differs: every slice's own two maps are
    compared; the authors' code adds the first slice's map to the mirrored map of the second, leftover of inference.
    """
    return _mean((_precise(spotlight).relu() - _precise(compensation).relu()).abs())


def map_regression(regressed: Tensor, maps: Tensor) -> Tensor:
    """The mean squared difference of a regressed map from the one to be learnt. Kim et al. 2021 (DRS)."""
    return _mean((_precise(regressed) - _precise(maps)).square())


def _mean(values: Tensor) -> Tensor:
    summed, count = sum_over_ranks(torch.stack([values.sum(), values.new_tensor(float(values.numel()))]))
    return summed / count


def _precise(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
