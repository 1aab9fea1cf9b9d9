"""Masks from tags: UM-CAM and all that it is compared with. Fu et al. 2023, Tables 1 and 2."""

from dataclasses import replace

from fewmask.methods.base import SGD, Adam, Schedule
from fewmask.methods.soft_masks import RISING_CONSENSUS, SoftMasksConfig, SoftMasksWeights, weights_of
from fewmask.methods.supervised import SupervisedConfig
from fewmask.methods.tags import TagConfig
from fewmask.networks.umcam_unet import LeakyUNetConfig
from fewmask.networks.vgg import VGGConfig
from fewmask.pseudo_label_config import Cam, CamMaps, Expansion, PseudoLabels
from fewmask.recipe import Recipe, Stage

SMALL_SIZE = 96
"""Pixels of a side in `--small` recipes."""

LAMBDA = 0.1
"""The weight that the paper found best on validation."""

MAP_ALONE, SEED_LABEL_ALONE = weights_of(1.0, "map"), weights_of(0.0, "map")

CLASSIFIER = "classifier"

SMALL_OPTIMISER = Adam(rate=3e-4, weight_decay=1e-4, schedule=Schedule("cosine", 0.0))
SMALL_STEPS = 3000
"""How the `--small` classifiers of tags learn, UM-CAM's and the comparators' alike.

Seen on the phantom (seed 0, held-out patients): after 1,000 steps of the papers' optimiser F1 is 0.68 and maps show
nothing; maps come to lie on the object long after the tags are told well (1,200 steps: F1 0.86, Dice of Grad-CAM 0.33;
1,700 of 3,000 steps: 0.94, 0.60).
"""


def classifier_stage(small: bool) -> Stage:
    """VGG-16 on tags; the best F1 on the held-out tagged patients is kept.

    The paper trains 200 epochs of 4,116 slices from ImageNet weights. The small one starts from nothing and takes
    `SMALL_OPTIMISER` for `SMALL_STEPS`.
    """
    papers = SGD(rate=1e-3, momentum=0.9, nesterov=True, weight_decay=5e-4, schedule=Schedule(hold=1.0))
    optimiser = SMALL_OPTIMISER if small else papers
    return Stage(
        name=CLASSIFIER,
        method=TagConfig(network=VGGConfig(width=0.25 if small else 1.0), optimiser=optimiser),
        steps=SMALL_STEPS if small else 25_000,
        batch=16 if small else 32,
        choose="validation",
        validate_every=50,
    )


def segmenter_stage(
    small: bool, pseudo_labels: PseudoLabels, weights: SoftMasksWeights, labelled_by: str = CLASSIFIER
) -> Stage:
    """A U-Net on the pseudo-labels; the last step is kept, which needs no mask of anybody.

    The small one's few steps need ten times the paper's rate.
    """
    optimiser = SGD(rate=0.1 if small else 0.01, weight_decay=5e-4, schedule=Schedule("poly", 0.0))
    return Stage(
        name="segmenter",
        method=SoftMasksConfig(network=segmenter_network(small), weights=weights, optimiser=optimiser),
        steps=300 if small else 16_000,
        batch=12,
        labelled_by=labelled_by,
        pseudo_labels=pseudo_labels,
    )


def segmenter_network(small: bool) -> LeakyUNetConfig:
    """The U-Net of 16 to 256 maps, or of 8 to 128."""
    return LeakyUNetConfig((8, 16, 32, 64, 128)) if small else LeakyUNetConfig()


def from_tags(name: str, small: bool, pseudo_labels: PseudoLabels, weights: SoftMasksWeights) -> Recipe:
    """A recipe of two stages: the classifier, and the segmenter of what it looks at."""
    stages = (classifier_stage(small), segmenter_stage(small, pseudo_labels, weights))
    return Recipe(name=name, stages=stages, size=SMALL_SIZE if small else 256)


def umcam(small: bool) -> Recipe:
    """UM-CAM from tags alone: no mask of anybody chooses the threshold or the checkpoint."""
    return from_tags("umcam", small, PseudoLabels(), weights_of(LAMBDA, "map"))


def umcam_miccai23(small: bool) -> Recipe:
    """The first paper's: threshold and checkpoint are the best on held-out masks, pixels are 1 mm.

    Differs: layers are weighed by exp(-H), as in the second paper; the first one's weights are `umcam_inverse_entropy`.
    """
    recipe = from_tags(
        "umcam_miccai23", small, PseudoLabels(threshold="validation"), weights_of(LAMBDA, "map")
    )
    classifier, segmenter = recipe.stages
    chosen = replace(segmenter, choose="validation", validate_every=50)
    return replace(recipe, stages=(classifier, chosen), pixel_mm=None if small else 1.0)


def umcam_pr25(small: bool) -> Recipe:
    """The second paper's: a threshold a slice, the label falls back on the map far from its seeds, two random views."""
    options = PseudoLabels(
        weighting="exponential",
        threshold="least_variance",
        expansion=Expansion(form="fused"),
        slices="predicted_positive",
    )
    recipe = from_tags("umcam_pr25", small, options, SEED_LABEL_ALONE)
    classifier, segmenter = recipe.stages
    weights = replace(SEED_LABEL_ALONE, consensus=RISING_CONSENSUS)
    method = replace(segmenter.method, views=2, weights=weights)
    return replace(recipe, stages=(classifier, replace(segmenter, method=method)))


def umcam_map_alone(small: bool) -> Recipe:
    """The fused map alone teaches the segmenter."""
    return from_tags("umcam_map_alone", small, PseudoLabels(expansion=None), MAP_ALONE)


def umcam_seed_label_alone(small: bool) -> Recipe:
    """The seed-derived label alone teaches the segmenter."""
    return from_tags("umcam_seed_label_alone", small, PseudoLabels(), SEED_LABEL_ALONE)


def umcam_swapped(small: bool) -> Recipe:
    """Lambda on the other side: the map has 0.9 of the loss, the seed-derived label 0.1."""
    return from_tags("umcam_swapped", small, PseudoLabels(), weights_of(LAMBDA, "seed_label"))


def averagecam(small: bool) -> Recipe:
    """The same layers' maps, averaged alike."""
    return from_tags("averagecam", small, PseudoLabels(weighting="equal", expansion=None), MAP_ALONE)


def cam(small: bool) -> Recipe:
    """The class activation map: the last convolution's own map of the object."""
    return _one_map("cam", "cam", "head", small)


def gradcam(small: bool) -> Recipe:
    """Grad-CAM at the last convolution, where the authors' code takes it."""
    return _one_map("gradcam", "gradcam", "head", small)


def gradcam_pp(small: bool) -> Recipe:
    """Grad-CAM++ there."""
    return _one_map("gradcam_pp", "gradcam_pp", "head", small)


def scorecam(small: bool) -> Recipe:
    """Score-CAM there."""
    return _one_map("scorecam", "scorecam", "head", small)


def ablationcam(small: bool) -> Recipe:
    """Ablation-CAM there."""
    return _one_map("ablationcam", "ablationcam", "head", small)


def gradcam_block5(small: bool) -> Recipe:
    """Grad-CAM at the last rectified maps, where the variants differ."""
    return _one_map("gradcam_block5", "gradcam", "block5", small)


def gradcam_pp_block5(small: bool) -> Recipe:
    """Grad-CAM++ at the last rectified maps."""
    return _one_map("gradcam_pp_block5", "gradcam_pp", "block5", small)


def scorecam_block5(small: bool) -> Recipe:
    """Score-CAM at the last rectified maps."""
    return _one_map("scorecam_block5", "scorecam", "block5", small)


def ablationcam_block5(small: bool) -> Recipe:
    """Ablation-CAM at the last rectified maps."""
    return _one_map("ablationcam_block5", "ablationcam", "block5", small)


def fullysup(small: bool) -> Recipe:
    """The same U-Net on masks: the ceiling."""
    stage = Stage(
        name="segmenter",
        method=SupervisedConfig(network=segmenter_network(small)),
        steps=300 if small else 16_000,
        batch=12,
        choose="validation",
        validate_every=50,
    )
    return Recipe(name="fullysup", stages=(stage,), size=SMALL_SIZE if small else 256)


def _one_map(name: str, variant: Cam, layer: str, small: bool) -> Recipe:
    options = PseudoLabels(maps=CamMaps(cam=variant, layers=(layer,)), weighting="equal", expansion=None)
    return from_tags(name, small, options, MAP_ALONE)


def classifier(small: bool) -> Recipe:
    """The classifier alone, for other recipes to start from."""
    return Recipe(name="classifier", stages=(classifier_stage(small),), size=SMALL_SIZE if small else 256)
