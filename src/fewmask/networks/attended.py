"""A translator and its attention: the image is re-drawn where the attention is high, and kept elsewhere."""

from typing import NamedTuple

from torch import Tensor, nn

from fewmask.shapes import Images


class Translation(NamedTuple):
    """A re-drawn image and where it was re-drawn: (B, C, H, W) in [-1, 1], (B, 1, H, W) in [0, 1].

    `still` is the same image with an attention that no gradient reaches; None where nobody has drawn.
    """

    image: Images
    attention: Tensor
    still: Images | None = None


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
        image = attention * drawn + (1.0 - attention) * images
        fixed = attention.detach()
        return Translation(image, attention, fixed * drawn + (1.0 - fixed) * images)
