"""One training step of MSL in plain PyTorch: eager, in the precision of its weights, with nothing of fewmask in it.

It is what a competent reader of the paper (Zhang et al. 2020, Pattern Recognition Letters 140) would write in an
afternoon, and serves twice: `msl_step.py` measures our step against it, and a test holds our step to it.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

WEIGHTS = (1.0, 5.0, 2.0, 4.0, 1.0, 1.0)
"""Of the translators' terms, in the order of `StepLosses` (Eq. 8 and below it)."""

SALIENT, ATTENDED = 0.7, 0.2
FROM_SALIENT, FROM_ATTENDED = 20 / 100, 25 / 100
"""The phases begin after 20 and 25 of 100 epochs."""

RATE = 2e-4


@dataclass(frozen=True)
class Sizes:
    """How wide and deep the networks are, and how many translations each replay pool holds."""

    translators: int = 64
    blocks: int = 9
    critics: int = 64
    attention: int = 32
    replay: int = 50


class StepLosses(NamedTuple):
    """Every loss term of one step, unweighted; a term that the phase does not have is 0."""

    adversarial: Tensor
    cycle: Tensor
    attention_source: Tensor
    attention_target: Tensor
    saliency_source: Tensor
    saliency_target: Tensor
    source_critic: Tensor
    target_critic: Tensor


class Redrawn(NamedTuple):
    """A translation and the attention map that says where it was re-drawn."""

    image: Tensor
    attention: Tensor


class Residual(nn.Module):
    """Adds to its input what two 3x3 convolutions make of it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReflectionPad2d(1),
            *convolution(width, width, 3),
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3, bias=False),
            nn.InstanceNorm2d(width),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Features of the same shape."""
        return features + self.body(features)


class Bridge(nn.Module):
    """Adds what an inner network sees at a coarser scale to what is seen at this one."""

    def __init__(self, inner: nn.Module, skip: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.skip = skip

    def forward(self, features: Tensor) -> Tensor:
        """Features of the same shape."""
        return self.inner(features) + self.skip(features)


def convolution(inner: int, outer: int, kernel: int, stride: int = 1, padding: int = 0) -> list[nn.Module]:
    """Convolution, instance norm, ReLU."""
    return [
        nn.Conv2d(inner, outer, kernel, stride, padding, bias=False),
        nn.InstanceNorm2d(outer),
        nn.ReLU(inplace=True),
    ]


def doubling(inner: int, outer: int) -> list[nn.Module]:
    """Transposed convolution to twice the size, instance norm, ReLU."""
    return [
        nn.ConvTranspose2d(inner, outer, 3, 2, 1, output_padding=1, bias=False),
        nn.InstanceNorm2d(outer),
        nn.ReLU(inplace=True),
    ]


def generator(width: int, blocks: int) -> nn.Sequential:
    """CycleGAN's ResNet generator."""
    return nn.Sequential(
        nn.ReflectionPad2d(3),
        *convolution(3, width, 7),
        *convolution(width, 2 * width, 3, 2, 1),
        *convolution(2 * width, 4 * width, 3, 2, 1),
        *(Residual(4 * width) for _ in range(blocks)),
        *doubling(4 * width, 2 * width),
        *doubling(2 * width, width),
        nn.ReflectionPad2d(3),
        nn.Conv2d(width, 3, 7),
        nn.Tanh(),
    )


def mask_branch(width: int) -> nn.Sequential:
    """The mask branch of Wang et al. 2017: two max-pools down, two bilinear steps up, one skip in between."""
    up = nn.Upsample(scale_factor=2, mode="bilinear")
    coarse = nn.Sequential(nn.MaxPool2d(2), Residual(width), Residual(width), up)
    return nn.Sequential(
        nn.ReflectionPad2d(3),
        *convolution(3, width, 7, 2),
        nn.MaxPool2d(2),
        Residual(width),
        Bridge(coarse, Residual(width)),
        Residual(width),
        up,
        *convolution(width, width, 1),
        nn.Conv2d(width, 1, 1),
        up,
        nn.Sigmoid(),
    )


def patch_critic(width: int) -> nn.Sequential:
    """CycleGAN's 70 x 70 PatchGAN."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
    for inner, outer, stride in ((1, 2, 2), (2, 4, 2), (4, 8, 1)):
        layers += [
            nn.Conv2d(inner * width, outer * width, 4, stride, 1, bias=False),
            nn.InstanceNorm2d(outer * width),
            nn.LeakyReLU(0.2, inplace=True),
        ]
    return nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, 1, 1))


def copy_weights(onto: nn.Module, of: nn.Module) -> None:
    """Copy the weights of a network that has the same layers in the same order under other names."""
    onto.load_state_dict(dict(zip(onto.state_dict(), of.state_dict().values(), strict=True)))


class Pool:
    """CycleGAN's pool of earlier fakes, each with the attention map that made it."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.pairs: list[Redrawn] = []

    def exchange(self, fakes: Redrawn) -> Redrawn:
        """Each fake, or with probability 1/2 an earlier one, once the pool is full."""
        pairs = zip(fakes.image.detach(), fakes.attention.detach(), strict=True)
        images, maps = zip(*(self._exchange(Redrawn(*pair)) for pair in pairs), strict=True)
        return Redrawn(torch.stack(images), torch.stack(maps))

    def _exchange(self, pair: Redrawn) -> Redrawn:
        if len(self.pairs) < self.capacity:
            self.pairs.append(pair)
            return pair
        if torch.rand(()) < 0.5:
            return pair
        slot = int(torch.randint(self.capacity, ()))
        earlier, self.pairs[slot] = self.pairs[slot], pair
        return earlier


def to_lab(images: Tensor) -> Tensor:
    """Images in [-1, 1], read as sRGB, in CIELab under D65."""
    rgb = ((images + 1) / 2).clamp(0, 1)
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    matrix = images.new_tensor(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    xyz = torch.einsum("ij,bjhw->bihw", matrix, linear) / matrix.sum(1)[:, None, None]
    # The cube root's slope has no bound at 0, and `where` would pass a NaN backwards.
    root = torch.where(xyz > (6 / 29) ** 3, xyz.clamp(min=(6 / 29) ** 3) ** (1 / 3), 841 / 108 * xyz + 4 / 29)
    x, y, z = root.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def stands_out(images: Tensor) -> Tensor:
    """Frequency-tuned saliency in Lab, 1 at the most salient pixel (Eq. 6; Achanta et al. 2009)."""
    colours = to_lab(images)
    row = images.new_tensor([1, 4, 6, 4, 1]) / 16
    kernel = torch.outer(row, row).expand(3, 1, 5, 5)
    blurred = functional.conv2d(functional.pad(colours, (2, 2, 2, 2), mode="reflect"), kernel, groups=3)
    squares = (blurred - colours.mean((2, 3), keepdim=True)) ** 2
    distance = (squares.sum(1, keepdim=True) + 1e-12).sqrt()
    return distance / distance.detach().amax((2, 3), keepdim=True)


def saliency_loss(image: Tensor, translated: Redrawn) -> Tensor:
    """Eq. 7, as printed, without the 2 of a Dice; only where it is attended."""
    attended = (translated.attention.detach() > ATTENDED).to(image.dtype)
    before = (stands_out(image) > SALIENT).to(image.dtype) * attended
    after = stands_out(translated.image) * attended
    return 1 - (before * after).sum() / (before.sum() + after.sum())


class PlainMSL:
    """Networks, optimisers and replay pools of MSL, and its step."""

    def __init__(
        self,
        sizes: Sizes,
        attended_classes: tuple[int, ...],
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.attended_classes = torch.tensor(attended_classes, device=device)
        self.to_target, self.to_source = (generator(sizes.translators, sizes.blocks) for _ in range(2))
        self.attention_source, self.attention_target = (mask_branch(sizes.attention) for _ in range(2))
        self.source_critic, self.target_critic = (patch_critic(sizes.critics) for _ in range(2))
        self.pool_source, self.pool_target = Pool(sizes.replay), Pool(sizes.replay)
        self.translators = nn.ModuleList(
            [self.to_target, self.attention_source, self.to_source, self.attention_target]
        )
        self.critics = nn.ModuleList([self.source_critic, self.target_critic])
        self.optimisers = [
            torch.optim.Adam(networks.to(device, dtype).parameters(), lr=RATE, betas=(0.5, 0.999))
            for networks in (self.translators, self.critics)
        ]

    def step(self, source: Tensor, masks: Tensor, target: Tensor, progress: float) -> StepLosses:
        """Translators first, then both critics; `progress` is the share of the training that is done, in [0, 1)."""
        for optimiser in self.optimisers:
            # Constant in the first half of the training, then linear to 0.
            optimiser.param_groups[0]["lr"] = RATE * min(1.0, 2.0 - 2.0 * progress)
        translators, critics = self.optimisers
        as_target = redraw(self.to_target, self.attention_source, source)
        as_source = redraw(self.to_source, self.attention_target, target)

        self.critics.requires_grad_(False)
        terms = self._translators_terms(source, masks, target, as_target, as_source, progress)
        loss = sum(weight * term for weight, term in zip(WEIGHTS, terms, strict=True))
        translators.zero_grad()
        loss.backward()
        translators.step()
        self.critics.requires_grad_(True)

        judged = (
            (self.source_critic, Redrawn(source, as_target.attention), self.pool_source.exchange(as_source)),
            (self.target_critic, Redrawn(target, as_source.attention), self.pool_target.exchange(as_target)),
        )
        told_apart = [self._told_apart(critic, real, fake, progress) for critic, real, fake in judged]
        critics.zero_grad()
        sum(told_apart).backward()
        critics.step()
        return StepLosses(*(term.detach() for term in (*terms, *told_apart)))

    def _translators_terms(
        self,
        source: Tensor,
        masks: Tensor,
        target: Tensor,
        as_target: Redrawn,
        as_source: Redrawn,
        progress: float,
    ) -> tuple[Tensor, ...]:
        """The first six terms, in the order of `StepLosses` (Eqs. 1 to 7)."""
        source_again = redraw(self.to_source, self.attention_target, as_target.image)
        target_again = redraw(self.to_target, self.attention_source, as_source.image)
        verdicts_target = self.target_critic(shown(as_target, progress))
        verdicts_source = self.source_critic(shown(as_source, progress))
        wanted = torch.isin(masks, self.attended_classes).unsqueeze(1).to(source.dtype)
        nothing = source.new_zeros(())
        late = progress >= FROM_ATTENDED
        return (
            functional.mse_loss(verdicts_target, torch.ones_like(verdicts_target))
            + functional.mse_loss(verdicts_source, torch.ones_like(verdicts_source)),
            functional.l1_loss(source_again.image, source) + functional.l1_loss(target_again.image, target),
            functional.l1_loss(as_target.attention, wanted)
            + functional.l1_loss(source_again.attention, wanted),
            functional.l1_loss(as_source.attention, target_again.attention),
            saliency_loss(source, as_target) if late else nothing,
            saliency_loss(target, as_source) if late else nothing,
        )

    def _told_apart(self, critic: nn.Module, real: Redrawn, fake: Redrawn, progress: float) -> Tensor:
        """Half the squared distances of a critic's verdicts from 1 on real and 0 on fake images."""
        on_real, on_fake = critic(shown(real, progress)), critic(shown(fake, progress))
        return 0.5 * ((on_real - 1).square().mean() + on_fake.square().mean())


def redraw(network: nn.Module, attention: nn.Module, images: Tensor) -> Redrawn:
    """Eq. 4: re-drawn where it is attended, kept elsewhere."""
    where = attention(images)
    return Redrawn(where * network(images) + (1 - where) * images, where)


def shown(pair: Redrawn, progress: float) -> Tensor:
    """What a critic sees: the image, then only what stands out in it, then only where it is attended."""
    if progress < FROM_SALIENT:
        return pair.image
    if progress < FROM_ATTENDED:
        return pair.image * (stands_out(pair.image.detach()) > SALIENT)
    return pair.image * (pair.attention.detach() > ATTENDED)
