import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fewmask.errors import InputFault
from fewmask.networks.deeplab import DeepLabv3, DeepLabv3Config
from fewmask.networks.fcn import FCN, FCNConfig
from fewmask.networks.outcome_branch import BranchConfig, OutcomeBranch, Tap
from fewmask.networks.two_answers import Answers, Body, TwoAnswers
from fewmask.networks.umcam_unet import LeakyUNet, LeakyUNetConfig
from fewmask.networks.unet import UNet, UNetConfig
from fewmask.pseudo_label_config import Cam
from fewmask.pseudo_labels.activation_map import ablation_cam, grad_cam, maps_of

torch.set_num_threads(1)

BODIES: dict[str, Callable[[int], Body]] = {
    "unet": lambda outputs: UNet(1, outputs, UNetConfig((8, 16, 32))),
    "leaky_unet": lambda outputs: LeakyUNet(1, outputs, LeakyUNetConfig((8, 16, 32))),
    "fcn": lambda outputs: FCN(1, outputs, FCNConfig(1 / 8)),
    "deeplabv3": lambda outputs: DeepLabv3(1, outputs, DeepLabv3Config(1 / 8)),
}

TAPS: tuple[Tap, ...] = ("bottleneck", "enc4", "all_levels")


def network(body: str = "unet", tap: Tap = "bottleneck", outputs: int = 1) -> TwoAnswers:
    torch.manual_seed(0)
    segmenter = BODIES[body](outputs)
    return TwoAnswers(segmenter, OutcomeBranch(segmenter.widths, BranchConfig(tap, (16, 8))))


def images(count: int = 2, side: int = 64) -> Tensor:
    noise = torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return functional.avg_pool2d(noise, 5, stride=1, padding=2)


def settled(two: TwoAnswers) -> TwoAnswers:
    """At rest, with statistics of images, and an outcome that the tapped maps only raise, so that they have a map."""
    assert two.branch is not None
    two.train()
    with torch.no_grad():
        for weight in two.branch.parameters():
            weight.abs_()
        for _ in range(5):
            two(images(4))
    return two.eval()


def outcome_of(answers: Answers) -> Tensor:
    assert answers.outcome is not None
    return answers.outcome


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("tap", TAPS)
def test_both_answers_and_their_gradients(body: str, tap: Tap) -> None:
    two = network(body, tap, outputs=2).train()
    logits, outcome = two(images())
    assert logits.shape == (2, 3, 64, 64) and outcome is not None and outcome.shape == (2,)
    assert (logits[:, 0] == 0).all()
    loss = (logits * torch.randn_like(logits)).sum() + (outcome * torch.tensor([1.0, -2.0])).sum()
    loss.backward()
    assert all(float(weight.grad.abs().sum()) > 0 for weight in two.parameters())


@pytest.mark.parametrize("body", BODIES)
def test_each_answer_alone_is_the_same_answer(body: str) -> None:
    two = network(body, outputs=2).eval()
    logits, outcome = two(images())
    again = two(images())
    assert torch.equal(again.logits, logits) and torch.equal(outcome_of(again), outcome)
    assert torch.equal(two.judge(images()), outcome)
    assert torch.equal(logits[:, 1:], two.body.decode(two.body.features(images())))
    without = TwoAnswers(two.body, None)(images())
    assert torch.equal(without.logits, logits) and without.outcome is None


def test_the_encoder_runs_once_and_the_judge_decodes_nothing() -> None:
    two = network().eval()
    runs: list[str] = []
    for name in two.layer_names:
        two.layer(name).register_forward_hook(lambda _layer, _given, _maps, name=name: runs.append(name))
    two.body.head.register_forward_hook(lambda _layer, _given, _maps: runs.append("head"))
    two(images())
    assert runs == ["level1", "level2", "level3", "head"]
    runs.clear()
    two.judge(images())
    assert runs == ["level1", "level2", "level3"]


def test_two_classes_are_one_sigmoid() -> None:
    """Softmax over (0, s) is sigmoid(s), and cross-entropy over it the binary one."""
    two = network().double().eval()
    seen = images().double()
    logits = two(seen).logits
    scores = two.body.decode(two.body.features(seen))
    assert torch.allclose(logits.softmax(1)[:, 1], scores[:, 0].sigmoid(), atol=1e-12)
    masks = (seen[:, 0] > 0).long()
    binary = functional.binary_cross_entropy_with_logits(scores[:, 0], masks.double())
    assert functional.cross_entropy(logits, masks).item() == pytest.approx(binary.item(), rel=1e-12)


@pytest.mark.parametrize("body", BODIES)
def test_half_precision(body: str) -> None:
    two = network(body).eval()
    precise = two(images())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = two(images())
    scale = precise.logits.abs().max()
    assert (rough.logits - precise.logits).abs().max() < 0.05 * scale
    assert torch.allclose(outcome_of(rough).float(), outcome_of(precise), rtol=0.05, atol=0.02)
    two.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, outcome = two(images())
        loss = logits.float().square().mean() + outcome.float().square().mean()
    loss.backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in two.parameters())


def test_it_learns_masks_and_outcomes_by_heart() -> None:
    two = network(tap="bottleneck")
    seen = images(4, 32)
    masks, outcomes = (seen[:, 0] > 0).long(), torch.tensor([0.0, 1.0, 1.0, 0.0])
    optimiser = torch.optim.Adam(two.parameters(), 0.01)
    for _ in range(60):
        optimiser.zero_grad()
        logits, outcome = two(seen)
        loss = functional.cross_entropy(logits, masks)
        (loss + functional.binary_cross_entropy_with_logits(outcome, outcomes)).backward()
        optimiser.step()
    logits, outcome = two(seen)
    assert float((logits.argmax(1) == masks).float().mean()) > 0.95
    assert torch.equal((outcome > 0).float(), outcomes)


# Where the outcome is read from.


@pytest.mark.parametrize("body", BODIES)
def test_named_layers_are_the_encoders_levels(body: str) -> None:
    two = network(body).eval()
    found: list[Tensor] = []
    for name in two.layer_names:
        two.layer(name).register_forward_hook(lambda _layer, _given, maps: found.append(maps))
    two(images())
    features = two.body.features(images())
    assert two.layer_names[0] == "level1" and len(two.layer_names) == len(two.body.widths)
    for maps, level, width in zip(found[: len(features)], features, two.body.widths, strict=True):
        assert torch.equal(maps, level) and maps.shape[1] == width


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("tap", TAPS)
def test_going_on_from_a_layer(body: str, tap: Tap) -> None:
    two = network(body, tap).eval()
    features = two.body.features(images())
    versions = [maps._version for maps in features]
    outcome = two.judge(images())
    reached = {"bottleneck": len(features), "enc4": len(features) - 1, "all_levels": 1}[tap]
    for number, (name, maps) in enumerate(zip(two.layer_names, features, strict=True), start=1):
        if number <= reached:
            assert torch.allclose(two.after(name, maps).outcome, outcome, atol=1e-6)
            assert two.after(name, maps[:1].repeat(3, 1, 1, 1)).outcome.shape == (3,)
        else:
            with pytest.raises(InputFault, match=f"{name}: the outcome is told from level{reached} too"):
                two.after(name, maps)
    two.body.decode(features)
    assert [maps._version for maps in features] == versions


@pytest.mark.parametrize("body", ["unet", "deeplabv3"])
@pytest.mark.parametrize("cam", ["gradcam", "gradcam_pp", "scorecam", "ablationcam"])
def test_maps_of_the_outcome(body: str, cam: Cam) -> None:
    two = settled(network(body))
    names = (two.layer_names[0], two.layer_names[-1])
    before = {name: value.clone() for name, value in two.state_dict().items()}
    maps = maps_of(two, images(side=32), cam, names, score=outcome_of)
    assert maps.normalised.shape == (2, 2, 32, 32)
    assert maps.normalised.isfinite().all() and maps.normalised[:, 1].amax((1, 2)).min() > 0.5
    assert all(torch.equal(value, before[name]) for name, value in two.state_dict().items())


def test_grad_cam_at_the_bottleneck_by_hand() -> None:
    """Eq. 1 and 2 of Selvaraju et al. 2017, with the gradient of the branch alone."""
    two = settled(network(tap="all_levels"))
    deepest = two.body.features(images())[-1].detach().requires_grad_()
    assert two.branch is not None
    finer = [maps.detach() for maps in two.body.features(images())[:-1]]
    (gradient,) = torch.autograd.grad(two.branch([*finer, deepest]).sum(), deepest)
    by_hand = torch.einsum("bk,bkhw->bhw", gradient.mean((2, 3)), deepest.detach()).relu()
    drawn = functional.interpolate(by_hand[:, None], size=(64, 64), mode="bilinear", align_corners=False)
    raw = maps_of(two, images(), "gradcam", ["level3"], score=outcome_of).raw
    assert drawn.max() > 0 and torch.allclose(raw, drawn, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("body", ["unet", "fcn"])
def test_ablation_from_a_level_on_is_ablation_throughout(body: str) -> None:
    two = settled(network(body, "enc4"))
    names = two.layer_names[-3:-1]
    seen = images(1, 32)
    quick = maps_of(two, seen, "ablationcam", names, score=outcome_of).raw
    layers = [two.layer(name) for name in names]
    whole = ablation_cam(two, seen, layers, score=outcome_of).raw
    assert whole.max() > 0 and torch.allclose(quick, whole, rtol=1e-3, atol=1e-5 * float(whole.max()))


def test_a_level_behind_the_tap_has_no_map() -> None:
    two = settled(network(tap="enc4"))
    with pytest.raises(InputFault, match="does not depend on every layer"):
        grad_cam(two, images(), [two.layer("level3")], score=outcome_of)
    with pytest.raises(InputFault, match="name level2 or one before it"):
        maps_of(two, images(), "ablationcam", ["level3"], score=outcome_of)


def test_a_copy_is_looked_into_on_its_own() -> None:
    two = settled(network("fcn"))
    twin = copy.deepcopy(two)
    with torch.no_grad():
        for weight in twin.parameters():
            weight.mul_(1.1)
    assert not torch.allclose(twin.judge(images()), two.judge(images()))
    held: list[Tensor] = []
    twin.layer("level1").register_forward_hook(lambda _layer, _given, maps: held.append(maps))
    two(images())
    assert not held
    twin(images())
    assert torch.equal(held[0], twin.body.features(images())[0])
    twin.load_state_dict(two.state_dict())
    assert torch.equal(twin.judge(images()), two.judge(images()))


def test_faults() -> None:
    two = network()
    with pytest.raises(InputFault, match="did you mean 'level3'"):
        two.layer("levl3")
    with pytest.raises(InputFault, match="no layer 'level4'"):
        two.after("level4", torch.zeros(1, 8, 4, 4))
    with pytest.raises(ValueError, match="multiples of 4"):
        two(torch.zeros(1, 1, 62, 64))
    plain = TwoAnswers(two.body, None)
    for ask in (lambda: plain.judge(images()), lambda: plain.after("level1", images())):
        with pytest.raises(ValueError, match="no branch"):
            ask()
    assert isinstance(plain.layer("level1"), nn.Module)
