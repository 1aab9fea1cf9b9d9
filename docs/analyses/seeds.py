"""How often UM-CAM's seed falls into the object, and how good the label is that grows from it there and elsewhere.

Over the held-out patients' slices that show the object, in all seeds of a study of tags, with each run's own threshold.
After `make results`, from the repository's root:
.venv/bin/python docs/analyses/seeds.py results/fetal_brain
"""

import sys
from pathlib import Path

import numpy as np
import torch

from fewmask.data.store import load_store
from fewmask.evaluation.pseudo_masks import load_pseudo_masks
from fewmask.files import read_json
from fewmask.pseudo_labels.expansion import expand
from fewmask.pseudo_labels.fusion import fused
from fewmask.pseudo_labels.seeds import dice_of

ROW = "umcam"
AT_ONCE = 16


def scores_of(run: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """For each held-out slice that shows the object: whether the seed is in it, and the label's Dice."""
    made = load_pseudo_masks(run, "cpu").labeller
    store = load_store(Path(read_json(run / "material.json")["roles"]["held_out"]["store"]))
    hits: list[torch.Tensor] = []
    dice: list[torch.Tensor] = []
    assert made.options.expansion is not None and made.threshold is not None
    for chunk in np.array_split(np.arange(store.row_count), max(1, store.row_count // AT_ONCE)):
        truth = torch.from_numpy(store.masks(chunk)) == 1
        shown = truth.flatten(1).any(1)
        if not shown.any():
            continue
        images, truth = torch.from_numpy(store.images(chunk))[shown], truth[shown]
        maps = fused(made.look(images).maps, made.options.weighting)
        thresholds = torch.full((len(maps),), made.threshold)
        grown = expand(images[:, 0], maps, thresholds, made.options.expansion)
        hits.append((grown.seeds.foreground & truth).flatten(1).any(1))
        dice.append(dice_of(grown.label > 0.5, truth))
    return torch.cat(hits), torch.cat(dice)


def main() -> None:
    """Print the figures of all seeds together."""
    runs = sorted(Path(sys.argv[1]).glob(f"cells/{ROW}/fold-0/seed-*"))
    parts = [scores_of(run) for run in runs]
    hits, dice = (torch.cat(values) for values in zip(*parts, strict=True))
    share = 100 * hits.double().mean()
    print(f"{len(hits)} slices of {len(runs)} seeds: {share:.0f} % of the seeds lie in the object")
    print(f"Dice of the label where they do {dice[hits].mean():.2f}, where not {dice[~hits].mean():.2f}")


if __name__ == "__main__":
    main()
