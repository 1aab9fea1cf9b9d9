"""The methods by the `kind` that a recipe file names them with. A new paper adds one line."""

from typing import Any

from fewmask.methods.attention_cyclegan import AttentionCycleGANConfig
from fewmask.methods.local_alignment import LocalAlignmentConfig
from fewmask.methods.outcome import OutcomeConfig
from fewmask.methods.output_alignment import OutputAlignmentConfig
from fewmask.methods.sifa import SIFAConfig
from fewmask.methods.soft_masks import SoftMasksConfig
from fewmask.methods.style_transfer import StyleTransferConfig
from fewmask.methods.supervised import SupervisedConfig
from fewmask.methods.tags import TagConfig

KINDS: dict[str, type[Any]] = {
    "supervised": SupervisedConfig,
    "attention_cyclegan": AttentionCycleGANConfig,
    "outcome": OutcomeConfig,
    "sifa": SIFAConfig,
    "output_alignment": OutputAlignmentConfig,
    "local_alignment": LocalAlignmentConfig,
    "style_transfer": StyleTransferConfig,
    "tags": TagConfig,
    "soft_masks": SoftMasksConfig,
}
