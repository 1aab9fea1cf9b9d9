"""The precision of a study: chosen once for the machine that begins it, and kept by its folder."""

from pathlib import Path
from typing import Any

import torch

from fewmask.errors import InputFault
from fewmask.files import read_json
from fewmask.studies.pool import Tell

PRECISIONS = ("32", "bf16", "auto")

_NATIVE = {"avx512_bf16", "amx_bf16", "bf16", "svebf16"}
"""What Linux calls bf16 arithmetic among a processor's features: Intel's and AMD's, and Arm's."""


def settled_precision(
    asked: str | None, small: bool, device: str, kept: Path, tell: Tell, elsewhere: bool = False
) -> str | None:
    """The precision that a study's rows take: "32", "bf16", or None for each recipe's own.

    `kept` is the study.json of a study that goes on: what it was begun with holds unless 32 or bf16 is asked for.
    A new one with small recipes takes bf16 where the device computes it natively, and so does "auto". `elsewhere`
    says that the cells run on other machines, of which nothing is known.
    """
    if asked is not None and asked not in PRECISIONS:
        raise InputFault(f"--precision {asked}: is not one of {', '.join(PRECISIONS)}; e.g. --precision auto")
    if asked in ("32", "bf16"):
        return asked
    before: dict[str, Any] | None = read_json(kept) if kept.exists() else None
    if before is not None and "precision" in before and (asked is None or before["precision"] is not None):
        return before["precision"]
    if asked is None and (before is not None or not small):
        return None
    chosen = "bf16" if not elsewhere and has_bf16(device) else "32"
    why = "computed natively here" if chosen == "bf16" else "no native bf16 here"
    tell(
        f"precision {chosen}: {'of other machines nothing is known' if elsewhere else why}; --precision sets it"
    )
    return chosen


def has_bf16(device: str) -> bool:
    """Whether the device computes bf16 natively: only then is it faster than 32 bits."""
    if device != "cpu" and torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(_NATIVE & cpu_features())


def cpu_features(listing: Path = Path("/proc/cpuinfo")) -> set[str]:
    """What the processor can do, in Linux's words; nothing where they cannot be read."""
    try:
        lines = listing.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    named = (line.partition(":") for line in lines)
    return {word for key, _, words in named if key.strip() in ("flags", "Features") for word in words.split()}
