"""GLUA's second stage against the same step written out, and which term reaches which network."""

import math
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from fewmask.config import from_mapping, to_mapping
from fewmask.data.batch import Adaptation, Labelled, Unlabelled
from fewmask.errors import InputFault
from fewmask.losses.feature_gap import local_mask, recognise
from fewmask.losses.turn import Turn
from fewmask.methods.base import AdaBelief
from fewmask.methods.local_alignment import LocalAlignment, LocalAlignmentConfig, LocalAlignmentWeights
from fewmask.networks.feature_critic import FeatureCritic
from fewmask.networks.residual_unet import ResidualUNetConfig
from fewmask.shapes import Task
from fewmask.training.play import play

torch.set_num_threads(1)

TASK = Task(2, ("background", "disc", "ruler"), 16)
MASKS = ("symmetric", "literal", "entropy", "none")


def built(**options: Any) -> LocalAlignment:
    torch.manual_seed(0)
    config = LocalAlignmentConfig(network=ResidualUNetConfig((4, 8, 12)), critic_width=8)
    return replace(config, **options).build(TASK, None).double().train()


def batch() -> Adaptation:
    """Three source images and two of the target."""
    random = torch.Generator().manual_seed(1)
    source, target = (torch.rand(n, 2, 16, 16, dtype=torch.float64, generator=random) * 2 - 1 for n in (3, 2))
    masks = torch.randint(0, 3, (3, 16, 16), generator=random)
    return Adaptation(Labelled(source, masks), Unlabelled(target))


def turns(method: LocalAlignment, progress: float = 0.0) -> list[Turn]:
    """The turns of a step in which nobody moves."""
    return [turn for turn in method.training_step(batch(), progress) if isinstance(turn, Turn)]


def segmenters_turn(method: LocalAlignment) -> Turn:
    return turns(method)[-1]


def reached(turn: Turn, network: nn.Module) -> bool:
    gradients = torch.autograd.grad(
        turn.loss, list(network.parameters()), retain_graph=True, allow_unused=True
    )
    return any(gradient is not None and bool(gradient.abs().sum() > 0) for gradient in gradients)


def bits(verdicts: Tensor) -> Tensor:
    chance = verdicts.sigmoid()
    return -(chance * chance.log2() + (1 - chance) * (1 - chance).log2())


def plain_mask(mask: str, verdicts: Tensor) -> Tensor:
    if mask == "none":
        return torch.zeros_like(verdicts)
    return 1 - bits(verdicts) if mask == "entropy" else verdicts.tanh().abs()


def plain_verdict_losses(mask: str, verdicts: Tensor) -> tuple[Tensor, Tensor]:
    """The critic's loss and the encoder's, on three source images before two of the target."""
    source, target = verdicts[:3], verdicts[3:]
    if mask == "entropy":
        surprise = -target.sigmoid().log().mean()
        return -source.sigmoid().log().mean() - (1 - target.sigmoid()).log().mean(), surprise
    wanted = 0 if mask == "literal" else -1
    return (source - 1).pow(2).mean() + (target - wanted).pow(2).mean(), (target - 1).pow(2).mean()


def plain_mask_losses(logits: Tensor, masks: Tensor) -> Tensor:
    """10 focal + Dice (D5), written out."""
    chances, truth = logits.softmax(1), nn.functional.one_hot(masks, 3).movedim(-1, 1).double()
    chance = (chances * truth).sum(1)
    focal = -((1 - chance) ** 2 * chance.log()).mean()
    overlap, area = (chances * truth).sum((0, 2, 3)), (chances**2 + truth**2).sum((0, 2, 3))
    return 10 * focal + (1 - (2 * overlap + 1e-5) / (area + 1e-5)).mean()


def plain_step(method: LocalAlignment, mask: str, together: bool) -> None:
    """One step without turns, generators or players."""
    net, critic = method.segmenter, method.feature_critic
    of_net = torch.optim.AdamW(net.parameters(), 5e-4, (0.9, 0.999), weight_decay=1e-4)
    of_critic = torch.optim.Adam(critic.parameters(), 2e-4, (0.5, 0.999))
    given = batch()
    if together:
        *finer, deepest = net.features(torch.cat([given.source.images, given.target.images]))
        judged = deepest
    else:
        *finer, deepest = net.features(given.source.images)
        judged = torch.cat([deepest, net.features(given.target.images)[-1]])
    plain_verdict_losses(mask, critic(judged.detach()))[0].backward()
    of_critic.step()
    verdicts = critic(judged)
    with torch.no_grad():
        stress = 1 + plain_mask(mask, verdicts)
    logits = net.decode([*finer, stress[: len(deepest)] * deepest])
    adversarial = plain_verdict_losses(mask, verdicts)[1]
    (plain_mask_losses(logits[:3], given.source.masks) + 0.01 * adversarial).backward()
    of_net.step()


@pytest.mark.parametrize("domains", ["apart", "together"])
@pytest.mark.parametrize("mask", MASKS)
def test_a_step_is_the_step_written_out(mask: str, domains: str) -> None:
    method = built(mask=mask, domains=domains)
    before, plain = deepcopy(method.state_dict()), deepcopy(method)
    play(Fabric(accelerator="cpu", devices=1), method, method.training_step(batch(), 0.0), 0.0)
    plain_step(plain, mask, domains == "together")
    for name, expected in plain.state_dict().items():
        # Biases before a norm have no true gradient, and Adam makes steps of the rounding errors of theirs.
        if name not in {f"feature_critic.judge.{layer}.bias" for layer in (0, 3, 6)}:
            torch.testing.assert_close(method.state_dict()[name], expected, rtol=1e-6, atol=1e-8, msg=name)
    moved = [name for name, p in method.named_parameters() if not torch.equal(p, before[name])]
    assert len(moved) == len(list(method.parameters()))


@pytest.mark.parametrize("mask", MASKS)
def test_the_critic_comes_first_and_learns_alone(mask: str) -> None:
    method = built(mask=mask)
    moves = method.training_step(batch(), 0.0)
    critics = next(moves)
    assert isinstance(critics, Turn) and critics.player == "feature_critic"
    assert reached(critics, method.feature_critic) and not reached(critics, method.segmenter)
    segmenters = next(moves)
    assert isinstance(segmenters, Turn) and segmenters.player == "segmenter"
    assert next(moves, None) is None


def test_the_mask_is_that_of_the_critic_after_its_turn() -> None:
    method = built()
    moves = method.training_step(batch(), 0.0)
    next(moves)
    for parameter in method.feature_critic.parameters():
        parameter.data.zero_()
    turn = next(moves)
    assert isinstance(turn, Turn)
    assert float(turn.terms["adversarial"]) == 1.0
    torch.testing.assert_close(turn.terms["dice"], segmenters_turn(built(mask="none")).terms["dice"])


@pytest.mark.parametrize("mask", ["symmetric", "literal", "entropy"])
def test_the_masks_gradient_goes_nowhere(mask: str) -> None:
    """The losses of the masks reach the encoder, but not the critic, nor the encoder by way of the critic."""
    method = built(mask=mask, weights=LocalAlignmentWeights(adversarial=0.0))
    turn = segmenters_turn(method)
    assert reached(turn, method.segmenter.encoder) and not reached(turn, method.feature_critic)
    parameters = list(method.segmenter.encoder.parameters())
    ours = torch.autograd.grad(turn.loss, parameters)
    given = batch()
    maps = method.segmenter.features(given.source.images)
    with torch.no_grad():
        constant = plain_mask(mask, method.feature_critic(maps[-1]))
    logits = method.segmenter.decode([*maps[:-1], (1 + constant) * maps[-1]])
    theirs = torch.autograd.grad(plain_mask_losses(logits, given.source.masks), parameters)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)
    assert float(constant.max()) > 0.0


def test_the_adversarial_term_reaches_the_encoder_alone() -> None:
    weights = LocalAlignmentWeights(focal=0.0, dice=0.0, adversarial=1.0)
    method = built(weights=weights)
    turn = segmenters_turn(method)
    assert reached(turn, method.segmenter.encoder)
    assert not reached(turn, method.segmenter.decoder)
    assert not reached(turn, method.segmenter.head)


def test_the_critic_learns_for_the_mask_even_without_the_adversarial_term() -> None:
    played = turns(built(weights=LocalAlignmentWeights(adversarial=0.0)))
    assert [turn.player for turn in played] == ["feature_critic", "segmenter"]
    assert set(played[0].terms) == {"recognise"} and set(played[1].terms) == {"focal", "dice"}


def test_a_critic_that_nobody_listens_to_is_never_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Tensor) -> Tensor:
        raise AssertionError("asked")

    method = built(mask="none", weights=LocalAlignmentWeights(adversarial=0.0))
    monkeypatch.setattr(method.feature_critic, "forward", refuse)
    assert [turn.player for turn in turns(method)] == ["segmenter"]
    method.segment(batch().target.images)
    masked = built()
    monkeypatch.setattr(masked.feature_critic, "forward", refuse)
    with pytest.raises(AssertionError, match="asked"):
        masked.segment(batch().target.images)


@pytest.mark.parametrize("level", [0, 1, 2, -1, -3])
def test_any_level_can_be_judged_and_masked(level: int) -> None:
    method = built(level=level).eval()
    images = batch().target.images
    with torch.no_grad():
        maps = method.segmenter.features(images)
        maps[level] = maps[level] * (1 + plain_mask("symmetric", method.feature_critic(maps[level])))
        torch.testing.assert_close(
            method.segment(images), method.segmenter.decode(maps), rtol=1e-6, atol=1e-9
        )
        assert float((method.segment(images) - method.segmenter(images)).abs().max()) > 1e-6
    assert {turn.player for turn in turns(method.train())} == {"feature_critic", "segmenter"}


def test_cross_entropy_instead_of_focal() -> None:
    turn = segmenters_turn(built(weights=LocalAlignmentWeights(focal=0.0, cross_entropy=1.0)))
    assert set(turn.terms) == {"cross_entropy", "dice", "adversarial"}


def test_batch_norms_know_both_domains() -> None:
    """Images of the target move the statistics of the encoder, though only source images are decoded."""
    method = built()
    before = deepcopy(method.state_dict())
    other = batch()
    brighter = Adaptation(other.source, Unlabelled(other.target.images + 5.0))
    for given in (other, brighter):
        method.load_state_dict(before)
        list(method.training_step(given, 0.0))
        statistics = [
            v.clone() for k, v in method.segmenter.encoder.state_dict().items() if "running_mean" in k
        ]
        if given is other:
            first = statistics
    assert all(not torch.equal(one, two) for one, two in zip(first, statistics, strict=True))


def features(shift: float) -> Tensor:
    """Noise, whose first two maps are shifted apart in the left half: a norm over the whole map leaves that visible."""
    maps = torch.randn(8, 4, 8, 12)
    maps[:, 0, :, :6] += shift
    maps[:, 1, :, :6] -= shift
    return maps


def learnt_masks(measure: str, gap: float) -> list[float]:
    """The mean mask on source and target features that are `gap` apart, from a critic that has learnt them."""
    torch.manual_seed(0)
    critic = FeatureCritic(4, 16)
    optimiser = torch.optim.Adam(critic.parameters(), 5e-3, (0.5, 0.999))
    for _ in range(80):
        loss = recognise(critic(features(0.0)), critic(features(gap)), measure)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return [float(local_mask(critic(features(shift)), measure).mean()) for shift in (0.0, gap)]


@pytest.mark.parametrize("measure", ["symmetric", "entropy"])
def test_a_learnt_mask_is_high_on_both_domains_where_they_differ(measure: str) -> None:
    alike, apart = learnt_masks(measure, 0.0), learnt_masks(measure, 3.0)
    assert max(alike) < 0.2 < 0.4 < min(apart)


def test_the_literal_mask_stresses_the_target_least_where_it_differs_most() -> None:
    """Why it is not the default."""
    alike, apart = learnt_masks("literal", 0.0), learnt_masks("literal", 3.0)
    assert alike == pytest.approx([0.46, 0.46], abs=0.1)
    assert apart[0] > 0.6 and apart[1] < 0.3


def test_refusals() -> None:
    with pytest.raises(InputFault, match="level=3: the encoder has the levels 0 to 2"):
        built(level=3)
    with pytest.raises(InputFault, match="level=-4"):
        built(level=-4)
    config = LocalAlignmentConfig(network=ResidualUNetConfig((4, 8, 8, 8, 8)), critic_width=4)
    with pytest.raises(
        InputFault, match="size=16: a network of 5 levels needs a multiple of 16 from 32 pixels"
    ):
        config.build(TASK, None)
    with pytest.raises(InputFault, match=r"size=48: .* a multiple of 32"):
        replace(config, network=ResidualUNetConfig((4,) * 6)).build(replace(TASK, size=48), None)


@pytest.mark.parametrize("level", [0, -1])
def test_a_step_in_half_precision_stays_near_that_in_single(level: int) -> None:
    given = batch()
    single = Adaptation(
        Labelled(given.source.images.float(), given.source.masks), Unlabelled(given.target.images.float())
    )
    values = []
    for precision in ("32-true", "bf16-mixed"):
        method = built(level=level).float()
        fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
        played = play(fabric, method, method.training_step(single, 0.0), 0.0)
        values.append([float(value) for turn in played for value in turn.terms.values()])
    assert values[1] == pytest.approx(values[0], rel=0.05)


def test_either_optimiser_survives_yaml() -> None:
    for config in (LocalAlignmentConfig(), LocalAlignmentConfig(optimiser=AdaBelief(rate=5e-4))):
        assert from_mapping(LocalAlignmentConfig, to_mapping(config), "here") == config


def test_rates_are_those_of_the_sheet() -> None:
    method = built()
    segmenter, critic = (method.player(name).config for name in ("segmenter", "feature_critic"))
    assert (segmenter.rate, segmenter.weight_decay, critic.rate, critic.beta1) == (5e-4, 1e-4, 2e-4, 0.5)
    assert segmenter.schedule.factor(0.5) == pytest.approx(0.5 * (1 + math.cos(math.pi / 2)))
    assert critic.schedule.factor(0.99) == 1.0
