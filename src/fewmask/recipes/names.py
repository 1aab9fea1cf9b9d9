"""Every recipe that `fewmask train` knows by name."""

from collections.abc import Callable

from fewmask.recipe import Recipe
from fewmask.recipes import placenta, segmenter

RECIPES: dict[str, Callable[[bool], Recipe]] = {
    "supervised": segmenter.supervised,
    "unet": segmenter.supervised,
    "cyclegan": placenta.cyclegan,
}
