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
