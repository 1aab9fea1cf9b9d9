"""Images made worse stay images, and are made worse as it is said."""

import pytest
import torch

from fewmask.data.degrade import DEGRADATIONS, DEGREES, Degradation, degraded

torch.set_num_threads(1)


def image(channels: int = 1) -> torch.Tensor:
    return torch.rand(2, channels, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("degradation", DEGRADATIONS, ids=lambda one: f"{one.kind} {one.degree:.2f}")
def test_it_stays_in_range_changes_and_repeats(degradation: Degradation) -> None:
    images = image(3)
    worse = degraded(images, degradation, seed=1)
    assert worse.shape == images.shape and worse.min() >= -1.0 and worse.max() <= 1.0
    assert (worse - images).abs().mean() > 0.01
    assert torch.equal(worse, degraded(images, degradation, seed=1))


@pytest.mark.parametrize("kind", sorted({degradation.kind for degradation in DEGRADATIONS}))
def test_a_greater_degree_is_worse(kind: str) -> None:
    images = image()
    change = [(degraded(images, Degradation(kind, degree), 0) - images).abs().mean() for degree in DEGREES]
    assert change[0] < change[1] < change[2]


def test_by_hand() -> None:
    images = image()
    assert degraded(images, Degradation("inversion", 1.0), 0) == pytest.approx(-images, abs=1e-6)
    unit = (images + 1) / 2
    mean = unit.mean((1, 2, 3), keepdim=True)
    flat = (degraded(images, Degradation("contrast", 1.0), 0) + 1) / 2
    assert flat == pytest.approx(mean + (unit - mean) / 10, abs=1e-6)
    assert degraded(images, Degradation("dark", 1.0), 0) == pytest.approx(unit**8 * 2 - 1, abs=1e-5)
    squares = degraded(images, Degradation("resolution", 1.0), 0)
    # Each square averages 4 x 4 pixels, and drawing them smoothly again takes some more.
    assert abs(squares.mean() - images.mean()) < 0.02 and squares.std() < images.std() / 4


def test_a_blur_keeps_the_mean_of_a_point_and_spreads_it() -> None:
    point = torch.full((1, 1, 64, 64), -1.0)
    point[..., 32, 32] = 1.0
    light = (degraded(point, Degradation("blur", 0.5), 0) + 1) / 2
    places = torch.arange(64.0) - 32
    sigma = (light.sum(2)[0, 0] * places**2).sum().sqrt()
    assert light.sum() == pytest.approx(1.0, abs=1e-4) and sigma == pytest.approx(0.04 * 64, rel=0.1)


def test_eight_in_a_row_are_of_eight_kinds() -> None:
    for start in range(0, len(DEGRADATIONS) - 7):
        assert len({degradation.kind for degradation in DEGRADATIONS[start : start + 8]}) == 8
