"""The options that lead from tags to masks, in words that need no knowledge of the recipe."""

from collections.abc import Sequence

from fewmask.evaluation.tags_record import PseudoLabelled, SliceSeeds
from fewmask.losses.turn import Ramp
from fewmask.methods.soft_masks import SoftMasksConfig
from fewmask.pseudo_label_config import CamMaps, Expansion, OwnMaps, Slices
from fewmask.pseudo_labels.seeds import THRESHOLDS, UNSEPARATED
from fewmask.recipe import Recipe

_CAMS = {
    "cam": "CAM",
    "gradcam": "Grad-CAM",
    "gradcam_pp": "Grad-CAM++",
    "scorecam": "Score-CAM",
    "ablationcam": "Ablation-CAM",
}
_LAYERS = {"head": "the last layer"} | {f"block{number}": f"block {number}" for number in range(1, 6)}

_BY_ENTROPY = "averaged pixel by pixel, a map that is sure there counting more"
_WEIGHTINGS = {
    "inverse_entropy": f"{_BY_ENTROPY}, its weight being 1 / entropy",
    "exponential": f"{_BY_ENTROPY}, its weight being exp(-entropy)",
    "equal": "averaged pixel by pixel, all maps alike",
}
_COSTS = {
    "gradient": "the change of intensity along it",
    "geodistk": "the change of intensity along it, as GeodisTK measures it",
}
_SLICES: dict[Slices, str] = {
    "positive": "those tagged as showing it; at work the classifier empties the others",
    "all": "those tagged as showing it, with their pseudo-labels, and those tagged as not showing it, as empty",
    "predicted_positive": "those that are tagged as showing it and in which the classifier finds it too; at work it "
    "empties the others",
}


def joined(words: Sequence[str]) -> str:
    """A list in words.

    >>> joined(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def percent(share: float) -> str:
    """A share in words.

    >>> percent(0.25)
    '25 %'
    """
    return f"{100 * share:.0f} %"


def layers_of(maps: CamMaps | OwnMaps) -> tuple[str, ...]:
    """What each of a slice's maps is called."""
    if isinstance(maps, OwnMaps):
        return ("the classifier's own map",)
    return tuple(_LAYERS.get(layer, layer) for layer in maps.layers)


def maps_in_words(maps: CamMaps | OwnMaps) -> str:
    """Which maps are looked at."""
    if isinstance(maps, OwnMaps):
        return "one a slice, which the classifier was trained to make"
    return f"{_CAMS[maps.cam]} at {joined(layers_of(maps))} of the classifier"


def fusion_in_words(made: PseudoLabelled) -> str:
    """How the maps become one."""
    options = made.stage.pseudo_labels
    assert options is not None  # only stages that have pseudo-labels are read
    if len(layers_of(options.maps)) == 1:
        return "one map, so there is nothing to average"
    return _WEIGHTINGS[options.weighting]


def threshold_in_words(made: PseudoLabelled) -> str:
    """Where the fused map becomes a mask, and by which rule."""
    if made.chosen.threshold is not None:
        grid = f"of {len(THRESHOLDS)} values from {THRESHOLDS[0]:g} to {THRESHOLDS[-1]:g}"
        return (
            f"{made.chosen.threshold:g} for every slice: {grid} the one whose pseudo-masks have the best Dice with the "
            "masks of held-out patients, so those masks chose something"
        )
    options = made.stage.pseudo_labels
    assert options is not None  # only stages that have pseudo-labels are read
    if isinstance(options.threshold, float):
        return f"{options.threshold:g} for every slice, as the recipe says; no mask chose it"
    rule = "one for each slice: the one of least variance of the intensity inside and outside, which needs no mask"
    return f"{rule}{_spread(list(made.seeds.values()))}"


def _spread(seeds: Sequence[SliceSeeds]) -> str:
    found = sorted(one.threshold for one in seeds if one.threshold < UNSEPARATED)
    if not found:
        return ""
    return f" (from {found[0]:.2g} to {found[-1]:.2g}, half of them up to {found[(len(found) - 1) // 2]:.2g})"


def expansion_in_words(config: Expansion | None) -> tuple[str, ...]:
    """How a label is grown from the map, one sentence a step; a single one where it is not."""
    if config is None:
        return ("None: the fused map itself is the soft label, and what reaches the threshold the mask.",)
    cost = _COSTS.get(
        config.cost, f"{config.mix:g} times the change of intensity and {1 - config.mix:g} times its length"
    )
    exact = "exact" if config.sweeps is None else f"stopped after {config.sweeps} sweeps, so not exact"
    form = "how near the object's seed is among both, F / (F + B)"
    if config.form == "fused":
        form = "near the seeds what they say, and far from all of them what the fused map says"
    nearness = "exp(-distance)" if config.ratio == 1.0 else f"exp(-{config.ratio:g} x distance)"
    pixels = f"{config.margin} pixel{'s' * (config.margin != 1)}"
    return (
        "The object's seed is the centre of the map's largest piece above the threshold; the background's are the four "
        f"corners of the box around it, {pixels} wider.",
        f"From both, geodesic distances ({exact}): the cost of a path is {cost}. Nearness is {nearness}.",
        f"The soft label is {form}; the mask is where it is above a half.",
    )


def slices_in_words(made: PseudoLabelled) -> str:
    """Which training slices a stage learns from."""
    options = made.stage.pseudo_labels
    assert options is not None
    return _SLICES[options.slices]


def loss_in_words(made: PseudoLabelled) -> str | None:
    """How much each soft label counts in the segmenter's loss; None for a method that is no such segmenter."""
    config = made.stage.method
    if not isinstance(config, SoftMasksConfig):
        return None
    terms = {
        "the fused map": config.weights.map,
        "the soft label": config.weights.seed_label,
        "that two random views of an image agree": config.weights.consensus,
    }
    told = [f"{name} with weight {_weight(weight)}" for name, weight in terms.items() if _peak(weight)]
    return joined(told) if told else "nothing"


def _peak(weight: float | Ramp) -> float:
    return weight.peak if isinstance(weight, Ramp) else weight


def _weight(weight: float | Ramp) -> str:
    return f"rising to {weight.peak:g}" if isinstance(weight, Ramp) else f"{weight:g}"


def start_in_words(recipe: Recipe) -> str:
    """What the classifier's weights were before it saw a tag."""
    if recipe.start_from is not None:
        return "taken from an earlier run"
    return "trained from scratch" if recipe.weights is None else "started from ImageNet weights"
