"""UM-CAM's two tables: masks of the fetal brain from tags. Fu et al. 2023, Tables 1 and 2."""

from collections.abc import Callable
from dataclasses import replace

from fewmask.methods.soft_masks import weights_of
from fewmask.pseudo_label_config import CamMaps, PseudoLabels
from fewmask.recipe import Recipe
from fewmask.recipes import fetal_brain, tag_comparators
from fewmask.studies.table import PublishedTags, Row, Study, Sweep

CLASSIFIER = "classifier"

SUBJECT, BASELINE, CEILING = "umcam", "gradcam", "fullysup"

DEPTHS = (("head",), ("block5", "head"), ("block4", "block5", "head"))
"""The layers of UM-CAM with M = 1, 2 and 3: the last ones of the four."""


def validated(build: Callable[[bool], Recipe]) -> Callable[[bool], Recipe]:
    """A recipe whose threshold and checkpoint are chosen, as in the paper, on the held-out patients' masks."""

    def with_held_out_masks(small: bool) -> Recipe:
        recipe = build(small)
        *earlier, last = recipe.stages
        assert last.pseudo_labels is not None
        options = replace(last.pseudo_labels, threshold="validation")
        chosen = replace(last, pseudo_labels=options, choose="validation", validate_every=50)
        return replace(recipe, stages=(*earlier, chosen))

    return with_held_out_masks


SHALLOWER = ("block2", "block3", "block4", "head")
"""Another reading of the four layers that the paper does not name."""


def with_layers(name: str, layers: tuple[str, ...]) -> Callable[[bool], Recipe]:
    """UM-CAM from the maps of other layers."""
    options = PseudoLabels(maps=CamMaps(layers=layers))
    return lambda small: fetal_brain.from_tags(name, small, options, weights_of(fetal_brain.LAMBDA, "map"))


def with_inverse_entropy(small: bool) -> Recipe:
    """UM-CAM whose maps are averaged by the inverse of their entropy, as its paper may mean."""
    options = PseudoLabels(weighting="inverse_entropy")
    weights = weights_of(fetal_brain.LAMBDA, "map")
    return fetal_brain.from_tags("umcam_inverse_entropy", small, options, weights)


def with_even_weights(small: bool) -> Recipe:
    """UM-CAM with lambda = 0.5: map and seed-derived label weigh alike."""
    return fetal_brain.from_tags("umcam_even", small, PseudoLabels(), weights_of(0.5, "map"))


def _from_classifier(
    name: str, title: str, build: Callable[[bool], Recipe], paper: PublishedTags | None = None
) -> Row:
    return Row(name, title, validated(build), "tags", CLASSIFIER, paper=paper)


def _alone(name: str, title: str, build: Callable[[bool], Recipe], paper: PublishedTags | None = None) -> Row:
    return Row(name, title, validated(build), "tags", paper=paper)


FETAL_BRAIN = Study(
    "fetal_brain",
    "Masks from tags: the fetal brain (UM-CAM)",
    (
        Row(CLASSIFIER, "Classifier", fetal_brain.classifier, "tags", scored_on="nothing"),
        _from_classifier(
            BASELINE,
            "Grad-CAM (baseline)",
            fetal_brain.gradcam,
            PublishedTags(((74.48, 13.26), (39.88, 14.66)), ((78.69, 10.02), (22.17, 16.60))),
        ),
        _from_classifier("cam", "CAM", fetal_brain.cam),
        _from_classifier(
            "gradcam_pp",
            "Grad-CAM++",
            fetal_brain.gradcam_pp,
            PublishedTags(None, ((74.52, 13.29), (39.87, 14.69)), ((76.60, 10.58), (37.49, 11.72))),
        ),
        _from_classifier(
            "scorecam",
            "Score-CAM",
            fetal_brain.scorecam,
            PublishedTags(None, ((74.49, 13.35), (39.88, 14.83)), ((76.58, 10.60), (37.54, 11.73))),
        ),
        _from_classifier(
            "ablationcam",
            "Ablation-CAM",
            fetal_brain.ablationcam,
            PublishedTags(None, ((74.56, 13.29), (39.76, 14.64)), ((76.55, 10.61), (37.57, 11.82))),
        ),
        _from_classifier("gradcam_block5", "Grad-CAM at block 5", fetal_brain.gradcam_block5),
        _from_classifier("gradcam_pp_block5", "Grad-CAM++ at block 5", fetal_brain.gradcam_pp_block5),
        _from_classifier("scorecam_block5", "Score-CAM at block 5", fetal_brain.scorecam_block5),
        _from_classifier("ablationcam_block5", "Ablation-CAM at block 5", fetal_brain.ablationcam_block5),
        _from_classifier(
            "averagecam",
            "Average-CAM",
            fetal_brain.averagecam,
            PublishedTags(((77.40, 13.28), (38.70, 19.75))),
        ),
        _alone(
            "amr",
            "AMR",
            tag_comparators.amr,
            PublishedTags(None, ((78.77, 8.83), (11.53, 9.82)), ((79.79, 6.86), (11.35, 8.02))),
        ),
        _alone(
            "drs",
            "DRS",
            tag_comparators.drs,
            PublishedTags(None, ((84.98, 5.62), (7.17, 8.01)), ((83.79, 7.81), (7.06, 5.13))),
        ),
        _alone("drs_learnable", "DRS, learnt share", tag_comparators.drs_learnable),
        _from_classifier("umcam_m1", "UM-CAM + SPL, M = 1", with_layers("umcam_m1", DEPTHS[0])),
        _from_classifier("umcam_m2", "UM-CAM + SPL, M = 2", with_layers("umcam_m2", DEPTHS[1])),
        _from_classifier("umcam_m3", "UM-CAM + SPL, M = 3", with_layers("umcam_m3", DEPTHS[2])),
        _from_classifier(
            "umcam_shallower",
            "UM-CAM + SPL, blocks 2 to 4 and last",
            with_layers("umcam_shallower", SHALLOWER),
        ),
        _from_classifier(
            "umcam_inverse_entropy", "UM-CAM + SPL, weights of inverse entropy", with_inverse_entropy
        ),
        _from_classifier(
            "umcam_map_alone",
            "UM-CAM alone",
            fetal_brain.umcam_map_alone,
            PublishedTags(((79.00, 12.83), (35.33, 16.98)), ((85.22, 6.62), (5.26, 4.23))),
        ),
        _from_classifier(
            "umcam_seed_label_alone",
            "SPL alone (lambda 0)",
            fetal_brain.umcam_seed_label_alone,
            PublishedTags(None, ((89.05, 4.30), (3.84, 4.07))),
        ),
        _from_classifier("umcam_even", "UM-CAM + SPL, lambda 0.5", with_even_weights),
        _from_classifier("umcam_swapped", "UM-CAM + SPL, lambda 0.9", fetal_brain.umcam_swapped),
        Row(
            "umcam_tags_alone", "UM-CAM + SPL, nothing chosen by masks", fetal_brain.umcam, "tags", CLASSIFIER
        ),
        Row("umcam_pr25", "UM-CAM, second paper's", fetal_brain.umcam_pr25, "tags", CLASSIFIER),
        _from_classifier(
            SUBJECT,
            "UM-CAM + SPL (M = 4, lambda 0.1)",
            fetal_brain.umcam,
            PublishedTags(None, ((89.76, 5.09), (3.10, 2.61)), ((90.22, 3.75), (4.04, 4.26))),
        ),
        Row(
            CEILING,
            "FullySup",
            fetal_brain.fullysup,
            "target",
            paper=PublishedTags(None, ((95.98, 3.17), (1.22, 0.65)), ((96.51, 2.67), (1.10, 0.40))),
        ),
    ),
    floor=BASELINE,
    ceiling=CEILING,
    subject=SUBJECT,
    phantom="fetal_brain",
    tagged=True,
    phantom_size=128,
    sweeps=(
        Sweep("M", (("1", "umcam_m1"), ("2", "umcam_m2"), ("3", "umcam_m3"), ("4", SUBJECT))),
        Sweep(
            "lambda",
            (
                ("0", "umcam_seed_label_alone"),
                ("0.1", SUBJECT),
                ("0.5", "umcam_even"),
                ("0.9", "umcam_swapped"),
            ),
        ),
    ),
)
