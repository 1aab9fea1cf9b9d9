"""Segmentation and prognosis together: the rows of Wlodarczyk et al. 2020, on ultrasound of the cervix."""

from dataclasses import replace

from fewmask.methods.base import CoupledAdam
from fewmask.methods.joint import AnyBody, JointConfig
from fewmask.methods.marker_classifier import MarkersConfig
from fewmask.networks.deeplab import DeepLabv3Config
from fewmask.networks.fcn import FCNConfig
from fewmask.networks.outcome_branch import BranchConfig
from fewmask.networks.unet import UNetConfig
from fewmask.recipe import Augmentation, Recipe, Stage, without
from fewmask.recipes.segmenter import UNCHANGED

AUGMENTATION = Augmentation(gamma=0.0, contrast=0.2, brightness=0.2)
"""Sec. 3.2: crop, rotation of up to 15 degrees, contrast, brightness, noise; all but the rotation's range is ours."""

STEPS = 500 * 953
"""500 epochs of 3,812 images, 4 at a time."""

SMALL_STEPS = 1000
SMALL_SIZE = 96


def _recipe(small: bool, name: str, network: AnyBody) -> Recipe:
    """Adam, 1e-4, weight decay 5e-4, batches of 4; small: a seventh of the images' area, and a tenfold rate."""
    method = JointConfig(network=network)
    if small:
        faster = CoupledAdam(rate=1e-3, weight_decay=5e-4)
        method = replace(method, branch=BranchConfig(widths=(64, 16)), optimiser=faster)
    stage = Stage(
        name="network",
        method=method,
        steps=SMALL_STEPS if small else STEPS,
        batch=8 if small else 4,
        augmentation=AUGMENTATION,
        choose="validation",
        validate_every=100 if small else 953,
    )
    return Recipe(name=name, stages=(stage,), size=SMALL_SIZE if small else 256)


def joint(small: bool) -> Recipe:
    """The U-Net of 19 layers with a branch that tells the outcome: Table 2."""
    return _recipe(small, "joint", UNetConfig((16, 32, 64, 128, 256) if small else (64, 128, 256, 512, 1024)))


def joint_weighted(small: bool) -> Recipe:
    """The same, with images drawn as they come: the rarer outcome weighs more instead of coming more often."""
    recipe = joint(small)
    (stage,) = recipe.stages
    weighted = replace(stage, method=replace(stage.method, balance=False))
    return replace(recipe, name="joint_weighted", stages=(weighted,))


def joint_without_outcome(small: bool) -> Recipe:
    """The same U-Net on masks alone: Table 1's, and what the joint one's masks are held against."""
    return without(joint(small), "outcome")


def joint_without_masks(small: bool) -> Recipe:
    """The contracting path and the branch on outcomes alone: what the joint one's prognosis is held against."""
    recipe = without(without(joint(small), "cross_entropy"), "dice")
    return replace(recipe, name="joint_without_masks")


def fcn(small: bool) -> Recipe:
    """FCN on ResNet-50 by masks alone: Table 1's. Differs: the paper does not say which FCN."""
    recipe = _recipe(small, "fcn", FCNConfig(0.25 if small else 1.0))
    return replace(without(recipe, "outcome"), name="fcn")


def deeplabv3(small: bool) -> Recipe:
    """DeepLabv3 on ResNet-50 by masks alone: Table 1's. Differs: the paper does not say which backbone."""
    recipe = _recipe(small, "deeplabv3", DeepLabv3Config(0.25 if small else 1.0))
    return replace(without(recipe, "outcome"), name="deeplabv3")


def markers(small: bool) -> Recipe:
    """The U-Net of Table 1, and a prognosis from what its masks measure: Table 3's comparator."""
    outlined = joint_without_outcome(small)
    classifier = Stage(
        name="markers",
        method=MarkersConfig(),
        steps=500 if small else 2000,
        batch=16,
        augmentation=UNCHANGED,
        segmenter="network",
        choose="validation",
        validate_every=50,
    )
    return replace(outlined, name="markers", stages=(*outlined.stages, classifier))
