"""Verbs that train, segment, score and report."""

from pathlib import Path
from typing import Annotated, cast

import typer

from fewmask.verbs.options import (
    AsJson,
    Device,
    Out,
    SourceChannel,
    TagsChannel,
    TargetChannel,
    one_of,
    print_result,
)


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe's name, a recipe.yaml, or module:function.")],
    out: Out,
    masks: Annotated[Path | None, typer.Option(help="A labelled dataset.")] = None,
    source: Annotated[Path | None, typer.Option(help="The labelled dataset of another hospital.")] = None,
    target: Annotated[
        Path | None, typer.Option(help="Images without masks; its masks are never opened.")
    ] = None,
    tags: Annotated[
        Path | None, typer.Option(help="A dataset whose slices.csv tells which slices show the object.")
    ] = None,
    corrections: Annotated[
        Path | None, typer.Option(help="Mended pseudo-masks, which take the place of the run's own.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="ImageNet weights (torchvision's file) for a classifier of tags.")
    ] = None,
    source_channel: SourceChannel = None,
    target_channel: TargetChannel = None,
    tags_channel: TagsChannel = None,
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

    folders = {"masks": masks, "source": source, "target": target, "tags": tags, "corrections": corrections}
    channels = {
        "source_channel": source_channel,
        "target_channel": target_channel,
        "tags_channel": tags_channel,
    }
    resolved = resolve(
        recipe, small, folders, channels, start_from, precision, changes or [], outcome, weights
    )
    one_of("--device", device, ("auto", "cpu", "cuda"))
    if run_training(resolved, out, device=device, devices=devices, cache=cache, progress=progress):
        typer.echo(str(out))


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
    pseudo_masks: Annotated[
        bool,
        typer.Option(
            "--pseudo-masks", help="Write what the run's classifier of tags gives, not its segmenter."
        ),
    ] = False,
    gate: Annotated[
        bool | None,
        typer.Option(
            "--gate/--no-gate",
            help="Empty the slices in which the run's classifier of tags finds nothing; by default on where the "
            "segmenter learnt from positive slices alone.",
        ),
    ] = None,
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate/--no-estimate",
            help="Estimate how good each mask is (estimated_dice.csv); takes four more passes of the network.",
        ),
    ] = True,
    channel: Annotated[str | None, typer.Option(help="Channel of the images, by name or number.")] = None,
    device: Device = "auto",
) -> None:
    """Write a mask for each image, in the image's own size, spacing, orientation and file type."""
    from fewmask.console import progress
    from fewmask.evaluation.segment import segment as run_segment

    if not checkpoint.startswith("step_"):
        one_of("--checkpoint", checkpoint, ("chosen", "latest", "step_..."))
    one_of("--device", device, ("auto", "cpu", "cuda"))
    written = run_segment(
        run,
        images,
        out,
        which=checkpoint,
        with_probabilities=probabilities,
        largest_component=largest_component,
        pseudo_masks=pseudo_masks,
        gate=gate,
        estimate=estimate,
        channel=channel,
        device=device,
        progress=progress,
    )
    typer.echo(f"{len(written.masks)} masks in {written.folder}")
    if written.told:
        typer.echo(f"{len(written.told)} probabilities of the outcome in {written.folder / 'outcomes.csv'}")


def evaluate(
    predictions: Annotated[Path, typer.Argument(help="A folder of predicted masks.")],
    truth: Annotated[Path, typer.Argument(help="A dataset folder, or a folder of masks.")],
    out: Out,
    baseline: Annotated[
        str | None,
        typer.Option(
            help='A column of cases.csv to hold the prognosis against: cervical_length, or "cervical_length<".'
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score masks against masks, and a prognosis against what was found, with bootstrap intervals over patients."""
    from fewmask.console import progress
    from fewmask.evaluation.evaluate_all import evaluate_all

    scored = evaluate_all(predictions, truth, out, baseline=baseline, progress=progress)
    print_result(scored.content, scored.text, as_json)


def explain(
    run: Annotated[Path, typer.Argument(help="A run folder whose network tells an outcome or tags.")],
    images: Annotated[Path, typer.Argument(help="An image, a folder of images, or a dataset folder.")],
    out: Out,
    layer: Annotated[str | None, typer.Option(help="Layer to ask, e.g. level4; else the deepest.")] = None,
    cam: Annotated[
        str, typer.Option(help="gradcam, gradcam_pp, cam, scorecam (slow) or ablationcam.")
    ] = "gradcam",
    masks: Annotated[
        Path | None, typer.Option(help="Masks to hold the maps against; else those that the run draws.")
    ] = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Show where a classifier looks: a page, a map on each image, and how much of it lies where the organ is."""
    from fewmask.config import to_mapping
    from fewmask.console import progress
    from fewmask.evaluation.explain import explain as run_explain
    from fewmask.evaluation.explain_words import CAMS, format_explanation
    from fewmask.pseudo_label_config import Cam

    one_of("--cam", cam, tuple(CAMS))
    one_of("--device", device, ("auto", "cpu", "cuda"))
    found = run_explain(
        run, images, out, layer=layer, cam=cast(Cam, cam), masks=masks, device=device, progress=progress
    )
    print_result(to_mapping(found), format_explanation(found), as_json)


def measure(
    masks: Annotated[Path, typer.Argument(help="A folder of flat masks.")],
    out: Out,
    dataset: Annotated[
        Path | None, typer.Option(help="Its cases.csv has the size of a pixel in a column pixel_mm.")
    ] = None,
) -> None:
    """Measure each outlined object: length along its axis, width, angle, bend; in mm where a pixel's size is known."""
    from fewmask.console import progress
    from fewmask.evaluation.measure import FILE
    from fewmask.evaluation.measure import measure as run_measure

    run_measure(masks, out, dataset=dataset, progress=progress)
    typer.echo(str(out / FILE))


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
