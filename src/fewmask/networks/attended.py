"""A translator and its attention: the image is re-drawn where the attention is high, and kept elsewhere."""

from typing import NamedTuple

from torch import Tensor, nn

from fewmask.shapes import Images


class Translation(NamedTuple):
    """A re-drawn image and where it was re-drawn: (B, C, H, W) in [-1, 1], (B, 1, H, W) in [0, 1]."""

    image: Images
    attention: Tensor


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
        return Translation(attention * self.translator(images) + (1.0 - attention) * images, attention)
