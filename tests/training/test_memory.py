"""Peak memory: of a whole training, which does not grow with the data set, and of one step on a GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from PIL import Image

from fewmask.data.batch import Adaptation, Labelled, Unlabelled
from fewmask.recipes.names import RECIPES
from fewmask.shapes import Task
from fewmask.training.play import play

torch.set_num_threads(1)

MEASURED = """
import resource, sys
from fewmask import cli
try:
    cli.main()
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def write_dataset(folder: Path, cases: int) -> None:
    rng = np.random.default_rng(0)
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for index in range(cases):
        Image.fromarray(rng.integers(0, 256, (128, 128), np.uint8)).save(
            folder / f"imagesTr/c{index}_0000.png"
        )
        Image.fromarray(rng.integers(0, 2, (128, 128), np.uint8)).save(folder / f"labelsTr/c{index}.png")
    declared = {"channel_names": {"0": "grey"}, "labels": {"background": 0, "organ": 1}, "numTraining": cases}
    (folder / "dataset.json").write_text(json.dumps({**declared, "file_ending": ".png"}))


@pytest.mark.slow
def test_peak_memory_of_a_training_does_not_grow_with_the_data(tmp_path: Path, own_cache: Path) -> None:
    peaks: list[float] = []
    for cases in (200, 3000):
        write_dataset(tmp_path / str(cases), cases)
        words = f"train supervised --masks {tmp_path / str(cases)} --out {tmp_path / f'run{cases}'} --small"
        options = "--set size=128 --set steps=60 --set batch=2 --set widths=[4,8]"
        run = subprocess.run(
            [sys.executable, "-c", MEASURED, *words.split(), *options.split()],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        peaks.append(int(run.stderr.strip().splitlines()[-1]) / 1024)
    stored_mib = 2800 * 128 * 128 * 3 / 2**20
    assert peaks[1] - peaks[0] < stored_mib / 5, f"{peaks} MiB, {stored_mib:.0f} MiB stored"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: the limit is one of GPU memory")
def test_a_sifa_step_fits_into_twelve_gib_of_a_gpu() -> None:
    """One step of SIFA as published, 8 + 8 images of 256 pixels, in bf16."""
    stage = RECIPES["sifa"](False).stages[0]
    fabric = Fabric(accelerator="cuda", devices=1, precision="bf16-mixed")
    method = stage.method.build(Task(1, ("background", *"abcd"), 256), None).to(fabric.device).train()
    torch.cuda.reset_peak_memory_stats()
    images = torch.rand(stage.batch, 1, 256, 256, device=fabric.device) * 2 - 1
    masks = torch.randint(0, 5, (stage.batch, 256, 256), device=fabric.device)
    for _ in range(2):
        batch = Adaptation(Labelled(images, masks), Unlabelled(images.flip(0)))
        play(fabric, method, method.training_step(batch, 0.5), 0.5)
    assert torch.cuda.max_memory_allocated() < 12 * 2**30
