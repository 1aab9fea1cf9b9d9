"""Weights that were learnt from photographs, taken from a file with torchvision's names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from fewmask.errors import InputFault
from fewmask.safe_load import load_safely


def read_weights(path: Path, network: str) -> dict[str, Tensor]:
    """The tensors of a file that torch has saved; `network` is torchvision's name of what it should hold.

    Raises InputFault where it cannot be read, or holds no tensors. Nothing but tensors is ever unpickled.
    """
    remedy = f"give the state dict of torchvision's {network}"
    content = load_safely(path, f"no such file; {remedy}", f"not weights that can be read safely; {remedy}")
    if not isinstance(content, dict):
        raise InputFault(f"{path}: holds no state dict; give the state dict of torchvision's {network}")
    found = cast(dict[Any, Any], content)
    return {str(key): value for key, value in found.items() if isinstance(value, Tensor)}


def load_weights(network: nn.Module, path: Path, name: str, ignored: tuple[str, ...] = ()) -> int:
    """`take_weights` from a file that should hold torchvision's network of that name. Raises InputFault."""
    weights = read_weights(path, name)
    try:
        return take_weights(network, weights, ignored)
    except InputFault as fault:
        raise InputFault(f"{path}: {fault}") from None


def take_weights(network: nn.Module, weights: Mapping[str, Tensor], ignored: tuple[str, ...] = ()) -> int:
    """Copy into a network every tensor that `weights` calls by the same name; returns how many were copied.

    Names that begin with one of `ignored` are the network's alone and stay as they are; tensors of `weights` that the
    network lacks are left aside. Raises InputFault where another tensor is missing or of another shape; then nothing
    has been copied.
    """
    wanted = {
        key: value
        for key, value in network.state_dict().items()
        # Old files of torchvision's do not count the batches.
        if not key.startswith(ignored) and not (key.endswith("num_batches_tracked") and key not in weights)
    }
    for key, value in wanted.items():
        if key not in weights:
            raise InputFault(f"{key} is missing; give the state dict of torchvision's network of this kind")
        if weights[key].shape != value.shape:
            raise InputFault(
                f"{key} is of shape {tuple(weights[key].shape)}, not {tuple(value.shape)}; ImageNet weights fit images "
                "of 1 or 3 channels and network.width=1"
            )
    with torch.no_grad():
        for key, value in wanted.items():
            value.copy_(weights[key])
    return len(wanted)
