"""Flat image files: PNG, JPEG, TIFF and BMP."""

import io
import struct
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import ExifTags, Image, PngImagePlugin, TiffImagePlugin

from fewmask.data.folder import PICTURE_ENDINGS
from fewmask.data.geometry import Outline
from fewmask.data.quiet import silenced
from fewmask.errors import InputFault
from fewmask.files import replaced

Array = NDArray[Any]

_DAMAGE = (
    OSError,
    SyntaxError,  # pillow's word for a broken PNG chunk
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    tifffile.TiffFileError,
)
_GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")


def read_picture(path: Path) -> Array:
    """The pixels of a picture, (C, H, W) with C = 1 (grey) or 3 (RGB), in the file's own depth.

    Transparency is dropped and a palette is replaced by its colours. Raises InputFault for a file that is
    damaged, truncated, no image, or holds several pages or NaN.
    """
    with _one_line_faults(path):
        picture = _open_whole(path)
        if _beyond_pillow(picture):
            return _finite(_tiff_pixels(path), path)
        if isinstance(picture, PngImagePlugin.PngImageFile) and _stored_as(picture) in (
            "RGB;16B",
            "RGBA;16B",
        ):
            return _deep_png_pixels(picture, path)
        channels = _colours(picture, path)
        if picture.mode in ("LA", "La"):
            picture = picture.getchannel(0)
        elif picture.mode not in _GREY_MODES and picture.mode != "RGB":
            picture = picture.convert("L" if channels == 1 else "RGB")
        return _finite(_channels_first(np.asarray(picture)), path)


def read_label_picture(path: Path) -> Array:
    """The numbers in a mask picture, (1, H, W): a palette gives its indices, three equal channels count as grey.

    Raises InputFault for a mask in colours.
    """
    with _one_line_faults(path):
        picture = _open_whole(path)
        if picture.mode in ("P", "PA"):
            return _channels_first(np.asarray(picture if picture.mode == "P" else picture.getchannel(0)))
    values = read_picture(path)
    if any((values[0] != other).any() for other in values[1:]):
        raise InputFault(f"{path}: a mask in colours; save one number a class, as grey values or a palette")
    return values[:1]


def picture_outline(path: Path) -> Outline:
    """Channels and (H, W) of a picture, from its header."""
    with _one_line_faults(path):
        try:
            with Image.open(path) as picture:
                return Outline(_colours(picture, path), (picture.height, picture.width))
        except Image.UnidentifiedImageError:
            if path.suffix.lower() not in (".tif", ".tiff"):
                raise
            shape = _tiff_pixels(path).shape
            return Outline(shape[0], shape[1:])


def write_picture(values: Array, like: Path, path: Path) -> None:
    """Write an (H, W) mask of 8 or 16 bits without loss, with the resolution and orientation tag of `like`.

    A picture (H, W, 3) of 8 bits is written in the same way. `like` may be a DICOM file: then neither is
    carried over.
    """
    options = _tags_of(like, path) if like.suffix.lower() in PICTURE_ENDINGS else {}
    if path.suffix in (".tif", ".tiff"):
        options["compression"] = "tiff_adobe_deflate"
    with replaced(path) as temporary:
        Image.fromarray(np.ascontiguousarray(values)).save(temporary, **options)


def _tags_of(like: Path, path: Path) -> dict[str, Any]:
    options: dict[str, Any] = {}
    with _one_line_faults(like):
        try:
            with Image.open(like) as picture:
                dpi: Any = picture.info.get("dpi")
                orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
                turned = picture.format == "TIFF"
        except (
            Image.UnidentifiedImageError
        ):  # a TIFF that only tifffile reads; its tags are not worth a second parser
            return options
    if dpi and all(np.isfinite(float(number)) and float(number) > 0 for number in dpi):
        options["dpi"] = tuple(float(number) for number in dpi)
    # Pillow turns a TIFF upright as it reads it; other files keep their stored rows, and the tag says how to turn.
    if orientation != 1 and not turned and path.suffix == ".png":
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        options["exif"] = exif
    return options


@contextmanager
def _one_line_faults(path: Path) -> Generator[None]:
    """Every way in which a picture's bytes may be wrong becomes one line."""
    try:
        with silenced():
            yield
    except FileNotFoundError:
        raise InputFault(f"{path}: no such file; check the path") from None
    except _DAMAGE:
        raise InputFault(
            f"{path}: damaged, truncated or not an image; copy it again or export it anew"
        ) from None


def _open_whole(path: Path) -> Image.Image:
    """The picture in memory. A TIFF that pillow cannot identify comes back empty, which `_beyond_pillow` knows."""
    content = path.read_bytes()
    # A PNG whose last bytes are cut off may still fill its last row: only the end mark tells.
    if content.startswith(b"\x89PNG") and b"IEND" not in content:
        raise InputFault(f"{path}: not a whole PNG file, its end is missing; copy it again")
    try:
        picture = Image.open(io.BytesIO(content))
    except Image.UnidentifiedImageError:
        if path.suffix.lower() not in (".tif", ".tiff"):
            raise
        return Image.new("CMYK", (0, 0))
    # MPO is a JPEG with a preview behind it; its first page is the picture.
    if getattr(picture, "n_frames", 1) > 1 and picture.format != "MPO":
        raise InputFault(f"{path}: holds several pages; save each page as a file, or the stack as NIfTI")
    return picture


def _beyond_pillow(picture: Image.Image) -> bool:
    """Whether it takes tifffile: pillow does not know the file, or would silently halve the depth of its colours."""
    if picture.size == (0, 0):
        return True
    if not isinstance(picture, TiffImagePlugin.TiffImageFile):
        return False
    bits = picture.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (8,))
    return picture.mode not in _GREY_MODES and max(bits if isinstance(bits, tuple) else (bits,)) > 8


def _tiff_pixels(path: Path) -> Array:
    with tifffile.TiffFile(path) as content:
        if len(content.pages) != 1:
            raise InputFault(f"{path}: holds several pages; save each page as a file, or the stack as NIfTI")
        try:
            pixels = np.asarray(content.asarray())
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            raise InputFault(
                f"{path}: its compression cannot be read at this depth; save it uncompressed"
            ) from None
        planar = content.series[0].axes.startswith("S")
    pixels = np.moveaxis(pixels, 0, -1) if planar else pixels
    return _channels_first(pixels[..., :3] if pixels.ndim == 3 and pixels.shape[-1] > 2 else pixels)


def _deep_png_pixels(picture: PngImagePlugin.PngImageFile, path: Path) -> Array:
    """A 16-bit colour PNG, decoded twice: pillow can give the high or the low byte of each number, never both."""
    low_bytes = Image.open(io.BytesIO(path.read_bytes()))
    tile = cast(Any, low_bytes).tile[0]
    cast(Any, low_bytes).tile = [tile._replace(args=str(tile.args).replace(";16B", ";16L"))]
    high = _channels_first(np.asarray(picture)[..., :3]).astype(np.uint16)
    return high * np.uint16(256) + _channels_first(np.asarray(low_bytes)[..., :3])


def _stored_as(picture: PngImagePlugin.PngImageFile) -> str:
    tiles = cast(Any, picture).tile
    return str(tiles[0].args) if tiles else ""


def _colours(picture: Image.Image, path: Path) -> int:
    """1 where the picture is grey, else 3."""
    if isinstance(picture, PngImagePlugin.PngImageFile) and _stored_as(picture) == "LA;16B":
        raise InputFault(f"{path}: 16-bit grey with transparency; save it without transparency")
    if picture.mode in ("P", "PA"):
        palette = np.asarray(picture.getpalette("RGB") or [0, 0, 0]).reshape(-1, 3)
        return 1 if bool((palette == palette[:, :1]).all()) else 3
    return 1 if picture.mode in _GREY_MODES else 3


def _channels_first(pixels: Array) -> Array:
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8)
    # Torch takes no number in the other byte order.
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    stacked = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
    return np.ascontiguousarray(stacked)


def _finite(pixels: Array, path: Path) -> Array:
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise InputFault(f"{path}: holds NaN or infinity; replace those pixels, e.g. by 0, and save it again")
    return pixels
