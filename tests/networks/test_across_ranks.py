"""Two processes that share a batch give what one process gives on the whole of it, to 1e-10 in float64.

One pair of processes does all the work, because starting them costs seconds.
"""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing import spawn

from fewmask.losses.segmentation import DiceForm, cross_entropy, soft_dice
from fewmask.networks.norm import SharedBatchNorm2d
from fewmask.networks.unet import UNet, UNetConfig
from fewmask.shapes import IGNORED

torch.set_num_threads(1)

RANKS = 2
SHARES = (slice(0, 3), slice(3, 4))
"""The joint batch of four is divided unequally, so that a mean of means would show."""

FORMS = {
    "cross_entropy": None,
    "dice": DiceForm(),
    "pooled": DiceForm(squared=False, doubled=False, pooled=True, above=0.0, below=0.0),
}


def joint_batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 2, 8, 8, dtype=torch.float64, generator=generator) + 100.0
    masks = torch.randint(3, (4, 8, 8), generator=generator)
    masks[0, :4] = IGNORED
    masks[3, :7] = IGNORED
    return images, masks


def segmentation_loss(name: str, logits: Tensor, masks: Tensor) -> Tensor:
    form = FORMS[name]
    return cross_entropy(logits, masks) if form is None else soft_dice(logits.softmax(1), masks, form)


def shared_gradients(network: nn.Module) -> list[Tensor]:
    """What the trainer does: the mean of the gradients over the processes."""
    gradients = [parameter.grad for parameter in network.parameters()]
    if dist.is_initialized():
        for gradient in gradients:
            dist.all_reduce(gradient)
            gradient.div_(RANKS)
    return gradients


def batch_norm(share: slice) -> dict[str, list[Tensor]]:
    """Two batches through a norm; the loss is the joint one, whose share each process computes and scales."""
    images, _ = joint_batch()
    pixels = images.clone()[share].requires_grad_()
    norm = SharedBatchNorm2d(2).double()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.5, -0.5]))
        norm.bias.copy_(torch.tensor([0.2, 0.1]))
    norm(2.0 * images[share])
    outputs = norm(pixels)
    weights = torch.linspace(-1, 1, images.numel(), dtype=torch.float64).view_as(images)[share]
    total = (outputs * weights + outputs.square() * weights.square()).sum()
    (total * (RANKS if dist.is_initialized() else 1)).backward()
    pixels_grad = pixels.grad / (RANKS if dist.is_initialized() else 1)
    running = [norm.running_mean, norm.running_var, norm.num_batches_tracked]
    with torch.no_grad():
        lone = norm.eval()(pixels)
    return {
        "outputs": [outputs.detach()],
        "pixels": [pixels_grad],
        "gradients": shared_gradients(norm),
        "running": running,
        "evaluated": [lone],
    }


def far_from_zero(share: slice, kind: torch.dtype) -> Tensor:
    """Maps whose mean is a thousand times their spread: squares of them do not fit single precision."""
    images, _ = joint_batch()
    norm = SharedBatchNorm2d(2).to(kind)
    with torch.no_grad():
        return norm((images[share] + 900.0).float().to(kind))


def segmenter(name: str, share: slice) -> dict[str, list[Tensor]]:
    torch.manual_seed(1)
    network = UNet(2, 3, UNetConfig(widths=(3, 5))).double()
    images, masks = joint_batch()
    loss = segmentation_loss(name, network(images[share] - 100.0), masks[share])
    loss.backward()
    return {"loss": [loss.detach()], "gradients": shared_gradients(network)}


def ignored_everywhere(share: slice) -> dict[str, list[Tensor]]:
    logits = torch.randn(4, 3, 8, 8, dtype=torch.float64)[share].requires_grad_()
    masks = torch.full((4, 8, 8), IGNORED)[share]
    loss = cross_entropy(logits, masks) + soft_dice(logits.softmax(1), masks)
    loss.backward()
    return {"loss": [loss.detach()], "pixels": [logits.grad]}


def everything(share: slice) -> dict[str, dict[str, list[Tensor]]]:
    found = {name: segmenter(name, share) for name in FORMS}
    return {**found, "norm": batch_norm(share), "ignored": ignored_everywhere(share)}


def one_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=RANKS)
    single = far_from_zero(SHARES[rank], torch.float32)
    torch.save({**everything(SHARES[rank]), "far": single}, f"{folder}/rank{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    folder = tmp_path_factory.mktemp("ranks")
    spawn(one_rank, args=(str(folder),), nprocs=RANKS)
    return [torch.load(Path(folder) / f"rank{rank}.pt", weights_only=True) for rank in range(RANKS)]


@pytest.fixture(scope="module")
def alone() -> dict:
    return everything(slice(None))


def assert_equal(ours: list[Tensor], theirs: list[Tensor]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("key", ["outputs", "pixels", "evaluated"])
def test_norm_of_each_share(ranks: list[dict], alone: dict, key: str) -> None:
    assert_equal([torch.cat([rank["norm"][key][0] for rank in ranks])], alone["norm"][key])


@pytest.mark.parametrize("key", ["gradients", "running"])
def test_norm_learns_from_the_joint_batch(ranks: list[dict], alone: dict, key: str) -> None:
    for rank in ranks:
        assert_equal(rank["norm"][key], alone["norm"][key])


def test_norm_is_stable_far_from_zero(ranks: list[dict]) -> None:
    joint = torch.cat([rank["far"] for rank in ranks]).double()
    torch.testing.assert_close(joint, far_from_zero(slice(None), torch.float64), rtol=0, atol=2e-3)


@pytest.mark.parametrize("name", FORMS)
def test_every_rank_sees_the_joint_loss_and_gradient(ranks: list[dict], alone: dict, name: str) -> None:
    for rank in ranks:
        assert_equal(rank[name]["loss"], alone[name]["loss"])
        assert_equal(rank[name]["gradients"], alone[name]["gradients"])


def test_shares_alone_would_not_do(alone: dict) -> None:
    """The oracle can fail: losses of the two shares, averaged, are another number."""
    for name in FORMS:
        apart = [segmenter(name, share)["loss"][0] for share in SHARES]
        assert abs(float(sum(apart) / RANKS - alone[name]["loss"][0])) > 1e-4


def test_nothing_to_learn_on_any_rank(ranks: list[dict]) -> None:
    for rank in ranks:
        assert float(rank["ignored"]["loss"][0]) == 0.0
        assert float(rank["ignored"]["pixels"][0].abs().max()) == 0.0
