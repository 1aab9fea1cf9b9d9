"""The segmenter itself: floor, ceiling, and the frozen network inside translation recipes."""

from dataclasses import replace

from fewmask.methods.supervised import SupervisedConfig
from fewmask.networks.unet import UNetConfig
from fewmask.recipe import Augmentation, Recipe, Stage

SMALL_SIZE = 64
"""Pixels of a side in `--small` recipes: a method and its floor share it, so that a table compares like with like."""


def segmenter_stage(small: bool) -> Stage:
    """A U-Net on labelled images with strong augmentation; the best epoch on the held-out labelled patients is kept."""
    widths = (16, 32, 64, 128, 256) if small else (32, 64, 128, 256, 512)
    return Stage(
        name="segmenter",
        method=SupervisedConfig(network=UNetConfig(widths)),
        steps=1800 if small else 1500,
        batch=8 if small else 16,
        choose="validation",
    )


def supervised(small: bool) -> Recipe:
    """A U-Net trained on masks."""
    return Recipe(name="supervised", stages=(segmenter_stage(small),), size=SMALL_SIZE if small else 256)


UNCHANGED = Augmentation(rotation=0, translation=0, scale=0, gamma=0, contrast=0, brightness=0, noise=0)
"""Images as they are."""


def supervised_unaugmented(small: bool) -> Recipe:
    """The same U-Net on images as they are: how much of a floor is the augmentation."""
    recipe = supervised(small)
    stage = replace(recipe.stages[0], augmentation=UNCHANGED)
    return replace(recipe, name="supervised_unaugmented", stages=(stage,))
