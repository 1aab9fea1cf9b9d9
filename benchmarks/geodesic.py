"""Exact geodesic distances of 256 x 256 slices in torch and numba, on one thread, beside scipy's Dijkstra.

python benchmarks/geodesic.py [--slices 16] [--repeats 3] [--images FOLDER] [--json]

Each slice has two seeds' worth of work done on it, as geodesic expansion does: from its centre, then from four
corners of a box around it; a time is that of one such distance map. `torch` gets all slices in one call, as a
pipeline gives them; `torch, alone` one a call. `wall` is by the clock, `CPU` what the thread itself was given: on a
busy machine only the latter says what an idle one would do. Sweeps that stop early stand beside with their error: a
round of ours is what FastGeodis calls an iteration, four raster passes, but carries values along whole lines both
ways, so its error is smaller than FastGeodis'.

Without `--images` the slices are speckled: smooth shapes, blurred speckle and noise, in 8 bits, z-scored. With it,
the 2D pictures and the slices of the NIfTI volumes in the folder that vary most, padded or cut to 256 x 256.

The run fails where an exact distance differs from Dijkstra's by more than 1e-5. It never fails because of speed.
The ratios to FastGeodis (5.1 ms a slice in 2 iterations, not exact) and GeodisTK (33 ms) divide OTHER MACHINES'
FIGURES by ours, CPU time: neither builds with today's setuptools and NumPy. They are a hint, not a race.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import nibabel
import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra
from torch import Tensor

from fewmask.errors import InputFault
from fewmask.pseudo_labels.geodesic import geodesic_distance

SIDE = 256
FASTGEODIS_MS, GEODISTK_MS = 5.1, 33.0
"""A slice of 256 x 256 on another machine's CPU: FastGeodis in 2 iterations, GeodisTK."""
EXACT = 1e-5
ZERO_EDGE = 1e-12
"""scipy drops edges of weight 0."""


@dataclass(frozen=True)
class Way:
    """One way to the distances: `sweeps` None is exact, `batched` says whether all slices go in one call."""

    name: str
    sweeps: int | None
    compiled: bool
    batched: bool


@dataclass(frozen=True)
class Measured:
    """Median times for a distance map, and how far it is from Dijkstra's.

    `relative` is the largest error as a share of the slice's largest distance, `mean` the mean error as such a share.
    """

    way: str
    wall_ms: float
    cpu_ms: float
    error: float
    relative: float
    mean: float
    fastgeodis_elsewhere: float
    geodistk_elsewhere: float


def z_scored(picture: np.ndarray) -> np.ndarray:
    """Mean 0 and deviation 1 over the slice, as the paper's code has it; float32."""
    picture = picture.astype(np.float64)
    return ((picture - picture.mean()) / max(picture.std(), 1e-6)).astype(np.float32)


def speckled(seed: int) -> np.ndarray:
    """A slice of smooth shapes under speckle, in the 256 grey levels of a stored picture."""
    random = np.random.default_rng(seed)

    def waves(sigma: float) -> np.ndarray:
        field = gaussian_filter(random.standard_normal((SIDE, SIDE)), sigma)
        return field / field.std()

    grey = 110 + 45 * waves(12) + 18 * waves(1) + 6 * random.standard_normal((SIDE, SIDE))
    return z_scored(np.clip(grey, 0, 255).astype(np.uint8))


def fitted(picture: np.ndarray) -> np.ndarray:
    """Cut to the middle 256 x 256, or padded to that with its darkest value."""
    lacking = [max(0, SIDE - side) for side in picture.shape]
    padding = [(missing // 2, missing - missing // 2) for missing in lacking]
    picture = np.pad(picture, padding, constant_values=picture.min())
    top, left = ((side - SIDE) // 2 for side in picture.shape)
    return picture[top : top + SIDE, left : left + SIDE]


def read(file: Path) -> np.ndarray:
    """A picture in grey, or the slice of a volume that varies most."""
    if file.suffix == ".png":
        return np.asarray(Image.open(file).convert("L"), dtype=np.float32)
    volume = np.asarray(nibabel.load(file).dataobj, dtype=np.float32)
    volume = volume.reshape(*volume.shape[:2], -1)
    return volume[..., int(volume.std((0, 1)).argmax())]


def slices_of(folder: Path | None, count: int) -> Tensor:
    """(B, 256, 256) slices to measure on."""
    if folder is None:
        return torch.from_numpy(np.stack([speckled(seed) for seed in range(count)]))
    files = sorted(file for pattern in ("*.png", "*.nii", "*.nii.gz") for file in folder.rglob(pattern))
    if not files:
        raise InputFault(f"{folder}: no .png, .nii or .nii.gz in it: name a folder of images")
    chosen = files[:: max(1, len(files) // count)][:count]
    return torch.from_numpy(np.stack([z_scored(fitted(read(file))) for file in chosen]))


def seeds_of(images: Tensor) -> tuple[Tensor, Tensor]:
    """The centre of each slice, and the corners of a box of half its size."""
    centre, corners = (torch.zeros(images.shape, dtype=torch.bool) for _ in range(2))
    centre[:, SIDE // 2, SIDE // 2] = True
    low, high = SIDE // 4, 3 * SIDE // 4
    corners[:, [low, low, high, high], [low, high, low, high]] = True
    return centre, corners


def by_dijkstra(image: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """scipy's distances on the graph of the 8 neighbours, each step at the change of intensity."""
    image, index = image.astype(np.float64), np.arange(image.size).reshape(image.shape)
    pairs = [
        (np.s_[:, :-1], np.s_[:, 1:]),
        (np.s_[:-1], np.s_[1:]),
        (np.s_[:-1, :-1], np.s_[1:, 1:]),
        (np.s_[:-1, 1:], np.s_[1:, :-1]),
    ]
    ends = [np.concatenate([index[pair[end]].ravel() for pair in pairs]) for end in (0, 1)]
    costs = np.concatenate([np.abs(image[here] - image[there]).ravel() for here, there in pairs])
    graph = csr_matrix((np.maximum(costs, ZERO_EDGE), tuple(ends)), shape=(image.size, image.size))
    flat = dijkstra(graph, directed=False, indices=np.flatnonzero(seeds), min_only=True)
    return flat.reshape(image.shape)


def distances(way: Way, images: Tensor, seeds: Tensor) -> Tensor:
    """The distances of slices, one way."""
    return geodesic_distance(images, seeds, "gradient", sweeps=way.sweeps, compiled=way.compiled)


def clock(call: Callable[[], Tensor], maps: int) -> tuple[Tensor, float, float]:
    """What the call returns, and its milliseconds a map by the clock and of the thread."""
    wall, cpu = time.perf_counter(), time.thread_time()
    result = call()
    shares = (1000 * (time.perf_counter() - wall) / maps, 1000 * (time.thread_time() - cpu) / maps)
    return result, *shares


def measure(way: Way, images: Tensor, seeds: tuple[Tensor, ...], truth: Tensor, repeats: int) -> Measured:
    """One way over all slices and both kinds of seeds, `repeats` times; `truth` is (kinds of seeds, B, H, W)."""
    size = len(images) if way.batched else 1
    lots = list(zip(images.split(size), *(kind.split(size) for kind in seeds), strict=True))
    distances(way, images[:1], seeds[0][:1])  # compiled before any clock runs
    wall, cpu, found = [], [], []
    for repeat in range(repeats):
        for some, *kinds in lots:
            for kind in kinds:
                result, by_clock, by_thread = clock(lambda: distances(way, some, kind), len(some))  # noqa: B023
                wall.append(by_clock)
                cpu.append(by_thread)
                if repeat == 0:
                    found.append(result.double())
    order = [torch.cat(found[kind :: len(seeds)]) for kind in range(len(seeds))]
    errors = (torch.stack(order) - truth).abs().flatten(2)
    shares = errors / truth.flatten(2).amax(2, keepdim=True).clamp_min(1e-12)
    own = statistics.median(cpu)
    return Measured(
        way.name,
        statistics.median(wall),
        own,
        float(errors.max()),
        float(shares.max()),
        float(shares.mean()),
        FASTGEODIS_MS / own,
        GEODISTK_MS / own,
    )


def ways() -> list[Way]:
    """All ways that this machine has."""
    found = [
        Way("torch", None, False, True),
        Way("torch, alone", None, False, False),
        Way("torch, 1 round", 1, False, True),
        Way("torch, 2 rounds", 2, False, True),
    ]
    if find_spec("numba") is not None:
        found += [
            Way("numba", None, True, False),
            Way("numba, 1 round", 1, True, False),
            Way("numba, 2 rounds", 2, True, False),
        ]
    return found


def show(measured: list[Measured]) -> None:
    """One line a way."""
    print(
        f"{'way':16} {'wall ms':>8} {'CPU ms':>8} {'max error':>10} {'of largest':>10} {'mean':>9}"
        f" {'FastGeodis':>11} {'GeodisTK':>9}"
    )
    for row in measured:
        print(
            f"{row.way:16} {row.wall_ms:8.1f} {row.cpu_ms:8.1f} {row.error:10.1e} {row.relative:10.1e}"
            f" {row.mean:9.1e} {row.fastgeodis_elsewhere:10.2f}x {row.geodistk_elsewhere:8.2f}x"
        )
    print(
        "\nFastGeodis, GeodisTK: 5.1 ms (2 iterations, not exact) and 33 ms, OTHER MACHINES' figures, over our CPU ms"
    )


def main() -> int:
    """Print the table; 1 where an exact distance is not Dijkstra's."""
    parser = argparse.ArgumentParser(description="Geodesic distances: torch, numba, Dijkstra.")
    parser.add_argument("--slices", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    images = slices_of(options.images, options.slices)
    seeds = seeds_of(images)
    truth = [
        [by_dijkstra(*pair) for pair in zip(images.numpy(), kind.numpy(), strict=True)] for kind in seeds
    ]
    expected = torch.from_numpy(np.array(truth))
    measured = [measure(way, images, seeds, expected, options.repeats) for way in ways()]
    exact = [row.error for row, way in zip(measured, ways(), strict=True) if way.sweeps is None]
    load = os.getloadavg()[0]
    if options.json:
        print(json.dumps({"load": load, "measured": [asdict(row) for row in measured]}))
    else:
        names = ("torch", "scipy", "numpy", *(("numba",) if find_spec("numba") else ()))
        print(f"{len(images)} slices of {SIDE} x {SIDE}, 2 maps each, one thread, load {load:.1f}")
        print(", ".join(f"{name} {version(name)}" for name in names), "\n")
        show(measured)
    return 0 if max(exact) <= EXACT else 1


if __name__ == "__main__":
    sys.exit(main())
