"""Dataclass to YAML and back: unknown keys and wrong types are errors that name the remedy."""

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from pydantic import TypeAdapter, ValidationError

from fewmask.errors import InputFault

T = TypeVar("T")

STRICT: Any = {"extra": "forbid", "arbitrary_types_allowed": True}
"""Goes on a top-level dataclass as `__pydantic_config__`; nested dataclasses inherit it."""

UNKNOWN_KEY = ("unexpected_keyword_argument", "extra_forbidden")
"""What pydantic calls a key that no field has."""


def kind_or(default: str) -> Callable[[Any], str]:
    """What tells which of several types a mapping of a file, or a config, is: its `kind`, which one of them lacks."""

    def kind_of(config: Any) -> str:
        if isinstance(config, Mapping):
            return str(cast(Mapping[str, Any], config).get("kind", default))
        return str(getattr(config, "kind", default))

    return kind_of


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The nearest known word as a question, or the list of them where none is near."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"


def to_mapping(instance: Any) -> Any:
    """Plain dicts, lists and scalars, ready for YAML or JSON."""
    if dataclasses.is_dataclass(instance) and not isinstance(instance, type):
        return {f.name: to_mapping(getattr(instance, f.name)) for f in dataclasses.fields(instance)}
    if isinstance(instance, Mapping):
        return {str(key): to_mapping(value) for key, value in cast(Mapping[Any, Any], instance).items()}
    if isinstance(instance, list | tuple):
        return [to_mapping(item) for item in cast(list[Any], instance)]
    return str(instance) if isinstance(instance, Path) else instance


def from_mapping(kind: type[T], mapping: Mapping[str, Any], where: str) -> T:
    """Build a dataclass from plain values; `where` names the file or option in messages.

    Raises InputFault, one line, for an unknown key (with the nearest known one), a missing key or a wrong type.
    """
    try:
        return _strict(kind).validate_python({"value": dict(mapping)}).value
    except ValidationError as error:
        raise InputFault(_one_line(error, kind, where)) from None


@lru_cache
def _strict(kind: type[Any]) -> TypeAdapter[Any]:
    """Reads `{"value": ...}`; unknown keys are errors however deep they lie, which a dataclass alone would not say."""
    holder = dataclasses.make_dataclass(
        "_Strict", [("value", kind)], namespace={"__pydantic_config__": STRICT}
    )
    return TypeAdapter(holder)


def _one_line(error: ValidationError, kind: type[Any], where: str) -> str:
    faults = error.errors()
    # A mistyped key is also a missing one; the typing error is the one to tell.
    first = next((fault for fault in faults if fault["type"] in UNKNOWN_KEY), faults[0])
    path = [str(part) for part in first["loc"][1:]]
    key = ".".join(path)
    if first["type"] in UNKNOWN_KEY:
        return f"{where}: unknown key {key!r}; {did_you_mean(path[-1], _field_names(kind))}"
    if first["type"] == "missing":
        return f"{where}: key {key!r} is missing; add it"
    return f"{where}: {key}: {first['msg'][0].lower() + first['msg'][1:]}, got {first['input']!r}"


def _field_names(kind: type[Any]) -> set[str]:
    """The names of a dataclass's fields and of those nested in it."""
    names: set[str] = set()
    pending: list[Any] = [kind]
    while pending:
        current = pending.pop()
        if dataclasses.is_dataclass(current):
            names |= {field.name for field in dataclasses.fields(current)}
            pending += [field.type for field in dataclasses.fields(current)]
        pending += list(getattr(current, "__args__", ()))
    return names


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file whose top level is a mapping."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputFault(f"{path}: no such file; check the path") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputFault(f"{path}: not valid YAML ({str(error).splitlines()[0]}); mend the file") from None
    if not isinstance(content, dict):
        raise InputFault(f"{path}: expected `key: value` lines; compare with a run's recipe.yaml")
    return cast(dict[str, Any], content)


def to_yaml(instance: Any) -> str:
    """YAML text in the order of the fields."""
    return yaml.safe_dump(to_mapping(instance), sort_keys=False, allow_unicode=True)


def parse_assignment(text: str) -> tuple[list[str], Any]:
    """`a.b=3` as (["a", "b"], 3); the value is YAML, so lists and null work.

    >>> parse_assignment("weights.cycle=5")
    (['weights', 'cycle'], 5)
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise InputFault(f"--set {text}: expected key=value, e.g. --set steps=500")
    try:
        return key.strip().split("."), yaml.safe_load(value)
    except yaml.YAMLError:
        raise InputFault(f"--set {text}: the value is not valid YAML; quote it") from None
