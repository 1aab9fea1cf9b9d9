"""From volumes on disk to soft pseudo-labels, as a run of `umcam` makes them, at its full width.

python benchmarks/pseudo_labels.py [--slices 1000] [--size 256] [--precision bf16] [--device auto] [--json]

Volumes of 100 slices of smooth noise are written as NIfTI; then all that `train umcam` does with each between its two
stages, but for writing the result: reading, preparing, the classifier's score, maps of its four layers in one pass,
their fusion, threshold, components, seeds, both geodesic distances, and the audit's measures. Every slice counts as
positive, which is the most work there can be. Weights are fresh: maps are scattered, objects are small.

It never fails because of speed. `OMP_NUM_THREADS` sets the threads. The distances are exact, compiled where numba is
installed.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from fewmask.data.case import Case
from fewmask.data.preparation import Intensity, Preparation
from fewmask.data.prepared_case import prepare_case
from fewmask.data.volume import write_volume
from fewmask.methods.tags import TagConfig
from fewmask.networks.initial import smooth_noise
from fewmask.pseudo_label_config import PseudoLabels
from fewmask.shapes import Task
from fewmask.training.pseudo_label import PseudoLabeller
from fewmask.training.train import make_fabric

DEEP = 100
"""Slices of a volume."""


@dataclass(frozen=True)
class Measured:
    """Seconds for all slices, how many got a label, and what did the work."""

    slices: int
    labelled: int
    size: int
    seconds: float
    threads: int
    precision: str
    compiled: bool

    @property
    def ms_a_slice(self) -> float:
        """Milliseconds."""
        return 1000.0 * self.seconds / self.slices


def write(folder: Path, number: int, size: int) -> Path:
    """One volume (size, size, DEEP) of 12 bits."""
    torch.manual_seed(number)
    values = (smooth_noise(DEEP, size)[:, 0].permute(1, 2, 0) * 4095).numpy().astype(np.int16)
    path = folder / f"stack{number}_0000.nii.gz"
    write_volume(values, np.eye(4), path)
    return path


def build(device: str, precision: str, size: int) -> PseudoLabeller:
    """The recipe's classifier and options."""
    torch.manual_seed(0)
    method = TagConfig().build(Task(1, ("background", "brain"), size), None)
    fabric = make_fabric(device, 1, precision)
    return PseudoLabeller(method.to(fabric.device).eval(), PseudoLabels(), fabric)


def measure(labeller: PseudoLabeller, paths: list[Path], size: int, precision: str) -> Measured:
    """Label all volumes, after some slices to warm up."""
    preparation = Preparation("tags", 1, size, (Intensity("fixed", 0.0, 4095.0),), 1.0, 2)
    warm = prepare_case(Case("warm", (paths[0],)), preparation)
    labeller.look(next(iter(warm.chunks())))
    labelled = 0
    began = time.perf_counter()
    for number, path in enumerate(paths):
        prepared = prepare_case(Case(str(number), (path,)), preparation)
        labels = labeller.label(prepared, [1.0] * DEEP)
        labelled += int((labels.labels > 0).flatten(1).any(1).sum())
    seconds = time.perf_counter() - began
    compiled = find_spec("numba") is not None
    return Measured(len(paths) * DEEP, labelled, size, seconds, torch.get_num_threads(), precision, compiled)


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description="From volumes to soft pseudo-labels.")
    parser.add_argument("--slices", type=int, default=1000, help="a multiple of 100")
    parser.add_argument("--size", type=int, default=256, help="pixels of a side")
    parser.add_argument("--precision", default="bf16", choices=("32", "bf16"))
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--json", action="store_true", help="one JSON object instead of words")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        count = max(1, options.slices // DEEP)
        paths = [write(Path(folder), number, options.size) for number in range(count)]
        labeller = build(options.device, options.precision, options.size)
        measured = measure(labeller, paths, options.size, options.precision)
    if options.json:
        print(json.dumps(asdict(measured) | {"ms_a_slice": measured.ms_a_slice}))
    else:
        how = "compiled by numba" if measured.compiled else "in torch"
        print(
            f"{measured.slices} slices of {measured.size} x {measured.size}, {measured.precision}, "
            f"{measured.threads} threads, geodesics {how}: {measured.seconds:.0f} s, "
            f"{measured.ms_a_slice:.0f} ms a slice; {measured.labelled} got a label"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
