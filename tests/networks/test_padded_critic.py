import pytest
import torch
from torch import nn

from fewmask.networks.padded_critic import PaddedCritic

torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("channels", "maps", "published"), [(1, 1, 2_763_520), (1, 2, 2_771_712), (5, 1, 2_767_616)]
)
def test_parameter_count_of_the_paper(channels: int, maps: int, published: int) -> None:
    with torch.device("meta"):
        critic = PaddedCritic(channels, maps=maps)
    assert sum(parameter.numel() for parameter in critic.parameters()) == published


def test_sides_of_the_paper() -> None:
    """256 -> 129 -> 65 -> 33 -> 34 -> 35."""
    critic = PaddedCritic(1, width=1, maps=2)
    sides: list[int] = []
    features = torch.zeros(1, 1, 256, 256)
    for part in critic.judge:
        features = part(features)
        if isinstance(part, nn.Conv2d):
            sides.append(features.shape[-1])
            assert part.bias is None
    assert sides == [129, 65, 33, 34, 35]
    assert features.shape == (1, 2, 35, 35)


def test_first_and_last_are_not_normalised() -> None:
    names = [type(part).__name__ for part in PaddedCritic(1, width=2).judge]
    hidden = ["Conv2d", "InstanceNorm2d", "LeakyReLU"]
    assert names == ["Conv2d", "LeakyReLU", *hidden, *hidden, *hidden, "Conv2d"]
    norms = [part for part in PaddedCritic(1, width=2).judge if isinstance(part, nn.InstanceNorm2d)]
    assert all(norm.affine and norm.eps == 1e-6 for norm in norms)


def test_widths_of_the_paper() -> None:
    with torch.device("meta"):
        convolutions = [part for part in PaddedCritic(1).judge if isinstance(part, nn.Conv2d)]
    assert [part.out_channels for part in convolutions] == [64, 128, 256, 512, 1]
    assert [part.stride[0] for part in convolutions] == [2, 2, 2, 1, 1]


@pytest.mark.parametrize(("layers", "side"), [(1, 16), (2, 34), (3, 70)])
def test_field_of_view(layers: int, side: int) -> None:
    """The pixels that move the middle verdict, norms apart, are a square of the promised side."""
    torch.manual_seed(0)
    critic = PaddedCritic(1, width=2, layers=layers).double()
    critic.judge = nn.Sequential(*(part for part in critic.judge if not isinstance(part, nn.InstanceNorm2d)))
    images = torch.randn(1, 1, 160, 160, dtype=torch.float64, requires_grad=True)
    verdicts = critic(images)
    middle = verdicts.shape[-1] // 2
    verdicts[0, 0, middle, middle].backward()
    assert images.grad is not None
    seen = images.grad[0, 0] != 0
    assert critic.field_of_view == side
    assert int(seen.any(0).sum()) == int(seen.any(1).sum()) == side
