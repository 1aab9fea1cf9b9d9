"""Which term reaches which network: what the contract tests, which know no method, cannot ask."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from fewmask.data.batch import Adaptation, Labelled, Unlabelled
from fewmask.losses.turn import Turn
from fewmask.methods.attention_cyclegan import (
    AttentionCycleGAN,
    AttentionCycleGANConfig,
    Phase,
    TranslationWeights,
)
from fewmask.networks.attention import AgganAttention
from fewmask.shapes import Task

torch.set_num_threads(1)

TASK = Task(3, ("background", "disc", "ruler"), 32)
NOTHING = TranslationWeights(adversarial=0.0, cycle=0.0, identity=0.0)


def built(config: AttentionCycleGANConfig) -> AttentionCycleGAN:
    torch.manual_seed(0)
    narrow = replace(
        config,
        translator_width=4,
        translator_blocks=1,
        critic_width=4,
        critic_layers=2,
        attention=AgganAttention(width=4),
    )
    return narrow.build(TASK, nn.Conv2d(3, 3, 1))


def batch() -> Adaptation:
    random = torch.Generator().manual_seed(1)
    source, target = (torch.rand(2, 3, 32, 32, generator=random) * 2 - 1 for _ in range(2))
    masks = torch.randint(0, 3, (2, 32, 32), generator=random)
    return Adaptation(Labelled(source, masks), Unlabelled(target))


def translators_turn(method: AttentionCycleGAN, progress: float = 0.5) -> Turn:
    move = next(method.training_step(batch(), progress))
    assert isinstance(move, Turn)
    return move


def reached(turn: Turn, network: nn.Module) -> bool:
    gradients = torch.autograd.grad(
        turn.loss, list(network.parameters()), retain_graph=True, allow_unused=True
    )
    return any(gradient is not None and bool(gradient.abs().sum() > 0) for gradient in gradients)


@pytest.mark.parametrize("moves", [True, False])
def test_the_cycle_teaches_the_translators_and_the_attention_where_it_may(moves: bool) -> None:
    weights = replace(NOTHING, cycle=1.0)
    method = built(AttentionCycleGANConfig(weights=weights, cycle_moves_attention=moves))
    turn = translators_turn(method)
    for translator in (method.to_target, method.to_source):
        assert reached(turn, translator.translator)
        assert reached(turn, translator.attention) is moves


def test_the_value_of_the_cycle_is_the_same_either_way() -> None:
    weights = replace(NOTHING, cycle=1.0, attention_source=1.0, attention_target=1.0)
    values = [
        translators_turn(built(AttentionCycleGANConfig(weights=weights, cycle_moves_attention=moves))).terms
        for moves in (True, False)
    ]
    for name in ("cycle", "attention_source", "attention_target"):
        torch.testing.assert_close(values[0][name], values[1][name])


def test_a_frozen_attention_learns_from_no_term() -> None:
    weights = TranslationWeights(attention_source=1.0, attention_target=1.0)
    method = built(AttentionCycleGANConfig(weights=weights, attention_frozen=0.3))
    assert reached(translators_turn(method, 0.2), method.to_target.attention)
    assert not reached(translators_turn(method, 0.3), method.to_target.attention)


def test_critics_lose_their_norms_when_the_recipe_says_so() -> None:
    """Of two images that differ in contrast alone, a critic with instance norms sees nearly the same."""
    method = built(AttentionCycleGANConfig(critic_norms_end=0.5))
    images = batch().source.images
    verdicts = [
        [method.source_critic(images * share, progress < 0.5) for share in (1.0, 0.5)]
        for progress in (0.2, 0.7)
    ]
    normed, plain = ((one - other).abs().max() for one, other in verdicts)
    assert normed.item() != pytest.approx(plain.item())
    early, late = (translators_turn(method, progress).terms["adversarial"] for progress in (0.2, 0.7))
    assert float(early) != pytest.approx(float(late))


def test_logarithms_instead_of_squares() -> None:
    """Against the formulas written out: nothing steps between the turns here, and the replay is still empty."""
    softplus, given = nn.functional.softplus, batch()
    for adversarial in ("log", "least_squares"):
        method = built(AttentionCycleGANConfig(adversarial=adversarial))
        translators, critic, _ = method.training_step(given, 0.0)
        assert isinstance(translators, Turn) and isinstance(critic, Turn)
        with torch.no_grad():
            real = method.source_critic(given.source.images)
            fakes = [
                method.source_critic(method.to_source(given.target.images).image),
                method.target_critic(method.to_target(given.source.images).image),
            ]
        if adversarial == "log":
            expected = 0.5 * (softplus(-real).mean() + softplus(fakes[0]).mean())
            fooled = sum(softplus(-fake).mean() for fake in fakes)
        else:
            expected = 0.5 * ((real - 1).square().mean() + fakes[0].square().mean())
            fooled = sum((fake - 1).square().mean() for fake in fakes)
        torch.testing.assert_close(critic.terms["adversarial"], expected)
        torch.testing.assert_close(translators.terms["adversarial"], fooled)


def test_kept_classes_are_those_that_are_not_attended() -> None:
    assert built(AttentionCycleGANConfig(attended=("ruler", "background"))).kept_classes == (1,)
    assert built(AttentionCycleGANConfig()).kept_classes == ()


def test_every_phase_shows_the_critics_another_view() -> None:
    phases = (Phase(0.0, "image"), Phase(0.2, "salient"), Phase(0.25, "attended"))
    method = built(AttentionCycleGANConfig(phases=phases))
    values = [float(translators_turn(method, progress).terms["adversarial"]) for progress in (0.1, 0.2, 0.24)]
    assert values[0] != pytest.approx(values[1]) and values[1] == pytest.approx(values[2])
