"""How large the weights of a network are: the penalty that keeps them small."""

from collections.abc import Sequence

import torch
from torch import Tensor


def weight_size(parameters: Sequence[Tensor]) -> Tensor:
    """Half the sum of the squares of all parameters: Sum_v 1/2 |v|^2.

    0 only where all are 0. Chen et al. 2019 and 2020 (SIFA) take norms' scales and offsets with the rest.
    """
    precise = torch.promote_types(parameters[0].dtype, torch.float32)
    return 0.5 * torch.stack([parameter.to(precise).square().sum() for parameter in parameters]).sum()
