"""Expansion of seeds, with a plain Dijkstra for the distances, and pixels worked out by hand for both forms."""

import dataclasses
import heapq
import itertools
import math

import pytest
import torch
from torch import Tensor

from fewmask.errors import InputFault
from fewmask.pseudo_label_config import Cost, Expansion
from fewmask.pseudo_labels.expansion import expand, fused_with_map, share_of_nearness, standardised

torch.set_num_threads(1)

STEPS = [step for step in itertools.product((-1, 0, 1), repeat=2) if any(step)]


def dijkstra(
    images: Tensor, seeds: Tensor, cost: Cost = "gradient", *, mix: float = 0.5, sweeps: int | None = None
) -> Tensor:
    """The gradient cost only: a step costs the difference of intensity."""
    assert cost == "gradient"
    return torch.tensor(
        [one(image.tolist(), seed.tolist()) for image, seed in zip(images, seeds, strict=True)]
    )


def one(image: list[list[float]], seed: list[list[bool]]) -> list[list[float]]:
    height, width = len(image), len(image[0])
    reached = [[math.inf] * width for _ in range(height)]
    queue = [(0.0, r, c) for r in range(height) for c in range(width) if seed[r][c]]
    for _, r, c in queue:
        reached[r][c] = 0.0
    while queue:
        so_far, r, c = heapq.heappop(queue)
        for down, across in STEPS:
            y, x = r + down, c + across
            if 0 <= y < height and 0 <= x < width:
                length = so_far + abs(image[y][x] - image[r][c])
                if length < reached[y][x]:
                    reached[y][x] = length
                    heapq.heappush(queue, (length, y, x))
    return reached


def halves(height: int = 8, width: int = 12) -> Tensor:
    """(1, H, W): 0 on the left, 1 on the right, -1 and 1 once standardised."""
    images = torch.zeros(1, height, width)
    images[:, :, width // 2 :] = 1.0
    return images


def disc(size: int = 24, radius: float = 6.0) -> Tensor:
    places = torch.arange(size) - (size - 1) / 2
    return (places[:, None].square() + places[None].square() <= radius**2)[None]


def at(value: float, many: int = 1) -> Tensor:
    return torch.full((many,), value)


def test_standardised_slices() -> None:
    images = torch.rand(3, 9, 7, generator=torch.Generator().manual_seed(0)) * 40 + 500
    expected = (images.numpy() - images.numpy().mean((1, 2), keepdims=True)) / images.numpy().std(
        (1, 2), keepdims=True
    )
    torch.testing.assert_close(standardised(images), torch.from_numpy(expected), atol=2e-4, rtol=0)
    for value in (0.0, 0.1, -1.0, 1e6):
        assert not standardised(torch.full((1, 33, 31), value)).any()


def test_across_an_edge_nearness_falls_by_the_step() -> None:
    # The object's seed lies on the right; the edge is 2 high once the slice is standardised.
    maps = torch.zeros(1, 8, 12)
    maps[0, 3:5, 8:10] = 1.0
    for ratio in (1.0, 0.5):
        grown = expand(halves(), maps, at(0.5), Expansion(margin=1, ratio=ratio), distance=dijkstra)
        assert torch.allclose(grown.foreground[0, :, 6:], torch.tensor(1.0))
        assert torch.allclose(grown.foreground[0, :, :6], torch.tensor(math.exp(-2.0 * ratio)))


def test_a_bright_disc_is_labelled_exactly() -> None:
    truth = disc()
    images = torch.where(truth, 5.0, 2.0)
    # A map that finds only the middle of the disc, with a box whose corners lie outside it.
    maps = disc(radius=5.0).float() * 0.8
    for form in ("share", "fused"):
        grown = expand(images, maps, at(0.4), Expansion(margin=5, form=form), distance=dijkstra)
        assert torch.equal(grown.label > 0.5, truth)
        assert torch.equal(grown.mask, disc(radius=5.0))
        assert ((grown.label >= 0) & (grown.label <= 1)).all()
    height = standardised(images).flatten().unique().diff().item()
    expected = 1 / (1 + math.exp(-height))
    grown = expand(images, maps, at(0.4), Expansion(), distance=dijkstra)
    assert grown.label[0, 12, 12].item() == pytest.approx(expected)
    assert grown.label[0, 0, 0].item() == pytest.approx(1 - expected)


@pytest.mark.parametrize("form", ["share", "fused"])
def test_a_constant_slice_has_nothing_to_go_by(form: str) -> None:
    maps = torch.rand(1, 9, 9, generator=torch.Generator().manual_seed(1))
    config = Expansion(form="share" if form == "share" else "fused")
    grown = expand(torch.full((1, 9, 9), 0.1), maps, at(0.5), config, distance=dijkstra)
    assert (grown.label == 0.5).all()
    assert (grown.foreground == 1).all()
    assert (grown.background == 1).all()


@pytest.mark.parametrize("form", ["share", "fused"])
def test_a_slice_without_a_mask_gets_an_empty_label(form: str) -> None:
    config = Expansion(form="share" if form == "share" else "fused")
    images, maps = disc().float().repeat(3, 1, 1), disc().float().repeat(3, 1, 1)
    maps[1] *= 0.3
    grown = expand(images, maps, at(0.5, 3), config, distance=dijkstra)
    assert grown.seeds.found.tolist() == [True, False, True]
    for field in (grown.label, grown.foreground, grown.background, grown.mask):
        assert not field[1].any()
        assert torch.equal(field[0], field[2])
    assert (grown.label[0] > 0.5).any()


def test_without_any_mask_no_distance_is_asked_for() -> None:
    def refuse(
        images: Tensor, seeds: Tensor, cost: Cost = "gradient", *, mix: float = 0.5, sweeps: int | None = None
    ) -> Tensor:
        raise AssertionError

    grown = expand(disc().float(), torch.zeros(1, 24, 24), at(0.5), Expansion(), distance=refuse)
    assert not grown.label.any()


def test_the_options_reach_the_distance() -> None:
    heard: list[tuple[tuple[int, ...], Cost, float, int | None]] = []

    def listen(
        images: Tensor, seeds: Tensor, cost: Cost = "gradient", *, mix: float = 0.5, sweeps: int | None = None
    ) -> Tensor:
        heard.append((tuple(images.shape), cost, mix, sweeps))
        assert seeds.sum((1, 2)).tolist() == [1, 4]
        return torch.zeros(images.shape)

    config = Expansion(cost="mixed", mix=0.25, sweeps=3)
    expand(disc().float(), disc().float(), at(0.5), config, distance=listen)
    assert heard == [((2, 24, 24), "mixed", 0.25, 3)]


def test_share_by_hand() -> None:
    near, far = torch.tensor([[[0.0, 2.0, 1.0]]]), torch.tensor([[[2.0, 0.0, 1.0]]])
    f, b = math.exp(-0.5 * 2.0), 1.0
    assert share_of_nearness(near, far, 0.5).flatten().tolist() == pytest.approx(
        [b / (f + b), f / (f + b), 0.5]
    )


def test_share_where_both_vanish() -> None:
    # Both exponentials underflow to 0; their quotient is still sure.
    near, far = torch.tensor([[[500.0, 600.0, math.inf]]]), torch.tensor([[[600.0, 500.0, math.inf]]])
    assert share_of_nearness(near, far, 1.0).flatten().tolist() == [1.0, pytest.approx(0.0, abs=1e-30), 0.0]


def test_share_rises_with_nearness_and_its_ratio() -> None:
    far = torch.full((1, 1, 50), 1.0)
    near = torch.linspace(0, 2, 50).reshape(1, 1, 50)
    label = share_of_nearness(near, far, 1.0).flatten()
    assert (label.diff() < 0).all()
    sharper = share_of_nearness(near, far, 3.0).flatten()
    assert ((sharper - 0.5).abs() >= (label - 0.5).abs()).all()


def test_fused_form_by_hand() -> None:
    # r = 1, ln 2 = 0.693. One pixel a case: near, far, map, label before the stretch.
    e = math.exp
    cases = [
        (0.2, 3.0, 0.6, (2 * e(-0.2) - 1) * e(-0.2) + (2 - 2 * e(-0.2)) * 0.6),  # the object claims it
        (3.0, 0.2, 0.6, (2 * e(-0.2) - 1) * (1 - e(-0.2)) + (2 - 2 * e(-0.2)) * 0.6),  # refused
        (0.3, 0.1, 0.6, (2 * e(-0.1) - 1) * (1 - e(-0.1)) + (2 - 2 * e(-0.1)) * 0.6),  # both, refusal nearer
        (0.1, 0.3, 0.6, (2 * e(-0.1) - 1) * e(-0.1) + (2 - 2 * e(-0.1)) * 0.6),  # both, the object nearer
        (2.0, 2.5, 0.6, 0.6),  # far from all: the map
        (0.4, 0.4, 0.6, (2 * e(-0.4) - 1) * 0.5 + (2 - 2 * e(-0.4)) * 0.6),  # both, equally near
        (0.0, 4.0, 0.0, 1.0),  # the object's seed
        (4.0, 0.0, 1.0, 0.0),  # the background's seed
    ]
    near, far, maps, expected = (torch.tensor(column).reshape(1, 2, 4) for column in zip(*cases, strict=True))
    # The seeds have labels 1 and 0, so the stretch changes nothing.
    torch.testing.assert_close(fused_with_map(near, far, maps, 1.0), expected)
    torch.testing.assert_close(fused_with_map(near / 2, far / 2, maps, 2.0), expected)
    # Without them it does: the first two pixels, stretched, are the greatest and the least.
    assert fused_with_map(near[:, :1, :2], far[:, :1, :2], maps[:, :1, :2], 1.0).flatten().tolist() == [
        1.0,
        0.0,
    ]


def test_slices_of_a_batch_are_apart() -> None:
    generator = torch.Generator().manual_seed(2)
    images, maps = torch.rand(3, 10, 10, generator=generator), torch.rand(3, 10, 10, generator=generator)
    thresholds = torch.tensor([0.3, 0.6, 0.8])
    together = expand(images, maps, thresholds, Expansion(margin=1), distance=dijkstra)
    for index in range(3):
        pick = slice(index, index + 1)
        alone = expand(images[pick], maps[pick], thresholds[pick], Expansion(margin=1), distance=dijkstra)
        torch.testing.assert_close(alone.label, together.label[pick])


def test_the_scale_of_the_intensities_does_not_matter() -> None:
    generator = torch.Generator().manual_seed(3)
    images, maps = torch.rand(1, 10, 10, generator=generator), torch.rand(1, 10, 10, generator=generator)
    one_way = expand(images, maps, at(0.5), Expansion(), distance=dijkstra)
    other_way = expand(images * 700 - 40, maps, at(0.5), Expansion(), distance=dijkstra)
    torch.testing.assert_close(one_way.label, other_way.label, atol=1e-4, rtol=0)


def test_bad_input() -> None:
    images, maps = torch.rand(2, 6, 6), torch.rand(2, 6, 6)
    broken = images.clone()
    broken[0, 0, 0] = math.nan
    for wrong in ((images, maps, at(0.5)), (images[:1], maps, at(0.5, 2)), (broken, maps, at(0.5, 2))):
        with pytest.raises(InputFault) as fault:
            expand(*wrong, Expansion(), distance=dijkstra)
        assert "\n" not in str(fault.value)


def test_an_answer_cannot_be_changed() -> None:
    grown = expand(disc().float(), disc().float(), at(0.5), Expansion(), distance=dijkstra)
    with pytest.raises(dataclasses.FrozenInstanceError):
        grown.label = grown.mask  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("form", ["share", "fused"])
def test_with_the_package_own_distance(form: str) -> None:
    generator = torch.Generator().manual_seed(4)
    images = torch.where(disc(16, 4.0), 2.0, 0.0) + torch.rand(2, 16, 16, generator=generator)
    maps = disc(16, 3.0).float().repeat(2, 1, 1)
    config = Expansion(margin=2, form="share" if form == "share" else "fused")
    own = expand(images, maps, at(0.5, 2), config)
    torch.testing.assert_close(own.label, expand(images, maps, at(0.5, 2), config, distance=dijkstra).label)
