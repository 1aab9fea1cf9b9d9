"""The command `fewmask`. Each verb imports what it needs when it runs, so that `--help` answers at once."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

import fewmask
from fewmask.exits import exit_code

app = typer.Typer(
    name="fewmask",
    help="Train a medical-image segmenter when you have few masks, or none.",
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Out = Annotated[Path, typer.Option("--out", help="Folder to write into.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]


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


@app.command(epilog="Example: fewmask demo --out demo")
def demo(out: Out = Path("demo")) -> None:
    """Train floor, CycleGAN and ceiling on a phantom of two hospitals and write the report (two minutes)."""
    from fewmask.studies.demo import demonstrate

    typer.echo(demonstrate(out))


@app.command(epilog="Example: fewmask phantom placenta phantoms/placenta --size 64")
def phantom(
    kind: Annotated[str, typer.Argument(help="placenta, nested, cardiac or abdomen.")],
    out: Annotated[Path, typer.Argument(help="Folder to write the cohorts into.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same images.")] = 0,
    cases: Annotated[int | None, typer.Option(help="Cases of each cohort.")] = None,
    size: Annotated[int | None, typer.Option(help="Pixels of a side.")] = None,
) -> None:
    """Write seeded synthetic cohorts as nnU-Net folders."""
    from fewmask.data.phantom import write_phantom

    for folder in write_phantom(kind, out, seed, cases, size):
        typer.echo(str(folder))


@app.command(epilog="Example: fewmask check hospital_a hospital_b")
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
    _print(checked.mapping(), checked.text(), as_json)
    if checked.faults:
        raise typer.Exit(1)


@app.command(
    epilog="Example: fewmask train cyclegan --source hospital_a --target hospital_b --out runs/cyclegan"
)
def train(
    recipe: Annotated[str, typer.Argument(help="A recipe's name, a recipe.yaml, or module:function.")],
    out: Out,
    masks: Annotated[Path | None, typer.Option(help="A labelled dataset.")] = None,
    source: Annotated[Path | None, typer.Option(help="The labelled dataset of another hospital.")] = None,
    target: Annotated[
        Path | None, typer.Option(help="Images without masks; its masks are never opened.")
    ] = None,
    source_channel: Annotated[
        str | None, typer.Option(help="Channel of the source, by name or number.")
    ] = None,
    target_channel: Annotated[
        str | None, typer.Option(help="Channel of the target, by name or number.")
    ] = None,
    outcome: Annotated[
        str | None, typer.Option(help='What to learn: a column of cases.csv, or e.g. "fir>=2".')
    ] = None,
    start_from: Annotated[Path | None, typer.Option(help="Start from the networks of this run.")] = None,
    device: Device = "auto",
    devices: Annotated[
        int, typer.Option(min=1, help="How many devices (or CPU processes) train together.")
    ] = 1,
    precision: Annotated[str | None, typer.Option(help="32 or bf16.")] = None,
    small: Annotated[bool, typer.Option("--small", help="The same method, narrow, for two cores.")] = False,
    cache: Annotated[Path | None, typer.Option(help="Where prepared slices are stored.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, e.g. --set steps=500.")
    ] = None,
) -> None:
    """Train a recipe; the same command goes on with a run that was stopped."""
    from fewmask.console import progress
    from fewmask.recipes.reading import resolve
    from fewmask.training.train import train as run_training

    folders = {"masks": masks, "source": source, "target": target}
    channels = {"source_channel": source_channel, "target_channel": target_channel}
    resolved = resolve(recipe, small, folders, channels, start_from, precision, changes or [], outcome)
    _one_of("--device", device, ("auto", "cpu", "cuda"))
    if run_training(resolved, out, device=device, devices=devices, cache=cache, progress=progress):
        typer.echo(str(out))


@app.command(epilog="Example: fewmask segment runs/cyclegan hospital_b --out runs/cyclegan/predictions")
def segment(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    images: Annotated[Path, typer.Argument(help="An image, a folder of images, or a dataset folder.")],
    out: Out,
    checkpoint: Annotated[
        str, typer.Option(help="chosen, latest, or a candidate that the run kept, e.g. step_000100.")
    ] = "chosen",
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Write class probabilities too.")
    ] = False,
    largest_component: Annotated[
        bool, typer.Option("--largest-component", help="Keep the largest connected piece of each class.")
    ] = False,
    channel: Annotated[str | None, typer.Option(help="Channel of the images, by name or number.")] = None,
    device: Device = "auto",
) -> None:
    """Write a mask for each image, in the image's own size, spacing, orientation and file type."""
    from fewmask.console import progress
    from fewmask.evaluation.segment import segment as run_segment

    if not checkpoint.startswith("step_"):
        _one_of("--checkpoint", checkpoint, ("chosen", "latest", "step_..."))
    _one_of("--device", device, ("auto", "cpu", "cuda"))
    written = run_segment(
        run,
        images,
        out,
        which=checkpoint,
        with_probabilities=probabilities,
        largest_component=largest_component,
        channel=channel,
        device=device,
        progress=progress,
    )
    typer.echo(f"{len(written.masks)} masks in {written.folder}")


@app.command(epilog="Example: fewmask evaluate runs/cyclegan/predictions hospital_b --out runs/cyclegan")
def evaluate(
    predictions: Annotated[Path, typer.Argument(help="A folder of predicted masks.")],
    truth: Annotated[Path, typer.Argument(help="A dataset folder, or a folder of masks.")],
    out: Out,
    as_json: AsJson = False,
) -> None:
    """Score masks against masks, per case and class, with bootstrap intervals over patients."""
    from fewmask.console import progress
    from fewmask.evaluation.evaluate import evaluate as run_evaluate
    from fewmask.evaluation.summary import format_summary

    summary = run_evaluate(predictions, truth, out, progress=progress)
    written = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    _print(written, format_summary(summary), as_json)


@app.command(epilog="Example: fewmask study placenta --small --seeds 3 --out results/placenta")
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
    from fewmask.studies.verb import list_rows, make_table, named_study, study_pair

    if listed or not name:
        typer.echo(list_rows(name))
        return
    if out is None:
        raise typer.BadParameter("--out DIR is needed")
    if (source is None) != (target is None):
        raise typer.BadParameter("--source and --target belong together")
    _one_of("--device", device, ("auto", "cpu", "cuda"))
    table = named_study(name)
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
    )
    typer.echo(make_table(order, jobs))


@app.command(
    epilog="Example: fewmask diagnose runs/fir hospital_b --predictions runs/msl/predictions --keep disc,cord "
    "--out runs/fir"
)
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

    _one_of("--checkpoint", checkpoint, ("chosen", "latest"))
    _one_of("--device", device, ("auto", "cpu", "cuda"))
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
    _print(to_mapping(found), format_diagnosis(found), as_json)


@app.command(epilog="Example: fewmask convert mmwhs downloads/mmwhs data/heart --crop 256mm")
def convert(
    format: Annotated[str, typer.Argument(metavar="FORMAT", help="mmwhs, sifa, chaos or btcv.")],
    folder: Annotated[Path, typer.Argument(metavar="IN", help="The folder that was downloaded.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write the nnU-Net folders into.")],
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
    """Turn a published dataset (MM-WHS, SIFA's files of it, CHAOS, BTCV) into nnU-Net folders."""
    from fewmask.console import progress
    from fewmask.data.convert.convert import convert as run_convert
    from fewmask.data.convert.options import Options

    if label_5 is not None:
        _one_of("--label-5", label_5, ("ignore", "background"))
    fifth = None if label_5 is None else "ignore" if label_5 == "ignore" else "background"
    options = Options(crop, window, clip_top, zscore, fifth, partial, unlabelled)
    for written in run_convert(format, folder, out, options=options, progress=progress):
        typer.echo(str(written))


@app.command(epilog="Example: fewmask report runs/cyclegan runs/floor runs/ceiling")
def report(
    runs: Annotated[
        list[Path], typer.Argument(help="Run folders; the first is the one that is reported on.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="The page to write; else report.html in the first run.")
    ] = None,
    pseudonyms: Annotated[
        bool, typer.Option("--pseudonyms", help="Number the cases instead of naming them.")
    ] = False,
) -> None:
    """Write a self-contained page: tables, pictures, curves, and how the checkpoint was chosen."""
    from fewmask.evaluation.report import write_report

    typer.echo(str(write_report(runs, out, pseudonyms=pseudonyms)))


def _one_of(option: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise typer.BadParameter(f"{option}: {value!r} is not one of {', '.join(allowed)}")


def _print(mapping: Any, text: str, as_json: bool) -> None:
    typer.echo(json.dumps(mapping, allow_nan=False) if as_json else text)


def main() -> None:
    """Run the command with the exit codes of its contract."""
    sys.exit(exit_code(app))


if __name__ == "__main__":
    main()
