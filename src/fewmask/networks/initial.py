"""How fresh weights are drawn, where a paper says so."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

LEAST_DEVIATION = 1e-6
"""A feature that varies less is not stretched: what is in it is rounding."""


def draw_normal(network: nn.Module, deviation: float = 0.02) -> None:
    """Draw every convolution's weights anew from N(0, deviation^2) and set its biases to 0.

    Zhu et al. 2017 (CycleGAN), section 7.1, for translators and critics.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, deviation)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def draw_kaiming(network: nn.Module, slope: float) -> None:
    """Draw the weights of every convolution and linear layer anew, for leaky rectifiers, and set their biases to 0.

    He et al. 2015, Eq. 15: N(0, 2 / ((1 + slope^2) n)) with n inputs to each value.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, slope, mode="fan_in", nonlinearity="leaky_relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


@torch.no_grad()
def calibrate(layers: Iterable[nn.Module], channels: int) -> None:
    """Scale and shift every convolution so that each of its features has mean 0 and deviation 1 over smooth noise.

    `layers` run one behind the other, the first on images of so many channels in [0, 1]; convolutions have biases.
    Without norms the features of different images grow alike from layer to layer (after thirteen of them the cosine
    of their means is about 1), and training first stays at chance for hundreds of steps.
    Krähenbühl et al. 2016 (data-dependent initialisation), Sec. 3.1. Differs: noise stands for the training images, so
    that a network can be built before its data are known.
    """
    maps = smooth_noise(16, 64).expand(-1, channels, -1, -1)
    for layer in layers:
        maps = layer(maps)
        if isinstance(layer, nn.Conv2d):
            assert layer.bias is not None
            mean, deviation = maps.mean((0, 2, 3)), maps.std((0, 2, 3)).clamp(min=LEAST_DEVIATION)
            layer.weight.div_(deviation[:, None, None, None])
            layer.bias.sub_(mean).div_(deviation)
            maps = (maps - mean[:, None, None]) / deviation[:, None, None]


def smooth_noise(count: int, size: int) -> Tensor:
    """Random images (count, 1, size, size) from 0 to 1 in which, as in photographs, what is coarse is strong.

    Noise on grids of 4, 8, ... places a side, each twice as fine as the last and half as strong.
    """
    images = torch.zeros(count, 1, size, size)
    side = 4
    while side <= size:
        grid = torch.randn(count, 1, side, side) * 4 / side
        images += functional.interpolate(grid, size=(size, size), mode="bilinear", align_corners=False)
        side *= 2
    low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    return (images - low) / (high - low)
