"""Class activation maps of VGG-16 against the use that pytorch-grad-cam makes of a network, side by side in one run.

python benchmarks/activation_maps.py [--size 256] [--slices 4] [--repeats 3] [--device auto] [--compile]
    [--ablation-size 64] [--json]

Five layers, the last one of each block. Plain: for each layer and slice one full forward and one full backward pass
in float32 with the weights' gradients, which is what one object a layer does. Ours: `maps_of`, one pass for all, in
float32 and in bf16. Maps in float32 must correlate with the plain ones to 0.9999, those in bf16 to 0.9, or the run
fails (weights are random, which makes rounding count for more than after training). Ablation-CAM at the last block:
one full forward pass for each channel against `maps_of`; to 0.999.

It never fails because of speed. The clocks run in turn, and the least time of each counts, as other work on the
machine only adds to it. `OMP_NUM_THREADS` sets the threads. On a GPU float32 is true float32 on both sides, and
`--compile` compiles our blocks, hooks staying outside; nothing here has run on a GPU yet.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fewmask.networks.initial import draw_kaiming
from fewmask.networks.vgg import LAYERS, TagVGG, VGGConfig
from fewmask.pseudo_labels.activation_map import maps_of

BLOCKS = LAYERS[:5]
TIED = {"float32": 0.9999, "bf16": 0.9, "ablation": 0.999}
"""How well maps must correlate with the plain ones."""


@dataclass(frozen=True)
class Compared:
    """One way of ours beside the plain one: milliseconds a slice, and the least correlation of their maps."""

    name: str
    plain_ms: float
    ours_ms: float
    correlation: float
    wanted: float

    @property
    def ratio(self) -> float:
        """How many times as fast ours is."""
        return self.plain_ms / self.ours_ms


def shown(logits: Tensor) -> Tensor:
    """The score of showing the object."""
    return logits[:, 1]


def build(device: torch.device) -> TagVGG:
    """Plain VGG-16 at its full width with He's weights, whose scores are not all negative.

    Calibrated ones make every feature's mean 0: what bf16 rounds off then counts for more than after training.
    """
    torch.manual_seed(0)
    network = TagVGG(3, VGGConfig(dilated=False))
    draw_kaiming(network, slope=0.0)
    return network.to(device).eval()


def draw(count: int, size: int, device: torch.device) -> Tensor:
    """Smooth noise in [-1, 1]."""
    torch.manual_seed(1)
    noise = torch.rand(count, 3, size // 8, size // 8) * 2 - 1
    return functional.interpolate(noise, size=(size, size), mode="bicubic").clamp(-1, 1).to(device)


def plain_grad_cam(network: TagVGG, images: Tensor) -> Tensor:
    """A full forward and backward pass for each layer and slice, (B, 5, H, W); the weights' gradients are computed."""
    maps: list[Tensor] = []
    for image in images:
        for name in BLOCKS:
            kept: list[Tensor] = []
            handle = network.layer(name).register_forward_hook(
                lambda _l, _i, out, kept=kept: kept.append(out)
            )
            network.zero_grad(set_to_none=False)
            score = shown(network(image[None])).sum()
            handle.remove()
            kept[0].retain_grad()
            score.backward()
            gradient = kept[0].grad
            assert gradient is not None
            weights = gradient.mean((2, 3), keepdim=True)
            maps.append(drawn((weights * kept[0].detach()).sum(1, keepdim=True), images))
    return torch.cat(maps).view(len(images), len(BLOCKS), *images.shape[-2:])


def plain_ablation(network: TagVGG, images: Tensor) -> Tensor:
    """A full forward pass for each channel of block 5 and slice, (B, 1, H, W)."""
    layer = network.layer("block5")
    maps: list[Tensor] = []
    with torch.no_grad():
        for image in images:
            kept: list[Tensor] = []
            handle = layer.register_forward_hook(lambda _l, _i, out, kept=kept: kept.append(out.clone()))
            whole = shown(network(image[None]))
            handle.remove()
            without = [ablated(network, image, channel) for channel in range(kept[0].shape[1])]
            shares = (whole - torch.cat(without)) / whole
            maps.append(drawn((shares[None, :, None, None] * kept[0]).sum(1, keepdim=True), images))
    return torch.cat(maps)


def ablated(network: TagVGG, image: Tensor, channel: int) -> Tensor:
    """The score without one channel of block 5."""

    def silence(_layer: object, _given: object, maps: Tensor) -> Tensor:
        maps = maps.clone()
        maps[:, channel] = 0.0
        return maps

    handle = network.layer("block5").register_forward_hook(silence)
    score = shown(network(image[None]))
    handle.remove()
    return score


def drawn(maps: Tensor, images: Tensor) -> Tensor:
    """Rectified, at the images' size."""
    return functional.interpolate(maps.relu(), size=images.shape[-2:], mode="bilinear")


def ours(network: TagVGG, images: Tensor, half: bool) -> Tensor:
    """Five layers of all slices in one call."""
    with torch.autocast(images.device.type, torch.bfloat16) if half else nullcontext():
        return maps_of(network, images, "gradcam", BLOCKS, shown).raw


def clock(work: Callable[[], Tensor], device: torch.device) -> tuple[float, Tensor]:
    """The seconds of one call, and what it gave."""
    for moment in (0, 1):
        if device.type == "cuda":
            torch.cuda.synchronize()
        if moment == 0:
            start = time.perf_counter()
            maps = work()
    return time.perf_counter() - start, maps.cpu()


def least_correlation(one: Tensor, other: Tensor) -> float:
    """Over slices and layers; maps that are 0 in both are equal."""
    pairs = zip(one.flatten(0, 1), other.flatten(0, 1), strict=True)
    values = [
        torch.corrcoef(torch.stack([a.flatten(), b.flatten()]).double())[0, 1] for a, b in pairs if a.any()
    ]
    return float(torch.stack(values).min())


def compare_passes(options: argparse.Namespace, device: torch.device) -> list[Compared]:
    """Five-layer maps: float32 and bf16 against the plain way on one slice."""
    network, images = build(device), draw(options.slices, options.size, device)
    plain = min(
        (clock(lambda: plain_grad_cam(network, images[:1]), device) for _ in range(options.repeats)),
        key=first,
    )
    network.zero_grad()
    if options.compile:
        # The blocks' own forward only: hooks stay outside of what is compiled.
        for block in network.blocks:
            block.forward = torch.compile(block.forward)
    compared: list[Compared] = []
    for name, half in (("float32", False), ("bf16", True)):
        times = [
            clock(lambda half=half: ours(network, images, half), device) for _ in range(options.repeats + 1)
        ]
        best = min(times[1:], key=first)
        tied = least_correlation(plain[1], best[1][:1])
        compared.append(Compared(name, 1000 * plain[0], 1000 * best[0] / len(images), tied, TIED[name]))
    return compared


def compare_ablation(options: argparse.Namespace, device: torch.device) -> Compared:
    """Ablation-CAM of block 5 in float32."""
    network, images = build(device), draw(1, options.ablation_size, device)
    plain = clock(lambda: plain_ablation(network, images), device)
    best = min(
        (
            clock(lambda: maps_of(network, images, "ablationcam", ["block5"], shown, at_once=128).raw, device)
            for _ in range(options.repeats + 1)
        ),
        key=first,
    )
    tied = least_correlation(plain[1], best[1])
    return Compared("ablation", 1000 * plain[0], 1000 * best[0], tied, TIED["ablation"])


def first(timed: tuple[float, Tensor]) -> float:
    """The seconds."""
    return timed[0]


def main() -> int:
    """Print the table; 1 where maps disagree."""
    parser = argparse.ArgumentParser(description="Activation maps: ours against one pass a layer and slice.")
    parser.add_argument("--size", type=int, default=256, help="pixels of a side")
    parser.add_argument("--slices", type=int, default=4, help="slices in one batch of ours")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ablation-size", type=int, default=64, help="pixels of a side for Ablation-CAM")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--compile", action="store_true", help="compile our blocks")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    options = parser.parse_args()
    name = options.device if options.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    compared = [*compare_passes(options, device), compare_ablation(options, device)]
    if options.json:
        print(json.dumps([asdict(one) | {"ratio": one.ratio} for one in compared]))
    else:
        what = (
            torch.cuda.get_device_name()
            if device.type == "cuda"
            else f"CPU, {torch.get_num_threads()} threads"
        )
        print(
            f"VGG-16, {options.size} px, {options.slices} slices a batch; ablation {options.ablation_size} px"
        )
        print(f"{what}, torch {torch.__version__}\n")
        print(f"{'maps':10} {'plain ms':>10} {'ours ms':>9} {'speed':>8} {'correlation':>12}")
        for one in compared:
            print(
                f"{one.name:10} {one.plain_ms:10.1f} {one.ours_ms:9.2f} {one.ratio:7.1f}x {one.correlation:12.6f}"
            )
    return 0 if all(one.correlation >= one.wanted for one in compared) else 1


if __name__ == "__main__":
    sys.exit(main())
