"""Verbs that write or look at data sets."""

from pathlib import Path
from typing import Annotated

import typer

from fewmask.verbs.options import AsJson, one_of, print_result, tell


def phantom(
    kind: Annotated[str, typer.Argument(help="placenta, nested, cardiac, abdomen, fetal_brain or cervix.")],
    out: Annotated[Path, typer.Argument(help="Folder to write the cohorts into.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same images.")] = 0,
    cases: Annotated[int | None, typer.Option(help="Cases of each cohort.")] = None,
    size: Annotated[int | None, typer.Option(help="Pixels of a side.")] = None,
) -> None:
    """Write seeded synthetic cohorts as nnU-Net folders."""
    from fewmask.data.phantom import write_phantom

    for folder in write_phantom(kind, out, seed, cases, size):
        typer.echo(str(folder))


def check(
    folders: Annotated[list[Path], typer.Argument(help="One dataset folder, or a source and a target.")],
    as_json: AsJson = False,
) -> None:
    """Look for faults in one or two datasets, and measure the gap between two."""
    from fewmask.console import progress
    from fewmask.data.check import check_folders

    if len(folders) > 2:
        raise typer.BadParameter("check takes one folder, or two: a source and a target")
    checked = check_folders(folders, progress)
    print_result(checked.mapping(), checked.text(), as_json)
    if checked.faults:
        raise typer.Exit(1)


def convert(
    format: Annotated[
        str, typer.Argument(metavar="FORMAT", help="mmwhs, sifa, chaos, btcv or tags-from-masks.")
    ],
    folder: Annotated[
        Path, typer.Argument(metavar="IN", help="The folder that was downloaded, or any dataset with masks.")
    ],
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="Folder to write the nnU-Net folders into; with tags-from-masks, the folder itself.",
        ),
    ],
    crop: Annotated[
        str | None,
        typer.Option(help="Box around the labels: 256mm, 256x160x256vox or none. mmwhs: 256mm, else none."),
    ] = None,
    window: Annotated[
        str | None, typer.Option(help="Values to keep, e.g. -125,275 (CT), or none. Default: none.")
    ] = None,
    clip_top: Annotated[
        float | None, typer.Option(help="Percent of highest values to clip. mmwhs: 2, else 0.")
    ] = None,
    zscore: Annotated[
        bool | None, typer.Option("--zscore/--no-zscore", help="Mean 0, deviation 1. mmwhs: on, else off.")
    ] = None,
    label_5: Annotated[
        str | None,
        typer.Option("--label-5", help="sifa: ignore or background; else ignored in training alone."),
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Published test cases may be missing.")] = False,
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="Keep the challenge's images without labels, to train on.")
    ] = False,
) -> None:
    """Turn a published dataset (MM-WHS, SIFA's files of it, CHAOS, BTCV) into nnU-Net folders, or masks into tags."""
    from fewmask.console import progress
    from fewmask.data.convert.convert import convert as run_convert
    from fewmask.data.convert.options import Options

    if label_5 is not None:
        one_of("--label-5", label_5, ("ignore", "background"))
    fifth = None if label_5 is None else "ignore" if label_5 == "ignore" else "background"
    options = Options(crop, window, clip_top, zscore, fifth, partial, unlabelled)

    for written in run_convert(format, folder, out, options=options, progress=progress, tell=tell):
        typer.echo(str(written))
