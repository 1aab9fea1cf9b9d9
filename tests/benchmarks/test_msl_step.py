"""Our MSL step against the plain implementation that the benchmark holds it against: an oracle for the method."""

from argparse import Namespace
from collections.abc import Iterator
from math import nan

import pytest
import torch
from msl_step import (
    Measured,
    build_ours,
    build_plain,
    compare,
    compile_networks,
    counterparts,
    lay_out_channels_last,
    others_frozen,
    step_ours,
    step_plain,
)
from plain_msl import PlainMSL, Sizes, StepLosses
from torch import Tensor

from fewmask.data.batch import Adaptation, Labelled, Unlabelled
from fewmask.methods.attention_cyclegan import AttentionCycleGAN
from fewmask.training.play import play
from tests.contracts.tiny import cpu

torch.set_num_threads(1)

SIZES = Sizes(translators=4, blocks=1, critics=4, attention=4, replay=1)
PIXELS = 32
STEPS = 3
"""With a replay of one image, the second and the third step exchange."""

PHASES = {"image": 0.1, "salient": 0.22, "attended": 0.3, "attended, slower": 0.9}
every_phase = pytest.mark.parametrize("progress", PHASES.values(), ids=PHASES.keys())
both_precisions = pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-8)], ids=["float32", "float64"]
)


def batches(dtype: torch.dtype) -> Iterator[Adaptation]:
    """Coarse coloured patches, two images a domain, with four classes in the source's masks."""
    torch.manual_seed(1)
    for _ in range(STEPS):
        source, target = (
            torch.nn.functional.interpolate(
                torch.rand(2, 3, 8, 8, dtype=dtype) * 2 - 1, PIXELS, mode="bilinear"
            )
            for _ in range(2)
        )
        masks = torch.randint(4, (2, 4, 4)).repeat_interleave(8, 1).repeat_interleave(8, 2)
        yield Adaptation(Labelled(source, masks), Unlabelled(target))


def contestants(dtype: torch.dtype) -> tuple[AttentionCycleGAN, PlainMSL]:
    """Both with the same fresh weights, so wide that attention lies on both sides of its threshold."""
    method = build_ours(SIZES, PIXELS).to(dtype)
    with torch.no_grad():
        for player in method.players:
            for parameter in player.parameters:
                parameter.normal_(0.0, 0.2)
        for translator in (method.to_target, method.to_source):
            weight, bias = list(translator.attention.parameters())[-2:]
            weight.mul_(5.0)
            bias.fill_(-1.0)
    return method, build_plain(SIZES, method)


def farthest(ours: StepLosses, plain: StepLosses) -> float:
    """The largest difference of a term, as a share of the plain one's."""
    return max(float(abs(own - peer) / peer.clamp(min=1e-9)) for own, peer in zip(ours, plain, strict=True))


@torch.no_grad()
def moved_apart(method: AttentionCycleGAN, plain: PlainMSL) -> float:
    """The largest distance between equal layers' weights, as a share of their length."""
    return max(
        float((own - peer).norm() / peer.norm())
        for network, ours in counterparts(plain, method)
        for own, peer in zip(ours.parameters(), network.parameters(), strict=True)
    )


@torch.no_grad()
def test_weights_make_every_phase_differ() -> None:
    """Else the next test would compare masks that hide nothing."""
    method, _ = contestants(torch.float64)
    for batch in batches(torch.float64):
        for translator, images in (
            (method.to_target, batch.source.images),
            (method.to_source, batch.target.images),
        ):
            attended = (translator(images).attention > 0.2).double().mean()
            assert 0.2 < float(attended) < 0.98


@every_phase
@both_precisions
def test_step_equals_the_plain_implementation(progress: float, dtype: torch.dtype, tolerance: float) -> None:
    method, plain = contestants(dtype)
    for number, batch in enumerate(batches(dtype)):
        torch.manual_seed(number)
        ours = step_ours(cpu(), method, batch, progress)
        torch.manual_seed(number)
        theirs = step_plain(plain, batch, progress)
        assert farthest(ours, theirs) < tolerance
        assert moved_apart(method, plain) < tolerance


def test_layout_and_freezing_leave_the_step_as_it_is() -> None:
    """What the benchmark does before it compiles changes neither losses nor weights."""
    method, plain = contestants(torch.float64)
    lay_out_channels_last(method)
    for number, batch in enumerate(batches(torch.float64)):
        torch.manual_seed(number)
        ours = step_ours(cpu(), method, batch, 0.3, frozen=True)
        torch.manual_seed(number)
        assert farthest(ours, step_plain(plain, batch, 0.3)) < 1e-8
        assert moved_apart(method, plain) < 1e-8
    assert all(parameter.requires_grad for player in method.players for parameter in player.parameters)


@pytest.mark.slow
def test_compiled_step_equals_the_plain_implementation() -> None:
    method, plain = contestants(torch.float64)
    compile_networks(method, "default")
    for number, batch in enumerate(batches(torch.float64)):
        torch.manual_seed(number)
        ours = step_ours(cpu(), method, batch, 0.3, frozen=True)
        torch.manual_seed(number)
        assert farthest(ours, step_plain(plain, batch, 0.3)) < 1e-8
        assert moved_apart(method, plain) < 1e-8


def test_others_are_frozen_while_a_loss_is_computed() -> None:
    """The critics' weights ask for no gradient in the translators' turn, nor the translators' in theirs."""
    method, _ = contestants(torch.float32)
    learning: list[set[str]] = []

    def note(network: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        learning.append({p.name for p in method.players if all(w.requires_grad for w in p.parameters)})

    method.source_critic.register_forward_pre_hook(note)
    batch = next(batches(torch.float32))
    play(cpu(), method, others_frozen(method, method.training_step(batch, 0.3)), 0.3)
    assert learning == [{"translators"}, {"source_critic"}, {"source_critic"}]


@pytest.mark.parametrize(
    ("tied", "free", "agrees"),
    [(1.01, 1.04, True), (1.03, 1.0, False), (0.97, 1.0, False), (1.0, 0.94, False), (1.0, nan, False)],
)
def test_losses_that_are_too_far_apart_fail_the_run(tied: float, free: float, agrees: bool) -> None:
    def side(first: float, later: float) -> list[Measured]:
        """One step from the same weights, then two free ones, in which one term is as told."""
        return [Measured((value, 0.0, *[2.0] * 6), seconds=0.1) for value in (first, later, later)]

    options = Namespace(steps=1, compile=None)
    outcome = compare(128, torch.device("cpu"), options, side(tied, free), side(1.0, 1.0))
    assert outcome.agrees == agrees
    assert outcome.from_same_weights[0] == pytest.approx(abs(tied - 1))
    assert outcome.of_means[0] == pytest.approx(abs(free - 1), nan_ok=True)
    assert outcome.ratio == pytest.approx(1.0)
