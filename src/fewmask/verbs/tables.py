"""Verbs that make a table of many runs, and the one that judges outcomes."""

from pathlib import Path
from typing import Annotated

import typer

from fewmask.verbs.options import AsJson, Device, Out, one_of, print_result


def demo(out: Out = Path("demo")) -> None:
    """Train floor, CycleGAN and ceiling on a phantom of two hospitals and write the report (two to three minutes)."""
    from fewmask.studies.demo import demonstrate

    typer.echo(demonstrate(out))


def study(
    name: Annotated[
        str, typer.Argument(help="A study's name (`fewmask study --list` shows them), or a study.yaml.")
    ] = "",
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
    small: Annotated[
        bool | None, typer.Option("--small/--no-small", help="Narrow networks, for two cores.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Trainings of each row; else 1.")] = None,
    folds: Annotated[
        int | None,
        typer.Option(min=1, help="Folds over the target; else 1, the dataset's own test part."),
    ] = None,
    rows: Annotated[str | None, typer.Option(help="Only these rows, e.g. cyclegan,msl.")] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Cells at once; else one a core, or one a GPU.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="32, bf16, or auto: bf16 where it is native, as --small takes.")
    ] = None,
    device: Device = "auto",
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, for each row that takes it.")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(help="slurm or local: each cell is a job, by the extra `cluster`.")
    ] = None,
    cluster_settings: Annotated[
        list[str] | None, typer.Option("--cluster-set", help="key=value of a job, e.g. timeout_min=600.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a published table, or a study file's: all rows, folds and seeds; the same command goes on after a stop."""
    from fewmask.studies.cluster import ClusterOptions
    from fewmask.studies.verb import make_study
    from fewmask.training.train import tell
    from fewmask.verbs.study_order import Asked, Folders, listed_rows, order_of

    if listed or not name:
        typer.echo(listed_rows(name))
        return
    if out is None:
        raise typer.BadParameter("--out DIR is needed")
    one_of("--device", device, ("auto", "cpu", "cuda"))
    if cluster is not None:
        one_of("--cluster", cluster, ("slurm", "local"))
    elif cluster_settings:
        raise typer.BadParameter("--cluster-set belongs to --cluster slurm")
    folders = Folders(source, target, tags, masks, source_channel, target_channel, tags_channel)
    asked = Asked(
        name,
        out,
        folders,
        outcome=outcome,
        by_site=by_site,
        small=small,
        seeds=seeds,
        folds=folds,
        rows=rows,
        changes=tuple(changes or ()),
        precision=precision,
        device=device,
        elsewhere=cluster == "slurm",
    )
    jobs_of = ClusterOptions("slurm" if cluster == "slurm" else "local", tuple(cluster_settings or ()))
    made = make_study(order_of(asked, tell), jobs, jobs_of if cluster is not None else None)
    print_result(made.mapping(), made.text, as_json)
    if made.fault is not None:
        raise made.fault


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
