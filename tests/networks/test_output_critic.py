import pytest
import torch
from torch import nn

from fewmask.networks.output_critic import OutputCritic

torch.set_num_threads(1)


def test_parameter_count_of_the_published_network() -> None:
    """16 weights a pair of maps and a bias a map: 64, 128, 256, 512 and 1, on 19 classes."""
    with torch.device("meta"):
        critic = OutputCritic(19)
    weights = 16 * (19 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512)
    assert sum(p.numel() for p in critic.parameters()) == weights + 64 + 128 + 256 + 512 + 1 == 2_781_121


def test_layers() -> None:
    critic = OutputCritic(3, width=2)
    convolutions = [layer for layer in critic.judge if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [2, 4, 8, 16, 1]
    assert all(layer.stride == (2, 2) and layer.kernel_size == (4, 4) for layer in convolutions)
    assert {layer.negative_slope for layer in critic.judge if isinstance(layer, nn.LeakyReLU)} == {0.2}
    assert len(critic.judge) == 9 and isinstance(critic.judge[-1], nn.Conv2d)


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_smallest_size(layers: int) -> None:
    critic = OutputCritic(3, width=2, layers=layers)
    size = critic.smallest_size
    assert size == 2 ** (layers + 1)
    assert critic(torch.rand(1, 3, size, size)).shape == (1, 1, 1, 1)
    assert critic(torch.rand(1, 3, 2 * size, 4 * size)).shape == (1, 1, 2, 4)
    with pytest.raises(ValueError, match=f"{size} pixels"):
        critic(torch.rand(1, 3, size, size - 1))
