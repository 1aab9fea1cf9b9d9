"""What several verbs take and how they answer."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

Out = Annotated[Path, typer.Option("--out", help="Folder to write into.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
SourceChannel = Annotated[str | None, typer.Option(help="Channel of the source, by name or number.")]
TargetChannel = Annotated[str | None, typer.Option(help="Channel of the target, by name or number.")]
TagsChannel = Annotated[str | None, typer.Option(help="Channel of the tagged dataset, by name or number.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]


def one_of(option: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuse a value that an option does not know, as a fault of the command line."""
    if value not in allowed:
        raise typer.BadParameter(f"{option}: {value!r} is not one of {', '.join(allowed)}")


def tell(text: str) -> None:
    """Say what a user should know beside the result, on standard error."""
    typer.echo(text, err=True)


def print_result(mapping: Any, text: str, as_json: bool) -> None:
    """Print a result as one JSON object, or as text."""
    typer.echo(json.dumps(mapping, allow_nan=False) if as_json else text)
