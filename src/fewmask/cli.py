"""The command `fewmask`. Each verb imports what it needs when it runs, so that `--help` answers at once."""

import sys
from typing import Annotated

import typer

import fewmask
from fewmask.exits import exit_code
from fewmask.verbs import annotations, cohorts, plans, runs, tables

app = typer.Typer(
    name="fewmask",
    help="Train a medical-image segmenter when you have few masks, or none.",
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        typer.echo(f"fewmask {fewmask.__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    show_version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train a medical-image segmenter when you have few masks, or none."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


app.command(epilog="Example: fewmask demo --out demo")(tables.demo)
app.command(epilog="Example: fewmask phantom placenta phantoms/placenta --size 64")(cohorts.phantom)
app.command(epilog="Example: fewmask check hospital_a hospital_b")(cohorts.check)
app.command(epilog="Example: fewmask plan --source hospital_a --target hospital_b --out recipe.yaml")(
    plans.plan
)
app.command(
    epilog="Example: fewmask train cyclegan --source hospital_a --target hospital_b --out runs/cyclegan"
)(runs.train)
app.command(epilog="Example: fewmask segment runs/cyclegan hospital_b --out runs/cyclegan/predictions")(
    runs.segment
)
app.command(epilog="Example: fewmask evaluate runs/cyclegan/predictions hospital_b --out runs/cyclegan")(
    runs.evaluate
)
app.command(epilog="Example: fewmask explain runs/joint scans --out runs/joint/explained")(runs.explain)
app.command(epilog="Example: fewmask measure runs/joint/predictions --dataset scans --out runs/joint")(
    runs.measure
)
app.command(epilog="Example: fewmask study placenta --small --seeds 3 --out results/placenta")(tables.study)
app.command(
    epilog="Example: fewmask diagnose runs/fir hospital_b --predictions runs/msl/predictions --keep disc,cord "
    "--out runs/fir"
)(tables.diagnose)
app.command(epilog="Example: fewmask convert mmwhs downloads/mmwhs data/heart --crop 256mm")(cohorts.convert)
app.command(epilog="Example: fewmask clean scans scans_clean --hues 40-170")(annotations.clean)
app.command(epilog="Example: fewmask outlines scans Dataset001_Cervix --from outlines.csv --merge staple")(
    annotations.outlines
)
app.command(epilog="Example: fewmask balance scans scans_balanced --outcome preterm")(annotations.balance)
app.command(epilog="Example: fewmask report runs/cyclegan runs/floor runs/ceiling")(runs.report)


def main() -> None:
    """Run the command with the exit codes of its contract."""
    sys.exit(exit_code(app))


if __name__ == "__main__":
    main()
