"""What signs of accuracy are worth, learnt from trials whose truth is known."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fewmask.data.store import SliceStore
from fewmask.errors import InputFault
from fewmask.methods.base import Method, Move
from fewmask.shapes import Task
from fewmask.training import drawings as drawing_module
from fewmask.training.accuracy import (
    MISSED,
    UNKNOWN,
    Accuracy,
    NotEstimated,
    estimated,
    keep_accuracy,
    kept_accuracy,
)
from fewmask.training.calibrate import accuracy_of, calibrated
from fewmask.training.drawings import Drawings, Signs
from fewmask.training.run import Run
from fewmask.training.trials import HeldOut, Trial, tried, usual_shares

torch.set_num_threads(1)

CPU = torch.device("cpu")
SIZE = 32
USUAL = np.array([[0.1, 0.1], [0.3, 0.3]])


def answer(plane: Tensor) -> Tensor:
    """Certain probabilities (1, 2, 1, n) of a row of classes."""
    return nn.functional.one_hot(plane.long(), 2).movedim(-1, 0)[None, :, None].float()


def test_agreement_is_the_mean_dice_with_each_perspective_padding_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = torch.tensor([1, 1, 1, 0, 0, 1])
    views = [torch.tensor(row) for row in ([1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 1], [0, 0, 0, 1, 1, 1])]
    monkeypatch.setattr(drawing_module, "probabilities_seen", lambda images, segment: map(answer, views))
    drawings = Drawings(2)
    counts = np.array([[[True] * 5 + [False]]])
    drawings.add(torch.zeros(1, 1, 1, 6), answer(plain), counts, answer)
    signs = drawings.signs()
    assert signs.agreement == pytest.approx([(1.0 + 2 * 1 / (3 + 1) + 0.0) / 3])
    assert signs.share == pytest.approx([3 / 5]) and signs.certainty == pytest.approx([1.0])
    assert np.array_equal(drawings.plain[0, 0], [1, 1, 1, 0, 0, 0])

    def emptied(classes: np.ndarray) -> np.ndarray:
        return np.zeros_like(classes)

    assert all(np.isnan(sign).all() for sign in drawings.signs(emptied))


class Brighter(Method):
    """Draws what is brighter than the middle of the range, with a probability that grows with it."""

    def __init__(self, draws_masks: bool = True) -> None:
        super().__init__(Task(1, ("background", "disc"), SIZE))
        self.anchor = nn.Parameter(torch.zeros(1))
        self.draws_masks = draws_masks

    def training_step(self, batch: Any, progress: float) -> Iterator[Move]:
        raise NotImplementedError

    def segment(self, images: Tensor) -> Tensor:
        return torch.cat([-8.0 * images, 8.0 * images], dim=1)

    def validate_segment(self, images: Tensor) -> Tensor:
        return self.segment(images)


class Redrawing(Brighter):
    """Re-draws labelled images upside down in intensity, and draws what is darker."""

    def segment(self, images: Tensor) -> Tensor:
        return super().segment(-images)

    def validate_segment(self, images: Tensor) -> Tensor:
        raise AssertionError("a bare source image was segmented")

    def restyle(self, images: Tensor) -> Tensor:
        return -images


def discs(folder: Path, count: int = 8) -> SliceStore:
    """Bright discs of several sizes in noise, one slice a case; the first eight columns are padding."""
    folder.mkdir(parents=True)
    places = torch.arange(SIZE) - SIZE / 2
    far = (places**2 + places[:, None] ** 2).sqrt()
    masks = torch.stack([far < 5 + number % 4 for number in range(count)])
    random = torch.Generator().manual_seed(0)
    images = masks.float() * 1.2 - 0.6 + 0.15 * torch.randn(masks.shape, generator=random)
    np.save(folder / "images.npy", images[:, None].clamp(-1, 1).numpy().astype(np.float16))
    np.save(folder / "masks.npy", masks.numpy().astype(np.uint8))
    names = tuple(f"case{number}" for number in range(count))
    return SliceStore(folder, names, tuple(range(count)), ((0, 8, SIZE, SIZE - 8),) * count)


def held_out(folder: Path, count: int = 8, patients: int = 4, as_target: bool = False) -> HeldOut:
    store = discs(folder, count)
    whose = {case: f"patient{number % patients}" for number, case in enumerate(store.cases)}
    return HeldOut(store, store.cases, whose, store.cases, as_target)


def test_trials_span_good_and_bad_masks_and_repeat(tmp_path: Path) -> None:
    case = held_out(tmp_path / "store")
    trials = tried(Brighter(), case, CPU)
    dice = np.array([trial.dice[0] for trial in trials])
    # The first copy is the image as it is.
    assert dice[0] > 0.95 and dice.min() < 0.3 and len(trials) == 8 * 25
    again = tried(Brighter(), case, CPU)
    assert np.array_equal(dice, [trial.dice[0] for trial in again])
    assert {trial.patient for trial in trials} == {f"patient{number}" for number in range(4)}


def test_many_cases_share_the_degradations_between_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fewmask.training.trials.SLICES", 40)
    trials = tried(Brighter(), held_out(tmp_path / "store"), CPU)
    assert len(trials) == 8 * 5
    # Other copies of other cases: hardly any two masks are equally good.
    assert len({round(float(trial.dice[0]), 6) for trial in trials}) > 24


def test_a_method_that_redraws_is_tried_on_redrawn_images(tmp_path: Path) -> None:
    trials = tried(Redrawing(), held_out(tmp_path / "store", as_target=True), CPU)
    assert trials[0].dice[0] > 0.95


def test_usual_shares_leave_padding_out(tmp_path: Path) -> None:
    case = held_out(tmp_path / "store")
    shares = case.store.masks(np.arange(8)).sum((1, 2)) / (SIZE * (SIZE - 8))
    assert usual_shares(case, 2).ravel() == pytest.approx([shares.min(), shares.max()])


def test_a_calibration_survives_its_file_and_tells_good_from_bad(tmp_path: Path) -> None:
    case, run = held_out(tmp_path / "store"), Run(tmp_path)
    found = calibrated(Brighter(), case, CPU)
    assert isinstance(found, Accuracy)
    keep_accuracy(run, found)
    assert kept_accuracy(run) == found
    assert (found.cases, found.patients, found.copies) == (8, 4, 200)
    assert found.images == "held-out images, as they are and degraded"
    trials = tried(Brighter(), case, CPU)
    first = estimated(found, trials[0].signs)[1]
    worst = min(trials, key=lambda trial: trial.signs.agreement[0])
    assert first.dice is not None and first.dice > 0.8
    assert (estimated(found, worst.signs)[1].dice or 0.0) < first.dice
    assert found.fit.rank_correlation is not None and found.fit.rank_correlation > 0.5


def test_one_patient_cannot_be_held_against_another(tmp_path: Path) -> None:
    found = calibrated(Brighter(), held_out(tmp_path / "store", patients=1), CPU)
    assert isinstance(found, NotEstimated) and "1, and two are needed" in found.not_estimated


def test_cases_without_a_mask_are_no_trials(tmp_path: Path) -> None:
    case = held_out(tmp_path / "store")
    np.save(case.store.folder / "masks.npy", np.full((8, SIZE, SIZE), 255, np.uint8))
    found = calibrated(Brighter(), case, CPU)
    assert found == NotEstimated("no held-out patient has a mask")


def test_a_damaged_or_missing_file_says_so(tmp_path: Path) -> None:
    missing = kept_accuracy(Run(tmp_path))
    assert isinstance(missing, NotEstimated) and "has not finished" in missing.not_estimated
    (tmp_path / "accuracy.json").write_text('{"signs": ["luck"]}')
    with pytest.raises(InputFault, match=r"accuracy\.json"):
        kept_accuracy(Run(tmp_path))


def simulated(
    patients: int = 10, copies: int = 12, by_size: bool = False, absent: bool = False
) -> list[Trial]:
    """Two classes whose Dice follows the agreement, or, with `by_size`, falls where the share is unusual."""
    random = np.random.default_rng(0)
    trials: list[Trial] = []
    for patient in range(patients):
        for _ in range(copies):
            agreement, certainty = random.uniform(0.3, 1.0, (2, 2))
            share = np.where(random.random(2) < 0.5, 0.2, 0.9) if by_size else np.full(2, 0.2)
            fits = np.where(share > 0.3, 1 / 3, 1.0)
            dice = np.clip(agreement**2 * (fits if by_size else 1.0) + random.normal(0, 0.03, 2), 0, 1)
            present = np.array([True, not absent])
            signs = Signs(agreement, certainty, share)
            trials.append(Trial(f"case{patient}", f"patient{patient}", signs, dice, present))
    return trials


def test_the_sign_that_tells_is_taken_and_the_simplest_of_equals() -> None:
    plain = accuracy_of(simulated(), USUAL, ("ruler", "disc"), "")
    sized = accuracy_of(simulated(by_size=True), USUAL, ("ruler", "disc"), "")
    assert isinstance(plain, Accuracy) and plain.signs == ("agreement",)
    assert isinstance(sized, Accuracy) and sized.signs == ("agreement", "size")
    assert plain.fit.mean_absolute_error < 0.03 and plain.classes[0].fit.pairs == 120


def signs(*agreement: float) -> Signs:
    values = np.array(agreement)
    return Signs(values, values, np.where(np.isnan(values), np.nan, 0.2))


def test_estimates_of_classes_and_of_their_mean() -> None:
    accuracy = accuracy_of(simulated(), USUAL, ("ruler", "disc"), "")
    assert isinstance(accuracy, Accuracy)
    classes, whole = estimated(accuracy, signs(0.9, 0.6))
    assert [entry.dice for entry in classes] == pytest.approx([0.81, 0.36], abs=0.05)
    assert whole.dice == pytest.approx((0.81 + 0.36) / 2, abs=0.05)
    assert whole.low is not None and whole.high is not None and whole.low < whole.dice < whole.high
    # An agreement below all that were tried speaks for less than the worst of them, down to nothing.
    assert estimated(accuracy, signs(0.0, 0.9))[0][0].dice == 0.0


def test_nothing_drawn_is_a_miss_only_where_every_case_has_the_class() -> None:
    accuracy = accuracy_of(simulated(absent=True), USUAL, ("ruler", "disc"), "")
    assert isinstance(accuracy, Accuracy)
    classes, whole = estimated(accuracy, signs(np.nan, np.nan))
    assert classes == (MISSED, UNKNOWN) and whole == MISSED
    classes, whole = estimated(accuracy, signs(0.9, np.nan))
    assert classes[1] == UNKNOWN and whole.dice == classes[0].dice
    classes, whole = estimated(accuracy, signs(np.nan, 0.9))
    assert classes[0] == MISSED and whole.dice == pytest.approx((classes[1].dice or 0.0) / 2)


def never_drawn(trials: list[Trial], *places: int) -> list[Trial]:
    """The trials as if some of the classes were never drawn."""
    emptied = np.isin(np.arange(2), places)
    return [
        trial._replace(signs=Signs(*(np.where(emptied, np.nan, values) for values in trial.signs)))
        for trial in trials
    ]


def test_a_class_that_was_never_drawn_is_expected_to_be_wrong() -> None:
    found = accuracy_of(never_drawn(simulated(), 1), USUAL, ("ruler", "disc"), "")
    assert isinstance(found, Accuracy) and found.classes[1].fit is None
    classes, whole = estimated(found, signs(0.9, 0.9))
    assert classes[1] == (0.0, 0.0, 1.0) and whole.dice == pytest.approx((classes[0].dice or 0.0) / 2)
    nothing = accuracy_of(never_drawn(simulated(), 0, 1), USUAL, ("ruler", "disc"), "")
    assert nothing == NotEstimated("nothing was drawn for two held-out patients or more")
