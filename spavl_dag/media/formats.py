"""Formats of image files by name and by content: those that are read, and those that are told what they are."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

FORMATS_OF_SUFFIX = {
    ".png": {"PNG"},
    ".apng": {"PNG"},
    ".jpg": {"JPEG", "MPO"},
    ".jpeg": {"JPEG", "MPO"},
    ".jpe": {"JPEG", "MPO"},
    ".jfif": {"JPEG", "MPO"},
    ".jif": {"JPEG", "MPO"},
    ".mpo": {"JPEG", "MPO"},
    ".webp": {"WEBP"},
    ".gif": {"GIF"},
    ".bmp": {"BMP", "DIB"},
    ".dib": {"BMP", "DIB"},
    ".tif": {"TIFF"},
    ".tiff": {"TIFF"},
    ".avif": {"AVIF"},
    ".jp2": {"JPEG2000"},
    ".j2k": {"JPEG2000"},
    ".j2c": {"JPEG2000"},
    ".jpc": {"JPEG2000"},
    ".jpf": {"JPEG2000"},
    ".jpx": {"JPEG2000"},
    ".ppm": {"PPM"},
    ".pgm": {"PPM"},
    ".pbm": {"PPM"},
    ".pnm": {"PPM"},
    ".pfm": {"PPM"},
}
"""Pillow's names of the formats that a file with a suffix may hold."""

# Images that are not read: a file with such a suffix is told so instead of being passed over.
_OTHER_IMAGE_SUFFIX = re.compile(
    r"\.(?:svgz?|hei[cf]|hif|jxl|jxr|wdp|hdp|jls|psd|eps|ai|ico|icns|tga|pcx|wmf|emf|xcf|exr|hdr|dds|qoi|xpm|pam|bpg|"
    r"dng|cr[23]|nef|arw|raw|rw2|orf|raf|pef)"
)
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1")


def has_image_suffix(path: PurePosixPath) -> bool:
    """Whether a file's name is one of an image."""
    suffix = path.suffix.lower()
    return suffix in FORMATS_OF_SUFFIX or _OTHER_IMAGE_SUFFIX.fullmatch(suffix) is not None


def other_format(path: str, data: bytes) -> str | None:
    """Name of the format of a file that Pillow isn't asked to read, if it is known."""
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith(b"<svg") or (head.startswith((b"<?xml", b"<!--", b"<!doctype svg")) and b"<svg" in head):
        return "SVG"
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        return "HEIC"
    for magic, name in (
        (b"%PDF", "PDF"),
        (b"%!PS", "EPS"),
        (b"8BPS", "PSD"),
        (b"\xff\x0a", "JPEG XL"),
        (b"\0\0\0\x0cJXL ", "JPEG XL"),
        (b"II\xbc", "JPEG XR"),
        (b"\0\0\x01\0", "ICO"),
        (b"icns", "ICNS"),
        (b"gimp xcf", "XCF"),
        (b"qoif", "QOI"),
        (b"DDS ", "DDS"),
        (b"P7\n", "PAM"),
        (b"v/1\x01", "OpenEXR"),
        (b"#?RADIANCE", "Radiance HDR"),
    ):
        if data.startswith(magic):
            return name
    suffix = PurePosixPath(path).suffix.lower()
    return suffix[1:].upper() if _OTHER_IMAGE_SUFFIX.fullmatch(suffix) else None
