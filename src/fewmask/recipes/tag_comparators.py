"""The other ways from tags to masks that UM-CAM is compared with: DRS and AMR."""

from fewmask.methods.base import SGD, Adam, Schedule
from fewmask.methods.refined_maps import RefinedMapsConfig
from fewmask.methods.spotlight_tags import SpotlightTagsConfig
from fewmask.methods.suppressed_tags import PAPERS_SCALES, SuppressedTagsConfig
from fewmask.networks.resnet import ResNetConfig
from fewmask.networks.suppressed_vgg import (
    FixedSuppression,
    LearntSuppression,
    NoSuppression,
    SuppressedVGGConfig,
)
from fewmask.pseudo_label_config import OwnMaps, PseudoLabels
from fewmask.recipe import Recipe, Stage
from fewmask.recipes.fetal_brain import (
    CLASSIFIER,
    MAP_ALONE,
    SMALL_OPTIMISER,
    SMALL_SIZE,
    segmenter_stage,
)

OWN_MAPS = PseudoLabels(maps=OwnMaps(), weighting="equal", expansion=None)
"""The map that the method makes is the label; the paper's saliency of photographs tells nothing of MRI."""

REFINER = "refiner"

DRS_STEPS, AMR_STEPS = 1500, 1000
"""Steps of the `--small` classifiers: on a CPU they take about as long as the 3,000 of UM-CAM's."""

STAIRS = Schedule("stairs", hold=0.0, stairs=3, drop=0.1)
"""A tenth of the rate after each third of the training."""


def drs(small: bool) -> Recipe:
    """DRS with a fixed share: its classifier, the network that refines the maps, and the segmenter."""
    return _drs("drs", FixedSuppression(), small)


def drs_learnable(small: bool) -> Recipe:
    """DRS that learns for each channel how far it is capped."""
    return _drs("drs_learnable", LearntSuppression(), small)


def amr(small: bool) -> Recipe:
    """AMR's two branches, and the segmenter of their mean map."""
    strides = (2, 2, 1, 1) if small else (2, 2, 2, 1)
    stage = Stage(
        name=CLASSIFIER,
        method=SpotlightTagsConfig(network=ResNetConfig(0.25 if small else 1.0, strides)),
        steps=AMR_STEPS if small else 10_000,
        batch=16,
        choose="validation",
        validate_every=50,
    )
    return _recipe("amr", small, stage)


def _drs(name: str, suppression: FixedSuppression | LearntSuppression, small: bool) -> Recipe:
    width = 0.25 if small else 1.0
    papers = SGD(rate=1e-3, momentum=0.9, nesterov=True, weight_decay=5e-4, schedule=STAIRS)
    optimiser = SMALL_OPTIMISER if small else papers
    method = SuppressedTagsConfig(
        network=SuppressedVGGConfig(width, suppression),
        scales=PAPERS_SCALES,
        optimiser=optimiser,
    )
    classifier = Stage(
        name=CLASSIFIER,
        method=method,
        steps=DRS_STEPS if small else 12_000,
        batch=16 if small else 5,
        choose="validation",
        validate_every=50,
    )
    refiner = Stage(
        name=REFINER,
        method=RefinedMapsConfig(
            network=SuppressedVGGConfig(width, NoSuppression()),
            optimiser=Adam(rate=1e-3 if small else 1e-4, schedule=STAIRS),
        ),
        steps=300 if small else 24_000,
        batch=16 if small else 5,
        labelled_by=CLASSIFIER,
        pseudo_labels=OWN_MAPS,
    )
    return _recipe(name, small, classifier, refiner)


def _recipe(name: str, small: bool, *stages: Stage) -> Recipe:
    """The stages, then a segmenter of what the last of them sees."""
    segmenter = segmenter_stage(small, OWN_MAPS, MAP_ALONE, labelled_by=stages[-1].name)
    return Recipe(name=name, stages=(*stages, segmenter), size=SMALL_SIZE if small else 256)
