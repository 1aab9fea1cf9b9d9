import pytest
import torch
from torch import Tensor, nn

from fewmask.errors import InputFault
from fewmask.networks.outcome_branch import BranchConfig, OutcomeBranch, Tap

torch.set_num_threads(1)

WIDTHS = (4, 8, 16)


def maps(count: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.rand(count, width, 32 >> level, 24 >> level, generator=generator)
        for level, width in enumerate(WIDTHS)
    ]


@pytest.mark.parametrize(
    ("tap", "tapped"), [("bottleneck", slice(2, 3)), ("enc4", slice(1, 2)), ("all_levels", slice(0, 3))]
)
def test_forward_by_hand(tap: Tap, tapped: slice) -> None:
    torch.manual_seed(0)
    branch = OutcomeBranch(WIDTHS, BranchConfig(tap, (8, 4))).eval()
    first, second, last = (layer for layer in branch.modules() if isinstance(layer, nn.Linear))
    means = torch.cat([level.double().mean((2, 3)) for level in maps()[tapped]], 1)
    for layer in (first, second):
        means = (means @ layer.weight.double().T + layer.bias).relu()
    expected = (means @ last.weight.double().T + last.bias)[:, 0]
    score = branch(maps())
    assert score.shape == (3,) and torch.allclose(score.double(), expected, atol=1e-6)
    assert torch.equal(branch(maps()), score)
    untapped = set(range(3)) - set(range(3)[tapped])
    changed = [level + 1 if place in untapped else level for place, level in enumerate(maps())]
    assert torch.equal(branch(changed), score)


def test_finer_maps_that_are_not_tapped_may_lack() -> None:
    for tap, needed in (("bottleneck", 1), ("enc4", 2), ("all_levels", 3)):
        branch = OutcomeBranch(WIDTHS, BranchConfig(tap)).eval()
        assert torch.equal(branch(maps()[-needed:]), branch(maps()))
        assert min(branch.taps) == -needed


def test_parameters_behind_the_papers_u_net() -> None:
    branch = OutcomeBranch((64, 128, 256, 512, 1024), BranchConfig())
    by_hand = (1024 + 1) * 256 + (256 + 1) * 64 + 64 + 1
    assert sum(weight.numel() for weight in branch.parameters()) == by_hand == 278_913


def test_dropout_is_behind_the_first_layer_alone() -> None:
    torch.manual_seed(0)
    branch = OutcomeBranch(WIDTHS, BranchConfig(widths=(512, 8), dropout=0.25)).train()
    kinds = [type(layer) for layer in branch.layers]
    assert kinds == [nn.Linear, nn.ReLU, nn.Dropout, nn.Linear, nn.ReLU, nn.Linear]
    shares: list[float] = []
    branch.layers[2].register_forward_hook(
        lambda _layer, given, left: shares.append(
            float(((left == 0) & (given[0] > 0)).sum() / (given[0] > 0).sum())
        )
    )
    assert not torch.equal(branch(maps()), branch(maps()))
    assert shares == pytest.approx([0.25, 0.25], abs=0.06)


def test_gradients_reach_everything_at_half_precision_too() -> None:
    torch.manual_seed(0)
    branch = OutcomeBranch(WIDTHS, BranchConfig(dropout=0.0))
    branch(maps()).sum().backward()
    assert all(float(weight.grad.abs().sum()) > 0 for weight in branch.parameters())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = branch([level.bfloat16() for level in maps()])
    assert torch.allclose(rough.float(), branch(maps()), atol=0.02)


def test_means_are_not_taken_at_half_precision() -> None:
    """A bfloat16 mean would round 1 + 1/1024 to 1."""
    branch = OutcomeBranch((1,), BranchConfig(widths=())).eval()
    nn.init.ones_(branch.layers[0].weight)
    nn.init.zeros_(branch.layers[0].bias)
    level = torch.ones(1, 1, 32, 32, dtype=torch.bfloat16)
    level[0, 0, 0, 0] = 2.0
    assert branch([level]).item() == 1 + 1 / 1024


def test_faults() -> None:
    with pytest.raises(InputFault, match="this network has one level"):
        OutcomeBranch((4,), BranchConfig("enc4"))
    with pytest.raises(InputFault, match="outcome branch widths"):
        BranchConfig(widths=(8, 0))
    with pytest.raises(InputFault, match="outcome branch dropout=1:"):
        BranchConfig(dropout=1.0)
