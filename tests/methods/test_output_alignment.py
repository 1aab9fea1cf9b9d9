"""AdaptSegNet against the same step written out, and which term reaches which network."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from fewmask.data.batch import Adaptation, Labelled, Unlabelled
from fewmask.errors import InputFault
from fewmask.losses.turn import Turn
from fewmask.methods.output_alignment import OutputAlignment, OutputAlignmentConfig, OutputAlignmentWeights
from fewmask.networks.unet import UNetConfig
from fewmask.shapes import Task
from fewmask.training.play import play

torch.set_num_threads(1)

TASK = Task(1, ("background", "disc", "ruler"), 32)


def built(**options: Any) -> OutputAlignment:
    torch.manual_seed(0)
    config = OutputAlignmentConfig(network=UNetConfig((4, 8)), critic_width=4)
    return replace(config, **options).build(TASK, None).double().train()


def batch() -> Adaptation:
    """Three source images and two of the target."""
    random = torch.Generator().manual_seed(1)
    source, target = (torch.rand(n, 1, 32, 32, dtype=torch.float64, generator=random) * 2 - 1 for n in (3, 2))
    masks = torch.randint(0, 3, (3, 32, 32), generator=random)
    return Adaptation(Labelled(source, masks), Unlabelled(target))


def reached(turn: Turn, network: nn.Module) -> bool:
    gradients = torch.autograd.grad(
        turn.loss, list(network.parameters()), retain_graph=True, allow_unused=True
    )
    return any(gradient is not None and bool(gradient.abs().sum() > 0) for gradient in gradients)


def distance(verdicts: Tensor, real: bool, form: str) -> Tensor:
    if form == "least_squares":
        return (verdicts - (1.0 if real else 0.0)).pow(2).mean()
    chance = verdicts.sigmoid()
    return -(chance if real else 1 - chance).log().mean()


def plain_step(method: OutputAlignment, form: str) -> None:
    """One step without turns, generators or players."""
    net, critic, given = method.segmenter, method.output_critic, batch()
    of_net = torch.optim.AdamW(net.parameters(), 1e-3, (0.9, 0.999), weight_decay=1e-4)
    of_critic = torch.optim.Adam(critic.parameters(), 1e-4, (0.9, 0.99))
    logits = net(torch.cat([given.source.images, given.target.images]))
    chances = logits.softmax(1)
    truth = nn.functional.one_hot(given.source.masks, 3).movedim(-1, 1).double()
    surprise = -(truth * chances[:3].log()).sum(1).mean()
    overlap, area = (chances[:3] * truth).sum((0, 2, 3)), (chances[:3] ** 2 + truth).sum((0, 2, 3))
    dice = (1 - (2 * overlap + 1e-5) / (area + 1e-5)).mean()
    (surprise + dice + 0.001 * distance(critic(chances[3:]), True, form)).backward()
    of_net.step()
    of_critic.zero_grad()
    drawn = chances.detach()
    halves = distance(critic(drawn[:3]), True, form) + distance(critic(drawn[3:]), False, form)
    (0.5 * halves).backward()
    of_critic.step()


@pytest.mark.parametrize("form", ["log", "least_squares"])
def test_a_step_is_the_step_written_out(form: str) -> None:
    method = built(adversarial=form)
    before, plain = deepcopy(method.state_dict()), deepcopy(method)
    play(Fabric(accelerator="cpu", devices=1), method, method.training_step(batch(), 0.0), 0.0)
    plain_step(plain, form)
    for name, expected in plain.state_dict().items():
        torch.testing.assert_close(method.state_dict()[name], expected, rtol=1e-6, atol=1e-8, msg=name)
    assert all(not torch.equal(p, before[name]) for name, p in method.named_parameters())


def test_the_segmenter_comes_first_and_each_learns_alone() -> None:
    method = built()
    segmenters, critics = method.training_step(batch(), 0.0)
    assert isinstance(segmenters, Turn) and isinstance(critics, Turn)
    assert (segmenters.player, critics.player) == ("segmenter", "output_critic")
    assert set(segmenters.terms) == {"cross_entropy", "dice", "adversarial"}
    assert reached(critics, method.output_critic) and not reached(critics, method.segmenter)


def test_the_adversarial_term_is_about_the_target_alone() -> None:
    method = built(weights=OutputAlignmentWeights(cross_entropy=0.0, dice=0.0, adversarial=1.0))
    turn = next(method.training_step(batch(), 0.0))
    assert isinstance(turn, Turn)
    with torch.no_grad():
        given = batch()
        chances = method.segmenter(torch.cat([given.source.images, given.target.images])).softmax(1)
        expected = distance(method.output_critic(chances[3:]), True, "log")
    torch.testing.assert_close(turn.loss.detach(), expected)


def test_without_the_adversarial_term_the_critic_is_never_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    method = built(weights=OutputAlignmentWeights(adversarial=0.0))

    def refuse(*_: Tensor) -> Tensor:
        raise AssertionError("asked")

    monkeypatch.setattr(method.output_critic, "forward", refuse)
    segmenters, critics = method.training_step(batch(), 0.0)
    assert isinstance(segmenters, Turn) and isinstance(critics, Turn)
    assert set(segmenters.terms) == {"cross_entropy", "dice"} and not critics.terms


def test_it_works_from_32_pixels_and_says_so_below() -> None:
    assert built(critic_layers=4).output_critic.smallest_size == TASK.size
    config = OutputAlignmentConfig(network=UNetConfig((4, 8)), critic_width=4)
    with pytest.raises(InputFault, match="size=16: the critic needs images of at least 32 pixels"):
        config.build(replace(TASK, size=16), None)
    replace(config, critic_layers=3).build(replace(TASK, size=16), None)


def test_a_critic_without_layers_is_refused() -> None:
    with pytest.raises(InputFault, match="critic_layers=0"):
        built(critic_layers=0)
