import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy

from fewmask.losses import soft_labels as module
from fewmask.losses.segmentation import cross_entropy
from fewmask.losses.soft_labels import agreement, consensus, soft_cross_entropy

torch.set_num_threads(1)


def drawn(seed: int, images: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(images, 2, 4, 3, dtype=torch.float64, generator=generator)
    labels = torch.rand(images, 4, 3, dtype=torch.float64, generator=generator)
    seen = torch.rand(images, 4, 3, dtype=torch.float64, generator=generator)
    return logits, labels, seen


def sure(chance: float) -> torch.Tensor:
    """Logits of one pixel that is the object with this chance."""
    return torch.tensor([0.0, math.log(chance / (1 - chance))], dtype=torch.float64).view(1, 2, 1, 1)


@given(st.integers(0, 10_000), st.booleans())
@settings(max_examples=15, deadline=None)
def test_the_written_formula(seed: int, weighted: bool) -> None:
    """Pixel by pixel, one number at a time."""
    logits, labels, seen = drawn(seed)
    total, count = 0.0, 0.0
    for image, row, column in np.ndindex(2, 4, 3):
        background, foreground = (math.exp(score) for score in logits[image, :, row, column].tolist())
        chance = foreground / (background + foreground)
        label = float(labels[image, row, column])
        share = float(seen[image, row, column]) if weighted else 1.0
        total -= share * label * math.log(0.999 * chance + 5e-4)
        total -= share * (1 - label) * math.log(0.999 * (1 - chance) + 5e-4)
        count += share
    ours = soft_cross_entropy(logits, labels, seen if weighted else None)
    assert float(ours) == pytest.approx(total / count, rel=1e-10)


def test_hand_worked() -> None:
    """Undecided: ln 2 whatever the label. p = 0.8, q = 0.3: 0.3 x -ln 0.7997 + 0.7 x -ln 0.2003."""
    undecided = torch.zeros(1, 2, 1, 1)
    for label in (0.0, 0.3, 1.0):
        assert float(soft_cross_entropy(undecided, torch.full((1, 1, 1), label))) == pytest.approx(
            math.log(2)
        )
    loss = float(soft_cross_entropy(sure(0.8), torch.full((1, 1, 1), 0.3)))
    assert loss == pytest.approx(0.3 * 0.2235186 + 0.7 * 1.6079390, rel=1e-6)
    # The worst there is: -ln 5e-4. The best: -ln 0.9995.
    far = torch.tensor([-900.0, 900.0]).view(1, 2, 1, 1)
    assert float(soft_cross_entropy(far, torch.zeros(1, 1, 1))) == pytest.approx(7.6009, abs=1e-4)
    assert float(soft_cross_entropy(far, torch.ones(1, 1, 1))) == pytest.approx(5.00125e-4, rel=1e-3)


def test_sure_labels_are_nearly_those_of_the_cross_entropy() -> None:
    logits, labels, _ = drawn(3)
    hard = (labels > 0.5).long()
    ours = float(soft_cross_entropy(logits, hard.double()))
    assert ours == pytest.approx(float(cross_entropy(logits, hard)), rel=5e-3)


def test_it_is_least_where_the_chance_is_the_label() -> None:
    label = torch.full((1, 1, 1), 0.3, dtype=torch.float64)
    losses = [float(soft_cross_entropy(sure(chance), label)) for chance in (0.2, 0.29, 0.3, 0.31, 0.4)]
    assert min(losses) == losses[2]
    assert losses[2] == pytest.approx(float(entropy([0.3, 0.7])), rel=1e-5)


def test_an_unseen_pixel_gives_no_gradient_and_the_others_as_if_it_were_not_there() -> None:
    logits, labels, _ = drawn(4)
    seen = torch.ones_like(labels)
    seen[:, :, 1] = 0.0
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(soft_cross_entropy(logits, labels, seen), logits)
    assert float(gradient[..., 1].abs().max()) == 0.0
    kept = [0, 2]
    (without,) = torch.autograd.grad(soft_cross_entropy(logits[..., kept], labels[..., kept]), logits)
    torch.testing.assert_close(gradient, without, rtol=1e-12, atol=1e-15)


def test_nothing_seen_is_a_loss_of_0() -> None:
    logits, labels, _ = drawn(5)
    logits.requires_grad_()
    loss = soft_cross_entropy(logits, labels, torch.zeros_like(labels))
    loss.backward()
    assert loss.item() == 0.0
    assert float(logits.grad.abs().max()) == 0.0


def test_three_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="not 3 classes"):
        soft_cross_entropy(torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2))


def test_consensus_against_scipy() -> None:
    one, other = drawn(6)[0], drawn(7)[0]
    p, q = one.softmax(1).numpy(), other.softmax(1).numpy()
    expected = (entropy(p, q, axis=1) + entropy(q, p, axis=1)).mean()
    assert float(consensus(one, other)) == pytest.approx(float(expected), rel=1e-10)
    torch.testing.assert_close(consensus(one, other), consensus(other, one), rtol=1e-12, atol=0)


def test_consensus_by_hand() -> None:
    """p = (1/4, 3/4), q = (1/2, 1/2): (1/4)(ln 3/2 + ln 2) = (1/4) ln 3."""
    assert float(consensus(sure(0.75), sure(0.5))) == pytest.approx(0.25 * math.log(3), rel=1e-10)
    shifted = sure(0.75) + 5.0
    assert float(consensus(sure(0.75), shifted)) == pytest.approx(0.0, abs=1e-15)
    far = torch.tensor([-900.0, 900.0]).view(1, 2, 1, 1)
    assert float(consensus(far, -far)) == pytest.approx(3600.0)


def test_agreement_by_hand() -> None:
    """Chances 0.9 and 0.5: the mean is 0.7, both are 0.2 away, 1 - 0.04. Opposites: 1 - 1/4."""
    one = sure(0.9).requires_grad_()
    weights = agreement(one, sure(0.5))
    assert weights.shape == (1, 1, 1)
    assert float(weights) == pytest.approx(0.96)
    assert not weights.requires_grad
    far = torch.tensor([-90.0, 90.0]).view(1, 2, 1, 1)
    assert float(agreement(far, -far)) == pytest.approx(0.75)
    assert float(agreement(far, far)) == 1.0


def test_gradients() -> None:
    logits, labels, seen = drawn(8, images=1)
    other = drawn(9, images=1)[0].requires_grad_()
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: soft_cross_entropy(z, labels), logits)
    assert torch.autograd.gradcheck(lambda z: soft_cross_entropy(z, labels, seen), logits)
    assert torch.autograd.gradcheck(consensus, (logits, other))


def test_half_precision_is_judged_in_single() -> None:
    logits, labels, _ = drawn(10)
    coarse = logits.bfloat16()
    assert soft_cross_entropy(coarse, labels.float()).dtype == torch.float32
    torch.testing.assert_close(
        soft_cross_entropy(coarse, labels.float()), soft_cross_entropy(coarse.float(), labels.float())
    )
    assert consensus(coarse, coarse).dtype == torch.float32


def test_sums_run_over_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes with 1 and 3 images have the loss of 4 images: numerators and denominators are both summed."""
    logits, labels, seen = drawn(11, images=4)
    parts = [slice(0, 1), slice(1, 4)]
    for term in (
        lambda part: soft_cross_entropy(logits[part], labels[part], seen[part]),
        lambda part: consensus(logits[part], 2 * logits[part]),
    ):
        sums: list[torch.Tensor] = []

        def note(summand: torch.Tensor, sums: list[torch.Tensor] = sums) -> torch.Tensor:
            sums.append(summand)
            return summand

        with monkeypatch.context() as patch:
            patch.setattr(module, "sum_over_ranks", note)
            for part in parts:
                term(part)
        joint = sums[0] + sums[1]
        assert float(term(slice(None))) == pytest.approx(float(joint[0] / joint[1]), rel=1e-12)
