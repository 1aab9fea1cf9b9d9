"""The rows of the placenta table (MSL, Table 1): photographs of one hospital have masks, those of another have none."""

from fewmask.methods.attention_cyclegan import AttentionCycleGANConfig
from fewmask.recipe import Augmentation, Recipe, Stage
from fewmask.recipes.segmenter import SMALL_SIZE, segmenter_stage

FLIPS_ONLY = Augmentation(
    rotation=0, translation=0, scale=0, flip=True, gamma=0, contrast=0, brightness=0, noise=0
)
"""The translators see images as they are: a changed brightness would be a change of the domain itself."""


def cyclegan(small: bool) -> Recipe:
    """CycleGAN (Zhu et al. 2017) and the frozen source segmenter, as the baseline of MSL's Table 1.

    40,000 steps of one image a domain are 200 epochs of the 200 source images that MSL translates.
    """
    config = (
        AttentionCycleGANConfig(translator_width=16, critic_width=32) if small else AttentionCycleGANConfig()
    )
    translators = Stage(
        name="translators",
        method=config,
        steps=2000 if small else 40_000,
        batch=1,
        augmentation=FLIPS_ONLY,
        segmenter="segmenter",
        choose="last",
    )
    stages = (segmenter_stage(small), translators)
    return Recipe(name="cyclegan", stages=stages, size=SMALL_SIZE if small else 256)
