"""The rows of the placenta table (MSL, Table 1): photographs of one hospital have masks, those of another have none."""

from dataclasses import replace

from fewmask.losses.segmentation import DiceForm
from fewmask.losses.turn import Ramp
from fewmask.methods.attention_cyclegan import AttentionCycleGANConfig, Phase, TranslationWeights
from fewmask.methods.base import Adam, Schedule
from fewmask.methods.supervised import SupervisedConfig, SupervisedWeights
from fewmask.networks.attention import AgganAttention, NoAttention
from fewmask.networks.unet import UNetConfig
from fewmask.recipe import Augmentation, Recipe, Stage, without
from fewmask.recipes.segmenter import SMALL_SIZE, segmenter_stage

MSL_DICE = DiceForm(squared=False, doubled=False, pooled=True, above=0.0, below=0.0)
"""MSL (Zhang et al. 2020), Eq. 10, as printed: one ratio over all classes, 0.5 for a perfect answer."""

FLIPS_ONLY = Augmentation(
    rotation=0, translation=0, scale=0, flip=True, gamma=0, contrast=0, brightness=0, noise=0
)
"""The translators see images as they are: a changed brightness would be a change of the domain itself."""


def _translated(name: str, small: bool, config: AttentionCycleGANConfig, size: int, epochs: int) -> Recipe:
    """A segmenter on the source, then translators around it. In `small` the same networks are narrow.

    A step is one image of each domain; an epoch is the 200 source images that MSL translates.
    """
    if small:
        config = replace(config, translator_width=16, critic_width=32)
    if small and isinstance(config.attention, AgganAttention):
        # As wide as the translator, as in AGGAN's code.
        config = replace(config, attention=replace(config.attention, width=16))
    translators = Stage(
        name="translators",
        method=config,
        steps=2000 if small else 200 * epochs,
        batch=1,
        augmentation=FLIPS_ONLY,
        segmenter="segmenter",
        choose="last",
    )
    stages = (segmenter_stage(small), translators)
    return Recipe(name=name, stages=stages, size=SMALL_SIZE if small else size)


def placentanet(small: bool) -> Recipe:
    """The source's segmenter as MSL's paper trains it: the Dice of its Eq. 10 alone, Adam at 1e-3, batches of 5.

    PlacentaNet's layers were never published; a U-Net of five levels stands in for it. The other recipes train
    `supervised`, whose loss and augmentation are stronger, so that the floor is.
    """
    network = UNetConfig((16, 32, 64, 128, 256) if small else (64, 128, 256, 512, 1024))
    method = SupervisedConfig(
        network=network,
        weights=SupervisedWeights(cross_entropy=0.0),
        dice=MSL_DICE,
        optimiser=Adam(rate=1e-3),
    )
    stage = replace(segmenter_stage(small), method=method, batch=5, augmentation=FLIPS_ONLY)
    return Recipe(name="placentanet", stages=(stage,), size=SMALL_SIZE if small else 512)


def cyclegan(small: bool) -> Recipe:
    """CycleGAN (Zhu et al. 2017) and the frozen source segmenter, as the baseline of MSL's Table 1."""
    return _translated("cyclegan", small, AttentionCycleGANConfig(), 256, epochs=200)


def aggan(small: bool) -> Recipe:
    """AGGAN (Mejjati et al. 2018): attention without labels; after 30 % it is frozen, and critics see only it.

    From there on the critics also leave out their instance norms, as the released code does.
    """
    config = AttentionCycleGANConfig(
        attention=AgganAttention(),
        phases=(Phase(0.0, "image"), Phase(0.3, "attended")),
        attention_frozen=0.3,
        critic_norms_end=0.3,
        attention_threshold=0.1,
        weights=TranslationWeights(identity=0.0),
        optimiser=Adam(rate=1e-4, beta1=0.5, schedule=Schedule("linear", 0.5)),
    )
    return _translated("aggan", small, config, 256, epochs=100)


def msl(small: bool) -> Recipe:
    """MSL (Zhang et al. 2020): 20 epochs on full images, 5 on what is salient, the rest on what is attended.

    The paper does not say how many epochs there are; the phases are shares of 100 (20 + 5 + 75). It attends to ruler
    and background (`--set attended=[ruler,background]`); without a choice all classes are. Its attention is AGGAN's
    network with true kernels, which keeps a quarter of the image's detail; the mask branch that the paper names
    (`--set "attention={kind: residual}"`) keeps an eighth.
    """
    late = Ramp(peak=1.0, start=0.25, end=0.25)
    config = AttentionCycleGANConfig(
        attention=AgganAttention(),
        phases=(Phase(0.0, "image"), Phase(0.2, "salient"), Phase(0.25, "attended")),
        weights=TranslationWeights(
            cycle=5.0,
            identity=0.0,
            attention_source=2.0,
            attention_target=4.0,
            saliency_source=late,
            saliency_target=late,
        ),
    )
    return _translated("msl", small, config, 512, epochs=100)


def msl_cycle_off_attention(small: bool) -> Recipe:
    """MSL, but the cycle term teaches the translators alone. Ours, not the paper's: see docs/decisions/0002."""
    recipe = msl(small)
    segmenter, translators = recipe.stages
    config = replace(translators.method, cycle_moves_attention=False)
    stages = (segmenter, replace(translators, method=config))
    return replace(recipe, name="msl_cycle_off_attention", stages=stages)


def cyclegan_train_on_translated(small: bool) -> Recipe:
    """CycleGAN, used the other way round: see `train_on_translated`."""
    return train_on_translated(cyclegan(small), small)


def aggan_train_on_translated(small: bool) -> Recipe:
    """AGGAN, used the other way round: see `train_on_translated`."""
    return train_on_translated(aggan(small), small)


def msl_train_on_translated(small: bool) -> Recipe:
    """MSL, used the other way round: see `train_on_translated`."""
    return train_on_translated(msl(small), small)


def train_on_translated(recipe: Recipe, small: bool) -> Recipe:
    """The same translators, used the other way round: the source's images are re-drawn in the target's look, and a
    new segmenter learns on them, with the same strong augmentation. It then segments target images as they are.

    Differs from MSL, which translates target images for the source's segmenter (`translate_then_segment`). Which of
    the two serves better depends on the pair.
    """
    segmenter = replace(segmenter_stage(small), name="target_segmenter", restyled_by="translators")
    return replace(recipe, name=f"{recipe.name}_train_on_translated", stages=(*recipe.stages, segmenter))


def msl_without_attention_consistency(small: bool) -> Recipe:
    """MSL, Table 1, "w/o L_att": the attention is not tied to classes."""
    return _without_terms("attention_consistency", small, "attention_source", "attention_target")


def msl_without_saliency(small: bool) -> Recipe:
    """MSL, Table 1, "w/o L_sal"."""
    return _without_terms("saliency", small, "saliency_source", "saliency_target")


def msl_without_cycle(small: bool) -> Recipe:
    """MSL, Table 1, "w/o L_cyc"."""
    return _without_terms("cycle", small, "cycle")


def msl_without_attention(small: bool) -> Recipe:
    """MSL with the attention itself taken out: the whole image is re-drawn."""
    recipe = _without_terms("attention", small, "attention_source", "attention_target")
    segmenter, translators = recipe.stages
    config = replace(translators.method, attention=NoAttention())
    return replace(recipe, stages=(segmenter, replace(translators, method=config)))


def _without_terms(what: str, small: bool, *terms: str) -> Recipe:
    recipe = msl(small)
    for term in terms:
        recipe = without(recipe, term)
    return replace(recipe, name=f"msl_without_{what}")
