"""The first two minutes: two synthetic hospitals, and a method between its floor and its ceiling."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from fewmask.console import progress
from fewmask.data.phantom import write_phantom
from fewmask.evaluation.evaluate import evaluate
from fewmask.evaluation.report import write_report
from fewmask.evaluation.segment import segment
from fewmask.methods.kinds import KINDS
from fewmask.recipe import Cohorts, Recipe, override
from fewmask.recipes.placenta import cyclegan
from fewmask.recipes.segmenter import supervised
from fewmask.training.train import tell, train

SIZE = 64
CASES = 60
SEGMENTER_STEPS = 150
TRANSLATOR_STEPS = 240


@dataclass(frozen=True)
class Row:
    """One row of the demo's table: what it stands for, where it lies, and its recipe."""

    title: str
    folder: Path
    recipe: Recipe


def demonstrate(out: Path) -> str:
    """Write the placenta phantom, train and score three runs, write their report; returns the table as text.

    A demo that was stopped goes on where it stopped.
    """
    # Networks this narrow gain little from a second thread, and threads that wait for one another beside any other
    # work on the machine have made the demo five times slower.
    torch.set_num_threads(1)
    source, target = _phantom(out / "phantom")
    rows = _rows(out, source, target)
    lines = [f"{'':10} {'Dice':>6}   95 % interval over patients"]
    for row in rows:
        tell(f"== {row.title}: {row.recipe.name} ==")
        train(row.recipe, row.folder, device="cpu", cache=out / "cache", progress=progress)
        segment(row.folder, target, row.folder / "predictions", device="cpu", progress=progress)
        dice = evaluate(row.folder / "predictions", target, row.folder).overall.metrics.dice
        lines.append(f"{row.title:10} {dice.mean:6.3f}   {dice.low:.3f} to {dice.high:.3f}  (n = {dice.n})")
    floor, method, ceiling = (row.folder for row in rows)
    page = write_report([method, floor, ceiling])
    steps = f"{SEGMENTER_STEPS} and {TRANSLATOR_STEPS} steps of training: a demonstration, not a result."
    return "\n".join([*lines, "", steps, f"Report: {page}"])


def _phantom(folder: Path) -> tuple[Path, Path]:
    if not folder.exists():
        write_phantom("placenta", folder, seed=0, cases=CASES, size=SIZE)
    source, target = sorted(path for path in folder.iterdir() if path.is_dir())
    return source, target


def _rows(out: Path, source: Path, target: Path) -> tuple[Row, Row, Row]:
    short = (f"size={SIZE}", f"segmenter.steps={SEGMENTER_STEPS}")
    floor = override(supervised(small=True), short, KINDS)
    ceiling = replace(floor, cohorts=Cohorts(masks=target.resolve()))
    floor = replace(floor, cohorts=Cohorts(masks=source.resolve()))
    method = override(cyclegan(small=True), (*short, f"translators.steps={TRANSLATOR_STEPS}"), KINDS)
    # The floor's segmenter is the one that the method freezes: it is trained once.
    method = replace(
        method,
        cohorts=Cohorts(source=source.resolve(), target=target.resolve()),
        start_from=(out / "floor").resolve(),
    )
    return (
        Row("floor", out / "floor", floor),
        Row("CycleGAN", out / "cyclegan", method),
        Row("ceiling", out / "ceiling", ceiling),
    )
