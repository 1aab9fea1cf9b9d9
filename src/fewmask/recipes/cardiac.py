"""SIFA for the cardiac and abdominal tables (Chen et al. 2019 and 2020): one modality has masks, the other has none."""

from dataclasses import replace
from typing import Literal

from fewmask.losses.turn import Ramp
from fewmask.methods.base import Adam, Schedule
from fewmask.methods.sifa import SIFAConfig, SIFAWeights
from fewmask.recipe import Recipe, Scaling, Stage, without
from fewmask.recipes import scaling
from fewmask.recipes.segmenter import SMALL_SIZE

FIRST_VERSION = SIFAConfig(
    tiles=3,
    encoder_dropout=0.25,
    weights=SIFAWeights(
        auxiliary_cross_entropy=0.0,
        auxiliary_dice=0.0,
        auxiliary_prediction_adversarial=0.0,
        # 0 until epoch 5 of 20, a third of 0.1 there, two thirds at epoch 6, all from epoch 7 on.
        prediction_adversarial=Ramp(peak=0.1, start=4 / 20, end=7 / 20),
    ),
    segmenter_optimiser=Adam(rate=1e-3, schedule=Schedule("stairs", hold=0.0, stairs=10, drop=0.9)),
)
"""The conference paper: no second head, dropout, and a critic of predictions that the segmenter hears from 20 % on."""


def _adapted(name: str, small: bool, config: SIFAConfig, steps: int) -> Recipe:
    """One stage, source beside target. In `small` the same networks are a quarter as wide.

    Differs: images are changed at random as they are drawn; SIFA's data came with fixed affine changes baked in. In
    `small` the segmenter learns at 1e-3 in both versions (the rate that version 2's code defines but does not use): 600
    steps at 2e-4 would be the first 3 % of a training. Its critics have one layer less: patches of 34 pixels, where
    70 would exceed the image.
    """
    if small:
        rate = replace(config.segmenter_optimiser, rate=1e-3)
        config = replace(
            config,
            encoder_width=4,
            translator_width=8,
            decoder_width=8,
            critic_width=16,
            critic_layers=2,
            segmenter_optimiser=rate,
        )
    stage = Stage(name="sifa", method=config, steps=600 if small else steps, batch=4 if small else 8)
    return Recipe(name=name, stages=(stage,), size=SMALL_SIZE if small else 256)


def sifa(small: bool) -> Recipe:
    """SIFA as in the journal (version 2): two heads, no dropout in the encoder, 20,000 steps of 8 + 8 images.

    Differs: intensities are scaled as fewmask always does; the papers' bounds are in `sifa_heart_mr_to_ct` etc.
    """
    return _adapted("sifa", small, SIFAConfig(), 20_000)


def sifa_one_forward(small: bool) -> Recipe:
    """SIFA's version 2, but all players learn from one forward pass and move together. Ours, not the paper's order."""
    return _adapted("sifa_one_forward", small, SIFAConfig(order="one_forward"), 20_000)


def sifa_heart_mr_to_ct(small: bool) -> Recipe:
    """SIFA's version 2 as its authors prepare heart volumes: coronal slices, z-scores between published bounds."""
    return _prepared("sifa_heart_mr_to_ct", small, scaling.CARDIAC_MR_TO_CT, "coronal")


def sifa_heart_ct_to_mr(small: bool) -> Recipe:
    """The same from CT to MR."""
    return _prepared("sifa_heart_ct_to_mr", small, scaling.CARDIAC_CT_TO_MR, "coronal")


def sifa_abdomen_mr_to_ct(small: bool) -> Recipe:
    """SIFA's version 2 for abdominal volumes, z-scored between the bounds that a user recovered from SIFA's files."""
    return _prepared("sifa_abdomen_mr_to_ct", small, scaling.ABDOMEN_MR_TO_CT, "auto")


def sifa_abdomen_ct_to_mr(small: bool) -> Recipe:
    """The same from CT to MR."""
    return _prepared("sifa_abdomen_ct_to_mr", small, scaling.ABDOMEN_CT_TO_MR, "auto")


def _prepared(name: str, small: bool, bounds: Scaling, axis: Literal["auto", "coronal"]) -> Recipe:
    return replace(sifa(small), name=name, scaling=bounds, slice_axis=axis)


def sifa_v1(small: bool) -> Recipe:
    """SIFA as in the conference paper (version 1): 20 epochs of 1,200 steps.

    Differs: the weight of the critic of predictions rises steadily through epochs 4 to 6, from and to the published
    values at the starts of the epochs; SIFA's code climbs in three stairs.
    """
    return _adapted("sifa_v1", small, FIRST_VERSION, 24_000)


def sifa_with_output_critic(small: bool) -> Recipe:
    """Version 1 without the second map of the source's critic: the middle row of the conference paper's ablation."""
    recipe = without(sifa_v1(small), "auxiliary_source_adversarial")
    return replace(recipe, name="sifa_with_output_critic")


def sifa_image_only(small: bool) -> Recipe:
    """Version 1 with image alignment alone, no critic of features: the first row of the conference paper's ablation."""
    recipe = without(sifa_with_output_critic(small), "prediction_adversarial")
    return replace(recipe, name="sifa_image_only")
