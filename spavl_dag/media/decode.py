"""The single way image bytes become pixels: upright, 8-bit RGB, first frame, whole pictures only.

Belongs here: everything that decides which pixels a file stands for.  What does not: files and folders
(`ingest`) and what a model's processor does to the pixels.  Nothing here changes Pillow's global settings for
anybody else.
"""

from __future__ import annotations

import io
import threading
from functools import cache
from typing import TYPE_CHECKING, Literal

from PIL import Image, ImageFile, UnidentifiedImageError

from spavl_dag.errors import SpavlError

if TYPE_CHECKING:
    import numpy as np

MAX_PIXELS = 64_000_000
"""Default limit of width times height; a picture at the limit takes 192 MB as RGB."""

Reason = Literal["empty", "truncated", "damaged", "not_an_image", "too_large", "unsupported"]
"""Why bytes are no picture, for counting."""

# Only plain raster formats: no plugin that starts another program (EPS) or draws vectors (WMF).
_FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")
_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP")
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TRUNCATION_FLAG = threading.Lock()


class UnreadableImageError(SpavlError):
    """Bytes that are not a whole picture.

    Attributes:
        reason: The kind of problem; the message says it in words.
    """

    def __init__(self, reason: Reason, message: str, hint: str | None = None) -> None:
        """Keep the reason beside the words."""
        super().__init__(message, hint)
        self.reason: Reason = reason


def decode_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a picture to upright 8-bit RGB.

    The EXIF orientation is applied, transparency is laid over white, palettes, grey, CMYK and 16-bit pictures
    are converted (16 bits are scaled, not clipped), and of an animation the first frame counts.

    Args:
        data: The encoded file (PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF, JPEG 2000 or PNM).
        max_pixels: Largest width times height that is decoded; checked before any pixel is.

    Returns:
        A picture of mode RGB without metadata.

    Raises:
        UnreadableImageError: The bytes are empty, no picture, cut short, damaged or too large.
    """
    if not data:
        raise UnreadableImageError("empty", "image is empty (0 bytes)", "Put the file there again.")
    try:
        with Image.open(io.BytesIO(data), formats=_formats()) as image:
            _check_size(image, max_pixels)
            _load_whole(image)
            return _to_rgb(_upright(image))
    except UnreadableImageError:
        raise
    except UnidentifiedImageError as error:
        raise _unidentified(data) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError) as error:
        raise _too_large("more pixels than can be decoded", max_pixels) from error
    except Exception as error:  # Pillow's plugins raise whatever a damaged file makes them stumble over
        raise _broken(error) from error


@cache
def _formats() -> tuple[str, ...]:
    """The formats that this build of Pillow can open, of those that are allowed."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _check_size(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise _too_large(f"{width} x {height} pixels", max_pixels)
    if width * height == 0:
        raise UnreadableImageError("damaged", f"image has no pixels ({width} x {height})", "Replace the file.")


def _load_whole(image: ImageFile.ImageFile) -> None:
    """Decode the pixels, and fail on a file that was cut short even where some library told Pillow not to."""
    if not ImageFile.LOAD_TRUNCATED_IMAGES:
        image.load()
        return
    with _TRUNCATION_FLAG:
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        try:
            image.load()
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = True


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG)
    except Exception:  # damaged metadata of a whole picture: the pixels are what counts
        return image
    method = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_eight_bits(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, layer)
    pixels = image.convert("RGB")
    if pixels is image:
        pixels = image.copy()
    pixels.info = {}
    return pixels


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Scale grey of more than eight bits; Pillow's own conversion would clip it to white."""
    import numpy as np

    values: np.ndarray = np.nan_to_num(np.asarray(image).astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    if image.mode == "F":  # floating point grey is written either as 0..1 or as 0..255
        top = 1.0 if values.max() <= 1.0 else 255.0
    else:
        top = 65535.0 if values.max() <= 65535 else float(values.max())
    return Image.fromarray(np.rint(np.clip(values / top, 0.0, 1.0) * 255).astype(np.uint8))


def _too_large(what: str, max_pixels: int) -> UnreadableImageError:
    return UnreadableImageError(
        "too_large", f"image is too large: {what}, the limit is {max_pixels}", "Make the picture smaller."
    )


def _unidentified(data: bytes) -> UnreadableImageError:
    if data.startswith(_MAGIC) or data[4:12] in (b"ftypavif", b"ftypavis"):
        return UnreadableImageError(
            "truncated", "image is cut short or damaged before its first pixel", "Get the whole file again."
        )
    return UnreadableImageError(
        "not_an_image", "not an image of a known format", f"Known formats are {', '.join(_formats())}."
    )


def _broken(error: Exception) -> UnreadableImageError:
    words = str(error)
    if isinstance(error, EOFError) or any(word in words.lower() for word in ("truncated", "end of file")):
        return UnreadableImageError("truncated", "image is cut short", "Get the whole file again.")
    if "conversion from" in words or isinstance(error, NotImplementedError):
        return UnreadableImageError("unsupported", f"image can't be converted to RGB: {words}", "Save it as RGB.")
    return UnreadableImageError(
        "damaged", f"image is damaged ({type(error).__name__}: {words[:200]})", "Get the file again."
    )
