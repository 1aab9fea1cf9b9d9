"""The critic: it judges, patch by patch, whether an image is real."""

from torch import nn

from fewmask.networks.initial import draw_normal
from fewmask.shapes import Images, Verdicts


class PatchCritic(nn.Module):
    """Convolutions that end in one verdict a patch instead of one an image.

    Isola et al. 2017 (PatchGAN, 70 x 70 pixels for three layers) as Zhu et al. 2017 use it: `layers`
    convolutions of stride 2 and two of stride 1, all 4x4; instance norm but on the first and the last.
    Differs: no bias before an instance norm (see `ResNetTranslator`). Weights are drawn from N(0, 0.02^2).
    """

    def __init__(self, channels: int, width: int = 64, layers: int = 3) -> None:
        super().__init__()
        self.layers = layers
        stages: list[nn.Module] = [_convolution(channels, width, stride=2), nn.LeakyReLU(0.2, inplace=True)]
        inner = width
        for depth in range(1, layers + 1):
            outer = width * min(2**depth, 8)
            stride = 2 if depth < layers else 1
            stages += [
                _convolution(inner, outer, stride, bias=False),
                nn.InstanceNorm2d(outer),
                nn.LeakyReLU(0.2, inplace=True),
            ]
            inner = outer
        self.judge = nn.Sequential(*stages, _convolution(inner, 1, stride=1))
        draw_normal(self)

    @property
    def field_of_view(self) -> int:
        """The side, in pixels, of the patch that decides one verdict: 70 for three layers.

        (Instance norms add what the whole image is like on average.)

        >>> PatchCritic(1, layers=3).field_of_view
        70
        """
        return patch_side(self.layers)

    @property
    def smallest_size(self) -> int:
        """The smallest side, in pixels, of an image that still gets a verdict: 24 for three layers."""
        return 3 * 2**self.layers

    def forward(self, images: Images, normalised: bool = True) -> Verdicts:
        """Unbounded verdicts, (B, 1, h, w) with h = H / 2^layers - 2 rounded down: 62 for 512 pixels.

        Without `normalised` the instance norms are passed by; AGGAN's code does so once its critics see masked
        images, whose grey would otherwise weigh in every norm. Raises ValueError for images below `smallest_size`.
        """
        if min(images.shape[-2:]) < self.smallest_size:
            size = tuple(images.shape[-2:])
            raise ValueError(f"this critic needs images of {self.smallest_size} pixels or more, not {size}")
        features = images
        for layer in self.judge:
            if normalised or not isinstance(layer, nn.InstanceNorm2d):
                features = layer(features)
        return features


def patch_side(layers: int) -> int:
    """The side, in pixels, of what decides one verdict behind `layers` 4x4 convolutions of stride 2 and two of 1."""
    side = 1
    for stride in (1, 1, *([2] * layers)):
        side = (side - 1) * stride + 4
    return side


def patch_remark(side: int, size: int) -> tuple[str, ...]:
    """What a user should be told whose images of `size` pixels are smaller than the patch of one verdict."""
    if size >= side:
        return ()
    return (
        f"the critics' patches ({side} pixels) exceed the images ({size}), so each verdict is about a whole image; "
        "--set critic_layers=2 judges smaller parts",
    )


def _convolution(inner: int, outer: int, stride: int, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inner, outer, kernel_size=4, stride=stride, padding=1, bias=bias)
