"""Where a translator looks must not change with the translation: MSL's attention consistency."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fewmask.ranks import sum_over_ranks
from fewmask.shapes import IGNORED, Masks


def attended_map(masks: Masks, attended_classes: Sequence[int]) -> Tensor:
    """1 on the pixels of the classes that the translator shall re-draw, 0 elsewhere: (B, 1, H, W) float.

    Pixels that are `IGNORED` are 0 here, and `counted_map` takes them out of the loss. MSL writes only y_s in
    Eq. 5; with an attention of one channel this map is the reading that fits its text.
    """
    attended = torch.zeros_like(masks, dtype=torch.bool)
    # Class by class: a tensor of the classes would have to travel to the device in every step.
    for index in attended_classes:
        attended = attended | (masks == index)
    return (attended & (masks != IGNORED))[:, None].float()


def counted_map(masks: Masks) -> Tensor:
    """0 on the pixels that are `IGNORED`, 1 elsewhere: (B, 1, H, W) float."""
    return (masks != IGNORED)[:, None].float()


def source_attention_consistency(
    attention_source: Tensor, attention_of_translated: Tensor, attended: Tensor, counted: Tensor
) -> Tensor:
    """How far attention is from the attended classes, on source images and on their translations, in [0, 2].

    <|A_S(x_s) - y|> + <|A_T(x_s->t) - y|>, MSL (Zhang et al. 2020), Eq. 5, first line: means over the pixels
    with `counted` 1. `attended` is y, see `attended_map`; all four are (B, 1, H, W). Nothing is detached: the
    second term also moves A_T, the translator and A_S. Sums run over all processes, as in
    `fewmask.losses.segmentation`. A batch in which no pixel counts gives 0, with gradients of 0.
    """
    precise = torch.promote_types(attention_source.dtype, torch.float32)
    wanted, weight = attended.to(precise), counted.to(precise)
    before = (attention_source.to(precise) - wanted).abs()
    after = (attention_of_translated.to(precise) - wanted).abs()
    amiss, count = sum_over_ranks(torch.stack([((before + after) * weight).sum(), weight.sum()]))
    return amiss / count.clamp(min=1)


def target_attention_consistency(attention_target: Tensor, attention_of_translated: Tensor) -> Tensor:
    """How far attention on target images is from attention on their translations, in [0, 1].

    <|A_T(x_t) - A_S(x_t->s)|>, MSL (Zhang et al. 2020), Eq. 5, second line: the mean over all pixels of two
    maps (B, 1, H, W). Nothing is detached. It is 0 for any two equal maps, a constant one too: only the source's
    term says where to look.
    """
    precise = torch.promote_types(attention_target.dtype, torch.float32)
    return (attention_target.to(precise) - attention_of_translated.to(precise)).abs().mean()
