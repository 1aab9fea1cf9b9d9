"""Stage 1 of GLUA (reconstructed): its six terms by hand, who learns first, the averages, and the styles it draws."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.contracts.tiny import cpu
from torch import Tensor

from fewmask.data.batch import Adaptation, Labelled, Unlabelled
from fewmask.errors import InputFault
from fewmask.losses.turn import Turn
from fewmask.methods.base import Adam, Move
from fewmask.methods.style_transfer import StyleTransfer, StyleTransferConfig
from fewmask.shapes import Task
from fewmask.training.play import play

torch.set_num_threads(1)

SIZE = 32
TASK = Task(1, ("background", "inner"), SIZE)
NARROW = StyleTransferConfig(width=2, blocks=1, critic_width=2)


def fresh(config: StyleTransferConfig = NARROW) -> StyleTransfer:
    torch.manual_seed(0)
    return StyleTransfer(config, TASK)


def batch(seed: int = 1) -> Adaptation:
    torch.manual_seed(seed)
    source, target = (torch.rand(2, 1, SIZE, SIZE) * 2 - 1 for _ in range(2))
    return Adaptation(Labelled(source, torch.zeros(2, SIZE, SIZE, dtype=torch.long)), Unlabelled(target))


def turns_of(moves: Iterator[Move]) -> list[Turn]:
    """All turns of a step in which nobody moves."""
    return [move for move in moves if isinstance(move, Turn)]


def by_hand(
    method: StyleTransfer, source: Tensor, target: Tensor
) -> tuple[dict[str, float], dict[str, float]]:
    """The terms of both players, spelt out (sheet 2.2.2; a is the source, b the target)."""
    networks = method.generators
    content, decode = networks.content_encoder, networks.decoder
    style_a, style_b = networks.source_style_encoder, networks.target_style_encoder
    c_a, c_b, s_a, s_b = content(source), content(target), style_a(source), style_b(target)
    ab, ba = decode(c_a, s_b), decode(c_b, s_a)

    def l1(one: Tensor, other: Tensor) -> float:
        return (one - other).abs().mean().item()

    def square(verdicts: Tensor, wanted: float) -> float:
        return ((verdicts - wanted) ** 2).mean().item()

    fakes = [(method.source_critic, source, ba), (method.target_critic, target, ab)]
    generators = {
        "reconstruction": l1(source, decode(c_a, s_a)) + l1(target, decode(c_b, s_b)),
        "cycle": l1(source, decode(content(ab), s_a)) + l1(target, decode(content(ba), s_b)),
        "content": l1(c_a, content(ab)) + l1(c_b, content(ba)),
        "style": l1(s_a, style_a(ba)) + l1(s_b, style_b(ab)),
        "adversarial": sum(square(v, 1.0) for critic, _, fake in fakes for v in critic(fake)),
        "content_adversarial": square(method.content_critic(c_b), 1.0)
        + square(method.content_critic(c_a), 0.0),
    }
    critics = {
        "adversarial": sum(
            square(judged, 1.0) + square(faked, 0.0)
            for critic, real, fake in fakes
            for judged, faked in zip(critic(real), critic(fake), strict=True)
        ),
        "content_adversarial": square(method.content_critic(c_b), 0.0)
        + square(method.content_critic(c_a), 1.0),
    }
    return critics, generators


def test_the_terms_are_those_of_the_sheet_with_their_weights() -> None:
    method, seen = fresh(), batch()
    critics, generators = turns_of(method.training_step(seen, 0.0))
    with torch.no_grad():
        expected = by_hand(method, seen.source.images, seen.target.images)
    for turn, terms in zip((critics, generators), expected, strict=True):
        assert {name: value.item() for name, value in turn.terms.items()} == pytest.approx(terms, rel=1e-4)
    weights = {"reconstruction": 10.0, "cycle": 10.0}
    assert generators.loss.item() == pytest.approx(
        sum(weights.get(name, 1.0) * value for name, value in expected[1].items()), rel=1e-4
    )
    assert critics.loss.item() == pytest.approx(sum(expected[0].values()), rel=1e-4)


def test_the_critics_learn_before_the_generators_are_judged() -> None:
    method, seen = fresh(replace(NARROW, critic_optimiser=Adam(rate=0.05))), batch()
    with torch.no_grad():
        before = by_hand(method, seen.source.images, seen.target.images)[1]
    moves = method.training_step(seen, 0.0)
    first = next(moves)
    assert isinstance(first, Turn) and first.player == "critics"
    play(cpu(), method, iter([first]), 0.0)
    with torch.no_grad():
        after = by_hand(method, seen.source.images, seen.target.images)[1]
    second = next(moves)
    assert isinstance(second, Turn) and second.player == "generators"
    for term in ("adversarial", "content_adversarial"):
        assert second.terms[term].item() == pytest.approx(after[term], rel=1e-4)
        assert second.terms[term].item() != pytest.approx(before[term], rel=1e-2)
    assert second.terms["cycle"].item() == pytest.approx(before["cycle"], rel=1e-4)


def test_the_averages_follow_the_generators() -> None:
    method = fresh(replace(NARROW, average_decay=0.75, optimiser=Adam(rate=0.01)))
    name = "decoder.draw.0.weight"
    expected: Tensor | None = None
    for step in range(4):
        play(cpu(), method, method.training_step(batch(step), 0.0), 0.0)
        now = method.generators.state_dict()[name]
        expected = now.clone() if expected is None else 0.75 * expected + 0.25 * now
    assert expected is not None
    kept = method.state_dict()[f"average.module.{name}"]
    assert torch.allclose(kept, expected, atol=1e-6)
    assert not torch.allclose(kept, method.generators.state_dict()[name], atol=1e-4)
    assert not any(p.requires_grad for p in method.average.parameters())


def test_random_styles_are_asked_for_again() -> None:
    method, seen = fresh(replace(NARROW, styles="normal")), batch()
    torch.manual_seed(5)
    generators = turns_of(method.training_step(seen, 0.0))[1]
    torch.manual_seed(5)
    for_target_images, for_source_images = torch.randn(2, 8), torch.randn(2, 8)
    networks = method.generators
    with torch.no_grad():
        ab = networks.decoder(networks.content_encoder(seen.source.images), for_source_images)
        ba = networks.decoder(networks.content_encoder(seen.target.images), for_target_images)
        style = (for_target_images - networks.source_style_encoder(ba)).abs().mean() + (
            for_source_images - networks.target_style_encoder(ab)
        ).abs().mean()
    assert generators.terms["style"].item() == pytest.approx(style.item(), rel=1e-4)


def test_source_images_are_drawn_in_styles_of_the_targets_middle_slices() -> None:
    method = fresh().eval()
    torch.manual_seed(2)
    volumes = [torch.rand(12, 1, SIZE, SIZE) * 2 - 1 for _ in range(3)]
    method.learn_styles(iter(volumes))
    averaged = method.average.module
    with torch.no_grad():
        codes = torch.cat([averaged.target_style_encoder(volume[2:10]) for volume in volumes]).numpy()
    assert method.bank is not None
    assert sum(len(group) for group in method.bank.groups) == len(codes)
    images = torch.rand(3, 1, SIZE, SIZE) * 2 - 1
    with torch.no_grad():
        drawn = method.restyle_as(images, [4, 4, 7], [0, 5, 5])
        for image, alike, case, copy in zip(images, drawn, [4, 4, 7], [0, 5, 5], strict=True):
            style = method.bank.draw(case, copy)
            assert np.isclose(codes, style, atol=1e-6).all(axis=1).any()
            content = averaged.content_encoder(image[None])
            expected = averaged.decoder(content, torch.tensor(style, dtype=torch.float32)[None])
            assert torch.allclose(alike, expected[0], atol=1e-5)
    assert method.copies == 6


def test_styles_must_be_learnt_before_they_are_drawn() -> None:
    with pytest.raises(ValueError, match="call learn_styles first"):
        fresh().restyle(torch.zeros(1, 1, SIZE, SIZE))


def test_a_sample_shows_source_translation_and_target() -> None:
    method, seen = fresh(), batch()
    source, redrawn, target = method.samples(seen)
    assert torch.equal(source, seen.source.images) and torch.equal(target, seen.target.images)
    assert redrawn.shape == source.shape and not torch.equal(redrawn, source)


def test_it_draws_no_masks_and_refuses_tiny_images() -> None:
    assert not StyleTransfer.draws_masks
    with pytest.raises(InputFault, match="draws no masks"):
        fresh().segment(torch.zeros(1, 1, SIZE, SIZE))
    with pytest.raises(InputFault, match="size=16: style_transfer needs images of 32 pixels"):
        StyleTransfer(NARROW, Task(1, TASK.classes, 16))
    with pytest.raises(InputFault, match="average_decay=1"):
        StyleTransferConfig(average_decay=1.0)
