"""Maps in pictures: beside its image each case's, laid over it with the mask's rim, and the means of many."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fewmask.data.dicom import series_affine
from fewmask.data.prepared_case import PreparedCase
from fewmask.data.volume import write_volume, write_volume_like
from fewmask.evaluation.aligned_maps import AlignedMean
from fewmask.evaluation.case_pictures import rims
from fewmask.evaluation.roc import save_figure
from fewmask.evaluation.tags_gallery import HEAT, eight_bit, laid_over, upright
from fewmask.files import replaced

LONGEST_SIDE = 320
"""Pixels of the longest side of each of the two pictures that stand beside each other."""

GAP = 4
"""Pixels between them."""

_BESIDE, _RIM = "#000000", "#ffffff"


def draw_map(
    prepared: PreparedCase, heat: NDArray[np.floating], mask: NDArray[np.bool_] | None, shown: int
) -> Image.Image:
    """One slice as it is, and beside it with its map (N, H, W) laid over it and the rim of its mask (N, H, W).

    Both have the aspect that the image has in mm; a volume's slice has the head or the face up and the patient's right
    on the left.
    """
    turned = not prepared.is_picture
    place = prepared.place
    unit = LONGEST_SIDE / max(place.height, place.width)
    size = max(1, round(place.width * unit)), max(1, round(place.height * unit))
    image = _resized(Image.fromarray(eight_bit(upright(prepared.slices[shown], turned))), size)
    layer = _resized(
        Image.fromarray(np.ascontiguousarray(upright(heat[shown], turned), dtype=np.float32)), size
    )
    covered = Image.fromarray(laid_over(np.asarray(image), np.asarray(layer)))
    if mask is not None:
        _draw_rims(covered, upright(mask[shown], turned))
    both = Image.new("RGB", (2 * size[0] + GAP, size[1]), "white")
    both.paste(image, (0, 0))
    both.paste(covered, (size[0] + GAP, 0))
    return both


def _resized(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    # Linear: a sharper kernel would overshoot, and a map has no negative values.
    return picture.resize(size, Image.Resampling.BILINEAR)


def _draw_rims(picture: Image.Image, mask: NDArray[np.bool_]) -> None:
    """A white line beside a black one: it is seen on any ground."""
    drawing = ImageDraw.Draw(picture)
    scale = picture.height / mask.shape[0], picture.width / mask.shape[1]
    lines = [[(float(across), float(down)) for across, down in line] for line in rims(mask, scale)]
    for colour, width in ((_BESIDE, 4), (_RIM, 2)):
        for line in lines:
            drawing.line(line, fill=colour, width=width, joint="curve")


def write_map_picture(path: Path, picture: Image.Image) -> None:
    """Write a picture of `draw_map` as a PNG file."""
    with replaced(path) as temporary:
        picture.save(temporary)


def write_map_volume(path: Path, prepared: PreparedCase, heat: NDArray[np.float32]) -> None:
    """Write a volume's map (N, H, W) on the image's own grid, as NIfTI."""
    values = prepared.as_it_lay([torch.from_numpy(heat[:, None])])[0]
    like = prepared.case.images[0]
    affine = series_affine(like) if like.is_dir() else None
    if affine is None:
        write_volume_like(values, like, path)
    else:
        write_volume(values, affine, path)


def write_means(path: Path, means: Sequence[tuple[str, AlignedMean]]) -> None:
    """Draw a row for each titled mean: image, mask, and map with the rim of the mean mask at one half; a PNG file.

    All maps have one scale, from 0 to the greatest mean.
    """
    highest = max(float(np.nanmax(mean.heat)) for _, mean in means) or 1.0
    figure = Figure(figsize=(7.4, 2.2 * len(means) + 0.3), layout="constrained")
    grid = figure.subplots(len(means), 3, squeeze=False)
    for (title, mean), row in zip(means, grid, strict=True):
        row[0].set_ylabel(f"{title}\nn = {mean.count}", fontsize=9, parse_math=False)
        _draw_layer(row[0], mean.image, "gray", 1.0)
        _draw_layer(row[1], mean.mask, "gray", 1.0)
        shown = _draw_layer(row[2], mean.heat, HEAT, highest)
        figure.colorbar(shown, ax=row[2], shrink=0.8)
        if np.nanmax(mean.mask) > 0.5:
            row[2].contour(np.nan_to_num(mean.mask), levels=(0.5,), colors=_RIM, linewidths=1.2)
    for axes, heading in zip(grid[0], ("mean image", "mean mask", "mean map, rim of the mask"), strict=True):
        axes.set_title(heading, fontsize=10)
    save_figure(figure, path, dpi=130)


def _draw_layer(axes: Axes, values: NDArray[np.float64], colours: str, top: float) -> AxesImage:
    """A layer from 0 to `top`; where too few images reach, the ground shows."""
    axes.set_facecolor("#dddddd")
    axes.set(xticks=(), yticks=())
    return axes.imshow(values, cmap=colours, vmin=0.0, vmax=top)
