"""The rows of a cross-modality table: SIFA with its ablation, GLUA (reconstructed) with its grid, their baselines."""

from dataclasses import dataclass

from fewmask.recipes import alignment, cardiac, glua, placenta
from fewmask.recipes.segmenter import supervised, supervised_unaugmented
from fewmask.studies.table import PaperRow, PublishedStructures, Row, Study

FLOOR = "no_adaptation"


@dataclass(frozen=True)
class Papers:
    """What SIFA's papers print for the rows of one direction. GLUA's figures were never at hand."""

    floor: PublishedStructures
    cyclegan: PublishedStructures
    output_adversarial: PublishedStructures
    sifa: PublishedStructures
    ceiling: PublishedStructures
    others: tuple[PaperRow, ...]
    image_only: PublishedStructures | None = None
    with_output_critic: PublishedStructures | None = None
    sifa_v1: PublishedStructures | None = None


def printed(dice: str, distance: str) -> PublishedStructures:
    """A row as a paper prints it: Dice in % and ASD in voxels, a structure each, the mean last."""
    *each, mean = (float(word) for word in dice.split())
    *lengths, mean_length = (None if word == "NA" else float(word) for word in distance.split())
    return PublishedStructures(tuple(each), tuple(lengths), mean, mean_length)


def printed_mean(dice: float, structures: int = 4) -> PublishedStructures:
    """A row of which only the mean Dice is printed."""
    return PublishedStructures((None,) * structures, (None,) * structures, dice)


def modality_study(
    name: str, title: str, structures: tuple[str, ...], papers: Papers, phantom: str, reverse: bool = False
) -> Study:
    """One direction of one pair of modalities; with `reverse` the phantom's second folder is the source."""
    rows = (
        Row(
            "no_adaptation_unaugmented",
            "No adaptation, images as they are",
            supervised_unaugmented,
            "source",
            paper=papers.floor,
        ),
        Row(FLOOR, "No adaptation, strong augmentation (floor)", supervised, "source"),
        Row(
            "cyclegan",
            "CycleGAN, segmenter trained on translated source",
            placenta.cyclegan_train_on_translated,
            "pair",
            FLOOR,
            fixed=("attention",),
            paper=papers.cyclegan,
        ),
        Row(
            "output_adversarial",
            "Output-space adversarial (AdaptSegNet)",
            alignment.output_adversarial,
            "pair",
            paper=papers.output_adversarial,
        ),
        Row("feature_adversarial", "Feature-space adversarial", alignment.feature_adversarial, "pair"),
        *_sifa(papers),
        *_glua(),
        Row("ceiling", "Target's own masks (ceiling)", supervised, "target", paper=papers.ceiling),
    )
    return Study(
        name,
        title,
        rows,
        floor=FLOOR,
        ceiling="ceiling",
        subject="sifa",
        phantom=phantom,
        reverse=reverse,
        structures=structures,
        paper_rows=papers.others,
    )


def _sifa(papers: Papers) -> tuple[Row, ...]:
    """SIFA's own ablation, both of its versions, and its second order of updates."""
    return (
        Row(
            "sifa_image_only",
            "SIFA v1, image alignment only",
            cardiac.sifa_image_only,
            "pair",
            paper=papers.image_only,
        ),
        Row(
            "sifa_with_output_critic",
            "SIFA v1, + output critic",
            cardiac.sifa_with_output_critic,
            "pair",
            paper=papers.with_output_critic,
        ),
        Row("sifa_v1", "SIFA v1, + auxiliary critic", cardiac.sifa_v1, "pair", paper=papers.sifa_v1),
        Row("sifa", "SIFA v2", cardiac.sifa, "pair", paper=papers.sifa, candidates=True),
        Row("sifa_one_forward", "SIFA v2, one forward pass a step", cardiac.sifa_one_forward, "pair"),
    )


def _glua() -> tuple[Row, ...]:
    """GLUA's grid; every row but the last starts from the first one's style transfer."""
    style = "glua_style_only"
    return (
        Row(style, "GLUA (reconstructed), style transfer only", glua.style_transfer_only, "pair"),
        Row(
            "glua_without_mask",
            "GLUA (reconstructed), without its mask",
            glua.glua_without_mask,
            "pair",
            style,
            fixed=("mask",),
        ),
        Row("glua", "GLUA (reconstructed)", glua.glua, "pair", style),
        Row(
            "glua_literal_mask",
            "GLUA (reconstructed), literal mask",
            glua.glua_literal_mask,
            "pair",
            style,
            fixed=("mask",),
        ),
        Row(
            "glua_entropy_mask",
            "GLUA (reconstructed), entropy mask",
            glua.glua_entropy_mask,
            "pair",
            style,
            fixed=("mask",),
        ),
        Row(
            "glua_without_style",
            "GLUA (reconstructed), mask without style",
            glua.glua_without_style,
            "pair",
        ),
    )
