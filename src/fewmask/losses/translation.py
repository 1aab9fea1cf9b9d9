"""What keeps a translation true to the image that it started from."""

import torch
from torch import Tensor

from fewmask.shapes import Images


def cycle_consistency(images: Images, returned: Images) -> Tensor:
    """The mean absolute difference between images and themselves after a translation there and back.

    In [0, 2] for images in [-1, 1]; 0 when nothing was lost. Zhu et al. 2017 (CycleGAN), Eq. 2, one
    direction.
    """
    return _mean_difference(images, returned)


def identity(images: Images, redrawn: Images) -> Tensor:
    """The mean absolute change of images by a translator into their own domain.

    In [0, 2] for images in [-1, 1]; 0 when an image that already belongs to the domain is left alone.
    Zhu et al. 2017 (CycleGAN), section 5.2, one direction.
    """
    return _mean_difference(images, redrawn)


def _mean_difference(images: Images, others: Images) -> Tensor:
    precise = torch.promote_types(images.dtype, torch.float32)
    return (images.to(precise) - others.to(precise)).abs().mean()
