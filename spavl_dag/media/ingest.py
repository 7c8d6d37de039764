"""A user's folder of images into image records, with a reason for every file that becomes none.

Belongs here: which files count as images, their classes, and whether they can be used. Not here: what a
file's pixels are (`decode`), how a manifest is read (`manifest`), and where images are kept (`collect`).

Every candidate ends up in exactly one place: as an accepted image, as an exact duplicate listed with one, or
in quarantine. Files are read one at a time, and nothing in a file or folder makes the scan fail or hang.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from PIL import Image

from spavl_dag.errors import MissingInputError
from spavl_dag.media.decode import UnreadableImageError, decode_image, quietly
from spavl_dag.media.duplicates import perceptual_hash
from spavl_dag.media.files import UnusableFileError, printable, read_image_bytes, why_unopened
from spavl_dag.media.formats import FORMATS_OF_SUFFIX, has_image_suffix, other_format
from spavl_dag.media.manifest import ManifestRow, read_manifest
from spavl_dag.taxonomy import Taxonomy, UnknownClassError

_ORIENTATION_TAG = 0x0112
_REASON_OF_DECODE = {
    "empty": "empty",
    "truncated": "truncated",
    "too_large": "too_many_pixels",
    "unsupported": "unsupported_format",
}


@dataclass(frozen=True, slots=True)
class IngestedImage:
    """An accepted image.

    Attributes:
        path: Where the file is, relative to the folder, with slashes.
        sha256: Of the encoded bytes, as hex.
        format: Pillow's name of the format found in the content ("PNG", "JPEG", …).
        width: Pixels, as the image is seen (after EXIF rotation).
        height: Pixels, likewise.
        size_bytes: Length of the file.
        phash: Perceptual hash, 16 hex digits.
        class_slugs: Its classes, sorted, at least one.
        caption: What the manifest says is to be seen, if it does.
        source: Where the image came from, if the manifest says so.
        license: From the manifest, or the default.
        notes: What is worth knowing about the file, e.g. "CMYK converted".
        duplicates: Paths of other files with the same bytes, whose classes are among `class_slugs`.
    """

    path: str
    sha256: str
    format: str
    width: int
    height: int
    size_bytes: int
    phash: str
    class_slugs: tuple[str, ...]
    caption: str | None
    source: str | None
    license: str
    notes: tuple[str, ...] = ()
    duplicates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class QuarantinedImage:
    """A file that became no image.

    Attributes:
        file: Its path relative to the folder, printable (odd characters escaped), or a manifest row.
        reason: One of `files.REASONS`.
        detail: What exactly is wrong, for people.
    """

    file: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Ingested:
    """What a folder came to.

    Attributes:
        images: Accepted images, sorted by path.
        quarantine: Refused files, sorted by file and reason.
        ignored: Paths of files that are no candidates (hidden, or no image suffix and not in the manifest).
    """

    images: list[IngestedImage]
    quarantine: list[QuarantinedImage]
    ignored: list[str]


@dataclass
class _Candidate:
    """A file that may be an image, with what the manifest says of it."""

    path: str
    row: ManifestRow | None


@dataclass
class _Scan:
    """A scan under way."""

    folder: Path
    taxonomy: Taxonomy
    min_side: int
    max_pixels: int
    license_default: str
    # By hash: the accepted image, or why those bytes were refused; equal bytes are decoded once.
    seen: dict[str, IngestedImage | UnusableFileError] = field(default_factory=dict)
    quarantine: list[QuarantinedImage] = field(default_factory=list)

    def refuse(self, path: str, reason: str, detail: str) -> None:
        self.quarantine.append(QuarantinedImage(printable(path), reason, printable(detail)))


def scan_folder(
    folder: Path,
    manifest: Path | None,
    taxonomy: Taxonomy,
    *,
    min_side: int,
    max_pixels: int,
    license_default: str,
) -> Ingested:
    """Read a folder of images.

    An image's classes are those its manifest row names; without any, the nearest folder above it that has the
    name of a class. Folders are not entered through symbolic links, and hidden files and folders are passed
    over, unless the manifest names a file there.

    Args:
        folder: The folder.
        manifest: CSV or JSONL that describes files of the folder, or None (see `manifest.read_manifest`).
        taxonomy: The harm classes.
        min_side: Images with a shorter side, in pixels, are refused.
        max_pixels: Images with more pixels are refused before they are decoded.
        license_default: License of images whose manifest row names none.

    Raises:
        MissingInputError: The folder or the manifest isn't there.
        ParamsError: The manifest as a whole can't be read.
    """
    if not folder.is_dir():
        raise MissingInputError(f"{folder} is not a folder", "Name the folder that holds your images.")
    rows, bad_rows = read_manifest(manifest, folder) if manifest is not None else ({}, [])
    scan = _Scan(folder, taxonomy, min_side, max_pixels, license_default)
    for name, detail in bad_rows:
        scan.refuse(name, "bad_manifest_row", detail)
    candidates, ignored = _candidates(scan, rows, manifest)
    for candidate in sorted(candidates, key=lambda candidate: candidate.path):
        _examine(scan, candidate)
    images = sorted((i for i in scan.seen.values() if isinstance(i, IngestedImage)), key=lambda i: i.path)
    quarantine = sorted(scan.quarantine, key=lambda q: (q.file, q.reason, q.detail))
    return Ingested(images, quarantine, sorted(map(printable, ignored)))


# --- Which files ------------------------------------------------------------------------------------


def _candidates(scan: _Scan, rows: dict[str, ManifestRow], manifest: Path | None) -> tuple[list[_Candidate], list[str]]:
    """The files to examine, and those that are passed over. What the manifest names must be among them."""
    candidates: list[_Candidate] = []
    ignored: list[str] = []
    found: set[str] = set()
    own = os.path.realpath(manifest) if manifest is not None else None
    for path in _walk(scan):
        # Some systems decompose accents in file names: compare in one form.
        key = unicodedata.normalize("NFC", path)
        pure = PurePosixPath(path)
        if key in rows:
            found.add(key)
            candidates.append(_Candidate(path, rows[key]))
        elif pure.name.startswith(".") or not has_image_suffix(pure):
            ignored.append(path)
        elif own is None or os.path.realpath(scan.folder / path) != own:
            candidates.append(_Candidate(path, None))
    for key, row in rows.items():
        if key not in found:
            # In a hidden or linked folder, or not there at all: the examination tells.
            candidates.append(_Candidate(row.file, row))
    return candidates, ignored


def _walk(scan: _Scan) -> Iterator[str]:
    """Relative paths of all entries that aren't folders; folders that can't be listed are quarantined."""
    pending = [""]
    while pending:
        inside = pending.pop()
        try:
            with os.scandir(scan.folder / inside) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            reason = "permission" if isinstance(error, PermissionError) else "unreadable"
            scan.refuse(inside or ".", reason, f"the folder can't be listed: {error.strerror}")
            continue
        for entry in entries:
            path = f"{inside}/{entry.name}" if inside else entry.name
            try:
                is_folder, is_link = entry.is_dir(), entry.is_symlink()
            except OSError:  # a link that leads in circles
                is_folder, is_link = False, True
            if not is_folder:
                yield path
            elif entry.name.startswith("."):
                continue
            elif is_link:
                _refuse_linked_folder(scan, path)
            else:
                pending.append(path)


def _refuse_linked_folder(scan: _Scan, path: str) -> None:
    # Entering links could walk in circles or count an image under two classes.
    if _is_inside(scan.folder, path):
        scan.refuse(path, "linked_folder", "a link to a folder is not entered: move the folder itself here")
    else:
        scan.refuse(path, "outside_folder", "a link to a folder elsewhere is not entered: copy the folder here")


def _is_inside(folder: Path, path: str) -> bool:
    root, target = os.path.realpath(folder), os.path.realpath(folder / path)
    return target == root or target.startswith(root.rstrip(os.sep) + os.sep)


# --- One file ---------------------------------------------------------------------------------------


def _examine(scan: _Scan, candidate: _Candidate) -> None:
    """Put a candidate into its place."""
    try:
        _check_place(scan.folder, candidate.path)
        classes = _classes_of(scan.taxonomy, candidate)
        data = read_image_bytes(scan.folder / candidate.path)
        sha256 = hashlib.sha256(data).hexdigest()
        known = scan.seen.get(sha256)
        if isinstance(known, UnusableFileError):
            raise UnusableFileError(known.reason, known.message)
        if known is None:
            scan.seen[sha256] = _new_image(scan, candidate, classes, sha256, data)
        else:
            scan.seen[sha256] = _merged(scan, known, candidate, classes)
    except UnusableFileError as error:
        scan.refuse(candidate.path, error.reason, error.message)


def _check_place(folder: Path, path: str) -> None:
    """Refuse what is not there, what can't be named in a table, and what lies outside the folder."""
    if any("\ud800" <= char <= "\udfff" for char in path):
        raise UnusableFileError("undecodable_name", "the name is not valid UTF-8: rename the file")
    lexical = os.path.normpath(path)
    if os.path.isabs(path) or lexical == ".." or lexical.startswith(f"..{os.sep}"):
        raise UnusableFileError("outside_folder", "the path leads out of the folder")
    try:
        status = os.lstat(folder / path)
        if stat.S_ISLNK(status.st_mode):
            os.stat(folder / path)
    except (OSError, ValueError) as error:
        raise why_unopened(folder / path, error) from None
    if not _is_inside(folder, path):
        raise UnusableFileError("outside_folder", "a link leads out of the folder: copy the file here")


def _classes_of(taxonomy: Taxonomy, candidate: _Candidate) -> tuple[str, ...]:
    """Slugs of a candidate's classes, from its manifest row or else from a folder above it."""
    if candidate.row and candidate.row.classes:
        try:
            return tuple(sorted({taxonomy.find_class(name).slug for name in candidate.row.classes}))
        except UnknownClassError as error:
            raise UnusableFileError("unknown_class", str(error).replace("\n", ". ")) from None
    folders = PurePosixPath(candidate.path).parts[:-1]
    unknown: UnknownClassError | None = None
    for name in reversed(folders):
        try:
            return (taxonomy.find_class(name).slug,)
        except UnknownClassError as error:
            unknown = unknown or error
    if unknown:
        raise UnusableFileError("unknown_class", str(unknown).replace("\n", ". "))
    where = "its manifest row names none and it" if candidate.row else "it"
    raise UnusableFileError("no_class", f"{where} is in no sub-folder: move it into one named as a class")


def _new_image(scan: _Scan, candidate: _Candidate, classes: tuple[str, ...], sha256: str, data: bytes) -> IngestedImage:
    """Decode and describe an image whose bytes are new; a refusal is remembered for its copies."""
    try:
        try:
            pixels = decode_image(data, max_pixels=scan.max_pixels)
        except UnreadableImageError as error:
            raise _why_undecoded(error, candidate.path, data) from None
        if min(pixels.size) < scan.min_side:
            size = f"{pixels.width} x {pixels.height} pixels"
            raise UnusableFileError("too_small", f"{size}, the shorter side must have {scan.min_side}")
        file_format, notes = _describe(data, PurePosixPath(candidate.path).suffix.lower())
    except UnusableFileError as error:
        scan.seen[sha256] = error
        raise
    row = candidate.row
    return IngestedImage(
        path=candidate.path,
        sha256=sha256,
        format=file_format,
        width=pixels.width,
        height=pixels.height,
        size_bytes=len(data),
        phash=perceptual_hash(pixels),
        class_slugs=classes,
        caption=row.caption if row else None,
        source=row.source if row else None,
        license=(row.license if row else None) or scan.license_default,
        notes=(*notes, *(row.notes if row else ())),
    )


def _merged(scan: _Scan, image: IngestedImage, candidate: _Candidate, classes: tuple[str, ...]) -> IngestedImage:
    """An image with one more file of the same bytes; what is said of the first file goes first."""
    row = candidate.row
    notes = [*image.notes, f"same bytes as {printable(candidate.path)}"]
    license = (row.license if row else None) or scan.license_default
    if license != image.license:
        notes.append(f"another license there: {license}")
    return replace(
        image,
        class_slugs=tuple(sorted({*image.class_slugs, *classes})),
        caption=image.caption or (row.caption if row else None),
        source=image.source or (row.source if row else None),
        notes=tuple(notes),
        duplicates=(*image.duplicates, candidate.path),
    )


def _describe(data: bytes, suffix: str) -> tuple[str, list[str]]:
    """Format and notes of a decoded image; refuses animations, of which only a part would be seen."""
    with quietly(data), Image.open(io.BytesIO(data)) as image:
        file_format, mode, info = image.format or "unknown", image.mode, image.info
        # A MPO is a still with a second picture beside it (depth, other eye).
        if file_format != "MPO" and _is_animated(image):
            frames = "pages" if file_format == "TIFF" else "frames"
            raise UnusableFileError("animated", f"{file_format} with several {frames}: save one of them as an image")
        orientation = _orientation(image)
    notes = []
    if not suffix:
        notes.append(f"no suffix, the content is {file_format}")
    elif file_format not in FORMATS_OF_SUFFIX.get(suffix, ()):
        notes.append(f"suffix {printable(suffix)} but the content is {file_format}")
    if file_format == "MPO":
        notes.append("first picture of several used")
    if mode == "CMYK":
        notes.append("CMYK converted")
    elif mode.startswith("I") or mode == "F":
        notes.append("grey levels scaled to 8 bits")
    if mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in info:
        notes.append("transparency laid over white")
    if orientation not in (None, 1):
        notes.append("EXIF rotated")
    return file_format, notes


def _is_animated(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # damage behind the first frame: there was to be a second one
        return True


def _orientation(image: Image.Image) -> int | None:
    try:
        value = image.getexif().get(_ORIENTATION_TAG)
    except Exception:  # damaged metadata of a whole picture
        return None
    return value if isinstance(value, int) and 1 <= value <= 8 else None


# --- Why not ----------------------------------------------------------------------------------------


def _why_undecoded(error: UnreadableImageError, path: str, data: bytes) -> UnusableFileError:
    reason = _REASON_OF_DECODE.get(error.reason, "unreadable")
    if error.reason == "not_an_image":
        other = other_format(path, data)
        if other:
            return UnusableFileError("unsupported_format", f"{other} is not read: convert it to PNG or JPEG")
    return UnusableFileError(reason, error.message)
