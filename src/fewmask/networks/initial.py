"""How fresh weights are drawn, where a paper says so."""

from torch import nn


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
