"""What the rules say of predictions whose worth is known by hand, and that asking them changes nothing."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fewmask.data.split import Split
from fewmask.data.store import SliceStore
from fewmask.errors import InputFault
from fewmask.methods.base import Method, Move
from fewmask.methods.outcome import OutcomeConfig
from fewmask.methods.supervised import SupervisedConfig
from fewmask.recipe import Stage
from fewmask.shapes import Task
from fewmask.training import target_rules
from fewmask.training.material import Material
from fewmask.training.rules import (
    RuleScores,
    Validation,
    require_rule,
    scores_of,
)
from fewmask.training.select import looking, validation_dice
from fewmask.training.shares import target_slices_of, validation_of
from fewmask.training.target_rules import (
    TargetSlices,
    information,
    neighbourhood_density,
    target_agreement,
    target_cycle,
    target_density,
    target_ensemble,
    target_information,
)

torch.set_num_threads(1)

CPU = torch.device("cpu")
SIZE, CLASSES = 8, ("background", "disc", "ruler", "cord")
CERTAIN = 40.0


class Told(Method):
    """Answers with what it was given: a plane (S, S) of classes for each head, or logits as they are."""

    def __init__(self, first: Tensor, second: Tensor | None = None) -> None:
        super().__init__(Task(1, CLASSES, SIZE))
        self.anchor = nn.Parameter(torch.zeros(1))
        self.first, self.second, self.seen = first, second, 0

    def training_step(self, batch: Any, progress: float) -> Iterator[Move]:
        raise NotImplementedError

    def segment(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        return answer(self.first, len(images))

    def validate_segment(self, images: Tensor) -> Tensor:
        return answer(self.first, len(images))

    def segment_twice(self, images: Tensor) -> tuple[Tensor, Tensor] | None:
        return None if self.second is None else (self.segment(images), answer(self.second, len(images)))


def answer(plane: Tensor, count: int) -> Tensor:
    logits = plane
    if plane.ndim == 2:
        logits = nn.functional.one_hot(plane, len(CLASSES)).movedim(-1, 0) * CERTAIN
    return logits.float()[None].repeat(count, 1, 1, 1)


def plane(*runs: tuple[int, int]) -> Tensor:
    """(S, S) classes: so many pixels of each class in turn, the rest background."""
    classes = torch.zeros(SIZE * SIZE, dtype=torch.long)
    place = 0
    for label, length in runs:
        classes[place : place + length] = label
        place += length
    return classes.view(SIZE, SIZE)


def store(folder: Path, count: int = 2, frame: tuple[int, int, int, int] | None = None) -> SliceStore:
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "images.npy", np.zeros((count, 1, SIZE, SIZE), np.float16))
    frames = (frame,) * count if frame else ()
    return SliceStore(folder, tuple(f"case{i}" for i in range(count)), tuple(range(count)), frames)


def target(folder: Path, count: int = 2, frame: tuple[int, int, int, int] | None = None) -> TargetSlices:
    return TargetSlices("hospital_b", store(folder, count, frame), np.arange(count))


def test_uniform_predictions_tell_nothing(tmp_path: Path) -> None:
    method = Told(torch.zeros(4, SIZE, SIZE))
    assert target_information(method, target(tmp_path), CPU) == pytest.approx(0.0, abs=1e-6)


def test_certain_and_balanced_predictions_tell_the_logarithm_of_the_classes(tmp_path: Path) -> None:
    method = Told(plane((0, 16), (1, 16), (2, 16), (3, 16)))
    assert target_information(method, target(tmp_path), CPU) == pytest.approx(math.log(4))


def test_a_method_that_draws_nothing_tells_nothing(tmp_path: Path) -> None:
    assert target_information(Told(plane()), target(tmp_path), CPU) == pytest.approx(0.0, abs=1e-9)


def test_information_by_hand(tmp_path: Path) -> None:
    """Half of the pixels (0.9, 0.1), half (0.2, 0.8), the other two classes impossible."""
    probabilities = torch.zeros(4, SIZE, SIZE)
    probabilities[:2, :4] = torch.tensor([0.9, 0.1])[:, None, None]
    probabilities[:2, 4:] = torch.tensor([0.2, 0.8])[:, None, None]

    def entropy(*shares: float) -> float:
        return -sum(share * math.log(share) for share in shares)

    expected = entropy(0.55, 0.45) - (entropy(0.9, 0.1) + entropy(0.2, 0.8)) / 2
    found = target_information(Told((probabilities + 1e-12).log()), target(tmp_path), CPU)
    assert found == pytest.approx(expected, abs=1e-6)
    assert information(torch.tensor([1.1, 0.9]), entropy(0.9, 0.1) + entropy(0.2, 0.8), 2) == pytest.approx(
        expected
    )
    assert information(torch.zeros(4), 0.0, 0) == 0.0


def test_padding_tells_nothing(tmp_path: Path) -> None:
    """Class 1 fills the upper half of the square; the image's own pixels are the lower half."""
    lower = (4, 0, 4, SIZE)
    method = Told(plane((1, 32)), plane((1, 32), (2, 8)))
    assert target_information(method, target(tmp_path, frame=lower), CPU) == pytest.approx(0.0, abs=1e-9)
    assert target_information(method, target(tmp_path), CPU) == pytest.approx(math.log(2))
    assert target_agreement(method, target(tmp_path, frame=lower), CPU) == 0.0


def test_agreement_by_hand(tmp_path: Path) -> None:
    one = plane((1, 8), (0, 8), (2, 4))
    assert target_agreement(Told(one, one), target(tmp_path), CPU) == 1.0
    # Class 1: 8 and 4 pixels, 4 shared: 8/12. Class 2: 4 pixels and none: 0. Class 3 is drawn by neither.
    other = plane((1, 4))
    assert target_agreement(Told(one, other), target(tmp_path), CPU) == pytest.approx((8 / 12 + 0) / 2)
    assert target_agreement(Told(plane(), plane()), target(tmp_path), CPU) == 0.0
    assert target_agreement(Told(one), target(tmp_path), CPU) is None


def test_no_more_slices_are_looked_at_than_said(tmp_path: Path) -> None:
    method = Told(plane((1, 8)))
    target_information(method, target(tmp_path, count=target_rules.TARGET_SLICES * 2 + 5), CPU)
    assert method.seen == target_rules.TARGET_SLICES


def test_density_equals_a_plain_double_loop() -> None:
    probabilities = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.5, 0.5]], dtype=torch.float64)
    total = 0.0
    for i, one in enumerate(probabilities):
        cosines = [float(one @ other / one.norm() / other.norm()) for other in probabilities]
        weights = [0.0 if j == i else math.exp(cosine / 0.05) for j, cosine in enumerate(cosines)]
        shares = [weight / sum(weights) for weight in weights if weight]
        total -= sum(share * math.log(share) for share in shares)
    assert neighbourhood_density(probabilities) == pytest.approx(total / 4)
    assert neighbourhood_density(probabilities[:1]) == 0.0


def test_density_is_greater_where_predictions_lie_together(tmp_path: Path) -> None:
    decided = Told(plane((1, 32)))
    torch.manual_seed(0)
    scattered = Told(torch.randn(4, SIZE, SIZE))
    assert target_density(decided, target(tmp_path), CPU) > target_density(scattered, target(tmp_path), CPU)


class Returning(Told):
    """Says what it was given of images as they are, and one class everywhere of images that were translated."""

    def __init__(self, first: Tensor, shift: float) -> None:
        super().__init__(first)
        self.shift = shift

    def there_and_back(self, images: Tensor) -> Tensor:
        return images + self.shift

    def segment(self, images: Tensor) -> Tensor:
        return answer(
            plane((1, 4)) if bool((images == self.shift).all()) and self.shift else self.first, len(images)
        )


def test_the_cycle_compares_masks_before_and_after_the_way_back(tmp_path: Path) -> None:
    assert target_cycle(Returning(plane((1, 8)), 0.0), target(tmp_path), CPU) == 1.0
    assert target_cycle(Returning(plane((1, 8)), 1.0), target(tmp_path), CPU) == pytest.approx(8 / 12)
    assert target_cycle(Told(plane((1, 8))), target(tmp_path), CPU) is None


class Bright(Told):
    """Draws what is brighter than a threshold, from whichever side an image is seen."""

    def __init__(self, threshold: float) -> None:
        super().__init__(plane())
        self.threshold = threshold

    def segment(self, images: Tensor) -> Tensor:
        found = (images > self.threshold).float() * CERTAIN
        return torch.cat(
            [torch.zeros_like(found), found, torch.zeros_like(found), torch.zeros_like(found)], 1
        )


def ensemble_of(folder: Path, picture: Tensor) -> float:
    slices = target(folder)
    np.save(folder / "images.npy", picture.numpy().astype(np.float16)[None, None].repeat(2, axis=0))
    found = target_ensemble(Bright(0.1), slices, CPU)
    assert found is not None
    return found


def test_an_ensemble_disagrees_where_masks_hang_on_a_threshold(tmp_path: Path) -> None:
    ramp = torch.linspace(-1.0, 1.0, SIZE).expand(SIZE, SIZE)
    crisp = torch.where(torch.arange(SIZE) < 4, 0.9, -0.9).expand(SIZE, SIZE)
    assert ensemble_of(tmp_path / "ramp", ramp) < ensemble_of(tmp_path / "crisp", crisp) <= 1.0
    assert ensemble_of(tmp_path / "nothing", -torch.ones(SIZE, SIZE)) == 0.0


class Restless(Told):
    """Draws random numbers and has running statistics, as a careless method might."""

    def __init__(self) -> None:
        super().__init__(plane((1, 8)))
        self.norm = nn.BatchNorm2d(1)

    def segment(self, images: Tensor) -> Tensor:
        assert not torch.is_grad_enabled() and not self.training
        self.norm(images + torch.rand_like(images))
        return super().segment(images)


def test_asking_leaves_generators_modes_and_running_statistics_alone(tmp_path: Path) -> None:
    method = Restless().train()
    before = {key: value.clone() for key, value in method.state_dict().items()}
    generator = torch.get_rng_state()
    target_information(method, target(tmp_path), CPU)
    with pytest.raises(ZeroDivisionError), looking(method, CPU):
        torch.rand(3)
        _ = 1 / 0
    assert torch.equal(generator, torch.get_rng_state())
    assert method.training and method.norm.training
    assert all(torch.equal(value, method.state_dict()[key]) for key, value in before.items())


class Redrawing(Told):
    """Its frozen segmenter is right on bare source images, and wrong on what its translator makes of them."""

    def restyle(self, images: Tensor) -> Tensor:
        return images + 1.0

    def segment(self, images: Tensor) -> Tensor:
        return answer(plane((1, 4)) if bool((images == 1.0).all()) else plane(), len(images))


def test_an_adapting_stage_is_validated_on_its_redrawn_source(tmp_path: Path) -> None:
    labelled = store(tmp_path)
    np.save(tmp_path / "masks.npy", np.stack([plane((1, 8)).numpy().astype(np.uint8)] * 2))
    method = Redrawing(plane((1, 8)))
    assert validation_dice(method, labelled, np.arange(2), CPU) == 1.0
    assert validation_dice(method, labelled, np.arange(2), CPU, as_target=True) == pytest.approx(8 / 12)
    assert validation_dice(Told(plane((1, 8))), labelled, np.arange(2), CPU, as_target=True) == 1.0


STAGE = Stage("segmenter", SupervisedConfig(), steps=4, batch=2)


@pytest.mark.parametrize(
    ("stage", "told"),
    [
        (STAGE, ()),
        (replace(STAGE, choose="validation"), ("validation",)),
        (replace(STAGE, choose="information"), ("information",)),
        (replace(STAGE, choose="agreement"), ("agreement",)),
        (replace(STAGE, choose="density"), ("density",)),
        (replace(STAGE, choose="ensemble"), ("ensemble",)),
        (
            replace(STAGE, keep_candidates=True),
            ("validation", "information", "agreement", "density", "ensemble"),
        ),
    ],
)
def test_only_what_was_asked_is_computed(tmp_path: Path, stage: Stage, told: tuple[str, ...]) -> None:
    labelled = store(tmp_path)
    np.save(tmp_path / "masks.npy", np.stack([plane((1, 8)).numpy().astype(np.uint8)] * 2))
    validation = Validation("hospital_a", labelled, np.arange(2))
    one = plane((1, 8))
    scores = scores_of(Told(one, one), stage, validation, target(tmp_path / "target"), CPU)
    assert tuple(name for name, value in vars(scores).items() if value is not None) == told
    assert scores_of(Told(one, one), stage, None, None, CPU) == RuleScores()


def test_rules_that_cannot_tell_are_refused() -> None:
    task = Task(1, CLASSES, SIZE)
    method = SupervisedConfig().build(task, None)
    for choose in ("last", "validation", "information"):
        require_rule(replace(STAGE, choose=choose), method)
    with pytest.raises(InputFault, match=r"choose=agreement needs .* two heads .*choose=ensemble"):
        require_rule(replace(STAGE, choose="agreement"), method)
    with pytest.raises(InputFault, match="two heads"):
        require_rule(replace(STAGE, choose="agreement"), Told(plane()))
    require_rule(replace(STAGE, choose="agreement"), Told(plane(), plane()))
    with pytest.raises(InputFault, match="translators both ways"):
        require_rule(replace(STAGE, choose="cycle"), method)
    require_rule(replace(STAGE, choose="cycle"), Returning(plane((1, 8)), 0.0))
    outcome = OutcomeConfig()
    blind = outcome.build(replace(task, prevalence=0.5), None)
    with pytest.raises(InputFault, match="draws none"):
        require_rule(replace(STAGE, method=outcome, choose="information"), blind)
    require_rule(replace(STAGE, method=outcome, choose="validation"), blind)


def material(folder: Path, held_out: tuple[str, ...] = ("case1",), with_target: bool = True) -> Material:
    stores = {"source": store(folder / "source")}
    splits = {"source": Split("hospital_a", "patient", 0, ("case0",), held_out, ())}
    if with_target:
        stores["target"] = store(folder / "target", 3)
        splits["target"] = Split("hospital_b", "patient", 0, ("case0", "case2"), (), ("case1",))
    return Material(Task(1, CLASSES, SIZE), splits, {}, stores)


def test_the_target_gives_its_training_slices_alone(tmp_path: Path) -> None:
    everything = material(tmp_path)
    for stage in (replace(STAGE, choose="information"), replace(STAGE, keep_candidates=True)):
        slices = target_slices_of(stage, everything)
        assert slices is not None and slices.rows.tolist() == [0, 2]
    assert target_slices_of(STAGE, everything) is None
    assert target_slices_of(replace(STAGE, choose="validation"), everything) is None
    alone = material(tmp_path, with_target=False)
    assert target_slices_of(replace(STAGE, keep_candidates=True), alone) is None
    with pytest.raises(InputFault, match="give --target"):
        target_slices_of(replace(STAGE, choose="agreement"), alone)


def test_nobody_held_out_is_a_fault_only_where_they_shall_choose(tmp_path: Path) -> None:
    nobody = material(tmp_path, held_out=())
    assert validation_of(replace(STAGE, keep_candidates=True), nobody) is None
    with pytest.raises(InputFault, match="nobody is held out"):
        validation_of(replace(STAGE, choose="validation"), nobody)
    assert validation_of(STAGE, material(tmp_path)) is None
    kept = validation_of(replace(STAGE, keep_candidates=True), material(tmp_path))
    assert kept is not None and kept.rows.tolist() == [1]
