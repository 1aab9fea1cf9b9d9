"""Verbs that make a table of many runs, and the one that judges outcomes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fewmask.verbs.options import AsJson, Device, Out, one_of, print_result

if TYPE_CHECKING:  # Imported where it is used: torch takes a second.
    from fewmask.studies.table import Study


def demo(out: Out = Path("demo")) -> None:
    """Train floor, CycleGAN and ceiling on a phantom of two hospitals and write the report (two minutes)."""
    from fewmask.studies.demo import demonstrate

    typer.echo(demonstrate(out))


def study(
    name: Annotated[str, typer.Argument(help="A study's name; `fewmask study --list` shows them.")] = "",
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write into.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="Print the rows, one a line, and end.")] = False,
    source: Annotated[
        Path | None, typer.Option(help="The labelled dataset; else a phantom is drawn.")
    ] = None,
    target: Annotated[
        Path | None, typer.Option(help="The other hospital's dataset; its masks score.")
    ] = None,
    tags: Annotated[
        Path | None, typer.Option(help="The tagged dataset of a study of tags; else a phantom is drawn.")
    ] = None,
    tags_channel: Annotated[str | None, typer.Option(help="The tagged dataset's channel.")] = None,
    masks: Annotated[
        Path | None, typer.Option(help="The dataset of a study of an outcome; else a phantom is drawn.")
    ] = None,
    outcome: Annotated[
        str | None, typer.Option(help='What such a study learns: a column of cases.csv, or e.g. "fir>=2".')
    ] = None,
    by_site: Annotated[
        bool, typer.Option("--by-site", help="Test each site once, by networks that never saw it.")
    ] = False,
    source_channel: Annotated[
        str | None, typer.Option(help="One folder as both: the source's channel.")
    ] = None,
    target_channel: Annotated[
        str | None, typer.Option(help="One folder as both: the target's channel.")
    ] = None,
    small: Annotated[bool, typer.Option("--small", help="Narrow networks, for two cores.")] = False,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each row.")] = 1,
    folds: Annotated[
        int, typer.Option(min=1, help="Folds over the target; 1 keeps the dataset's own test part.")
    ] = 1,
    rows: Annotated[str | None, typer.Option(help="Only these rows, e.g. cyclegan,msl.")] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Cells at once; else one a core, or one on a GPU.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="32 or bf16.")] = None,
    device: Device = "auto",
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, for each row that takes it.")
    ] = None,
) -> None:
    """Make a published table: all rows, folds and seeds; the same command goes on with a study that was stopped."""
    from fewmask.studies.cells import Order
    from fewmask.studies.verb import list_rows, make_table, named_study, study_pair, tagged_pair

    if listed or not name:
        typer.echo(list_rows(name))
        return
    if out is None:
        raise typer.BadParameter("--out DIR is needed")
    if (source is None) != (target is None):
        raise typer.BadParameter("--source and --target belong together")
    one_of("--device", device, ("auto", "cpu", "cuda"))
    table = named_study(name)
    _require_fitting(table, tags, masks, source or target)
    if table.outcome is None and (outcome or by_site):
        raise typer.BadParameter(
            f"the study {table.name} learns no outcome: leave --outcome and --by-site out"
        )
    one_folder = tags or masks
    if one_folder is not None:
        pair = tagged_pair(one_folder, tags_channel, out)
    else:
        pair = study_pair(table, out, small, (source, target), (source_channel, target_channel))
    order = Order(
        table,
        out.resolve(),
        source=pair[0].resolve(),
        target=pair[1].resolve(),
        small=small,
        seeds=seeds,
        folds=folds,
        rows=tuple(row.strip().replace("-", "_") for row in rows.split(",")) if rows else None,
        changes=tuple(changes or ()),
        precision=precision,
        device=device,
        outcome=outcome or table.outcome,
        by_site=by_site,
    )
    typer.echo(make_table(order, jobs))


def _require_fitting(table: "Study", tags: Path | None, masks: Path | None, pair: Path | None) -> None:
    """Refuse folders that are not those which a study takes; without any a phantom is drawn."""
    if table.outcome is not None:
        needed, given = "--masks DIR", masks
    elif table.tagged:
        needed, given = "--tags DIR", tags
    else:
        needed, given = "--source DIR and --target DIR", pair
    if any(folder is not None and folder is not given for folder in (tags, masks, pair)):
        raise typer.BadParameter(f"the study {table.name} takes {needed}")


def diagnose(
    run: Annotated[Path, typer.Argument(help="The run of `fewmask train diagnosis`.")],
    images: Annotated[Path, typer.Argument(help="A dataset folder, with the outcome in its cases.csv.")],
    out: Out,
    predictions: Annotated[Path, typer.Option(help="The masks that `fewmask segment` wrote.")],
    keep: Annotated[
        str | None, typer.Option(help="Classes that stay visible, e.g. disc,cord; the rest is grey.")
    ] = None,
    every_case: Annotated[
        bool, typer.Option("--all", help="Every case that has a mask, not the test part alone.")
    ] = False,
    translated: Annotated[
        bool, typer.Option("--translated", help="Show the translations that lie beside the masks.")
    ] = False,
    checkpoint: Annotated[str, typer.Option(help="chosen or latest.")] = "chosen",
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Tell an outcome from whole images and from their kept classes alone, and compare the two ROC curves."""
    from fewmask.config import to_mapping
    from fewmask.console import progress
    from fewmask.evaluation.diagnose import diagnose as run_diagnose
    from fewmask.evaluation.diagnosis_record import format_diagnosis

    one_of("--checkpoint", checkpoint, ("chosen", "latest"))
    one_of("--device", device, ("auto", "cpu", "cuda"))
    found = run_diagnose(
        run,
        images,
        predictions,
        out,
        kept=[name.strip() for name in keep.split(",")] if keep else None,
        every_case=every_case,
        translated=translated,
        which="latest" if checkpoint == "latest" else "chosen",
        device=device,
        progress=progress,
    )
    print_result(to_mapping(found), format_diagnosis(found), as_json)
