import pytest
import torch
from torch import Tensor

from fewmask.losses import attention as room
from fewmask.losses.attention import (
    attended_map,
    counted_map,
    source_attention_consistency,
    target_attention_consistency,
)
from fewmask.shapes import IGNORED

torch.set_num_threads(1)

MASKS = torch.tensor([[[0, 1, 2], [3, IGNORED, 3]]])


def drawn(seed: int, batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, 1, 4, 3)
    before, after = (torch.rand(shape, dtype=torch.float64, generator=generator) for _ in range(2))
    masks = torch.randint(4, (batch, 4, 3), generator=generator)
    masks[torch.rand(masks.shape, generator=generator) < 0.3] = IGNORED
    return before, after, masks


def source_loss(before: Tensor, after: Tensor, masks: Tensor) -> Tensor:
    return source_attention_consistency(before, after, attended_map(masks, (0, 3)), counted_map(masks))


def test_attended_classes_are_one_and_ignored_pixels_do_not_count() -> None:
    assert attended_map(MASKS, (0, 3)).tolist() == [[[[1, 0, 0], [1, 0, 1]]]]
    assert attended_map(MASKS, [2]).tolist() == [[[[0, 0, 1], [0, 0, 0]]]]
    assert attended_map(MASKS, ()).tolist() == [[[[0, 0, 0], [0, 0, 0]]]]
    assert counted_map(MASKS).tolist() == [[[[1, 1, 1], [1, 0, 1]]]]
    assert attended_map(MASKS, (0,)).dtype == counted_map(MASKS).dtype == torch.float32


def test_source_term_by_hand() -> None:
    before = torch.tensor([[[[1.0, 0.5, 0.0], [0.8, 0.9, 1.0]]]])
    after = torch.tensor([[[[0.9, 0.0, 0.0], [1.0, 0.2, 0.6]]]])
    # Wanted: 1, 0, 0 / 1, -, 1.
    assert float(source_loss(before, after, MASKS)) == pytest.approx((0.5 + 0.2) / 5 + (0.1 + 0.4) / 5)


@pytest.mark.parametrize("seed", range(5))
def test_source_term_is_two_means_over_the_pixels_that_count(seed: int) -> None:
    before, after, masks = drawn(seed)
    kept = masks != IGNORED
    wanted = ((masks == 0) | (masks == 3))[kept].double()
    expected = (before[:, 0][kept] - wanted).abs().mean() + (after[:, 0][kept] - wanted).abs().mean()
    torch.testing.assert_close(source_loss(before, after, masks), expected, rtol=1e-12, atol=0)


def test_extremes() -> None:
    right = attended_map(MASKS, (0, 3))
    assert float(source_loss(right, right, MASKS)) == 0.0
    assert float(source_loss(1 - right, 1 - right, MASKS)) == 2.0
    assert float(target_attention_consistency(right, right)) == 0.0
    assert float(target_attention_consistency(right, 1 - right)) == 1.0


def test_target_term_by_hand() -> None:
    before, after = torch.tensor([[[[0.25, 1.0]]]]), torch.tensor([[[[0.75, 0.5]]]])
    assert float(target_attention_consistency(before, after)) == 0.5


def test_gradients_flow_to_both_maps() -> None:
    before, after, masks = drawn(7)
    maps = before.requires_grad_(), after.requires_grad_()
    assert torch.autograd.gradcheck(lambda one, other: source_loss(one, other, masks), maps)
    assert torch.autograd.gradcheck(target_attention_consistency, maps)


def test_nothing_counts() -> None:
    before, after, masks = drawn(8)
    loss = source_loss(before.requires_grad_(), after, masks.fill_(IGNORED))
    loss.backward()
    assert float(loss) == 0.0
    assert torch.equal(before.grad, torch.zeros_like(before))


def test_processes_share_the_mean_over_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the other process would have summed is added: both then hold the joint batch's loss."""
    before, after, masks = drawn(9, batch=3)
    joint = source_loss(before, after, masks)
    sums: list[Tensor] = []
    monkeypatch.setattr(room, "sum_over_ranks", lambda own: sums.append(own) or own)
    apart = [source_loss(before[share], after[share], masks[share]) for share in (slice(0, 2), slice(2, 3))]
    monkeypatch.setattr(room, "sum_over_ranks", lambda own: own + sums[1])
    torch.testing.assert_close(source_loss(before[:2], after[:2], masks[:2]), joint)
    assert abs(float(sum(apart) / 2 - joint)) > 1e-4


def test_single_precision_at_least() -> None:
    before, after, masks = drawn(10)
    assert source_loss(before.bfloat16(), after.bfloat16(), masks).dtype == torch.float32
    assert target_attention_consistency(before.bfloat16(), after.bfloat16()).dtype == torch.float32
