"""MSL's Table 1 (Zhang et al. 2020): another hospital's photographs, with every ablation."""

from fewmask.recipes import placenta
from fewmask.recipes.segmenter import supervised
from fewmask.studies.table import Published, PublishedDiagnosis, Row, Study

PLACENTA = Study(
    name="placenta",
    title="Another hospital's photographs (MSL, Table 1)",
    rows=(
        Row(
            "no_adaptation",
            "No adaptation (floor)",
            supervised,
            "source",
            paper=Published(0.5256, 0.4164, 0.2049),
        ),
        Row(
            "cyclegan",
            "CycleGAN",
            placenta.cyclegan,
            "pair",
            "no_adaptation",
            paper=Published(0.7022, 0.5850, 0.3508),
        ),
        Row(
            "aggan",
            "AGGAN",
            placenta.aggan,
            "pair",
            "no_adaptation",
            paper=Published(0.7807, 0.6497, 0.4672),
        ),
        Row(
            "msl_without_attention_consistency",
            "MSL without attention consistency",
            placenta.msl_without_attention_consistency,
            "pair",
            "no_adaptation",
            tied=True,
            paper=Published(0.8291, 0.6502, 0.4812),
        ),
        Row(
            "msl_without_saliency",
            "MSL without saliency consistency",
            placenta.msl_without_saliency,
            "pair",
            "no_adaptation",
            tied=True,
            paper=Published(0.7852, 0.6591, 0.4722),
        ),
        Row(
            "msl_without_cycle",
            "MSL without cycle",
            placenta.msl_without_cycle,
            "pair",
            "no_adaptation",
            tied=True,
            paper=Published(0.7593, 0.6203, 0.3874),
        ),
        Row(
            "msl",
            "MSL",
            placenta.msl,
            "pair",
            "no_adaptation",
            tied=True,
            paper=Published(0.8743, 0.8691, 0.7380),
        ),
        Row(
            "msl_cycle_off_attention",
            "MSL, cycle kept off the attention (ours)",
            placenta.msl_cycle_off_attention,
            "pair",
            "no_adaptation",
            tied=True,
        ),
        Row(
            "cyclegan_train_on_translated",
            "CycleGAN, segmenter trained on translated source",
            placenta.cyclegan_train_on_translated,
            "pair",
            "cyclegan",
        ),
        Row(
            "aggan_train_on_translated",
            "AGGAN, segmenter trained on translated source",
            placenta.aggan_train_on_translated,
            "pair",
            "aggan",
        ),
        Row(
            "msl_train_on_translated",
            "MSL, segmenter trained on translated source",
            placenta.msl_train_on_translated,
            "pair",
            "msl",
            tied=True,
        ),
        Row("ceiling", "Target's own masks (ceiling)", supervised, "target"),
        Row(
            "in_domain",
            "Source, tested on the source",
            None,
            "source",
            "no_adaptation",
            scored_on="source",
            paper=Published(pixel_accuracy=0.9693, mean_iou=0.9131),
        ),
    ),
    floor="no_adaptation",
    ceiling="ceiling",
    subject="msl",
    phantom="placenta",
    attended=("ruler", "background"),
    diagnosis=PublishedDiagnosis(
        outcomes=(("fir>=2", 0.78, 0.96), ("mir>=2", 0.76, 0.83)), kept=("disc", "cord"), masks_of="msl"
    ),
)
