"""The verb that says which recipe fits what a user owns."""

from pathlib import Path
from typing import Annotated

import typer

from fewmask.verbs.options import (
    AsJson,
    Device,
    SourceChannel,
    TagsChannel,
    TargetChannel,
    one_of,
    print_result,
)


def plan(
    out: Annotated[Path, typer.Option("--out", help="The recipe file to write, e.g. recipe.yaml.")],
    folders: Annotated[
        list[Path] | None,
        typer.Argument(help="One or two folders, if you would rather not say what they hold."),
    ] = None,
    source: Annotated[Path | None, typer.Option(help="Images of another hospital, with masks.")] = None,
    target: Annotated[
        Path | None, typer.Option(help="The images that want masks; theirs are never opened.")
    ] = None,
    tags: Annotated[
        Path | None, typer.Option(help="A dataset whose slices.csv tells which slices show the object.")
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(help="A labelled dataset, or a few masks of the target.")
    ] = None,
    outcome: Annotated[
        str | None, typer.Option(help='A column of cases.csv to tell as well, or e.g. "fir>=2".')
    ] = None,
    source_channel: SourceChannel = None,
    target_channel: TargetChannel = None,
    tags_channel: TagsChannel = None,
    device: Device = "auto",
    hours: Annotated[float | None, typer.Option(min=0.0, help="Time at hand for one training.")] = None,
    small: Annotated[bool, typer.Option("--small", help="Narrow networks, whatever is at hand.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say which recipe fits the labels that you own, why, what else there is, and write it."""
    from fewmask.console import progress
    from fewmask.planning.given import Given
    from fewmask.planning.plan import Means
    from fewmask.planning.plan import plan as make_plan

    one_of("--device", device, ("auto", "cpu", "cuda"))
    given = Given(masks, source, target, tags, source_channel, target_channel, tags_channel, outcome)
    if folders and given.folders:
        raise typer.BadParameter(
            "give folders by themselves, or behind --source, --target, --masks and --tags"
        )
    if folders and len(folders) > 2:
        raise typer.BadParameter("plan takes one folder, or two, without options")
    if not folders and not given.folders:
        raise typer.BadParameter("give a folder, e.g. --masks DIR, or --source DIR --target DIR")
    made = make_plan(given, out, folders=folders or (), means=Means(device, hours, small), progress=progress)
    print_result(made.mapping(), made.text(), as_json)
