"""Bytes to pixels: every odd kind of file, whole or refused."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageFile

from spavl_dag.media.decode import UnreadableImageError, decode_image, for_any_reader


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def halves(mode: str, left: object, right: object) -> Image.Image:
    """40 x 20 pixels, the left and the right half in one colour each."""
    image = Image.new(mode, (40, 20), left)  # type: ignore[arg-type]
    image.paste(right, (20, 0, 40, 20))  # type: ignore[arg-type]
    return image


def corners(image: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    pixels = np.asarray(image).astype(int)
    return pixels[5, 5], pixels[-5, -5]


def noise(size: tuple[int, int] = (200, 150)) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000"])
def test_common_formats(kind: str) -> None:
    image = decode_image(encoded(halves("RGB", (250, 10, 10), (10, 10, 250)), kind))
    assert (image.mode, image.size, image.info) == ("RGB", (40, 20), {})
    left, right = corners(image)
    assert np.abs(left - (250, 10, 10)).max() < 30
    assert np.abs(right - (10, 10, 250)).max() < 30


def test_cmyk_jpeg_with_subsampled_colour() -> None:
    data = encoded(halves("CMYK", (0, 255, 255, 0), (255, 255, 0, 0)), "JPEG", subsampling="4:2:0", quality=95)
    left, right = corners(decode_image(data))
    assert np.abs(left - (255, 0, 0)).max() < 12
    assert np.abs(right - (0, 0, 255)).max() < 12


def test_palette_with_and_without_transparency() -> None:
    image = halves("RGB", (200, 0, 0), (0, 200, 0)).convert("P", palette=Image.Palette.ADAPTIVE, colors=2)
    left, right = corners(decode_image(encoded(image, "PNG")))
    assert (left.tolist(), right.tolist()) == ([200, 0, 0], [0, 200, 0])
    index = image.getpixel((0, 0))
    left, right = corners(decode_image(encoded(image, "PNG", transparency=index)))
    assert (left.tolist(), right.tolist()) == ([255, 255, 255], [0, 200, 0])


@pytest.mark.parametrize(
    ("mode", "left", "right"), [("RGBA", (0, 0, 0, 0), (10, 20, 30, 255)), ("LA", (9, 0), (77, 255))]
)
def test_transparency_is_laid_over_white(mode: str, left: tuple[int, ...], right: tuple[int, ...]) -> None:
    one, other = corners(decode_image(encoded(halves(mode, left, right), "PNG")))
    assert one.tolist() == [255, 255, 255]
    assert other.tolist() == (list(right[:3]) if mode == "RGBA" else [77] * 3)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_grey_is_scaled_and_not_clipped(kind: str) -> None:
    values = np.zeros((20, 40), np.uint16)
    values[:, :20], values[:, 20:] = 257 * 64, 65535
    left, right = corners(decode_image(encoded(Image.fromarray(values), kind)))
    assert (left.tolist(), right.tolist()) == ([64] * 3, [255] * 3)


@pytest.mark.parametrize("top", [1.0, 255.0])
def test_floating_point_grey(top: float) -> None:
    values = np.full((20, 40), top, np.float32)
    values[:, :20] = np.nan
    left, right = corners(decode_image(encoded(Image.fromarray(values), "TIFF")))
    assert (left.tolist(), right.tolist()) == ([0] * 3, [255] * 3)


def tiff(pixels: bytes, side: int, bits: int, *, more: tuple[tuple[int, int, bytes], ...] = (), **tags: int) -> bytes:
    """A little-endian TIFF of one strip and one sample per pixel; `more` are tags with values of four bytes."""
    entries = [(256, side), (257, side), (258, bits), (259, tags.get("compression", 1)), (262, tags.get("black", 1))]
    entries += [(277, 1), (278, side), (279, len(pixels)), (339, tags.get("kind", 1))]
    listed = [(tag, 4, struct.pack("<I", value)) for tag, value in entries] + list(more)
    start = 8 + 2 + 12 * (len(listed) + 1) + 4
    listed.append((273, 4, struct.pack("<I", start)))
    directory = struct.pack("<H", len(listed))
    for tag, kind, value in sorted(listed):
        directory += struct.pack("<HHI", tag, kind, 1) + value
    return b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<I", 0) + pixels


def ramp(top: float, low: float = 0.0, side: int = 64) -> np.ndarray:
    return np.tile(np.linspace(low, top, side), (side, 1))


def twelve_bits(values: np.ndarray) -> bytes:
    pairs = values.astype(np.uint16).reshape(-1, 2).astype(int)
    return b"".join(bytes((a >> 4, (a & 15) << 4 | b >> 8, b & 255)) for a, b in pairs)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(tiff(twelve_bits(ramp(4095)), 64, 12), id="12 bits"),
        pytest.param(tiff(ramp(65535).astype("<u2").tobytes(), 64, 16), id="16 bits"),
        pytest.param(tiff(ramp(32767).astype("<i2").tobytes(), 64, 16, kind=2), id="16 bits with a sign"),
        pytest.param(tiff(ramp(65535)[:, ::-1].astype("<u2").tobytes(), 64, 16, black=0), id="white is zero"),
        pytest.param(tiff(ramp(1, 0)[:, ::-1].astype("<f4").tobytes(), 64, 32, kind=3, black=0), id="so is this"),
        pytest.param(tiff(ramp(1).astype("<f4").tobytes(), 64, 32, kind=3), id="0 to 1"),
        pytest.param(tiff(ramp(255).astype("<f4").tobytes(), 64, 32, kind=3), id="0 to 255"),
        pytest.param(tiff(ramp(4000).astype("<f4").tobytes(), 64, 32, kind=3), id="0 to 4000"),
        pytest.param(tiff(ramp(3, -3).astype("<f4").tobytes(), 64, 32, kind=3), id="-3 to 3"),
        pytest.param(tiff(ramp(3_000_000).astype("<i4").tobytes(), 64, 32, kind=2), id="32 bits"),
    ],
)
def test_deep_grey_goes_from_black_to_white(data: bytes) -> None:
    levels = np.asarray(decode_image(data))[:, :, 0].astype(int)
    assert (levels[:, 0].max(), levels[:, -1].min()) == (0, 255)
    assert abs(levels.mean() - 127.5) < 1


def test_a_stated_range_counts_more_than_the_values() -> None:
    stated = ((340, 11, struct.pack("<f", 0.0)), (341, 11, struct.pack("<f", 200.0)))
    data = tiff(ramp(100).astype("<f4").tobytes(), 64, 32, kind=3, more=stated)
    assert np.asarray(decode_image(data)).max() == 128


def test_dark_pictures_stay_dark() -> None:
    assert np.asarray(decode_image(tiff(twelve_bits(ramp(400)), 64, 12))).max() == 25
    assert np.asarray(decode_image(tiff(ramp(400).astype("<u2").tobytes(), 64, 16))).max() == 2


def test_one_clear_level_of_deep_grey() -> None:
    values = np.zeros((20, 40), np.uint16)
    values[:, 20:] = 30000
    left, right = corners(decode_image(encoded(Image.fromarray(values), "PNG", transparency=0)))
    assert (left.tolist(), right.tolist()) == ([255] * 3, [117] * 3)


def test_plain_readers_get_a_png_only_where_they_would_see_something_else() -> None:
    rgb = halves("RGB", (250, 10, 10), (10, 10, 250))
    exif = Image.Exif()
    exif[0x0112] = 3
    for image, kind, options in (
        (rgb, "PNG", {}),
        (rgb, "JPEG", {}),
        (rgb.convert("L"), "PNG", {}),
        (rgb.convert("P"), "GIF", {}),
        (rgb.convert("CMYK"), "JPEG", {}),
        (rgb.convert("RGBA"), "PNG", {}),
    ):
        data = encoded(image, kind, **options)
        assert for_any_reader(data) is data
    deep = Image.fromarray(np.linspace(0, 65535, 600).reshape(20, 30).astype(np.uint16))
    for data in (
        encoded(rgb, "JPEG", exif=exif),
        encoded(halves("RGBA", (9, 9, 9, 9), (9, 9, 9, 255)), "PNG"),
        encoded(rgb.convert("P"), "PNG", transparency=0),
        encoded(deep, "PNG"),
        tiff(twelve_bits(ramp(4095)), 64, 12),
    ):
        shown = for_any_reader(data)
        assert shown.startswith(b"\x89PNG")
        plain = np.asarray(Image.open(io.BytesIO(shown)).convert("RGB"))
        assert np.array_equal(plain, np.asarray(decode_image(data)))


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey_and_black_and_white(mode: str) -> None:
    left, right = corners(decode_image(encoded(halves(mode, 0, 255), "PNG")))
    assert (left.tolist(), right.tolist()) == ([0] * 3, [255] * 3)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_first_frame_of_an_animation(kind: str) -> None:
    first, second = Image.new("RGB", (30, 30), (200, 0, 0)), Image.new("RGB", (30, 30), (0, 0, 200))
    image = decode_image(encoded(first, kind, save_all=True, append_images=[second, first], duration=50))
    assert np.abs(corners(image)[0] - (200, 0, 0)).max() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_is_applied_once(orientation: int, kind: str) -> None:
    upright = Image.new("RGB", (40, 24), (128, 128, 128))
    upright.paste((250, 0, 0), (0, 0, 20, 12))
    # How the camera held it, as numbers of Image.Transpose.
    turn = [None, None, 0, 3, 1, 5, 2, 6, 4][orientation]
    stored = upright if turn is None else upright.transpose(Image.Transpose(turn))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = decode_image(encoded(stored, kind, exif=exif))
    assert image.size == (40, 24)
    assert np.abs(corners(image)[0] - (250, 0, 0)).max() < 25
    assert np.abs(corners(image)[1] - 128).max() < 25


def test_damaged_exif_does_not_cost_the_picture() -> None:
    data = encoded(halves("RGB", (9, 9, 9), (99, 99, 99)), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage")
    assert decode_image(data).size == (40, 20)


def reason_of(data: bytes, **options: int) -> str:
    with pytest.raises(UnreadableImageError) as caught:
        decode_image(data, **options)
    assert caught.value.hint
    return caught.value.reason


def test_empty_and_foreign_bytes() -> None:
    assert reason_of(b"") == "empty"
    assert reason_of(b"this is a text file that is called picture.png\n" * 10) == "not_an_image"
    assert reason_of(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n") == "not_an_image"
    assert reason_of(b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>") == "not_an_image"


def bmp(size: int, depth: int, compression: int, masks: bytes = b"") -> bytes:
    """A whole BMP of 64 x 64 pixels; only the header is looked at."""
    header = struct.pack("<IiiHHIIiiII", size, 64, 64, 1, depth, compression, 64 * 64 * 4, 0, 0, 0, 0)
    return struct.pack("<2sIHHI", b"BM", 14 + 40 + 64 * 64 * 4, 0, 0, 66) + header + masks + bytes(64 * 64 * 4)


def jpeg_with_frame(marker: int, bits: int = 8) -> bytes:
    """A JPEG whose frame says that it is coded in another way."""
    data = encoded(halves("RGB", (9, 9, 9), (99, 99, 99)), "JPEG")
    place = data.index(b"\xff\xc0")
    return data[: place + 1] + bytes([marker]) + data[place + 2 : place + 4] + bytes([bits]) + data[place + 5 :]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(bmp(40, 32, 3, struct.pack("<III", 0xFF00, 0xFF0000, 0xFF)), id="bmp, bit fields"),
        pytest.param(bmp(40, 2, 0), id="bmp, 2 bits"),
        pytest.param(bmp(40, 0, 5), id="bmp, a png inside"),
        pytest.param(bmp(40, 32, 6), id="bmp, another compression"),
        pytest.param(bmp(16, 8, 0), id="bmp of OS/2"),
        pytest.param(bmp(40, 2, 0)[14:], id="dib, 2 bits"),
        pytest.param(tiff(bytes(64 * 64), 64, 8, compression=34712), id="tiff, JPEG 2000 inside"),
        pytest.param(tiff(bytes(64 * 64), 64, 8, compression=34887), id="tiff, LERC"),
        pytest.param(tiff(bytes(64 * 64 * 3), 64, 24), id="tiff, 24 bits"),
        pytest.param(tiff(bytes(64 * 64 * 8), 64, 64, kind=3), id="tiff, 64 bits"),
        pytest.param(jpeg_with_frame(0xC3), id="jpeg, lossless"),
        pytest.param(jpeg_with_frame(0xC5), id="jpeg, hierarchical"),
        pytest.param(jpeg_with_frame(0xF7), id="jpeg-ls"),
        pytest.param(jpeg_with_frame(0xC1, bits=12), id="jpeg, 12 bits"),
    ],
)
def test_whole_files_of_a_kind_that_is_not_read_are_not_called_damaged(data: bytes) -> None:
    with pytest.raises(UnreadableImageError) as caught:
        decode_image(data)
    assert (caught.value.reason, caught.value.hint) == ("unsupported", "Convert it to PNG or JPEG.")


def test_headers_without_sense_are_damage() -> None:
    assert reason_of(bmp(40, 30000, 0)) == "damaged"
    assert reason_of(bmp(66, 24, 0)) == "damaged"
    assert reason_of(b"RIFF\x24\0\0\0WAVEfmt " + bytes(40)) == "not_an_image"


def test_a_device_independent_bitmap() -> None:
    data = encoded(halves("RGB", (250, 10, 10), (10, 10, 250)), "BMP")
    assert corners(decode_image(data[14:]))[1].tolist() == [10, 10, 250]


def test_nothing_is_written_to_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    """Pillow warns of odd metadata, and libtiff writes to the process's stderr by itself."""
    noisy = [
        encoded(noise(), "TIFF", compression="tiff_lzw")[:4000],
        tiff(bytes(64 * 64), 64, 8, compression=5),
        tiff(b"\xff" * 900, 64, 8, compression=4),
        tiff(bytes(64 * 64), 64, 8, more=((33723, 2, b"abcd"), (65000, 9, bytes(4)))),
        encoded(halves("RGB", (9, 9, 9), (9, 9, 9)), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage"),
    ]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for data in noisy:
            with contextlib.suppress(UnreadableImageError):
                decode_image(data)
    assert caught == []
    assert capfd.readouterr() == ("", "")
    os.write(2, b"still there")
    assert capfd.readouterr().err == "still there"


CUTS = [
    pytest.param("PNG", {}, id="png"),
    pytest.param("JPEG", {}, id="jpeg"),
    pytest.param("JPEG", {"progressive": True}, id="progressive"),
    pytest.param("WEBP", {}, id="webp"),
    pytest.param("WEBP", {"lossless": True}, id="webp-lossless"),
    pytest.param("GIF", {}, id="gif"),
    pytest.param("BMP", {}, id="bmp"),
    pytest.param("TIFF", {"compression": "tiff_lzw"}, id="tiff"),
    pytest.param("JPEG2000", {}, id="jpeg2000"),
    pytest.param("AVIF", {}, id="avif"),
    pytest.param("PPM", {}, id="ppm"),
]


@pytest.mark.parametrize(("kind", "options"), CUTS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_truncated_files_are_errors_and_not_half_pictures(kind: str, options: dict[str, object], share: float) -> None:
    data = encoded(noise(), kind, **options)
    assert reason_of(data[: int(len(data) * share)]) in ("truncated", "damaged")


def test_truncated_files_are_errors_even_when_another_library_allows_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = encoded(noise(), "JPEG")
    assert reason_of(data[: len(data) // 2]) == "truncated"
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def bomb(width: int, height: int) -> bytes:
    """A PNG header that promises many pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(9000, 8000), (11_000, 9000), (60_000, 60_000)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bombs_are_refused_before_they_are_decoded(size: tuple[int, int]) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    assert reason_of(bomb(*size)) == "too_large"
    assert limit == Image.MAX_IMAGE_PIXELS


def test_bombs_are_refused_where_warnings_are_errors() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert reason_of(bomb(11_000, 9000)) == "too_large"


def test_the_limit_is_the_callers() -> None:
    data = encoded(noise((200, 150)), "PNG")
    assert decode_image(data, max_pixels=30_000).size == (200, 150)
    assert reason_of(data, max_pixels=29_999) == "too_large"


def test_damaged_pixels_are_named() -> None:
    data = bytearray(encoded(noise(), "PNG"))
    data[200:260] = b"\0" * 60
    assert reason_of(bytes(data)) in ("damaged", "truncated")


def test_random_bytes_behind_any_magic_number_end_in_the_one_error() -> None:
    rng = np.random.default_rng(1)
    good: list[Callable[[], bytes]] = [
        lambda kind=kind: encoded(noise((30, 20)), kind) for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP")
    ]  # type: ignore[misc]
    for make in good:
        data = make()
        for _ in range(40):
            broken = bytearray(data)
            for place in rng.integers(0, len(data), 8):
                broken[place] = rng.integers(0, 256)
            with contextlib.suppress(UnreadableImageError):
                assert decode_image(bytes(broken)).mode == "RGB"
