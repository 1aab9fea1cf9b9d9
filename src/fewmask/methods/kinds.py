"""The methods by the `kind` that a recipe file names them with. A new paper adds one line."""

from typing import Any

from fewmask.methods.attention_cyclegan import AttentionCycleGANConfig
from fewmask.methods.joint import JointConfig
from fewmask.methods.local_alignment import LocalAlignmentConfig
from fewmask.methods.marker_classifier import MarkersConfig
from fewmask.methods.outcome import OutcomeConfig
from fewmask.methods.output_alignment import OutputAlignmentConfig
from fewmask.methods.refined_maps import RefinedMapsConfig
from fewmask.methods.sifa import SIFAConfig
from fewmask.methods.soft_masks import SoftMasksConfig
from fewmask.methods.spotlight_tags import SpotlightTagsConfig
from fewmask.methods.style_transfer import StyleTransferConfig
from fewmask.methods.supervised import SupervisedConfig
from fewmask.methods.suppressed_tags import SuppressedTagsConfig
from fewmask.methods.tags import TagConfig

KINDS: dict[str, type[Any]] = {
    "supervised": SupervisedConfig,
    "attention_cyclegan": AttentionCycleGANConfig,
    "outcome": OutcomeConfig,
    "joint": JointConfig,
    "markers": MarkersConfig,
    "sifa": SIFAConfig,
    "output_alignment": OutputAlignmentConfig,
    "local_alignment": LocalAlignmentConfig,
    "style_transfer": StyleTransferConfig,
    "tags": TagConfig,
    "suppressed_tags": SuppressedTagsConfig,
    "refined_maps": RefinedMapsConfig,
    "spotlight_tags": SpotlightTagsConfig,
    "soft_masks": SoftMasksConfig,
}
