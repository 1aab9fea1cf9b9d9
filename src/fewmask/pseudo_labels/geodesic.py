"""How far each pixel is from the seeds for a traveller who pays for changes of intensity: exact geodesic distance.

A slice's pixels form a graph whose edges join the 8 neighbours (26 in a volume); the distance is the cost of the
cheapest path, what Dijkstra's algorithm finds. Here lines are swept in turn, for many slices at once.

Costs are rounded to whole multiples of a grain, as fine as keeps every sum within the 53 bits of a float64: at
256 x 256, 2**-41 of what a step over the item's whole range of intensities costs. All additions are then exact, so
"nothing changes any more" can be asked with ==, and neither the order of the sums nor the device nor the compiler can
move a result. Only an outlier a million times beyond all other intensities would cost these their precision.
"""

import math
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from fewmask.errors import InputFault
from fewmask.pseudo_label_config import Cost

LARGEST_INTENSITY = 1e30
"""Beyond it a sum of costs could leave the range of float32 and be mistaken for "no seed"."""

PIXELS_AT_ONCE_CPU, PIXELS_AT_ONCE_GPU = 2**20, 2**22
"""How many pixels or voxels are swept together: the memory is bounded, whatever the batch."""

EXACT_BITS = 53


class Terrain(NamedTuple):
    """What steps cost, in grains: from p to q, round(factor * abs(image[p] - image[q])) + toll.

    `images` is (B, D, H, W) float64 holding whole numbers, `grains` (B,) the cost of one grain. `factors` and `tolls`
    are (2, 2, 2) by whether a step moves along depth, rows and columns; tolls (B, 2, 2, 2) as each item has its grain.
    """

    images: Tensor
    factors: Tensor
    tolls: Tensor
    grains: Tensor

    def of(self, items: Tensor) -> "Terrain":
        """The terrain of some items of the batch."""
        return Terrain(self.images[items], self.factors, self.tolls[items], self.grains[items])


@torch.no_grad()
def geodesic_distance(
    images: Tensor,
    seeds: Tensor,
    cost: Cost = "gradient",
    *,
    mix: float = 0.5,
    spacing: tuple[float, ...] | None = None,
    sweeps: int | None = None,
    compiled: bool | None = None,
) -> Tensor:
    """The cost of the cheapest path from each pixel to the nearest seed, where paths pay for changes of intensity.

    `images` are slices (B, H, W) or volumes (B, D, H, W), finite; `seeds` is bool of the same shape. Returns float32
    of that shape on the same device: 0 on seeds, never NaN, inf everywhere in an item without a seed. No gradient.

    A step between neighbours (8 in slices, 26 in volumes) whose intensities differ by dI costs
    - "gradient": abs(dI), whatever the step's length; FastGeodis with its lambda at 1. `spacing` changes nothing;
    - "mixed": mix * abs(dI) + (1 - mix) * length; FastGeodis with lambda = mix. At mix = 0, a chamfer distance;
    - "geodistk": length * abs(dI), as GeodisTK.
    Lengths are in the unit of `spacing` (rows, columns; volumes: depth, rows, columns), in pixels without one.

    Sweeps go on until a whole round changes nothing: the result is Dijkstra's. `sweeps` stops after so many rounds,
    exact or not; distances are then never too short. A round goes down, up, right and left over a slice (volumes:
    also back and forth in depth); each pass takes over the best of the neighbours on the line before, then carries
    it along the line both ways. On speckled slices of 256 x 256 some 6 to 8 rounds are exact.

    `compiled`: numba where it is installed and the tensors are on a CPU (None), always (True), never (False). It
    gives the same distances; those without `sweeps` it finds nearest first instead of by sweeps.

    Raises InputFault where shapes differ, seeds are not bool, an image is not finite or beyond 1e30, an option is
    out of range, or `compiled=True` finds no numba or tensors that are not on a CPU.

    Fu et al. 2023 (UM-CAM), Eqs. 5-7, on the pixels' graph as FastGeodis has it (Asad et al. 2022). Differs: exact;
    the paper's code stops FastGeodis after one iteration (four raster passes).
    """
    _check(images, seeds, cost, mix, sweeps)
    lengths = _step_lengths(spacing, images.dim() - 1)
    settle = _settled_by_numba if _may_compile(compiled, images.device) else _settled
    if images.numel() == 0:
        return images.float()
    volumes = images.double() if images.dim() == 4 else images.double()[:, None]
    start = torch.where(seeds.view_as(volumes), 0.0, torch.inf).double()
    at_once = PIXELS_AT_ONCE_CPU if images.device.type == "cpu" else PIXELS_AT_ONCE_GPU
    lot = max(1, at_once // volumes[0].numel())
    parts: list[Tensor] = []
    for some, begun in zip(volumes.split(lot), start.split(lot), strict=True):
        terrain = _terrain(some, cost, mix, lengths)
        parts.append((settle(terrain, begun, sweeps) * terrain.grains.view(-1, 1, 1, 1)).float())
    return torch.cat(parts).view_as(images)


def _check(images: Tensor, seeds: Tensor, cost: str, mix: float, sweeps: int | None) -> None:
    """Refuse what has no distance."""
    if images.dim() not in {3, 4} or images.shape != seeds.shape:
        shapes = f"images {tuple(images.shape)} and seeds {tuple(seeds.shape)}"
        raise InputFault(f"geodesic distance: {shapes}: give both as (B, H, W) or both as (B, D, H, W)")
    if seeds.dtype != torch.bool:
        raise InputFault(f"geodesic distance: seeds are {seeds.dtype}: give bool, e.g. seeds > 0")
    if not bool((images.double().abs() <= LARGEST_INTENSITY).all()):
        raise InputFault(
            "geodesic distance: an image holds NaN, infinity or values beyond 1e30: replace them first"
        )
    if cost not in {"gradient", "mixed", "geodistk"}:
        raise InputFault(f"geodesic distance: cost={cost!r}: choose gradient, mixed or geodistk")
    if not 0.0 <= mix <= 1.0:
        raise InputFault(f"geodesic distance: mix={mix}: must be from 0 to 1")
    if sweeps is not None and sweeps < 1:
        raise InputFault(
            f"geodesic distance: sweeps={sweeps}: must be at least 1, or None for exact distances"
        )


def _step_lengths(spacing: tuple[float, ...] | None, axes: int) -> Tensor:
    """(2, 2, 2) float64: how long a step is, by whether it moves along depth, rows and columns."""
    spacing = spacing or (1.0,) * axes
    if len(spacing) != axes or not all(0.0 < side <= LARGEST_INTENSITY for side in spacing):
        raise InputFault(f"geodesic distance: spacing={spacing}: give {axes} positive lengths, one an axis")
    sides = (0.0, *spacing)[-3:]
    steps = [
        math.hypot(*(m * s for m, s in zip(move, sides, strict=True))) for move in product((0, 1), repeat=3)
    ]
    return torch.tensor(steps, dtype=torch.float64).view(2, 2, 2)


def _may_compile(compiled: bool | None, device: torch.device) -> bool:
    """Whether numba does the work."""
    if compiled is False or (compiled is None and device.type != "cpu"):
        return False
    if device.type != "cpu":
        raise InputFault(
            f"geodesic distance: compiled=True on {device}: move the images to the CPU, or leave it out"
        )
    try:
        import numba  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError as fault:
        if compiled:
            remedy = "pip install fewmask[fast], or leave compiled out"
            raise InputFault(f"geodesic distance: compiled=True needs numba: {remedy}") from fault
        return False
    return True


def _terrain(volumes: Tensor, cost: Cost, mix: float, lengths: Tensor) -> Terrain:
    """The costs of all steps in whole grains; a grain is a power of 2, of each item's own."""
    lengths = lengths.to(volumes.device)
    share = mix if cost == "mixed" else 1.0
    factors = lengths if cost == "geodistk" else torch.ones_like(lengths)
    tolls = (1.0 - mix) * lengths if cost == "mixed" else torch.zeros_like(lengths)
    lowest, highest = volumes.flatten(1).aminmax(dim=1)
    bounds = (share * (highest - lowest) * factors.max() + tolls.max()).tolist()
    # No distance, not even one that a later pass lowers, is dearer than a path there, back and along one line, so
    # three times the sum of the sides bounds its steps, with those of a line that is added to it: two more bits.
    bits = EXACT_BITS - 2 - math.ceil(math.log2(sum(volumes.shape[1:])))
    exponents = [max(-900, math.frexp(bound)[1]) for bound in bounds]
    grains = volumes.new_tensor([math.ldexp(1.0, exponent - bits) for exponent in exponents])
    each = grains.view(-1, 1, 1, 1)
    whole = ((volumes - lowest.view_as(each)) * share / each).round()
    return Terrain(whole, factors, (tolls / each).round(), grains)


def _settled_by_numba(terrain: Terrain, start: Tensor, sweeps: int | None) -> Tensor:
    """What `_settled` returns, one item after the other."""
    from fewmask.pseudo_labels.compiled_sweeps import nearest_first, swept

    factors = terrain.factors.numpy()
    settled: list[Tensor] = []
    for image, tolls, begun in zip(terrain.images, terrain.tolls, start, strict=True):
        ground = (image.numpy(), begun.numpy(), factors, tolls.numpy())
        settled.append(torch.from_numpy(nearest_first(*ground) if sweeps is None else swept(*ground, sweeps)))
    return torch.stack(settled)


def _settled(terrain: Terrain, start: Tensor, sweeps: int | None) -> Tensor:
    """Distances in grains after `sweeps` rounds, or when nothing changes any more; both (B, D, H, W) float64.

    Items that have settled leave the batch, so a slow one does not make the others wait.
    """
    settled = start.clone()
    active = torch.arange(len(start), device=start.device)
    courses = _courses(terrain)
    rounds = 0
    while len(active) and rounds != sweeps:
        before = settled[active]
        after = before
        for course in courses:
            after = course.swept(after)
        settled[active] = after
        changed = (after != before).flatten(1).any(1)
        if not bool(changed.all()):
            active = active[changed]
            courses = _courses(terrain.of(active))
        rounds += 1
    return settled


def _courses(terrain: Terrain) -> list["_Course"]:
    """The orientations of one round; slices have no depth to sweep."""
    orders = ((0, 1, 2), (1, 0, 2), (2, 0, 1))
    return [_Course(terrain, order) for order in orders[0 if terrain.images.shape[1] > 1 else 1 :]]


class _Course:
    """One orientation of a batch: planes along the first axis of `order`, rows of them, lines along the last.

    Every line is held twice, as it is and mirrored, so that one running minimum serves both directions.
    """

    def __init__(self, terrain: Terrain, order: tuple[int, int, int]) -> None:
        self.order = order
        images = self._laid_out(terrain.images)
        self.rows = images.shape[3]
        self.factors = self._to_next_plane(terrain.factors.permute(order))[..., None, None, None, None]
        tolls = terrain.tolls.permute(0, *(axis + 1 for axis in order)).movedim(0, -1)
        self.tolls = self._to_next_plane(tolls)[:, :, None, :, None, None]
        self.scaled, self.tolled = bool((self.factors != 1).any()), bool((self.tolls != 0).any())
        padded = self._padded(images, 0.0)
        self.images, self.near_images = images.unbind(0), self._neighbours(padded)
        change = images.diff(dim=-1).abs().mul_(terrain.factors.permute(order)[0, 0, 1]).round_()
        along = change.add_(tolls[0, 0, 1].view(-1, 1, 1)).cumsum_(-1)
        self.climbs = functional.pad(along, (1, 0)).unbind(0)

    def swept(self, distances: Tensor) -> Tensor:
        """The distances (B, D, H, W) after a pass over the planes there and one back."""
        padded = self._padded(self._laid_out(distances), torch.inf)
        near = self._neighbours(padded)
        inner = padded[..., 1:-1] if self.rows == 1 else padded[..., 1:-1, 1:-1]
        planes = inner.unbind(0)
        work = torch.empty(near[0].shape, dtype=padded.dtype, device=padded.device)
        self._carry_along(planes[0], planes[0], 0)
        last = len(planes) - 1
        for here, before in (
            *((p, p - 1) for p in range(1, last + 1)),
            *((p - 1, p) for p in range(last, 0, -1)),
        ):
            best = self._best_of(near[before], self.near_images[before], self.images[here], work)
            self._carry_along(torch.minimum(best, planes[here], out=best), planes[here], here)
        back = [self.order.index(axis) for axis in range(3)]
        return inner[:, 0].movedim(1, 0).permute(0, *(axis + 1 for axis in back))

    def _best_of(self, near: Tensor, near_images: Tensor, image: Tensor, work: Tensor) -> Tensor:
        """The distances (2, B, R, W) by way of the best neighbour on the plane before."""
        torch.sub(near_images, image, out=work).abs_()
        if self.scaled:
            work.mul_(self.factors).round_()
        if self.tolled:
            work.add_(self.tolls)
        return work.add_(near).flatten(0, 1).amin(0)

    def _carry_along(self, distances: Tensor, onto: Tensor, plane: int) -> None:
        """The distances where each line's pixels may also be reached along it, from both sides.

        From k on the left, pixel j costs d[k] + climb[j] - climb[k]: a running minimum of d - climb.
        """
        climb = self.climbs[plane]
        reached = (distances - climb).cummin(-1).values.add_(climb)
        torch.minimum(reached, reached.flip(0, -1), out=onto)

    def _laid_out(self, volumes: Tensor) -> Tensor:
        """(B, D, H, W) as (planes, 2, B, rows, line), mirrored lines second."""
        planes = volumes.permute(0, *(axis + 1 for axis in self.order)).movedim(1, 0)
        return torch.stack([planes, planes.flip(-1)], 1)

    def _padded(self, laid_out: Tensor, value: float) -> Tensor:
        """A frame around rows and lines, so that all pixels have as many neighbours; a lone row needs none."""
        return functional.pad(laid_out, (1, 1) if self.rows == 1 else (1, 1, 1, 1), value=value)

    def _neighbours(self, padded: Tensor) -> tuple[Tensor, ...]:
        """Each plane as (1 or 3, 3, 2, B, rows, line): what a pixel of the next plane finds at its neighbours there."""
        windows = padded.unfold(4, 3, 1)
        windows = windows.unsqueeze(-2) if self.rows == 1 else windows.unfold(3, 3, 1).transpose(-1, -2)
        return windows.movedim((-2, -1), (1, 2)).unbind(0)

    def _to_next_plane(self, steps: Tensor) -> Tensor:
        """What is known by whether a step moves along each axis, for each step to the next plane."""
        lines = steps[1][:, [1, 0, 1]]
        return lines[:1] if self.rows == 1 else lines[[1, 0, 1]]
