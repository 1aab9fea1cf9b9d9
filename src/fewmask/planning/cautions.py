"""What to be careful about, and what would help more: from what was found, and from what went wrong here before."""

from fewmask.planning.facts import FEW_EVENTS, FEW_PICTURES, FEW_VOLUMES, Facts
from fewmask.planning.holdings import Holding
from fewmask.planning.route import Route

TINY = 10
"""Fewer patients than these make every figure a wide interval."""

SCALES_APART = 5.0
"""From so many-fold differences of brightness on a reader asks whether they do harm."""

_DIVIDED = (
    ", so the recipe divides images (split.unit=image) and every page will say SAME PATIENT ON BOTH SIDES"
)


def cautions(facts: Facts, route: Route) -> tuple[str, ...]:
    """What a specialist would warn of, folder by folder, then of the route itself."""
    told = [line for holding in facts.holdings for line in _of_folder(holding)]
    return tuple(dict.fromkeys((*facts.notes, *told, *_of_route(facts, route))))


def helps(facts: Facts, route: Route) -> tuple[str, ...]:
    """What more in the user's hands would gain, the most first."""
    told: list[str] = []
    if facts.masks is None and facts.source is not None and facts.target is not None:
        told.append(_masks_of_target(facts.source))
    if facts.masks is not None and facts.source is not None and facts.masks.outlined < FEW_EVENTS:
        told.append(
            f"more masks of the target: {facts.masks.outlined} now; a few dozen hardly need the source"
        )
    if route.recipe == "umcam":
        told += _more_tags(facts)
    if facts.outcome is not None and facts.outcome.patients < 5 * FEW_EVENTS:
        told.append(f"more patients with {facts.outcome.rule}: {facts.outcome.patients} train and choose now")
    told += [line for holding in facts.holdings for line in _of_folder_helps(holding)]
    if route.recipe == "supervised" and route.segments is None and facts.masks is not None:
        told.append(
            "more outlined patients, from more than one scanner; `fewmask study budget` tells how many more it takes"
        )
        if facts.masks.layout == "nnU-Net":
            told.append("a GPU and nnU-Net itself, which reads this folder as it lies: the usual ceiling")
    return tuple(dict.fromkeys(told))


def _of_folder(holding: Holding) -> list[str]:
    name = holding.folder.name
    told = [
        f"{name}: {fault}; `fewmask check {holding.folder}` reads every image" for fault in holding.faults
    ]
    if holding.patients == 1 and holding.patients_known:
        divided = "" if holding.role == "target" else _DIVIDED
        told.append(f"{name}: one patient{divided}; no figure says anything about another one")
    elif holding.patients < TINY:
        told.append(
            f"{name}: {holding.patients} patients: intervals will be wide, one patient decides a ranking"
        )
    if not holding.patients_known:
        told.append(
            f"{name}: no patient column: every case counts as one, and if it is not, scores are too good"
        )
    if holding.copies is not None and holding.copies.groups:
        crossing = f", {holding.copies.crossing} of them in train and test" if holding.copies.crossing else ""
        told.append(
            f"{name}: {holding.copies.groups} groups of near-duplicates{crossing}; training keeps each on "
            "one side of its own split, the folder's test part stays as it is"
        )
    if holding.role != "target":
        told += _of_labels(holding)
    if holding.volumes and "px" in holding.unit:
        told.append(f"{name}: spacing unknown: sizes are compared and distances given in pixels, not in mm")
    if holding.modality == "ultrasound" and not holding.volumes:
        told.append(
            f"{name}: callipers and text may be burnt in, and a network reads them: see `fewmask clean`"
        )
    if holding.brightness_ratio >= SCALES_APART and not holding.eight_bit and holding.modality != "CT":
        told.append(
            f"{name}: intensity scales differ {holding.brightness_ratio:.0f}-fold between images; each is "
            "scaled by its own percentiles, so this does no harm"
        )
    return told


def _of_labels(holding: Holding) -> list[str]:
    """Of masks and tags that will train."""
    name = holding.folder.name
    told: list[str] = []
    if holding.role in ("masks", "source") and holding.outlined < holding.train:
        bare = holding.train - holding.outlined
        few = f"; {holding.outlined} masks are few" if holding.outlined < TINY else ""
        told.append(f"{name}: {bare} of {holding.train} training images have no mask and are left out{few}")
    told += [
        f"{name}: {seen.name} is marked in none of the {holding.looked_at} images looked at"
        for seen in holding.marked
        if not seen.cases
    ]
    told += [
        f"{name}: {seen.name} has {seen.share:.2%} of the pixels: small structures suffer most from a small "
        "`size`"
        for seen in holding.marked
        if 0.0 < seen.share < 0.005
    ]
    if holding.test == 0:
        told.append(
            f"{name}: no test part: the held-out fifth of the patients chooses the checkpoint, so its score "
            "flatters"
        )
    if holding.role == "tags" and holding.tags is not None and not 0.1 <= holding.tags.share <= 0.9:
        told.append(
            f"{name}: {holding.tags.share:.0%} of the tagged slices show {holding.tags.column}: the "
            "classifier sees little of the other kind"
        )
    if holding.channel is None and len(holding.channels) > 1 and holding.modality != "colour":
        option = "--tags-channel" if holding.role == "tags" else "--source FOLDER --source-channel"
        told.append(
            f"{name}: {len(holding.channels)} channels ({', '.join(holding.channels)}) go in together, so "
            f"new images need them all; {option} {holding.channels[0]} takes one"
        )
    if holding.role == "tags" and holding.tags is not None and len(holding.tags.columns) > 1:
        told.append(
            f"{name}: tags of {', '.join(holding.tags.columns)}: a run learns one, here "
            f"{holding.tags.column}; for another mend `tag` in the recipe"
        )
    return told


def _of_route(facts: Facts, route: Route) -> list[str]:
    told: list[str] = []
    if route.recipe == "cyclegan":
        told.append(
            "a translator may swap structure and ground or invent tissue: look at translations/ and "
            "safety.json; the screen missed a complete swap on nuclei (Dice 0.003, 0 of 33 called out)"
        )
        told.append("below 128 pixels no method beat the floor on nuclei: keep `size` at 128 or more")
    if route.recipe == "sifa":
        told.append(
            "adversarial training swings (Dice 17 to 50 between three seeds): the recipe chooses the "
            "checkpoint by the rule that lost least on three real pairs, `ensemble` (mean regret 2.1 points of "
            "Dice against the last step's 5.6, 16 runs); train more than one seed before you believe it"
        )
    if facts.target is not None and facts.target_is_tiny and facts.source is not None:
        least = FEW_VOLUMES if facts.target.volumes else FEW_PICTURES
        told.append(f"{facts.target.folder.name}: fewer than {least} training {facts.target.items}")
    if (
        facts.gap is not None
        and facts.gap.size is not None
        and facts.gap.size >= 1.5
        and not facts.one_folder
    ):
        told.append(
            f"images are {facts.gap.size:.1f}x as large in one cohort as in the other; each fills the same "
            "square, so check that both show the same field of view"
        )
    if facts.target is not None and facts.source is not None and len(facts.target.classes) < 2:
        told.append(
            f"{facts.target.folder.name} names no classes: see for yourself that its images show "
            f"{', '.join(facts.source.classes[1:])}"
        )
    if facts.crosses and facts.level == "unseen":
        told.append(
            "what is bright in one channel may be dark in the other; the gap meter sees that only with masks "
            "of both, and the target's stay closed"
        )
    if route.recipe == "umcam":
        told.append(
            "a classifier that tells tags well may look at something that only goes along with the object: "
            "look at the report's maps first (on six stacks of one fetus it looked at the uterus, with F1 "
            "1.0)"
        )
        told.append("one object a slice, and one tag a run: of several pieces the largest of the map is kept")
    told += _of_outcome(facts, route)
    return told


def _of_outcome(facts: Facts, route: Route) -> list[str]:
    if facts.outcome is None:
        return []
    told = facts.outcome
    if route.recipe != "joint":
        return [
            f"this recipe learns no outcome: {told.rule} comes second, e.g. `fewmask train diagnosis --masks "
            f"FOLDER --outcome {told.column}` and `fewmask diagnose` on the masks that come out"
        ]
    lines = [
        "its probabilities are scores to rank by, not risks: the rarer outcome is drawn as often in training"
    ]
    if told.patients < FEW_EVENTS:
        lines.append(
            f"{told.patients} training patients have {told.rule}: a fifth of them choose the threshold, "
            "which then wanders (recall 0.56 +- 0.20 on a phantom with 12)"
        )
    return lines


def _masks_of_target(source: Holding) -> str:
    return (
        "masks of five target patients: then `fewmask train supervised --source "
        f"{source.folder} --masks FIVE` mixes both in each batch; where contrast turns round, no method "
        "without masks is safe"
    )


def _more_tags(facts: Facts) -> list[str]:
    assert facts.tags is not None and facts.tags.tags is not None
    told = facts.tags.tags
    rarer = "without" if told.share > 0.5 else "with"
    return [
        "masks of five to ten patients: a U-Net on masks beat every way from tags here",
        f"tags of slices of both kinds from more patients, {rarer} {told.column} above all",
        "ImageNet weights for the classifier (--weights vgg16.pth), which the papers had and these figures "
        "had not",
    ]


def _of_folder_helps(holding: Holding) -> list[str]:
    name = holding.folder.name
    told: list[str] = []
    if not holding.patients_known:
        told.append(f"{name}: a column `patient` in cases.csv, so that nobody is on both sides")
    if holding.role != "target" and holding.test == 0:
        told.append(f"{name}: some patients with masks put aside as a test part (imagesTs, or split=test)")
    if holding.role == "target" and not holding.masks_beside:
        told.append(f"{name}: masks of some test patients (labelsTs), or nobody can say how good it is")
    if holding.volumes and "px" in holding.unit:
        told.append(f"{name}: the voxel spacing, so that volumes share a pixel size and distances are in mm")
    return told
