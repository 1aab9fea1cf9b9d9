import pytest
import torch
from torch import nn

from fewmask.errors import InputFault
from fewmask.networks.feature_critic import FeatureCritic

torch.set_num_threads(1)


def test_parameter_count_of_the_published_network() -> None:
    with torch.device("meta"):
        critic = FeatureCritic(256)
    assert sum(parameter.numel() for parameter in critic.parameters()) == 388_033


def test_layers() -> None:
    critic = FeatureCritic(6, width=8)
    convolutions = [layer for layer in critic.judge if isinstance(layer, nn.Conv2d)]
    assert [(layer.in_channels, layer.out_channels) for layer in convolutions] == [
        (6, 8),
        (8, 4),
        (4, 2),
        (2, 1),
    ]
    assert all(layer.stride == (1, 1) and layer.kernel_size == (3, 3) for layer in convolutions)
    assert [type(layer).__name__ for layer in critic.judge[:4]] == [
        "Conv2d",
        "InstanceNorm2d",
        "LeakyReLU",
        "Conv2d",
    ]
    assert isinstance(critic.judge[-1], nn.Conv2d)
    assert {layer.negative_slope for layer in critic.judge if isinstance(layer, nn.LeakyReLU)} == {0.2}


@pytest.mark.parametrize("side", [2, 4, 7])
def test_one_verdict_a_place(side: int) -> None:
    torch.manual_seed(0)
    assert FeatureCritic(6, width=4)(torch.randn(2, 6, side, side + 1)).shape == (2, 1, side, side + 1)


def test_biases_before_the_norms_change_no_verdict() -> None:
    torch.manual_seed(0)
    critic, features = FeatureCritic(6, width=8), torch.randn(2, 6, 5, 5)
    with torch.no_grad():
        before = critic(features)
        for layer in list(critic.judge)[:-1]:
            if isinstance(layer, nn.Conv2d):
                layer.bias += 3.0
        torch.testing.assert_close(critic(features), before, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("width", [0, 2, 6])
def test_widths_that_cannot_be_halved_twice(width: int) -> None:
    with pytest.raises(InputFault, match=f"critic_width={width}"):
        FeatureCritic(4, width)
