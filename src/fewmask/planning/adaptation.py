"""The routes with another hospital's masks: train and hope, re-draw, align, or add a few masks of the target."""

from fewmask.errors import InputFault
from fewmask.planning.facts import Facts
from fewmask.planning.holdings import Holding
from fewmask.planning.route import Alternative, Route

_X_RAYS = (
    "on chest X-rays of two hospitals (gap 2.1 to 2.5x) strong augmentation alone had Dice 0.916, the "
    "target's own masks 0.936, and CycleGAN lost 0.023 (n = 47, one seed)"
)
_NUCLEI = (
    "on nuclei whose contrast turns round (gap 5.9x) the floor closed 0 % of the gap, CycleGAN 70 %, MSL 83 "
    "% (n = 33, one seed); on drawn photographs CycleGAN 64 % and MSL 43 % (three seeds)"
)
_HEARTS = (
    "on drawn hearts, MR to CT, strong augmentation alone closed 0 %, SIFA 35 % in 600 steps and 66 % in "
    "2,000 (n = 1), GLUA's style transfer 44 %, CycleGAN with a new segmenter 72 % (n = 1); SIFA's paper has "
    "74 and CycleGAN 58 Dice"
)
_BRAINS = (
    "on brain FLAIR to T1 no method beat the floor (Dice 6 %), and T1's own masks had 38 %: what was "
    "outlined on FLAIR is often not to be seen on T1, and no translation brings it there"
)


def adapted(facts: Facts, source: Holding, target: Holding) -> Route:
    """A source with masks and a target without. Raises InputFault where the two do not go together."""
    require_match(facts, source, target)
    if facts.target_is_tiny:
        why = (
            f"{target.train} target {target.items} are too few to learn a look from; train on the source "
            "with strong augmentation, and segment the target with that"
        )
        return _source_alone(source, target, (why,), ())
    if facts.level in ("small", "medium") and not facts.crosses:
        return _source_alone(source, target, (_told_gap(facts), _X_RAYS), _translators(source, target))
    return _aligned(facts, source, target) if target.volumes else _redrawn(facts, source, target)


def mixed(facts: Facts, source: Holding, masks: Holding) -> Route:
    """A source with masks, and a few masks of the target."""
    require_match(facts, source, masks)
    reasons = [
        f"{masks.outlined} masks of {masks.folder.name} tell what no method without them can: half of each "
        f"batch is theirs, half the {source.outlined} of {source.folder.name} (--set masks_share=0.3 for "
        "another share)",
        "the held-out patients are those of --masks, so the checkpoint is chosen by the hospital that "
        "matters",
    ]
    if facts.target is not None and facts.target.folder != masks.folder:
        reasons.append(
            f"the {facts.target.train} unlabelled images of {facts.target.folder.name} wait until they are "
            "segmented: no recipe here learns from all three"
        )
    alternatives = [Alternative("supervised", "on these masks alone, once there are dozens", (masks,))]
    if facts.target is not None:
        adapting = "sifa" if source.volumes else "cyclegan"
        why = "without the masks: what the images alone give"
        alternatives.append(Alternative(adapting, why, (source, facts.target)))
    return Route(
        "supervised",
        f"train one U-Net on {source.folder.name} and the masks of {masks.folder.name} together (few-shot)",
        (source, masks),
        facts.target or masks,
        tuple(reasons),
        tuple(alternatives),
        floor=Alternative("supervised", "the source alone", (source,)),
    )


def require_match(facts: Facts, source: Holding, other: Holding) -> None:
    """Refuse pictures beside volumes, one channel beside itself, and folders of other structures."""
    if source.outlined == 0:
        raise InputFault(
            f"{source.folder}: there is nothing to learn from: --source has no masks; add labelsTr, or swap "
            "the two folders"
        )
    if source.volumes != other.volumes:
        raise InputFault(
            f"{other.folder}: holds {other.items} and {source.folder} {source.items}: no method carries "
            "masks from one to the other; give two folders of one kind"
        )
    same = source.folder == other.folder
    if same and (source.channel is None or source.channel == other.channel):
        raise InputFault(
            f"{source.folder}: is source and target alike; give --source-channel and --target-channel, two "
            f"of {', '.join(source.channels)}, or another folder"
        )
    known = len(source.classes) > 1 and len(other.classes) > 1
    if known and [c.casefold() for c in source.classes] != [c.casefold() for c in other.classes]:
        raise InputFault(
            f"{other.folder}: its classes ({', '.join(other.classes[1:])}) are not those of {source.folder} "
            f"({', '.join(source.classes[1:])}); give both dataset.json the same `labels`, or choose folders "
            "of one organ"
        )


def _told_gap(facts: Facts) -> str:
    assert facts.gap is not None
    gap = facts.gap
    told = f"{gap.intensity:.1f}x (intensity) and {gap.texture:.1f}x (texture) the spread within a cohort"
    if facts.level == "unseen":
        return f"the meter sees no gap in looks, {told}, but the images are of another kind"
    return f"{facts.level} gap by the meter: {told}"


def _source_alone(
    source: Holding,
    target: Holding,
    reasons: tuple[str, ...],
    alternatives: tuple[Alternative, ...],
) -> Route:
    return Route(
        "supervised",
        f"train a U-Net with strong augmentation on {source.folder.name}, and segment {target.folder.name} "
        "with it",
        (source,),
        target,
        (
            *reasons,
            "this run is the floor that every adaptation must beat, so nothing is lost by measuring it first",
        ),
        alternatives,
        ceiling=_ceiling(target),
    )


def _translators(source: Holding, target: Holding) -> tuple[Alternative, ...]:
    """What may add to the floor, where the gap is not large."""
    pair = (source, target)
    if target.volumes:
        why = "if the floor disappoints: a new segmenter on the source in the target's look"
        return (Alternative("cyclegan_train_on_translated", why, pair),)
    return (
        Alternative("cyclegan", "if the floor disappoints: target images in the source's look", pair),
        Alternative("msl", "the same with attention tied to the source's masks", pair),
    )


def _redrawn(facts: Facts, source: Holding, target: Holding) -> Route:
    reasons = [_told_gap(facts), _NUCLEI]
    if facts.inverted:
        reasons.append(
            "one cohort has a dark ground and the other a bright one: augmentation does not bridge that, and "
            "translators may swap structure and ground"
        )
    return Route(
        "cyclegan",
        f"re-draw images of {target.folder.name} in the look of {source.folder.name}, for the source's "
        "segmenter",
        (source, target),
        target,
        tuple(reasons),
        (
            Alternative(
                "msl",
                "attention tied to the source's masks: the better one on nuclei, where its terms kept it "
                "from a swap",
            ),
            Alternative(
                "cyclegan_train_on_translated",
                "the other use of the same translators; which is better depends on the pair",
                start_from=True,
            ),
        ),
        floor=_floor(source),
        ceiling=_ceiling(target),
    )


def _aligned(facts: Facts, source: Holding, target: Holding) -> Route:
    reasons = [_told_gap(facts), _HEARTS]
    if facts.one_folder:
        reasons.append(
            "these are channels of the same patients on one grid, so the source's masks fit the target's "
            "channel as they are: training on them is the ceiling below, and the honest way where you need "
            "no adaptation"
        )
    if source.modality == target.modality:
        reasons.append(_BRAINS)
    names = _called(source, target)
    return Route(
        "sifa",
        f"carry masks from {names[0]} to {names[1]}: images and features aligned in one network (SIFA)",
        (source, target),
        target,
        tuple(reasons),
        (
            Alternative(
                "cyclegan_train_on_translated", "the longest, and the best row on drawn hearts (n = 1)"
            ),
            Alternative("glua", "GLUA (reconstructed): its style transfer carried it here (glua_style_only)"),
        ),
        floor=_floor(source),
        ceiling=_ceiling(target),
        changes=("choose=ensemble",),
    )


def _called(source: Holding, target: Holding) -> tuple[str, str]:
    """What tells the two apart in a word: their modalities, else their channels, else their folders."""
    if "unknown" not in (source.modality, target.modality) and source.modality != target.modality:
        return source.modality, target.modality
    if source.channels != target.channels:
        return ", ".join(source.channels), ", ".join(target.channels)
    return source.folder.name, target.folder.name


def _floor(source: Holding) -> Alternative:
    return Alternative("supervised", "no adaptation", (source,))


def _ceiling(target: Holding) -> Alternative | None:
    """Where masks of the target are known to lie there; nobody has opened them."""
    if not target.masks_beside:
        return None
    return Alternative("supervised", "the target's own masks", (target,))
