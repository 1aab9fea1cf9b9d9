"""The feature critic: it judges, place by place, from which domain an encoder's features come."""

from torch import Tensor, nn

from fewmask.errors import InputFault
from fewmask.shapes import Verdicts


class FeatureCritic(nn.Module):
    """Four 3x3 convolutions without a stride, so that every place of the features gets its own verdict.

    The discriminator of 256-channel features in DAR-UNet's code (Yao et al. 2022), which we read as the one behind
    GLUA's local feature mask: convolutions to `width`, half and a quarter of it, each with an affine instance norm
    and a leaky ReLU of 0.2, then one to a single verdict; 388,033 parameters for 256 channels and width 128. That
    count holds the biases before the instance norms, which change no verdict. Weights are drawn as torch draws them.

    By its norms each verdict also knows what the whole map is like, and an offset that is the same everywhere is
    seen at the rim alone.
    """

    def __init__(self, channels: int, width: int = 128) -> None:
        super().__init__()
        if width < 4 or width % 4:
            raise InputFault(f"critic_width={width}: the feature critic halves it twice; use a multiple of 4")
        stages: list[nn.Module] = []
        inner = channels
        for outer in (width, width // 2, width // 4):
            stages += [
                nn.Conv2d(inner, outer, kernel_size=3, padding=1),
                nn.InstanceNorm2d(outer, affine=True),
                nn.LeakyReLU(0.2, inplace=True),
            ]
            inner = outer
        self.judge = nn.Sequential(*stages, nn.Conv2d(inner, 1, kernel_size=3, padding=1))

    def forward(self, features: Tensor) -> Verdicts:
        """Unbounded verdicts (B, 1, h, w) on features (B, channels, h, w) of at least two places; high is source."""
        return self.judge(features)
