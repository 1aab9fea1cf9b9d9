"""One training step of MSL against a plain eager float32 implementation of it, side by side in one run.

python benchmarks/msl_step.py [--size 128] [--steps 10] [--free-steps 50] [--device auto] [--compile [MODE]] [--json]

Ours: the recipe `msl` at the paper's size in its last phase, played as `fewmask train msl --precision bf16` plays
it. Plain: `plain_msl.py` beside this file. Both get the same images, weights and draws, and step in turn.

In each of `--steps` steps ours starts from the plain one's weights, and every loss term must agree to 2 %; then
both go `--free-steps` on their own, and the terms' means must agree to 5 %, else the run fails. It never fails
because of speed. `OMP_NUM_THREADS` sets the threads.

On a GPU: the plain step is true float32; `--tf32` allows it what torch allows convolutions by default. `--compile`
compiles our networks, with norms that keep the layout `channels_last`: `fewmask train` does not offer that yet.
Its losses are tested on a CPU; nothing here has run on a GPU yet, and MODE `reduce-overhead` (CUDA graphs)
does on a CPU what `default` does.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
import torch
from lightning_fabric import Fabric
from plain_msl import PlainMSL, Sizes, StepLosses, copy_weights
from torch import Tensor, nn

from fewmask.data.batch import Adaptation, Labelled, Unlabelled
from fewmask.data.phantoms.placenta import HOSPITALS, photograph
from fewmask.data.phantoms.placenta_paint import CLASSES
from fewmask.errors import InputFault
from fewmask.methods.attention_cyclegan import AttentionCycleGAN, AttentionCycleGANConfig
from fewmask.methods.base import Move
from fewmask.networks.attention import ResidualAttention
from fewmask.recipes.placenta import msl
from fewmask.shapes import Task
from fewmask.training.play import play
from fewmask.training.train import make_fabric

RE_DRAWN = ("background", "ruler")
LAST_PHASE = 0.5
FROM_SAME_WEIGHTS, OF_MEANS = 0.02, 0.05
"""How far a loss term may be from the plain one's."""
WARM_UP = 3
PHOTOGRAPHS = 8


@dataclass(frozen=True)
class Measured:
    """The losses of one step, in the order of `StepLosses`, and how long it took."""

    losses: tuple[float, ...]
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What the run says. Differences are shares of the plain one's term, in the order of `terms`."""

    device: str
    threads: int
    torch: str
    size: int
    compiled: str | None
    plain_ms: float
    ours_ms: float
    ratio: float
    terms: tuple[str, ...]
    from_same_weights: tuple[float, ...]
    of_means: tuple[float, ...]

    @property
    def agrees(self) -> bool:
        """Whether every term is as near as it must be."""
        tied = all(share <= FROM_SAME_WEIGHTS for share in self.from_same_weights)
        return tied and all(share <= OF_MEANS for share in self.of_means)


class LayoutKeepingNorm(nn.InstanceNorm2d):
    """Instance norm without scale and offset in plain arithmetic, which leaves `channels_last` as it is.

    torch's own copies such maps to the other layout and back. Eager it would be slower; a compiler fuses it.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalised maps, (B, C, H, W); their statistics are taken in single precision or better."""
        values = input.to(torch.promote_types(input.dtype, torch.float32))
        variance, mean = torch.var_mean(values, (2, 3), correction=0, keepdim=True)
        return ((values - mean) * torch.rsqrt(variance + self.eps)).to(input.dtype)


def build_ours(sizes: Sizes, size: int) -> AttentionCycleGAN:
    """The method of the recipe `msl` with fresh weights, which re-draws what the paper re-draws."""
    config = msl(small=False).stages[1].method
    assert isinstance(config, AttentionCycleGANConfig)
    config = replace(
        config,
        translator_width=sizes.translators,
        translator_blocks=sizes.blocks,
        critic_width=sizes.critics,
        attention=ResidualAttention(width=sizes.attention),
        replay=sizes.replay,
        attended=RE_DRAWN,
    )
    torch.manual_seed(0)
    return config.build(Task(3, CLASSES, size), segmenter=nn.Identity()).train()


def build_plain(sizes: Sizes, method: AttentionCycleGAN) -> PlainMSL:
    """The plain one on the same device, in the same precision, with the same weights."""
    first = next(method.parameters())
    plain = PlainMSL(sizes, tuple(CLASSES.index(name) for name in RE_DRAWN), first.device, first.dtype)
    for network, ours in counterparts(plain, method):
        copy_weights(onto=network, of=ours)
    return plain


def counterparts(plain: PlainMSL, method: AttentionCycleGAN) -> tuple[tuple[nn.Module, nn.Module], ...]:
    """Each plain network with ours of the same layers in the same order."""
    return (
        (plain.to_target, method.to_target.translator),
        (plain.attention_source, method.to_target.attention),
        (plain.to_source, method.to_source.translator),
        (plain.attention_target, method.to_source.attention),
        (plain.source_critic, method.source_critic),
        (plain.target_critic, method.target_critic),
    )


def step_ours(
    fabric: Fabric, method: AttentionCycleGAN, batch: Adaptation, progress: float, frozen: bool = False
) -> StepLosses:
    """One step as the loop plays it; `frozen` is for compiled networks, see `others_frozen`."""
    moves = method.training_step(batch, progress)
    turns = play(fabric, method, others_frozen(method, moves) if frozen else moves, progress)
    translators, source_critic, target_critic = (turn.terms for turn in turns)
    absent = torch.zeros(())
    return StepLosses(
        *(translators.get(name, absent) for name in StepLosses._fields[:6]),
        source_critic["adversarial"],
        target_critic["adversarial"],
    )


def step_plain(plain: PlainMSL, batch: Adaptation, progress: float) -> StepLosses:
    """One step of the plain one on the same images."""
    return plain.step(batch.source.images, batch.source.masks, batch.target.images, progress)


def others_frozen(method: AttentionCycleGAN, moves: Iterator[Move]) -> Iterator[Move]:
    """The same moves; while a player's loss is computed, the weights of the others ask for no gradient.

    `backward(inputs=...)` saves the work for them only where nothing is compiled: a compiled graph computes
    the gradients of all weights that asked for one when it was recorded.
    """
    for player in method.players:
        for other in method.players:
            other.networks.requires_grad_(other is player)
        move = next(moves)
        for other in method.players:
            other.networks.requires_grad_(True)
        yield move


def lay_out_channels_last(method: AttentionCycleGAN) -> None:
    """Lay out all weights as `channels_last`, and replace the norms by such as keep that layout."""
    for module in list(method.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.InstanceNorm2d):
                setattr(module, name, LayoutKeepingNorm(child.num_features, child.eps))
    method.to(memory_format=torch.channels_last)


def compile_networks(method: AttentionCycleGAN, mode: str) -> None:
    """Compile all that a step runs forwards and backwards, but for losses and optimisers."""
    lay_out_channels_last(method)
    for network in (method.to_target, method.to_source, method.source_critic, method.target_critic):
        network.compile(mode=mode, dynamic=False)


def draw_batches(size: int, device: torch.device) -> list[Adaptation]:
    """Photographs of the placenta phantom, one of each hospital a batch."""
    batches: list[Adaptation] = []
    for case in range(PHOTOGRAPHS):
        source, target = (photograph(hospital, case, seed=0, size=size) for hospital in HOSPITALS)
        images = [
            torch.from_numpy(shot.image).to(device).permute(2, 0, 1)[None].contiguous() / 127.5 - 1.0
            for shot in (source, target)
        ]
        masks = torch.from_numpy(source.mask)[None].long().to(device)
        batches.append(Adaptation(Labelled(images[0], masks), Unlabelled(images[1])))
    return batches


def clock(step: Callable[[], StepLosses], device: torch.device, seed: int) -> Measured:
    """The losses and the time of one step, whose draws come from `seed`."""
    torch.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    losses = step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    return Measured(tuple(float(term) for term in losses), seconds)


def apart(ours: np.ndarray, plain: np.ndarray) -> np.ndarray:
    """The differences as shares of the plain one's values; 0 where both are 0."""
    return np.abs(ours - plain) / np.maximum(np.abs(plain), 1e-12)


def play_both(fabric: Fabric, options: argparse.Namespace) -> Outcome:
    """Step in turn: first both from the same weights at every step, then each on its own."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = options.tf32
    device, sizes = fabric.device, Sizes()
    method = build_ours(sizes, options.size or (512 if device.type == "cuda" else 128)).to(device)
    plain = build_plain(sizes, method)
    if options.compile:
        compile_networks(method, options.compile)
    batches = draw_batches(method.task.size, device)
    own: list[Measured] = []
    peer: list[Measured] = []
    count = options.steps + options.free_steps
    for number in range(count):
        batch = batches[number % len(batches)]
        if number <= options.steps:
            for network, ours in counterparts(plain, method):
                copy_weights(onto=ours, of=network)
        torch.compiler.cudagraph_mark_step_begin()
        ours_step = partial(step_ours, fabric, method, batch, LAST_PHASE, frozen=bool(options.compile))
        own.append(clock(ours_step, device, seed=number))
        peer.append(clock(partial(step_plain, plain, batch, LAST_PHASE), device, seed=number))
        print(f"\rstep {number + 1} of {count}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return compare(method.task.size, device, options, own, peer)


def compare(
    size: int, device: torch.device, options: argparse.Namespace, own: list[Measured], peer: list[Measured]
) -> Outcome:
    """Medians without the first steps; differences from the same weights, and of the means of the free steps.

    Where there are no free steps, the means are those of the others.
    """
    tied = options.steps
    warm = slice(WARM_UP if len(own) > WARM_UP else 0, None)
    own_ms, peer_ms = (1000 * statistics.median(step.seconds for step in side[warm]) for side in (own, peer))
    ours, plain = (np.array([step.losses for step in side]) for side in (own, peer))
    means = (side[tied:].mean(0) if len(side) > tied else side.mean(0) for side in (ours, plain))
    return Outcome(
        device=torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"CPU with {torch.backends.cpu.get_cpu_capability()}",
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        size=size,
        compiled=options.compile,
        plain_ms=peer_ms,
        ours_ms=own_ms,
        ratio=peer_ms / own_ms,
        terms=StepLosses._fields,
        from_same_weights=tuple(apart(ours[:tied], plain[:tied]).max(0).tolist()),
        of_means=tuple(apart(*means).tolist()),
    )


def show(outcome: Outcome) -> None:
    """Two small tables: speed, and how far the losses are apart."""
    print(f"MSL step, {outcome.size} x {outcome.size} pixels, batch 1, last phase, {Sizes()}")
    print(f"{outcome.device}, {outcome.threads} threads, torch {outcome.torch}\n")
    print(f"{'step':26} {'median ms':>10} {'speed':>7}")
    print(f"{'plain eager float32':26} {outcome.plain_ms:10.1f} {1:6.2f}x")
    name = "fewmask, bf16, compiled" if outcome.compiled else "fewmask, bf16-mixed"
    print(f"{name:26} {outcome.ours_ms:10.1f} {outcome.ratio:6.2f}x\n")
    print(f"{'loss term, apart by':26} {'same weights':>13} {'free means':>11}")
    rows = zip(outcome.terms, outcome.from_same_weights, outcome.of_means, strict=True)
    for term, tied, free in rows:
        print(f"{term:26} {100 * tied:11.2f} % {100 * free:9.2f} %")
    print(f"{'at most':26} {100 * FROM_SAME_WEIGHTS:11.2f} % {100 * OF_MEANS:9.2f} %")


def main() -> int:
    """Print the tables; 1 where the losses are further apart than they may be."""
    parser = argparse.ArgumentParser(description="One MSL step: ours against plain eager float32.")
    parser.add_argument("--size", type=int, help="pixels of a side; 128 on a CPU, 512 on a GPU")
    parser.add_argument("--steps", type=int, default=10, help="steps that start from the same weights")
    parser.add_argument(
        "--free-steps", type=int, default=50, help="steps that each goes on its own after them"
    )
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument(
        "--compile",
        nargs="?",
        const="default",
        choices=("default", "reduce-overhead"),
        help="compile our networks",
    )
    parser.add_argument(
        "--tf32", action="store_true", help="let a GPU round the plain step's factors to TF32"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    options = parser.parse_args()
    if options.steps < 1 or options.free_steps < 0:
        parser.error("--steps is at least 1, --free-steps at least 0")
    try:
        fabric = make_fabric(options.device, 1, "bf16")
    except InputFault as fault:
        parser.error(str(fault))
    outcome = play_both(fabric, options)
    if options.json:
        print(json.dumps(asdict(outcome) | {"agrees": outcome.agrees}))
    else:
        show(outcome)
    return 0 if outcome.agrees else 1


if __name__ == "__main__":
    sys.exit(main())
