"""An outcome from an image: the classifier of MSL's section 3.4, trained on the source's own photographs."""

from fewmask.methods.outcome import OutcomeConfig
from fewmask.networks.classifier import ClassifierConfig
from fewmask.recipe import Recipe, Stage
from fewmask.recipes.segmenter import SMALL_SIZE


def diagnosis(small: bool) -> Recipe:
    """A classifier of whole images; `--outcome` names what it learns.

    The best AUC on the held-out labelled patients is kept. `--set kept=[disc,cord]` hides the rest in training too.
    """
    widths = (16, 32, 64, 128) if small else (32, 64, 128, 256, 512)
    stage = Stage(
        name="classifier",
        method=OutcomeConfig(network=ClassifierConfig(widths)),
        steps=1000 if small else 3000,
        batch=16,
        choose="validation",
        validate_every=50,
    )
    return Recipe(name="diagnosis", stages=(stage,), size=SMALL_SIZE if small else 256)
