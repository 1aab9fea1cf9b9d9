"""Surface distances against MONAI and medpy, side by side in one run on one thread.

python benchmarks/surface_distance.py [--volumes 25]

Ours: hd95, hd95_pooled, assd and nsd. MONAI: compute_hausdorff_distance (percentile 95) and
compute_average_surface_distance (symmetric). medpy: hd95 and assd. The clocks run on the same volumes, one
after the other, and the values must agree (ours to each peer's own definition) or the run fails.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import torch
from medpy.metric.binary import assd as medpy_assd
from medpy.metric.binary import hd95 as medpy_hd95
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance
from scipy.ndimage import gaussian_filter

from fewmask.metrics.surface import surface_scores

SHAPE = (30, 256, 256)
SPACING = (4.0, 1.0, 1.0)


@dataclass(frozen=True)
class Pair:
    """An organ and a fair prediction of it."""

    truth: np.ndarray
    predicted: np.ndarray


@dataclass(frozen=True)
class Measured:
    """What one library said of one pair, and how long it took."""

    hd95: float
    average: float
    seconds: float


def blob(seed: int) -> Pair:
    """An ellipsoid with a wavy outline; the prediction's outline waves a little differently."""
    random = np.random.default_rng(seed)

    def waves(sigma: tuple[int, int, int]) -> np.ndarray:
        field = gaussian_filter(random.standard_normal(SHAPE), sigma)
        return field / field.std()

    axes = np.ogrid[tuple(slice(0, side) for side in SHAPE)]
    radii = [side * share for side, share in zip(SHAPE, (0.36, 0.3, 0.3), strict=True)]
    ellipsoid = 1 - sum(((a - n / 2) / r) ** 2 for a, n, r in zip(axes, SHAPE, radii, strict=True))
    field = ellipsoid + 0.25 * waves((3, 12, 12))
    return Pair(field > 0, field + 0.12 * waves((2, 6, 6)) > 0)


def ours(pair: Pair) -> tuple[float, float]:
    """Our four scores; hd95 and assd are returned."""
    scores = surface_scores(pair.truth, pair.predicted, SPACING)
    return scores.hd95, scores.assd


def monai(pair: Pair) -> tuple[float, float]:
    """MONAI's two calls on tensors, as its users make them."""
    truth, predicted = (torch.from_numpy(mask)[None, None] for mask in (pair.truth, pair.predicted))
    hd95 = compute_hausdorff_distance(
        predicted, truth, include_background=True, percentile=95, spacing=SPACING
    )
    average = compute_average_surface_distance(
        predicted, truth, include_background=True, symmetric=True, spacing=SPACING
    )
    return float(hd95), float(average)


def medpy(pair: Pair) -> tuple[float, float]:
    """medpy's two calls."""
    return (
        float(medpy_hd95(pair.predicted, pair.truth, SPACING)),
        float(medpy_assd(pair.predicted, pair.truth, SPACING)),
    )


def clock(measure: Callable[[Pair], tuple[float, float]], pair: Pair) -> Measured:
    """The values, and the time of one call."""
    start = time.perf_counter()
    hd95, average = measure(pair)
    return Measured(hd95, average, time.perf_counter() - start)


def show(measured: dict[str, list[Measured]]) -> None:
    """One line a library: its median time for a volume, its total, and the total as a multiple of ours."""
    print(f"{'library':8} {'median ms':>10} {'total s':>9} {'times ours':>11}")
    own = sum(entry.seconds for entry in measured["ours"])
    for name, entries in measured.items():
        total = sum(entry.seconds for entry in entries)
        median = 1000 * statistics.median(entry.seconds for entry in entries)
        print(f"{name:8} {median:10.1f} {total:9.2f} {total / own:10.1f}x")


def largest_difference(pair: Pair, by_monai: Measured, by_medpy: Measured) -> float:
    """The largest difference between our distances, under each peer's definition, and the peer's value."""
    own = surface_scores(pair.truth, pair.predicted, SPACING)
    return max(
        abs(own.hd95 - by_monai.hd95),
        abs(own.assd - by_monai.average),
        abs(own.hd95_pooled - by_medpy.hd95),
        abs(own.assd - by_medpy.average),
    )


def main() -> int:
    """Print the table; 1 where the values disagree."""
    parser = argparse.ArgumentParser(description="Surface distances: ours, MONAI, medpy.")
    parser.add_argument("--volumes", type=int, default=25)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    libraries = {"ours": ours, "MONAI": monai, "medpy": medpy}
    for measure in libraries.values():
        measure(blob(options.volumes))  # imports and caches are warm before any clock runs
    measured: dict[str, list[Measured]] = {name: [] for name in libraries}
    worst, voxels = 0.0, []
    for seed in range(options.volumes):
        pair = blob(seed)
        for name, measure in libraries.items():
            measured[name].append(clock(measure, pair))
        worst = max(worst, largest_difference(pair, measured["MONAI"][-1], measured["medpy"][-1]))
        voxels.append(int(pair.truth.sum()))
    print(f"{options.volumes} volumes of {SHAPE}, spacing {SPACING}, one thread")
    print(f"median structure: {statistics.median(voxels):.0f} voxels")
    print(
        ", ".join(f"{name} {version(name)}" for name in ("torch", "monai", "medpy", "scipy", "numpy")), "\n"
    )
    show(measured)
    print(f"\nlargest difference to a peer's value: {worst:.1e}")
    return 0 if worst < 1e-4 else 1


if __name__ == "__main__":
    sys.exit(main())
