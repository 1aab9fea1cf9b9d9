"""Every recipe that `fewmask train` knows by name."""

from collections.abc import Callable

from fewmask.recipe import Recipe
from fewmask.recipes import diagnosis, placenta, segmenter

RECIPES: dict[str, Callable[[bool], Recipe]] = {
    "supervised": segmenter.supervised,
    "unet": segmenter.supervised,
    "placentanet": placenta.placentanet,
    "cyclegan": placenta.cyclegan,
    "aggan": placenta.aggan,
    "msl": placenta.msl,
    "msl_cycle_off_attention": placenta.msl_cycle_off_attention,
    "cyclegan_train_on_translated": placenta.cyclegan_train_on_translated,
    "aggan_train_on_translated": placenta.aggan_train_on_translated,
    "msl_train_on_translated": placenta.msl_train_on_translated,
    "msl_without_attention_consistency": placenta.msl_without_attention_consistency,
    "msl_without_saliency": placenta.msl_without_saliency,
    "msl_without_cycle": placenta.msl_without_cycle,
    "msl_without_attention": placenta.msl_without_attention,
    "diagnosis": diagnosis.diagnosis,
}
