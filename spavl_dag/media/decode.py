"""The single way image bytes become pixels: upright, 8-bit RGB, first frame, whole pictures only.

Belongs here: everything that decides which pixels a file stands for.  What does not: files and folders
(`ingest`) and what a model's processor does to the pixels.  Nothing here changes Pillow's global settings for
anybody else.
"""

from __future__ import annotations

import io
import os
import struct
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from PIL import Image, ImageFile, UnidentifiedImageError

from spavl_dag.errors import SpavlError

if TYPE_CHECKING:
    import numpy as np

MAX_PIXELS = 64_000_000
"""Default limit of width times height; a picture at the limit takes 192 MB as RGB."""

Reason = Literal["empty", "truncated", "damaged", "not_an_image", "too_large", "unsupported"]
"""Why bytes are no picture, for counting."""

# Only plain raster formats: no plugin that starts another program (EPS) or draws vectors (WMF).
_FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000", "PPM")
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_JPEG2000 = (b"\0\0\0\x0cjP", b"\xff\x4f\xff\x51")
_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", *_TIFF, *_JPEG2000)

# What Pillow's plugins say of whole files that they have no code for.
_NO_CODE = ("unknown pixel mode", "bit layers", "image mode", "no codec", "not supported", "invalid palette size")
_BMP_HEADERS, _BMP_DEPTHS = (12, 16, 40, 52, 56, 64, 108, 124), (0, 1, 2, 4, 8, 16, 24, 32, 64)
# Frames of JPEG: lossless, hierarchical, and JPEG-LS.
_JPEG_FRAMES_WITHOUT_CODE = (0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7)
_OPTIONAL_TIFF_CODECS = {34925: "lzma", 50000: "zstd", 50001: "webp"}

_PLAIN_MODES = ("1", "L", "P", "RGB", "CMYK", "YCbCr")
_ORIENTATION_TAG = 0x0112
# Tags of TIFF.
_BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLE_FORMAT, _LOWEST, _HIGHEST = 258, 259, 262, 339, 340, 341
_WHITE_IS_ZERO, _SIGNED = 0, 2
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
_STDERR = threading.RLock()


class UnreadableImageError(SpavlError):
    """Bytes that are not a whole picture.

    Attributes:
        reason: The kind of problem; the message says it in words.
    """

    def __init__(self, reason: Reason, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.reason: Reason = reason


def decode_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a picture to upright 8-bit RGB.

    The EXIF orientation is applied, transparency is laid over white, palettes, grey, CMYK and deeper pictures
    are converted (more than 8 bits are scaled, not clipped), and of an animation the first frame counts.

    Args:
        data: The encoded file (PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF, JPEG 2000 or PNM).
        max_pixels: Largest width times height that is decoded; checked before any pixel is.

    Returns:
        A picture of mode RGB without metadata.

    Raises:
        UnreadableImageError: The bytes are empty, no picture, cut short, damaged, too large, or of a kind that no
            code is there for.
    """
    if not data:
        raise UnreadableImageError("empty", "image is empty (0 bytes)", "Put the file there again.")
    try:
        with quietly(data), Image.open(io.BytesIO(data), formats=_formats()) as image:
            _check_size(image, max_pixels)
            _load_whole(image)
            return _to_rgb(image)
    except UnreadableImageError:
        raise
    except UnidentifiedImageError as error:
        raise _unidentified(data) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError) as error:
        raise _too_large("more pixels than can be decoded", max_pixels) from error
    except Exception as error:  # Pillow's plugins raise whatever a damaged file makes them stumble over
        raise _broken(error, data) from error


def for_any_reader(data: bytes) -> bytes:
    """A picture's bytes, such that a reader who only converts it to RGB sees what `decode_image` gives.

    These are the bytes as they are, or a PNG where orientation, transparency or depth would be lost.

    Raises:
        UnreadableImageError: As `decode_image`.
    """
    with quietly(data), Image.open(io.BytesIO(data), formats=_formats()) as image:
        if image.mode in _PLAIN_MODES and "transparency" not in image.info and _turn(image) is None:
            return data
        seen = decode_image(data)
        try:
            if image.convert("RGB").tobytes() == seen.tobytes() and _turn(image) is None:
                return data
        except ValueError:  # Pillow knows no such conversion
            pass
    buffer = io.BytesIO()
    seen.save(buffer, "PNG")
    return buffer.getvalue()


@contextmanager
def quietly(data: bytes) -> Iterator[None]:
    """Keep Pillow's warnings about a picture, and what libtiff writes to stderr by itself, off the terminal.

    What other threads write to stderr while a TIFF is read is lost as well.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not data.startswith(_TIFF):
            yield
            return
        with _STDERR, open(os.devnull, "wb") as nowhere:
            try:
                kept = os.dup(2)
            except OSError:  # there is no stderr
                yield
                return
            os.dup2(nowhere.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(kept, 2)
                os.close(kept)


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


def _to_rgb(image: ImageFile.ImageFile) -> Image.Image:
    deep = image.mode.startswith("I") or image.mode == "F"
    pixels = _upright(_to_eight_bits(image) if deep else image, _turn(image))
    if pixels.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in pixels.info:
        layer = pixels.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        pixels = Image.alpha_composite(white, layer)
    rgb = pixels.convert("RGB")
    if rgb is image:
        rgb = rgb.copy()
    rgb.info = {}
    return rgb


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What makes a picture upright, by its EXIF."""
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG)
    except Exception:  # damaged metadata of a whole picture: the pixels are what counts
        return None
    return _UPRIGHT.get(orientation) if isinstance(orientation, int) else None


def _upright(image: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    return image if turn is None else image.transpose(turn)


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Scale grey of more than eight bits; Pillow's own conversion would clip it to white."""
    import numpy as np

    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    values: np.ndarray = np.asarray(image).astype(np.float64)
    known = np.isfinite(values)
    values = np.where(known, values, 0.0)
    black, white = _range_of_grey(values, image.mode, tags)
    levels = np.rint(np.clip((values - black) / (white - black), 0.0, 1.0) * 255)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # Pillow turns that round for 8 bits and fewer only
        levels = np.where(known, 255 - levels, 0.0)
    if isinstance(image.info.get("transparency"), int):
        levels[values == image.info["transparency"]] = 255
    return Image.fromarray(levels.astype(np.uint8))


def _range_of_grey(values: np.ndarray, mode: str, tags: Mapping[int, Any]) -> tuple[float, float]:
    """The values of black and white: what the file says, else what such files usually mean."""
    lowest, highest = float(values.min()), float(values.max())
    if mode == "F":
        black, white = _number(tags.get(_LOWEST)), _number(tags.get(_HIGHEST))
        if black is not None and white is not None and black < white:
            return black, white
        usual = [1.0, 255.0]
    else:
        bits = _number(tags.get(_BITS)) or 16.0
        if bits <= 16:
            signed = _number(tags.get(_SAMPLE_FORMAT)) == _SIGNED
            return 0.0, 2.0 ** (bits - signed) - 1
        usual = [65535.0]
    for white in usual:
        if lowest >= 0 and highest <= white:
            return 0.0, white
    return min(lowest, 0.0), max(highest, lowest + 1.0)


def _number(tag: Any) -> float | None:
    """A tag's first value, where it is a number."""
    first = tag[0] if isinstance(tag, tuple) and tag else tag
    try:
        return float(first)
    except (TypeError, ValueError):
        return None


def _too_large(what: str, max_pixels: int) -> UnreadableImageError:
    return UnreadableImageError(
        "too_large", f"image is too large: {what}, the limit is {max_pixels}", "Make the picture smaller."
    )


def _unidentified(data: bytes) -> UnreadableImageError:
    if _has_no_code(data, _words_of_plugins(data)):
        return _unsupported(data)
    is_webp = data.startswith(b"RIFF") and b"WEBP".startswith(data[8:12])
    if data.startswith(_MAGIC) or is_webp or data[4:12] in (b"ftypavif", b"ftypavis"):
        return UnreadableImageError(
            "truncated", "image is cut short or damaged before its first pixel", "Get the whole file again."
        )
    return UnreadableImageError(
        "not_an_image", "not an image of a known format", f"Known formats are {', '.join(_formats())}."
    )


def _broken(error: Exception, data: bytes) -> UnreadableImageError:
    words = str(error)
    if _has_no_code(data, words) or isinstance(error, NotImplementedError):
        return _unsupported(data, words)
    if isinstance(error, EOFError) or any(word in words.lower() for word in ("truncated", "end of file")):
        return UnreadableImageError("truncated", "image is cut short", "Get the whole file again.")
    if "conversion from" in words:
        return UnreadableImageError("unsupported", f"image can't be converted to RGB: {words}", "Save it as RGB.")
    return UnreadableImageError(
        "damaged", f"image is damaged ({type(error).__name__}: {words[:200]})", "Get the file again."
    )


# --- Whole files of a kind that isn't read -----------------------------------------------------------


def _unsupported(data: bytes, words: str = "") -> UnreadableImageError:
    said = f" ({words[:200]})" if words else ""
    return UnreadableImageError(
        "unsupported", f"image is encoded in a way that is not read{said}", "Convert it to PNG or JPEG."
    )


def _words_of_plugins(data: bytes) -> str:
    """What the plugins say that take a file for theirs; `Image.open` keeps it to itself."""
    said = []
    for name in _formats():
        plugin, accepts = Image.OPEN[name]
        try:
            if accepts is not None and accepts(data[:16]) is True:
                with quietly(data):
                    plugin(io.BytesIO(data), "")
        except Exception as error:
            said.append(str(error))
    return "; ".join(said)


def _has_no_code(data: bytes, words: str) -> bool:
    """Whether a file failed because nothing here can decode its kind, and not because it is damaged."""
    if data.startswith(b"\xff\xd8\xff") and _jpeg_frame(data) in _JPEG_FRAMES_WITHOUT_CODE:
        return True
    if data.startswith(_TIFF):
        compression = _tiff_compression(data)
        if compression is not None and not _has_tiff_codec(compression):
            return True
    if "Unsupported BMP" in words and "Palette" not in words:
        start = 14 if data.startswith(b"BM") else 0
        size, depth = struct.unpack_from("<I", data, start)[0], struct.unpack_from("<H", data, start + 14)[0]
        return size in _BMP_HEADERS and depth in _BMP_DEPTHS
    return any(word in words for word in _NO_CODE)


def _jpeg_frame(data: bytes) -> int | None:
    """The marker that says by which process a JPEG is coded (SOF0 to SOF15, SOF55)."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return marker
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None


def _tiff_compression(data: bytes) -> int | None:
    from PIL import TiffImagePlugin

    try:
        with quietly(data):
            source = io.BytesIO(data)
            tags = TiffImagePlugin.ImageFileDirectory_v2(source.read(16 if data[2] == 43 or data[3] == 43 else 8))
            source.seek(tags.next)
            tags.load(source)
            return int(tags.get(_COMPRESSION, 1))
    except Exception:  # the directory itself is damaged
        return None


@cache
def _has_tiff_codec(compression: int) -> bool:
    """Whether this build of Pillow knows a compression; the optional ones are tried out."""
    from PIL import TiffImagePlugin

    if compression in _OPTIONAL_TIFF_CODECS:
        buffer = io.BytesIO()
        try:
            with quietly(_TIFF[0]):
                Image.new("RGB", (16, 16)).save(buffer, "TIFF", compression=_OPTIONAL_TIFF_CODECS[compression])
        except Exception:  # whatever a codec that isn't there ends in
            return False
        return True
    return compression in TiffImagePlugin.COMPRESSION_INFO
