"""Geodesic distances against scipy's Dijkstra, against hand-worked cases, and torch against numba."""

import builtins
import itertools
import math
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from fewmask.errors import InputFault
from fewmask.pseudo_labels import geodesic
from fewmask.pseudo_labels.geodesic import geodesic_distance

torch.set_num_threads(1)

NUMBA = find_spec("numba") is not None
COSTS = ("gradient", "mixed", "geodistk")
ZERO_EDGE = 1e-12
"""scipy's sparse graphs drop edges of weight 0."""


@pytest.fixture(params=[False, True], ids=["torch", "numba"])
def compiled(request: pytest.FixtureRequest) -> bool:
    if request.param:
        pytest.importorskip("numba")
    return request.param


def edges(image, cost, mix, spacing):
    """Each edge once as (from, to, cost), pixels by flat index, in plain float64."""
    index = np.arange(image.size).reshape(image.shape)
    for move in itertools.product((-1, 0, 1), repeat=image.ndim):
        if move <= (0,) * image.ndim:
            continue
        here = tuple(slice(max(0, -m), n - max(0, m)) for m, n in zip(move, image.shape, strict=True))
        there = tuple(slice(max(0, m), n - max(0, -m)) for m, n in zip(move, image.shape, strict=True))
        length = math.sqrt(sum((m * s) ** 2 for m, s in zip(move, spacing, strict=True)))
        change = np.abs(image[here] - image[there])
        prices = {
            "gradient": change,
            "mixed": mix * change + (1 - mix) * length,
            "geodistk": change * length,
        }
        yield index[here].ravel(), index[there].ravel(), prices[cost].ravel()


def by_dijkstra(images, seeds, cost, mix=0.5, spacing=None):
    distances = []
    for image, seed in zip(images.double().numpy(), seeds.numpy(), strict=True):
        parts = list(edges(image, cost, mix, spacing or (1.0,) * image.ndim))
        rows, columns, prices = (np.concatenate(part) for part in zip(*parts, strict=True))
        graph = coo_matrix((np.maximum(prices, ZERO_EDGE), (rows, columns)), shape=(image.size,) * 2)
        sources = np.flatnonzero(seed)
        flat = dijkstra(graph.tocsr(), directed=False, indices=sources, min_only=True)
        distances.append(flat.reshape(image.shape))
    return torch.from_numpy(np.stack(distances))


def speckled(shape, seed=0):
    """Smooth shapes with grain upon them."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(shape[0], 1, *(max(2, n // 6) for n in shape[1:]), generator=generator)
    mode = "bilinear" if len(shape) == 3 else "trilinear"
    smooth = torch.nn.functional.interpolate(coarse, size=shape[1:], mode=mode)[:, 0]
    return smooth + 0.4 * torch.randn(shape, generator=generator)


def seeds_at(shape, *points):
    seeds = torch.zeros(shape, dtype=torch.bool)
    for point in points:
        seeds[point] = True
    return seeds


@pytest.mark.parametrize("cost", COSTS)
def test_slices_equal_dijkstra(cost, compiled):
    images = speckled((3, 41, 33))
    seeds = seeds_at(images.shape, (0, 20, 16), (1, 0, 0), (1, 40, 0), (1, 3, 30), (2, 40, 32))
    distances = geodesic_distance(images, seeds, cost, mix=0.7, compiled=compiled)
    assert distances.dtype == torch.float32
    torch.testing.assert_close(
        distances.double(), by_dijkstra(images, seeds, cost, 0.7), atol=1e-5, rtol=1e-6
    )


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("shape", [(2, 5, 11, 9), (1, 2, 1, 12), (1, 12, 2, 3), (1, 3, 7, 1)])
def test_volumes_equal_dijkstra_with_their_spacing(cost, shape, compiled):
    images = speckled(shape)
    seeds = torch.zeros(shape, dtype=torch.bool)
    seeds[:, -1, shape[2] // 2, 0] = True
    spacing = (3.5, 0.5, 0.75)
    distances = geodesic_distance(images, seeds, cost, spacing=spacing, compiled=compiled)
    expected = by_dijkstra(images, seeds, cost, spacing=spacing)
    torch.testing.assert_close(distances.double(), expected, atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize("cost", COSTS)
def test_pixels_need_not_be_square(cost, compiled):
    images = speckled((1, 20, 31), seed=4)
    seeds = seeds_at(images.shape, (0, 2, 29))
    distances = geodesic_distance(images, seeds, cost, mix=0.2, spacing=(0.6, 2.0), compiled=compiled)
    expected = by_dijkstra(images, seeds, cost, 0.2, spacing=(0.6, 2.0))
    torch.testing.assert_close(distances.double(), expected, atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 9), (1, 9, 1), (2, 2, 2), (1, 1, 1, 1)])
def test_the_thinnest_images_have_distances(shape, compiled):
    images = torch.arange(math.prod(shape)).reshape(shape).float()
    seeds = seeds_at(shape, (0,) * len(shape), (len(images) - 1,) + (0,) * (len(shape) - 1))
    distances = geodesic_distance(images, seeds, compiled=compiled)
    torch.testing.assert_close(
        distances.double(), by_dijkstra(images, seeds, "gradient"), atol=1e-5, rtol=0.0
    )


def test_a_volume_of_one_slice_is_that_slice(compiled):
    images = speckled((2, 12, 10))
    seeds = seeds_at(images.shape, (0, 3, 3), (1, 11, 0))
    for cost in COSTS:
        flat = geodesic_distance(images, seeds, cost, compiled=compiled)
        deep = geodesic_distance(images[:, None], seeds[:, None], cost, compiled=compiled)
        assert torch.equal(deep[:, 0], flat)


def test_a_constant_slice_is_at_no_distance(compiled):
    images = torch.full((1, 9, 9), -7.25)
    assert not geodesic_distance(images, seeds_at(images.shape, (0, 4, 4)), compiled=compiled).any()


def test_a_step_edge_costs_its_height(compiled):
    images = torch.zeros(1, 8, 10)
    images[:, :, 5:] = 2.5
    seeds = seeds_at(images.shape, (0, 3, 1))
    distances = geodesic_distance(images, seeds, compiled=compiled)
    assert distances[..., :5].eq(0).all() and distances[..., 5:].eq(2.5).all()
    edge = geodesic_distance(images, seeds, "geodistk", spacing=(1.0, 0.5), compiled=compiled)
    assert edge[..., 5:].eq(1.25).all()


def test_without_intensity_the_mixed_cost_is_the_chamfer_distance(compiled):
    images = speckled((1, 15, 12))
    seeds = seeds_at(images.shape, (0, 4, 2))
    rows, columns = torch.meshgrid((torch.arange(15) - 4).abs(), (torch.arange(12) - 2).abs(), indexing="ij")
    small, large = torch.minimum(rows, columns), torch.maximum(rows, columns)
    chamfer = (large - small) + small * math.sqrt(2)
    distances = geodesic_distance(images, seeds, "mixed", mix=0.0, compiled=compiled)[0]
    torch.testing.assert_close(distances, chamfer.float())


def test_a_path_round_a_wall_and_back_again_is_found(compiled):
    """A corridor that winds up and down costs nothing, whatever way the sweeps go."""
    images = torch.zeros(1, 16, 31)
    images[:, :, 1::4], images[:, :, 3::4] = 1.0, 1.0
    images[:, -1, 1::4], images[:, 0, 3::4] = 0.0, 0.0
    distances = geodesic_distance(images, seeds_at(images.shape, (0, 0, 0)), compiled=compiled)
    assert torch.equal(distances, images)


def test_what_has_no_seed_is_infinitely_far(compiled):
    images = speckled((3, 7, 6))
    distances = geodesic_distance(images, seeds_at(images.shape, (1, 2, 2)), compiled=compiled)
    assert distances[[0, 2]].isinf().all() and distances[1].isfinite().all()


def test_an_empty_batch_stays_empty(compiled):
    nothing = torch.zeros(0, 4, 4)
    assert geodesic_distance(nothing, nothing.bool(), compiled=compiled).shape == (0, 4, 4)


def test_rows_are_independent_of_their_batch(compiled):
    """Slices that settle at different rounds, a constant one at once, leave each other alone."""
    images = torch.stack([torch.zeros(24, 24), *speckled((2, 24, 24), 2), 1e4 * speckled((1, 24, 24), 3)[0]])
    seeds = seeds_at(images.shape, (0, 0, 0), (1, 12, 12), (2, 0, 23), (3, 23, 0), (3, 2, 2))
    together = geodesic_distance(images, seeds, compiled=compiled)
    alone = [
        geodesic_distance(images[i : i + 1], seeds[i : i + 1], compiled=compiled) for i in range(len(images))
    ]
    assert torch.equal(together, torch.cat(alone))


def test_large_batches_go_in_parts(monkeypatch, compiled):
    images = speckled((5, 10, 10))
    seeds = seeds_at(images.shape, *((i, i, 9 - i) for i in range(5)))
    whole = geodesic_distance(images, seeds, "mixed", compiled=compiled)
    monkeypatch.setattr(geodesic, "PIXELS_AT_ONCE_CPU", 200)
    assert torch.equal(geodesic_distance(images, seeds, "mixed", compiled=compiled), whole)


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("shape", [(4, 25, 22), (2, 4, 9, 8)])
@pytest.mark.parametrize("sweeps", [None, 1, 2])
def test_numba_and_torch_agree_to_the_last_bit(cost, shape, sweeps):
    pytest.importorskip("numba")
    images = speckled(shape, seed=5)
    images[0] = 3.0
    seeds = torch.zeros(shape, dtype=torch.bool)
    seeds.view(len(images), -1)[:, [7, 40]] = True
    by_torch, by_numba = (
        geodesic_distance(images, seeds, cost, sweeps=sweeps, compiled=compiled) for compiled in (False, True)
    )
    assert torch.equal(by_torch, by_numba)


@pytest.mark.parametrize("shape", [(1, 40, 40), (1, 6, 14, 14)])
def test_few_sweeps_are_never_too_short(shape, compiled):
    images = speckled(shape, seed=1)
    seeds = torch.zeros(shape, dtype=torch.bool)
    seeds[(0, *(n // 2 for n in shape[1:]))] = True
    exact = geodesic_distance(images, seeds, compiled=compiled)
    one, two, many = (geodesic_distance(images, seeds, sweeps=n, compiled=compiled) for n in (1, 2, 50))
    assert (one >= two).all() and (two >= exact).all() and not torch.equal(one, exact)
    assert torch.equal(many, exact)


def test_an_outlier_moves_the_time_but_not_the_result(compiled):
    images = speckled((1, 20, 20))
    images[0, 5, 5] = 1e5
    seeds = seeds_at(images.shape, (0, 15, 3))
    distances = geodesic_distance(images, seeds, compiled=compiled)
    expected = by_dijkstra(images, seeds, "gradient")
    torch.testing.assert_close(distances.double(), expected, atol=1e-5, rtol=1e-6)


def test_an_immense_outlier_fills_no_memory_with_buckets():
    pytest.importorskip("numba")
    images = speckled((1, 12, 12))
    images[0, 5, 5] = 1e13
    seeds = seeds_at(images.shape, (0, 9, 3))
    by_torch, by_numba = (geodesic_distance(images, seeds, compiled=compiled) for compiled in (False, True))
    assert torch.equal(by_torch, by_numba) and by_numba.isfinite().all()


@pytest.mark.parametrize("scale", [5e-320, 1e-300, 1e-30, 1e29])
def test_neither_faint_nor_glaring_images_are_nan(scale, compiled):
    images = speckled((1, 12, 12)).double().clamp(-3, 3) * scale
    distances = geodesic_distance(images, seeds_at(images.shape, (0, 5, 5)), compiled=compiled)
    assert distances.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.uint8, torch.float64])
def test_other_types_of_numbers_are_read_as_they_are(dtype):
    images = (speckled((1, 9, 9)).clamp(-2, 2) * 20 + 100).round()
    seeds = seeds_at(images.shape, (0, 0, 0))
    assert torch.equal(geodesic_distance(images.to(dtype), seeds), geodesic_distance(images, seeds))


@st.composite
def worlds(draw):
    """An image of few levels (so with ties and free steps), seeds, a cost and an implementation."""
    deep = draw(st.booleans())
    shape = tuple(draw(st.integers(1, 5 if deep else 8)) for _ in range(3 if deep else 2))
    count = math.prod(shape)
    levels = draw(st.lists(st.integers(0, 6), min_size=count, max_size=count))
    first, more = (draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=3)) for _ in range(2))
    return (
        torch.tensor(levels, dtype=torch.float32).view(1, *shape),
        first,
        first | more,
        draw(st.sampled_from(COSTS)),
    )


def mask_of(indices, shape):
    seeds = torch.zeros(shape, dtype=torch.bool)
    seeds.view(-1)[list(indices)] = True
    return seeds


@settings(max_examples=60, deadline=None)
@given(worlds(), st.booleans())
def test_distances_prove_themselves(world, compiled):
    """0 on seeds, no edge offers a short cut, and each other pixel is reached by an edge from a nearer one, or by
    free steps from its like: distances with these properties are the shortest."""
    image, first, _, cost = world
    distances = geodesic_distance(image, mask_of(first, image.shape), cost, compiled=compiled and NUMBA)
    flat = distances.double().numpy().ravel()
    assert (flat[list(first)] == 0).all()
    origin = {pixel: pixel in first for pixel in range(flat.size)}
    steps = [
        step
        for a, b, price in edges(image[0].double().numpy(), cost, 0.5, (1.0,) * (image.dim() - 1))
        for p, q, c in zip(a, b, price, strict=True)
        for step in ((p, q, c), (q, p, c))
    ]
    for p, q, price in steps:
        assert flat[q] <= flat[p] + price + 1e-5
    attained = [(p, q) for p, q, price in steps if abs(flat[q] - flat[p] - price) < 1e-5]
    for _ in range(flat.size):
        newly = {q for p, q in attained if origin[p] and not origin[q]}
        if not newly:
            break
        origin.update(dict.fromkeys(newly, True))
    assert all(origin.values())


@settings(max_examples=40, deadline=None)
@given(worlds(), st.booleans())
def test_more_seeds_are_never_further(world, compiled):
    image, first, more, cost = world
    few, many = (
        geodesic_distance(image, mask_of(chosen, image.shape), cost, compiled=compiled and NUMBA)
        for chosen in (first, more)
    )
    assert (many <= few).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e31])
def test_images_that_have_no_distance_are_refused(bad):
    images = torch.zeros(2, 4, 4)
    images[1, 2, 2] = bad
    with pytest.raises(InputFault, match="NaN, infinity"):
        geodesic_distance(images, torch.ones(2, 4, 4, dtype=torch.bool))
    if math.isinf(bad):
        with pytest.raises(InputFault, match="NaN, infinity"):
            geodesic_distance(images.half(), torch.ones(2, 4, 4, dtype=torch.bool))


@pytest.mark.parametrize(
    ("images", "seeds", "match"),
    [
        (torch.zeros(1, 4, 4), torch.zeros(1, 4, 5, dtype=torch.bool), r"\(1, 4, 4\) and seeds \(1, 4, 5\)"),
        (torch.zeros(4, 4), torch.zeros(4, 4, dtype=torch.bool), r"give both as \(B, H, W\)"),
        (torch.zeros(1, 4, 4), torch.zeros(1, 4, 4), "seeds are torch.float32"),
    ],
)
def test_wrong_tensors_are_refused(images, seeds, match):
    with pytest.raises(InputFault, match=match) as fault:
        geodesic_distance(images, seeds)
    assert "\n" not in str(fault.value)


def test_wrong_options_are_refused():
    images, seeds = torch.zeros(1, 4, 4), torch.ones(1, 4, 4, dtype=torch.bool)
    with pytest.raises(InputFault, match=r"mix=1\.5"):
        geodesic_distance(images, seeds, "mixed", mix=1.5)
    with pytest.raises(InputFault, match="sweeps=0"):
        geodesic_distance(images, seeds, sweeps=0)
    with pytest.raises(InputFault, match="give 2 positive lengths"):
        geodesic_distance(images, seeds, "mixed", spacing=(1.0, 1.0, 1.0))
    with pytest.raises(InputFault, match="give 2 positive lengths"):
        geodesic_distance(images, seeds, "mixed", spacing=(1.0, 0.0))
    with pytest.raises(InputFault, match="choose gradient, mixed or geodistk"):
        geodesic_distance(images, seeds, "euclid")  # pyright: ignore[reportArgumentType]


def test_without_numba_torch_does_it_and_true_is_refused(monkeypatch):
    imported = builtins.__import__

    def without_numba(name, *rest, **options):
        if name == "numba":
            raise ImportError(name)
        return imported(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without_numba)
    images = speckled((1, 6, 6))
    seeds = seeds_at(images.shape, (0, 0, 0))
    expected = by_dijkstra(images, seeds, "gradient").float()
    torch.testing.assert_close(geodesic_distance(images, seeds), expected, atol=1e-5, rtol=1e-6)
    with pytest.raises(InputFault, match=r"pip install fewmask\[fast\]"):
        geodesic_distance(images, seeds, compiled=True)


def test_images_that_train_get_no_gradient():
    images = speckled((1, 6, 6)).requires_grad_()
    assert not geodesic_distance(images, seeds_at(images.shape, (0, 0, 0))).requires_grad
