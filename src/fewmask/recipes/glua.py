"""GLUA (reconstructed): a style transfer first, then a segmenter on the source in the target's looks."""

from dataclasses import replace

from fewmask.methods.base import AdaBelief
from fewmask.methods.local_alignment import LocalMask
from fewmask.methods.style_transfer import StyleTransferConfig
from fewmask.recipe import Augmentation, Recipe, Stage
from fewmask.recipes.alignment import local_alignment_stage
from fewmask.recipes.segmenter import SMALL_SIZE, segmenter_stage

FULL_SIZE = 256

MOVED = Augmentation(
    rotation=30.0, translation=0.1, scale=0.14, flip=True, gamma=0, contrast=0, brightness=0, noise=0
)
"""Shifts and zooms by a tenth (2^0.14 = 1.1), turns by 30 degrees, flips: how a domain looks stays as it is.

DAR-UNet moves every other image; here each is moved by an amount that may be small.
"""


def style_transfer_stage(small: bool) -> Stage:
    """Stage 1 of GLUA (reconstructed), with the widths, rates and batches of DAR-UNet.

    Its code trains for up to 200 epochs, but its inference script and the weights that its authors share are those of
    epoch 40. An epoch of sixteen cardiac volumes is about 2,000 slices, 500 batches of 4: 40 epochs are 20,000 steps.
    In `small` the networks are a quarter as wide, all learn at 1e-3, and averages forget faster: at the published rates
    600 steps are too few to draw an image.
    """
    config = StyleTransferConfig()
    if small:
        rate = AdaBelief(rate=1e-3)
        config = replace(
            config,
            width=8,
            critic_width=8,
            average_decay=0.99,
            optimiser=rate,
            critic_optimiser=rate,
        )
    return Stage(
        name="style_transfer",
        method=config,
        steps=600 if small else 20_000,
        batch=4,
        augmentation=MOVED,
        choose="last",
    )


def style_transfer_only(small: bool) -> Recipe:
    """The global half of GLUA (reconstructed): a U-Net on six stylised copies of each source case, nothing else."""
    segmenter = replace(segmenter_stage(small), name="target_segmenter", restyled_by="style_transfer")
    stages = (style_transfer_stage(small), segmenter)
    return Recipe(name="glua_style_only", stages=stages, size=SMALL_SIZE if small else FULL_SIZE)


def glua(small: bool) -> Recipe:
    """GLUA (reconstructed): the style transfer, then features aligned under the local mask, critic at +1 and -1."""
    return _aligned("glua", small, "symmetric")


def glua_literal_mask(small: bool) -> Recipe:
    """GLUA (reconstructed) with the mask as its authors' code has it, which is no measure of a gap."""
    return _aligned("glua_literal_mask", small, "literal")


def glua_entropy_mask(small: bool) -> Recipe:
    """GLUA (reconstructed) with a mask of the critic's certainty."""
    return _aligned("glua_entropy_mask", small, "entropy")


def glua_without_mask(small: bool) -> Recipe:
    """The style transfer, then features aligned by the same critic without its mask."""
    return _aligned("glua_without_mask", small, "none")


def glua_without_style(small: bool) -> Recipe:
    """The local half of GLUA (reconstructed): features aligned under the mask, on the source as it is."""
    stage = local_alignment_stage(small)
    return Recipe(name="glua_without_style", stages=(stage,), size=SMALL_SIZE if small else FULL_SIZE)


def _aligned(name: str, small: bool, mask: LocalMask) -> Recipe:
    stages = (style_transfer_stage(small), local_alignment_stage(small, mask, restyled_by="style_transfer"))
    return Recipe(name=name, stages=stages, size=SMALL_SIZE if small else FULL_SIZE)
