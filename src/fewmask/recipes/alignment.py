"""Source and target brought together inside one segmenter, by a critic: the adversarial rows of a cross-modality table.

In `small` the networks are as narrow as the floor's, and a stage takes about four minutes on one core.
"""

from fewmask.methods.local_alignment import LocalAlignmentConfig, LocalMask
from fewmask.methods.output_alignment import OutputAlignmentConfig
from fewmask.networks.unet import UNetConfig
from fewmask.recipe import Recipe, Stage
from fewmask.recipes.segmenter import SMALL_SIZE

SMALL_STEPS, STEPS = 600, 20_000
"""Of 8 + 8 images each; 20,000 are those of SIFA's second version (Chen et al. 2020)."""


def local_alignment_stage(
    small: bool, mask: LocalMask = "symmetric", restyled_by: str | None = None
) -> Stage:
    """GLUA's second stage (reconstructed), on the source as the stage `restyled_by` re-draws it, or as it is.

    Differs: steps are those of SIFA's second version; GLUA's were never at hand, the sister code has 100 epochs.
    """
    return Stage(
        name="alignment",
        method=LocalAlignmentConfig(mask=mask),
        steps=SMALL_STEPS if small else STEPS,
        batch=8,
        restyled_by=restyled_by,
        choose="last",
    )


def output_adversarial(small: bool) -> Recipe:
    """AdaptSegNet (Tsai et al. 2018), single level: a critic of the segmenter's probabilities."""
    widths = (16, 32, 64, 128, 256) if small else (32, 64, 128, 256, 512)
    stage = Stage(
        name="alignment",
        method=OutputAlignmentConfig(network=UNetConfig(widths)),
        steps=SMALL_STEPS if small else STEPS,
        batch=8,
        choose="last",
    )
    return Recipe(name="output_adversarial", stages=(stage,), size=SMALL_SIZE if small else 256)


def feature_adversarial(small: bool) -> Recipe:
    """A critic of the encoder's coarsest features, on images as they are: GLUA without its style and its mask."""
    stage = local_alignment_stage(small, mask="none")
    return Recipe(name="feature_adversarial", stages=(stage,), size=SMALL_SIZE if small else 256)
