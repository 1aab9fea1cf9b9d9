"""The scores of a cell that learnt from tags: its masks and its pseudo-masks, on test and on held-out patients."""

from pathlib import Path

from fewmask.data.split import read_splits
from fewmask.evaluation.evaluate import evaluate
from fewmask.evaluation.segment import segment
from fewmask.evaluation.slice_scores import slice_scores
from fewmask.studies.channels import part_folder
from fewmask.training.run import Run

VALIDATION, PSEUDO_TEST, PSEUDO_VALIDATION = "validation", "pseudo_test", "pseudo_validation"
"""Folders in a cell's own, beside the scores of the test part; each has the table of `evaluate` or `slice_scores`."""


def score_tagged(run: Path, dataset: Path, folder: Path, device: str) -> None:
    """Segment and score the test part, the run's held-out patients, and the pseudo-masks of both where it makes some.

    Nothing is chosen by the test part's masks. Volumes are scored in 3D, pseudo-masks slice by slice.
    """
    held_out = held_out_folder(run, dataset, folder / "held_out")
    for part, images in ((folder, dataset), (folder / VALIDATION, held_out)):
        segment(run, images, part / "predictions", device=device)
        evaluate(part / "predictions", images, part)
    if Run(run).recipe().stages[-1].labelled_by is None:
        return
    for name, images in ((PSEUDO_TEST, dataset), (PSEUDO_VALIDATION, held_out)):
        masks = folder / name / "predictions"
        segment(run, images, masks, pseudo_masks=True, device=device)
        slice_scores(masks, images, folder / name)


def held_out_folder(run: Path, dataset: Path, out: Path) -> Path:
    """The patients whom a run held out, as the test part of a folder of links."""
    return part_folder(dataset, read_splits(Run(run).splits)[0].validation, out)
