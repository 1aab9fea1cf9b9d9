"""dataset.json: what nnU-Net and the Medical Segmentation Decathlon declare about channels and labels."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from fewmask.data.listing import Labels
from fewmask.errors import InputFault
from fewmask.shapes import IGNORED


def read_dataset_json(folder: Path) -> Mapping[str, Any]:
    """The content of a folder's dataset.json. Raises InputFault where it is not a JSON object."""
    path = folder / "dataset.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputFault(f"{path}: not valid JSON ({str(error).splitlines()[0]}); mend the file") from None
    if not isinstance(content, dict):
        raise InputFault(
            f"{path}: expected an object with channel_names, labels and file_ending; mend the file"
        )
    return cast(dict[str, Any], content)


def declared_channels(content: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    """The channels' names in order, from nnU-Net's `channel_names` or the Decathlon's `modality`."""
    names = content.get("channel_names", content.get("modality"))
    if not isinstance(names, dict) or not names:
        raise InputFault(f'{path}: channel_names is missing; add e.g. "channel_names": {{"0": "MR"}}')
    named = {str(key): str(name) for key, name in cast(dict[Any, Any], names).items()}
    if set(named) != {str(index) for index in range(len(named))}:
        raise InputFault(
            f"{path}: channel_names must be numbered 0, 1, ...; found {', '.join(sorted(named))}"
        )
    return tuple(named[str(index)] for index in range(len(named)))


def declared_labels(content: Mapping[str, Any], path: Path) -> Labels:
    """The classes in the order of their values, background (0) first; `ignore` is no class.

    Both ways round are read: {"tumour": 1} (nnU-Net) and {"1": "tumour"} (Decathlon). Raises InputFault for
    nnU-Net's regions (lists of values) and for a value that is no whole number or is given twice.
    """
    labels = content.get("labels")
    if not isinstance(labels, dict) or not labels:
        raise InputFault(f'{path}: labels is missing; add e.g. "labels": {{"background": 0, "tumour": 1}}')
    pairs = cast(dict[str, Any], labels)
    if all(key.lstrip("-").isdigit() for key in pairs):
        pairs = {str(name): int(value) for value, name in pairs.items()}
    values = {name: _value(name, value, path) for name, value in pairs.items()}
    ignored = values.pop("ignore", None)
    if len(set(values.values())) < len(values) or len(values) < len(labels) - (ignored is not None):
        raise InputFault(f"{path}: two labels share a name or a value; give each its own")
    if len(values) > IGNORED - 1:
        raise InputFault(
            f"{path}: {len(values)} labels, but at most {IGNORED - 1} can be told apart; join some"
        )
    named = {value: name for name, value in values.items()}
    named.setdefault(0, "background")
    order = sorted(named, key=lambda value: (value != 0, value))
    # A class of value 255 cannot be ignored as well.
    unless_declared = -1 if IGNORED in named else IGNORED
    ignored_value = unless_declared if ignored is None else ignored
    return Labels(tuple(named[value] for value in order), tuple(order), ignored_value, ignored is not None)


def _value(name: str, value: Any, path: Path) -> int:
    if isinstance(value, list | tuple):
        raise InputFault(
            f"{path}: label {name!r} is a region (several values); give each class one value of its own"
        )
    number = int(value) if isinstance(value, str) and value.isdigit() else value
    if not isinstance(number, int):
        raise InputFault(f"{path}: label {name!r} must have a whole number, got {value!r}; mend it")
    return number
