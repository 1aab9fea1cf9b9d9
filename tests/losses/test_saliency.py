import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fewmask.data.phantoms.placenta import HOSPITALS, photograph
from fewmask.losses import saliency as room
from fewmask.losses.saliency import colour_distance, lab, saliency, saliency_consistency

torch.set_num_threads(1)

BACKGROUND, RULER = 0, 3


def drawn(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2.0 * torch.rand(shape, dtype=torch.float64, generator=generator) - 1.0


def numpy_lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """(H, W, 3) sRGB in [0, 1] to Lab, with the rounded white point of the tables."""
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    matrix = [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
    ratio = linear @ np.array(matrix).T / np.array([0.95047, 1.0, 1.08883])
    root = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    x, y, z = root[..., 0], root[..., 1], root[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def numpy_saliency(rgb: NDArray[np.float64], space: str) -> NDArray[np.float64]:
    """(H, W, 3) in [0, 1] to (H, W), pixel by pixel."""
    colours = numpy_lab(rgb) if space == "lab" else rgb
    mean = colours.reshape(-1, colours.shape[-1]).mean(0)
    padded = np.pad(colours, ((2, 2), (2, 2), (0, 0)), mode="reflect")
    kernel = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256
    rows, columns = colours.shape[:2]
    distance = np.empty((rows, columns))
    for row in range(rows):
        for column in range(columns):
            window = padded[row : row + 5, column : column + 5]
            distance[row, column] = np.linalg.norm((window * kernel[..., None]).sum((0, 1)) - mean)
    return distance / distance.max()


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((255, 255, 255), (100.0, 0.0, 0.0)),
        ((128, 128, 128), (53.585, 0.0, 0.0)),
        ((0, 0, 0), (0.0, 0.0, 0.0)),
        # Linear 2/255/12.92 = 0.000607, below the cube of 6/29: L is 903.3 times that.
        ((2, 2, 2), (0.5484, 0.0, 0.0)),
    ],
)
def test_lab_of_known_colours(colour: tuple[int, ...], expected: tuple[float, ...]) -> None:
    image = torch.tensor(colour, dtype=torch.float64).view(1, 3, 1, 1) / 127.5 - 1.0
    assert lab(image).flatten().tolist() == pytest.approx(expected, abs=0.012)


def test_lab_is_continuous_at_its_seams() -> None:
    greys = torch.linspace(0, 0.2, 20_001, dtype=torch.float64).view(1, 1, 1, -1) * 2 - 1
    steps = lab(greys)[0, 0, 0].diff()
    assert float(steps.min()) > 0
    # A wrong constant makes a jump of 1e-2 or more; a slope that bends at a seam makes one of 1e-5.
    assert float(steps.diff().abs().max()) < 1e-4


def test_grey_is_equal_red_green_and_blue() -> None:
    grey = drawn(0, 1, 1, 6, 6)
    torch.testing.assert_close(lab(grey), lab(grey.expand(-1, 3, -1, -1)))
    assert float(lab(grey)[:, 1:].abs().max()) < 1e-10
    for space in ("lab", "rgb"):
        torch.testing.assert_close(saliency(grey, space), saliency(grey.expand(-1, 3, -1, -1), space))


def test_lab_refuses_what_has_no_colour() -> None:
    with pytest.raises(ValueError, match="1 or 3 channels, not 2"):
        saliency(drawn(0, 1, 2, 6, 6))
    assert saliency(drawn(0, 1, 2, 6, 6), "rgb").shape == (1, 1, 6, 6)


@pytest.mark.parametrize("space", ["lab", "rgb"])
def test_saliency_against_plain_numpy(space) -> None:
    images = drawn(1, 2, 3, 7, 9)
    ours = saliency(images, space)
    for index in range(2):
        theirs = numpy_saliency(images[index].permute(1, 2, 0).numpy() / 2 + 0.5, space)
        np.testing.assert_allclose(ours[index, 0].numpy(), theirs, atol=1e-4)
    assert ours.amax((1, 2, 3)).tolist() == [1.0, 1.0]
    assert float(ours.min()) >= 0.0


@pytest.mark.parametrize("space", ["lab", "rgb"])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("level", [-1.0, -0.31, 0.2, 1.0])
def test_one_colour_has_no_saliency_and_no_gradient(space, kind: torch.dtype, level: float) -> None:
    colour = torch.tensor([level, -level, level / 3], dtype=kind).view(1, 3, 1, 1)
    images = colour.repeat(1, 1, 40, 40).requires_grad_()
    map_of_one = saliency(images, space)
    map_of_one.sum().backward()
    assert torch.equal(map_of_one, torch.zeros_like(map_of_one))
    assert torch.equal(images.grad, torch.zeros_like(images))


@pytest.mark.parametrize("space", ["lab", "rgb"])
def test_one_faint_pixel_is_still_seen(space) -> None:
    images = torch.full((1, 3, 40, 40), 0.2)
    images[..., 20, 20] += 1 / 127.5
    seen = saliency(images, space)
    assert float(seen[0, 0, 20, 20]) == 1.0
    assert float(seen[0, 0, 5, 5]) < 0.1


@pytest.mark.parametrize("space", ["lab", "rgb"])
def test_gradient_of_the_distance(space) -> None:
    images = (0.9 * drawn(2, 1, 3, 5, 4)).requires_grad_()
    assert torch.autograd.gradcheck(lambda given: colour_distance(given, space), images)
    grey = (0.9 * drawn(3, 1, 1, 4, 4)).requires_grad_()
    assert torch.autograd.gradcheck(lambda given: colour_distance(given, space), grey)


def test_gradients_at_the_edges_are_finite() -> None:
    """Black, white, and a pixel whose colour is the mean."""
    images = torch.tensor([-1.0, 1.0, 0.0]).repeat(12).view(1, 1, 6, 6).requires_grad_()
    saliency(images).square().sum().backward()
    assert bool(images.grad.isfinite().all())
    assert float(images.grad.abs().max()) > 0


def test_the_maximum_is_a_constant_for_the_gradient() -> None:
    images = drawn(4, 2, 3, 6, 6).requires_grad_()
    weights = drawn(5, 2, 1, 6, 6)
    peak = colour_distance(images).detach().amax((2, 3), keepdim=True)
    expected = torch.autograd.grad((colour_distance(images) / peak * weights).sum(), images)
    torch.testing.assert_close(torch.autograd.grad((saliency(images) * weights).sum(), images), expected)


def consistency_of(translated: Tensor, doubled: bool = False) -> Tensor:
    """Six pixels of which two were salient, one outside of the attended region."""
    original = torch.tensor([[[[0.9, 0.7, 0.1], [1.0, 0.5, 0.0]]]])
    attended = torch.tensor([[[[1.0, 1.0, 1.0], [0.0, 1.0, 1.0]]]])
    return saliency_consistency(original, translated, attended, doubled=doubled)


def test_a_perfect_answer_is_one_half_as_printed_and_zero_doubled() -> None:
    perfect = torch.tensor([[[[1.0, 0.0, 0.0], [0.3, 0.0, 0.0]]]])
    assert float(consistency_of(perfect)) == pytest.approx(0.5)
    assert float(consistency_of(perfect, doubled=True)) == pytest.approx(0.0)
    assert float(consistency_of(1 - perfect)) == 1.0


def test_consistency_by_hand() -> None:
    """0.7 itself is not above the threshold; the pixel outside has no say."""
    translated = torch.tensor([[[[0.5, 0.4, 0.1], [0.8, 0.0, 0.2]]]])
    assert float(consistency_of(translated)) == pytest.approx(1 - 0.5 / (1 + 1.2))
    assert float(consistency_of(translated, doubled=True)) == pytest.approx(1 - 1.0 / (1 + 1.2))
    everywhere = torch.ones_like(translated)
    loose = saliency_consistency(translated, translated, everywhere, threshold=0.3)
    assert float(loose) == pytest.approx(1 - (0.5 + 0.4 + 0.8) / (3 + 2.0))


@pytest.mark.parametrize("doubled", [False, True])
def test_gradient_of_the_consistency(doubled: bool) -> None:
    original, translated = drawn(6, 2, 1, 4, 4).abs(), drawn(7, 2, 1, 4, 4).abs().requires_grad_()
    attended = (drawn(8, 2, 1, 4, 4) > -0.5).double()

    def loss(given: Tensor) -> Tensor:
        return saliency_consistency(original, given, attended, threshold=0.5, doubled=doubled)

    assert torch.autograd.gradcheck(loss, translated)


@pytest.mark.parametrize(("attend", "salient", "expected"), [(0, 1, 0.0), (1, 0, 0.0), (1, 1, 1.0)])
def test_nothing_to_keep(attend: int, salient: int, expected: float) -> None:
    """Nothing was salient before; then nothing is attended, nothing is salient after, or something is."""
    nothing = torch.zeros(1, 1, 4, 4)
    translated = (nothing + 0.6 * salient).requires_grad_()
    loss = saliency_consistency(nothing, translated, nothing + attend)
    loss.backward()
    assert float(loss) == expected
    assert torch.equal(translated.grad, nothing)


def test_processes_share_one_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the other process would have summed is added: both then hold the joint batch's loss."""
    maps = [drawn(seed, 3, 1, 4, 4).abs() for seed in (9, 10)] + [torch.ones(3, 1, 4, 4)]

    def loss(share: slice) -> Tensor:
        return saliency_consistency(*(one[share] for one in maps), threshold=0.5)

    joint = loss(slice(None))
    sums: list[Tensor] = []
    monkeypatch.setattr(room, "sum_over_ranks", lambda own: sums.append(own) or own)
    apart = [loss(slice(0, 2)), loss(slice(2, 3))]
    monkeypatch.setattr(room, "sum_over_ranks", lambda own: own + sums[1])
    torch.testing.assert_close(loss(slice(0, 2)), joint)
    assert abs(float(sum(apart) / 2 - joint)) > 1e-4


def as_images(photo: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(photo).permute(2, 0, 1)[None].float() / 127.5 - 1.0


def recoloured(photo: NDArray[np.uint8], mask: NDArray[np.uint8], swap: bool) -> Tensor:
    """Ruler and background each in one colour: their own mean colours, or each other's."""
    painted = photo.copy()
    ruler, background = photo[mask == RULER].mean(0), photo[mask == BACKGROUND].mean(0)
    painted[mask == RULER] = background if swap else ruler
    painted[mask == BACKGROUND] = ruler if swap else background
    return as_images(painted)


@pytest.mark.parametrize("space", ["lab", "rgb"])
def test_swapping_the_colours_of_two_regions_costs(space) -> None:
    """On drawn photographs, and not because the regions lose their texture: that is done to both."""
    rises: list[float] = []
    for case in range(5):
        photo = photograph(HOSPITALS[0], case, 0, 64)
        attended = torch.from_numpy(np.isin(photo.mask, (BACKGROUND, RULER)))[None, None].float()
        original = saliency(as_images(photo.image), space)
        untouched, kept, swapped = (
            float(saliency_consistency(original, saliency(images, space), attended))
            for images in (
                as_images(photo.image),
                recoloured(photo.image, photo.mask, swap=False),
                recoloured(photo.image, photo.mask, swap=True),
            )
        )
        assert swapped > untouched
        rises.append(swapped - kept)
    assert float(np.mean(rises)) > 0.005


def test_two_colours_alone_may_be_swapped_for_free() -> None:
    """The loss's blind spot: distance from the mean has no sign, so only a third colour gives a swap away."""
    images = torch.full((1, 3, 24, 24), -0.6)
    images[..., :6] = 0.8
    swapped = torch.where(images > 0, -0.6, 0.8)
    torch.testing.assert_close(saliency(images, "rgb"), saliency(swapped, "rgb"))
