"""Every recipe that `fewmask train` knows by name."""

from collections.abc import Callable

from fewmask.recipe import Recipe
from fewmask.recipes import alignment, cardiac, diagnosis, glua, placenta, segmenter

RECIPES: dict[str, Callable[[bool], Recipe]] = {
    "supervised": segmenter.supervised,
    "unet": segmenter.supervised,
    "supervised_unaugmented": segmenter.supervised_unaugmented,
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
    "sifa": cardiac.sifa,
    "sifa_one_forward": cardiac.sifa_one_forward,
    "sifa_heart_mr_to_ct": cardiac.sifa_heart_mr_to_ct,
    "sifa_heart_ct_to_mr": cardiac.sifa_heart_ct_to_mr,
    "sifa_abdomen_mr_to_ct": cardiac.sifa_abdomen_mr_to_ct,
    "sifa_abdomen_ct_to_mr": cardiac.sifa_abdomen_ct_to_mr,
    "sifa_v1": cardiac.sifa_v1,
    "sifa_with_output_critic": cardiac.sifa_with_output_critic,
    "sifa_image_only": cardiac.sifa_image_only,
    "output_adversarial": alignment.output_adversarial,
    "feature_adversarial": alignment.feature_adversarial,
    "glua_style_only": glua.style_transfer_only,
    "glua": glua.glua,
    "glua_literal_mask": glua.glua_literal_mask,
    "glua_entropy_mask": glua.glua_entropy_mask,
    "glua_without_mask": glua.glua_without_mask,
    "glua_without_style": glua.glua_without_style,
}
