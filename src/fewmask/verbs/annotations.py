"""Verbs that mend what comes with ultrasound pictures: burnt-in marks, outlines that are no masks, a rare outcome."""

from pathlib import Path
from typing import Annotated

import typer

from fewmask.verbs.options import one_of, tell


def clean(
    folder: Annotated[Path, typer.Argument(metavar="IN", help="A dataset or folder of pictures.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The nnU-Net folder to write.")],
    hues: Annotated[
        str,
        typer.Option(
            help="Hues of marks in degrees: 40-170 is yellow to green, 350-20 red; several by comma."
        ),
    ] = "40-170",
    saturation: Annotated[float, typer.Option(help="From which saturation on, in (0, 1].")] = 0.3,
    value: Annotated[float, typer.Option(help="From which brightness on, in (0, 1].")] = 0.3,
    rim: Annotated[
        int, typer.Option(help="Pixels around a mark that go with it; 1 for compressed pictures.")
    ] = 0,
    grey: Annotated[str, typer.Option(help="Grey marks and text: report or remove.")] = "report",
) -> None:
    """Copy pictures without their burnt-in callipers, with a picture of before and after for each that changed."""
    from fewmask.console import progress
    from fewmask.data.cleaning.options import CleaningOptions
    from fewmask.data.convert.cleaned import cleaned

    one_of("--grey", grey, ("report", "remove"))
    options = CleaningOptions(hues, saturation, value, "remove" if grey == "remove" else "report", rim)
    typer.echo(str(cleaned(folder, out, options, progress, tell)))


def outlines(
    folder: Annotated[Path, typer.Argument(metavar="IN", help="A dataset or folder of pictures.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The nnU-Net folder to write.")],
    drawn: Annotated[
        Path,
        typer.Option(
            "--from", help="CSV, or LabelMe, COCO or VIA JSON, or a folder of them, one an annotator."
        ),
    ],
    merge: Annotated[
        str, typer.Option(help="Where several annotators drew: majority or staple.")
    ] = "majority",
    classes: Annotated[
        str | None, typer.Option(help="Labels in the order of their values, e.g. cervix,canal.")
    ] = None,
) -> None:
    """Turn Bezier curves, polygons and ellipses into masks, and say how far annotators agree."""
    from fewmask.console import progress
    from fewmask.data.convert.outlines import OutlineOptions
    from fewmask.data.convert.outlines import outlines as draw

    one_of("--merge", merge, ("majority", "staple"))
    names = tuple(name.strip() for name in classes.split(",") if name.strip()) if classes else ()
    options = OutlineOptions("staple" if merge == "staple" else "majority", names)
    typer.echo(str(draw(folder, out, drawn, options, progress, tell)))


def balance(
    folder: Annotated[Path, typer.Argument(metavar="IN", help="A dataset of pictures with a cases.csv.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The nnU-Net folder to write.")],
    outcome: Annotated[
        str, typer.Option(help='A column of cases.csv with two values, or a rule such as "weeks<37".')
    ],
    seed: Annotated[int, typer.Option(help="The same seed gives the same copies.")] = 0,
) -> None:
    """Add augmented copies until both outcomes are equally many in every part, the test part too, as one paper does."""
    from fewmask.console import progress
    from fewmask.data.convert.balanced import balanced

    typer.echo(str(balanced(folder, out, outcome, seed, progress, tell)))
