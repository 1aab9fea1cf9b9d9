"""The scores of a cell that draws masks, tells an outcome, or both: on its training, held-out and test patients."""

from pathlib import Path

from fewmask.data.split import read_splits
from fewmask.evaluation.evaluate import evaluate
from fewmask.evaluation.prognosis import evaluate_prognosis
from fewmask.evaluation.segment import segment
from fewmask.evaluation.told_outcomes import tells_outcomes
from fewmask.studies.channels import part_folder
from fewmask.training.run import Run

TRAIN, VALIDATION = "train", "validation"
"""Folders in a cell's own, beside the scores of the test part."""


def score_parts(run: Path, dataset: Path, folder: Path, device: str) -> None:
    """Segment and score the three parts. Nothing is chosen by the test part; the other two flatter."""
    split = read_splits(Run(run).splits)[0]
    parts = {TRAIN: split.train, VALIDATION: split.validation}
    links = {name: part_folder(dataset, cases, folder / f"{name}_cases") for name, cases in parts.items()}
    for images, out in ((dataset, folder), *((links[name], folder / name) for name in parts)):
        predictions = out / "predictions"
        written = segment(run, images, predictions, device=device)
        if written.masks:
            evaluate(predictions, images, out)
        if tells_outcomes(predictions):
            evaluate_prognosis(predictions, images, out)
