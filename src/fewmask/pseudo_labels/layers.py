"""Looking into a network while it runs, and leaving it as it was."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Protocol

from torch import Tensor, nn

from fewmask.errors import InputFault


class Network(Protocol):
    """What is needed of a network; every `nn.Module` has it."""

    def __call__(self, images: Tensor, /) -> Any:
        """Whatever the network makes of images."""
        ...

    def modules(self) -> Iterator[nn.Module]:
        """The network's parts, itself among them."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """The network's weights."""
        ...


class Layered(Network, Protocol):
    """A network that names its layers, and can go on from one of them; it changes none of their maps in place."""

    def layer(self, name: str) -> nn.Module:
        """The layer of that name. Raises InputFault for a name that it does not know."""
        ...

    def after(self, name: str, maps: Tensor) -> Any:
        """What the network makes of a layer's maps (n, K, h, w), for any n."""
        ...


@contextmanager
def at_rest(network: Network) -> Generator[None]:
    """While it lasts the network is in evaluation mode and its weights ask for no gradient: a third of the work."""
    modes = [(part, part.training) for part in network.modules()]
    learning = [weight for weight in network.parameters() if weight.requires_grad]
    try:
        for part, _ in modes:
            part.training = False
        for weight in learning:
            weight.requires_grad_(False)
        yield
    finally:
        for part, mode in modes:
            part.training = mode
        for weight in learning:
            weight.requires_grad_(True)


@contextmanager
def captured(
    layers: Sequence[nn.Module], for_gradients: bool, copies: bool = True
) -> Generator[list[Tensor | None]]:
    """While it lasts, what the layers give is put into the list; where gradients are meant, it is part of the graph.

    With `copies` the network goes on with copies: what follows a layer may change its input in place.
    """
    found: list[Tensor | None] = [None] * len(layers)

    def keep(place: int, layer: nn.Module, _given: Any, output: Any) -> Tensor:
        if not isinstance(output, Tensor) or output.ndim != 4:
            what = f"{output.ndim} axes" if isinstance(output, Tensor) else f"a {type(output).__name__}"
            raise InputFault(
                f"layer {type(layer).__name__}: gives {what}; name one that gives maps (B, K, h, w)"
            )
        if found[place] is not None:
            raise InputFault(f"layer {type(layer).__name__}: runs more than once; name one that runs once")
        held = output if output.requires_grad or not for_gradients else output.detach().requires_grad_()
        found[place] = held
        return held.clone() if copies else held

    with ExitStack() as hooks:
        for place, layer in enumerate(layers):
            hooks.callback(layer.register_forward_hook(partial(keep, place)).remove)
        yield found


def all_of(found: list[Tensor | None]) -> list[Tensor]:
    """What `captured` found, once the network has run. Raises InputFault where a layer has not."""
    present = [maps for maps in found if maps is not None]
    if len(present) < len(found):
        raise InputFault("a layer did not run; name layers that the network runs on these images")
    return present


@contextmanager
def with_maps(layer: nn.Module, maps: Tensor) -> Generator[None]:
    """While it lasts, a layer gives these maps whatever it is given."""
    handle = layer.register_forward_hook(lambda _layer, _given, _maps: maps)
    try:
        yield
    finally:
        handle.remove()
