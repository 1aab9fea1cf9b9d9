import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.losses import DiceLoss

from fewmask.losses.segmentation import DiceForm, cross_entropy, soft_dice
from fewmask.shapes import IGNORED

torch.set_num_threads(1)

D1 = DiceForm(above=0.0, below=1e-7)
D2 = DiceForm(squared=False, doubled=False, pooled=True, above=0.0, below=0.0)
D4 = DiceForm(background=False, above=0.0, below=1e-6)
D5 = DiceForm()
FORMS = {"D1": D1, "D2": D2, "D4": D4, "D5": D5}


def drawn(seed: int, classes: int = 3, ignored: float = 0.2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, classes, 5, 4, dtype=torch.float64, generator=generator)
    masks = torch.randint(classes, (2, 5, 4), generator=generator)
    masks[torch.rand(masks.shape, generator=generator) < ignored] = IGNORED
    return logits, masks


def one_hot(masks: torch.Tensor, classes: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(masks, classes).movedim(-1, 1).double()


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_cross_entropy_is_torchs_over_the_pixels_that_count(seed: int) -> None:
    logits, masks = drawn(seed)
    theirs = torch.nn.functional.cross_entropy(logits, masks, ignore_index=IGNORED)
    torch.testing.assert_close(cross_entropy(logits, masks), theirs, rtol=1e-12, atol=0)


def test_cross_entropy_of_the_undecided() -> None:
    assert float(cross_entropy(torch.zeros(1, 4, 3, 3), torch.ones(1, 3, 3).long())) == pytest.approx(
        math.log(4)
    )


def test_gradient_of_cross_entropy() -> None:
    logits, masks = drawn(1)
    assert torch.autograd.gradcheck(lambda scores: cross_entropy(scores, masks), logits.requires_grad_())


@pytest.mark.parametrize("name", FORMS)
def test_gradient_of_dice(name: str) -> None:
    logits, masks = drawn(2)
    assert torch.autograd.gradcheck(
        lambda scores: soft_dice(scores.softmax(1), masks, FORMS[name]), logits.requires_grad_()
    )


@pytest.mark.parametrize("name", FORMS)
def test_a_batch_without_pixels_costs_nothing(name: str) -> None:
    logits, masks = drawn(3)
    masks.fill_(IGNORED)
    logits.requires_grad_()
    loss = cross_entropy(logits, masks) + soft_dice(logits.softmax(1), masks, FORMS[name])
    loss.backward()
    assert float(loss) == 0.0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("name", FORMS)
def test_ignored_pixels_have_no_say(name: str) -> None:
    logits, masks = drawn(4)
    other = torch.where(masks[:, None] == IGNORED, torch.randn_like(logits), logits)
    assert not torch.equal(other, logits)
    ours = soft_dice(logits.softmax(1), masks, FORMS[name])
    torch.testing.assert_close(ours, soft_dice(other.softmax(1), masks, FORMS[name]), rtol=1e-12, atol=0)


@given(st.integers(0, 10_000), st.booleans(), st.booleans())
@settings(max_examples=25, deadline=None)
def test_dice_is_monais(seed: int, squared: bool, background: bool) -> None:
    logits, masks = drawn(seed, ignored=0.0)
    probabilities = logits.softmax(1)
    theirs = DiceLoss(
        include_background=background, squared_pred=squared, batch=True, smooth_nr=1e-5, smooth_dr=1e-4
    )(probabilities, one_hot(masks, 3))
    form = DiceForm(squared=squared, background=background, above=1e-5, below=1e-4)
    torch.testing.assert_close(soft_dice(probabilities, masks, form), theirs, rtol=1e-10, atol=1e-12)


def written_out(name: str, p: np.ndarray, y: np.ndarray) -> float:
    """The sheet's formulas, class by class, over the pixels as rows."""
    classes = range(p.shape[0])
    if name == "D1":
        scores = [2 * (p[k] * y[k]).sum() / ((p[k] ** 2).sum() + y[k].sum() + 1e-7) for k in classes]
        return 1 - sum(scores) / len(scores)
    if name == "D2":
        return 1 - sum((p[k] * y[k]).sum() for k in classes) / sum((p[k] + y[k]).sum() for k in classes)
    if name == "D4":
        scores = [
            2 * (p[k] * y[k]).sum() / ((p[k] ** 2).sum() + (y[k] ** 2).sum() + 1e-6) for k in classes[1:]
        ]
        return 1 - sum(scores) / len(scores)
    losses = [
        1 - (2 * (p[k] * y[k]).sum() + 1e-5) / ((p[k] ** 2).sum() + (y[k] ** 2).sum() + 1e-5) for k in classes
    ]
    return sum(losses) / len(losses)


@given(st.sampled_from(sorted(FORMS)), st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_dice_is_the_published_formula(name: str, seed: int) -> None:
    logits, masks = drawn(seed)
    probabilities = logits.softmax(1)
    counted = (masks != IGNORED).numpy()
    p = probabilities.movedim(1, 0).numpy()[:, counted]
    y = one_hot(masks.where(masks != IGNORED, 0), 3).movedim(1, 0).numpy()[:, counted]
    assert float(soft_dice(probabilities, masks, FORMS[name])) == pytest.approx(
        written_out(name, p, y), abs=1e-12
    )


def test_perfect_answers() -> None:
    masks = torch.tensor([[[0, 1], [1, 2]]])
    everything = one_hot(masks, 3)
    one_absent = one_hot(masks, 4)
    assert float(soft_dice(everything, masks, D2)) == pytest.approx(0.5)
    assert float(soft_dice(everything, masks, D1)) == pytest.approx(0.0, abs=1e-6)
    assert float(soft_dice(one_absent, masks, D1)) == pytest.approx(1 / 4, abs=1e-6)
    assert float(soft_dice(one_absent, masks, D5)) == pytest.approx(0.0, abs=1e-6)


def test_sums_run_over_the_batch_not_the_image() -> None:
    """A class seen in one image only: over the batch one ratio, so both orders of pixels score alike."""
    probabilities = torch.rand(2, 2, 3, 4).softmax(1)
    masks = torch.zeros(2, 3, 4).long()
    masks[0] = 1
    stacked = soft_dice(
        probabilities.movedim(0, -1).reshape(1, 2, 3, 8), masks.movedim(0, -1).reshape(1, 3, 8)
    )
    torch.testing.assert_close(soft_dice(probabilities, masks), stacked)


def test_half_precision_is_summed_in_single() -> None:
    logits, masks = drawn(5)
    half = logits.bfloat16()
    torch.testing.assert_close(cross_entropy(half, masks), cross_entropy(half.float(), masks))
    dice = soft_dice(half.softmax(1), masks)
    assert dice.dtype == torch.float32
