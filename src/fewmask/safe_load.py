"""Tensors from a file, and nothing else: what could run code when it is read is refused."""

import pickle
from pathlib import Path
from typing import Any

import torch

from fewmask.errors import InputFault


def load_safely(path: Path, absent: str, unreadable: str) -> Any:
    """What torch has saved in a file, if it is tensors and plain values.

    Raises InputFault with the path and the words `absent` where there is no file, and `unreadable` where it cannot be
    read safely; PermissionError as it comes.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputFault(f"{path}: {absent}") from None
    except PermissionError:
        raise
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError, OSError):
        raise InputFault(f"{path}: {unreadable}") from None
