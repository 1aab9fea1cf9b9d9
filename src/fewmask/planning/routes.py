"""Which route fits: a pure function of what was found. The figures are those of docs/results.md, and say their n."""

from dataclasses import replace

from fewmask.errors import InputFault
from fewmask.planning.adaptation import adapted, mixed
from fewmask.planning.facts import FEW_EVENTS, FEW_MASKS, Facts
from fewmask.planning.holdings import Holding
from fewmask.planning.labels import TagsSeen
from fewmask.planning.route import Alternative, Route

_U_NET = "a U-Net with strong augmentation; the checkpoint that is best on held-out patients is kept"


def choose_route(facts: Facts) -> Route:
    """The route for what a user owns.

    Raises InputFault where there is nothing to learn from, or where folders do not go together.
    """
    facts = _with_roles(facts)
    if facts.source is not None and facts.masks is not None:
        return mixed(facts, facts.source, facts.masks)
    if facts.tags is not None and _tags_teach_more(facts):
        return _from_tags(facts, facts.tags)
    if facts.source is not None and facts.target is not None:
        return adapted(facts, facts.source, facts.target)
    if facts.masks is not None and facts.masks.outlined > 0:
        return _from_masks(facts, facts.masks)
    raise InputFault(_nothing(facts))


def _with_roles(facts: Facts) -> Facts:
    """A source without a target is a labelled cohort; a labelled cohort beside other images is a source."""
    if facts.source is not None and facts.target is None and facts.masks is None:
        return replace(facts, masks=facts.source, source=None)
    if facts.masks is not None and facts.target is not None and facts.source is None:
        if facts.masks.folder == facts.target.folder:
            return replace(facts, target=None)
        return replace(facts, source=replace(facts.masks, role="source"), masks=None)
    return facts


def _nothing(facts: Facts) -> str:
    holding = facts.holdings[0]
    hint = ""
    if holding.tags is not None:
        hint = f" (its slices.csv has tags of {holding.tags.column}: give it as --tags)"
    elif holding.masks_beside:
        hint = " (masks lie beside its images: give it as --masks)"
    return (
        f"{holding.folder}: there is nothing to learn from: no masks and no tags of any image{hint}; add "
        "labelsTr, a slices.csv with tags, or give another hospital's outlined images as --source"
    )


def _tags_teach_more(facts: Facts) -> bool:
    """Whether tags are the route where there are other labels too."""
    labelled = facts.masks or facts.source
    if labelled is None:
        return True
    if facts.target is None or facts.source is None:
        return labelled.outlined < FEW_MASKS
    # Tags of the very images to be segmented, against masks of images of another kind.
    same = facts.tags is not None and facts.tags.folder == facts.target.folder
    return same and facts.crosses and facts.source.volumes


def _from_masks(facts: Facts, masks: Holding) -> Route:
    if facts.outcome is not None:
        return _joint(facts, masks)
    reasons = [f"{masks.outlined} training cases have masks, so the plain way is open: {_U_NET}"]
    if masks.tags is not None:
        reasons.append(
            f"there are tags of {masks.tags.column} too, and masks are the better teacher: from tags alone "
            "UM-CAM had 55 % of the Dice of masks on brain FLAIR (n = 7 test volumes, one seed), 68 % on a "
            "phantom (three seeds)"
        )
    alternatives: list[Alternative] = []
    if masks.tags is not None:
        alternatives.append(Alternative("umcam", "how far tags alone lead", (replace(masks, role="tags"),)))
    alternatives += [
        Alternative("joint", f"if {seen.column} is to be told as well", outcome=seen.column)
        for seen in masks.outcomes[:1]
        if min(seen.positive, seen.cases - seen.positive) >= FEW_EVENTS
    ]
    return Route(
        "supervised",
        f"train a U-Net on the masks of {masks.folder.name}",
        (masks,),
        None,
        tuple(reasons),
        tuple(alternatives),
    )


def _joint(facts: Facts, masks: Holding) -> Route:
    assert facts.outcome is not None
    told = facts.outcome
    return Route(
        "joint",
        f"train one U-Net for the masks of {masks.folder.name} and for {told.rule}",
        (masks,),
        None,
        (
            f"{masks.outlined} cases have masks and {told.cases} the outcome ({told.positive} of them "
            f"{told.rule}); an image with one of the two trains as well",
            "masks show the network where to look: on breast ultrasound (n = 156, one seed) the joint U-Net "
            "tells malignancy with AUC 0.905, the same network without masks 0.786, measures of the mask "
            "0.819",
            "the outcome costs outlines: IoU 0.399 against the U-Net's 0.447 there, 0.863 against 0.915 on a "
            "phantom (three seeds); less weight or more steps give it back (weights.outcome=0.1: Dice 0.947 "
            "for 0.922)",
        ),
        (
            Alternative("supervised", "if the masks matter more than the outcome"),
            Alternative(
                "markers", "the U-Net's masks, what they measure, a logistic regression: easier to explain"
            ),
        ),
        floor=Alternative(
            "joint_without_outcome", "the same U-Net on masks alone: what the outcome costs them"
        ),
    )


def _usable_tags(tags: Holding) -> TagsSeen:
    """The tags of a folder. Raises InputFault where there are none, and where all slices are tagged alike."""
    if tags.tags is None and not tags.volumes:
        raise InputFault(
            f"{tags.folder}: has no slices.csv, and which column of cases.csv tells what pictures show "
            "cannot be guessed; train umcam --tags with --set tag=COLUMN"
        )
    if tags.tags is None:
        raise InputFault(
            f"{tags.folder}: has no tags to learn from; add slices.csv with the columns case, slice and e.g. "
            "brain (0 or 1)"
        )
    if tags.tags.positive in (0, tags.tags.slices):
        alike = "all show" if tags.tags.positive else "none shows"
        raise InputFault(
            f"{tags.folder}: of {tags.tags.slices} tagged slices {alike} {tags.tags.column}; a classifier "
            "needs both, add slices of the other kind to slices.csv"
        )
    return tags.tags


def _from_tags(facts: Facts, tags: Holding) -> Route:
    told = _usable_tags(tags)
    reasons = [
        f"{told.slices} slices of {told.patients} patients have tags, {told.share:.0%} of them show "
        f"{told.column}; nobody has to outline anything",
        "UM-CAM grows labels from where a classifier of tags looks: 16 points of Dice above Grad-CAM on a "
        "phantom (three seeds, p = 0.002), 35 against 20 on brain FLAIR (7 test volumes, one seed, p = 0.16)",
        "its pseudo-masks are seeds, not outlines: it had 55 to 68 % of the Dice of masks here; the audit "
        "lists the doubtful slices first, and mended ones train it again (--corrections)",
    ]
    labelled = facts.masks
    if labelled is not None:
        reasons.append(
            f"{labelled.outlined} masks are too few to train on alone; keep them to score the pseudo-masks "
            "with"
        )
    ceiling = None
    if tags.masks_beside:
        reasons.append(
            "masks lie beside the tagged images (not opened): if they are of these images, they teach better "
            "than tags"
        )
        ceiling = Alternative("fullysup", "the same U-Net on the masks", (replace(tags, role="masks"),))
    alternatives = [
        Alternative(
            "umcam_seed_label_alone",
            "without the map's share of the loss: 62 against 58 Dice on a phantom, 46 against 35 on brain "
            "FLAIR",
        ),
    ]
    if facts.source is not None and facts.target is not None:
        alternatives.append(
            Alternative("sifa", "masks of the source instead of tags", (facts.source, facts.target))
        )
    return Route(
        "umcam",
        f"learn masks of {told.column} from the tags of {tags.folder.name}",
        (tags,),
        facts.target,
        tuple(reasons),
        tuple(alternatives),
        floor=Alternative("gradcam", "the plain map of the same classifier"),
        ceiling=ceiling,
    )
