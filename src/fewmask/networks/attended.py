"""A translator and its attention: the image is re-drawn where the attention is high, and kept elsewhere."""

from typing import NamedTuple

from torch import Tensor, nn

from fewmask.shapes import Images


class Translation(NamedTuple):
    """A re-drawn image and where it was re-drawn: (B, C, H, W) in [-1, 1], (B, 1, H, W) in [0, 1].

    `drawn` is what the translator drew everywhere; None for a translation that was stored.
    """

    image: Images
    attention: Tensor
    drawn: Images | None = None

    def held(self, images: Images) -> Images:
        """The same re-drawn `images`, with an attention that no gradient reaches. Only of a fresh translation."""
        assert self.drawn is not None
        return _laid_over(images, self.drawn, self.attention.detach())


def _laid_over(images: Images, drawn: Images, attention: Tensor) -> Images:
    return attention * drawn + (1.0 - attention) * images


class AttendedTranslator(nn.Module):
    """a * G(x) + (1 - a) * x with a = A(x): MSL (Zhang et al. 2020), Eq. 4."""

    def __init__(self, translator: nn.Module, attention: nn.Module) -> None:
        super().__init__()
        self.translator = translator
        self.attention = attention

    def forward(self, images: Images, learn_attention: bool = True) -> Translation:
        """The composite, and the attention that made it; without `learn_attention` it has no gradient."""
        attention = self.attention(images)
        if not learn_attention:
            attention = attention.detach()
        drawn = self.translator(images)
        return Translation(_laid_over(images, drawn, attention), attention, drawn)
