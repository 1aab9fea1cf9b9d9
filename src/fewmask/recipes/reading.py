"""From what stands on the command line to a resolved recipe."""

import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fewmask.config import did_you_mean, read_yaml, to_mapping
from fewmask.errors import InputFault
from fewmask.methods.kinds import KINDS
from fewmask.recipe import Recipe, override, recipe_from_mapping
from fewmask.recipes.names import RECIPES


def named(text: str, small: bool) -> Recipe:
    """A recipe by its name, by a YAML file, or by `module:function` (a function of `small` that returns a Recipe)."""
    name = text.replace("-", "_")
    if name in RECIPES:
        return RECIPES[name](small)
    if text.endswith((".yaml", ".yml")):
        if small:
            raise InputFault(
                f"{text}: --small chooses among named recipes; a file is run as it lies, omit the option"
            )
        return recipe_from_mapping(read_yaml(Path(text)), KINDS, text)
    if ":" in text:
        return _imported(text, small)
    raise InputFault(f"unknown recipe {text!r}; {did_you_mean(name, RECIPES)}, or give a recipe.yaml")


def resolve(
    text: str,
    small: bool,
    folders: Mapping[str, Path | None],
    channels: Mapping[str, str | None],
    start_from: Path | None,
    precision: str | None,
    changes: Sequence[str],
    outcome: str | None = None,
    weights: Path | None = None,
) -> Recipe:
    """The recipe with the command line's folders, channels and `--set` changes in it; folders are made absolute."""
    recipe = named(text, small)
    given = {role: folder.resolve() for role, folder in folders.items() if folder is not None}
    chosen = {key: channel for key, channel in channels.items() if channel is not None}
    mapping: dict[str, Any] = to_mapping(recipe)
    mapping["cohorts"] |= {role: str(folder) for role, folder in given.items()} | chosen
    if start_from is not None:
        mapping["start_from"] = str(start_from.resolve())
    if outcome is not None:
        mapping["outcome"] = outcome
    if weights is not None:
        mapping["weights"] = str(weights.resolve())
    if precision is not None:
        mapping["precision"] = precision
    return override(recipe_from_mapping(mapping, KINDS, text), changes, KINDS)


def _imported(text: str, small: bool) -> Recipe:
    module_name, _, function_name = text.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        function = getattr(importlib.import_module(module_name), function_name)
        recipe = function(small)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise InputFault(
            f"{text}: {error}; give module:function, a function of `small` that returns a Recipe"
        ) from None
    finally:
        sys.path.pop(0)
    if not isinstance(recipe, Recipe):
        raise InputFault(f"{text}: returned a {type(recipe).__name__}, not a fewmask.recipe.Recipe")
    return recipe
