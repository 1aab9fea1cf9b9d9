"""One process: `SharedBatchNorm2d` is torch's own. Several: see test_across_ranks.py."""

import torch
from torch import nn

from fewmask.networks.norm import SharedBatchNorm2d

torch.set_num_threads(1)


def test_one_process_equals_torch() -> None:
    torch.manual_seed(0)
    ours, theirs = SharedBatchNorm2d(3), nn.BatchNorm2d(3)
    for _ in range(3):
        images = torch.randn(4, 3, 5, 6) * 2 + 7
        assert torch.equal(ours(images), theirs(images))
    assert torch.equal(ours.eval()(images), theirs.eval()(images))


def test_state_is_torchs_state() -> None:
    ours, theirs = SharedBatchNorm2d(3), nn.BatchNorm2d(3)
    theirs(torch.randn(4, 3, 5, 6))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    assert torch.equal(ours.running_mean, theirs.running_mean)
