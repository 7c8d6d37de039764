"""Folders as users have them: nothing may crash or hang, and every file must be accounted for."""

import hashlib
import io
import json
import os
import random
import socket
import struct
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, features

from spavl_dag.errors import MissingInputError, ParamsError
from spavl_dag.media.files import REASONS, UnusableFileError, printable, read_image_bytes
from spavl_dag.media.ingest import Ingested, IngestedImage, QuarantinedImage, scan_folder
from spavl_dag.taxonomy import Taxonomy, load_taxonomy

FORMATS = ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"]
FORMATS += ["JPEG2000"] if features.check("jpg_2000") else []
FORMATS += ["AVIF"] if features.check("avif") else []
SUFFIX = {"JPEG": "jpg", "TIFF": "tif", "JPEG2000": "jp2"}


@cache
def taxonomy() -> Taxonomy:
    return load_taxonomy()


@cache
def encoded(file_format: str = "PNG", mode: str = "RGB", size: tuple[int, int] = (48, 40), seed: int = 0) -> bytes:
    """An image with enough detail that cutting it short is noticed."""
    image = Image.effect_noise(size, 60).convert("RGB") if seed < 0 else Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    rng = random.Random(seed)
    for _ in range(40):
        box = sorted(rng.sample(range(size[0]), 2)), sorted(rng.sample(range(size[1]), 2))
        draw.rectangle((box[0][0], box[1][0], box[0][1], box[1][1]), fill=(rng.randrange(256), rng.randrange(256), 9))
    buffer = io.BytesIO()
    image.convert(mode).save(buffer, file_format)
    return buffer.getvalue()


def animation(file_format: str) -> bytes:
    frames = [Image.new("RGB", (40, 40), color) for color in ("red", "green", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, file_format, save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of_claimed_size(width: int, height: int) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(b"\0")) + png_chunk(b"IEND", b"")


def rotated_jpeg() -> bytes:
    image = Image.open(io.BytesIO(encoded("JPEG")))
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.png", encoded())
    return buffer.getvalue()


def put(folder: Path, name: str | bytes, data: bytes) -> None:
    path = os.path.join(os.fsencode(folder), os.fsencode(name))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


def scan(folder: Path, manifest: str | None = None, **limits: int) -> Ingested:
    return scan_folder(
        folder,
        folder / manifest if manifest else None,
        taxonomy(),
        **({"min_side": 16, "max_pixels": 1_000_000} | limits),
        license_default="CC0-1.0",
    )


def only_image(ingest: Ingested) -> IngestedImage:
    assert ingest.quarantine == []
    (image,) = ingest.images
    return image


def only_refusal(ingest: Ingested) -> QuarantinedImage:
    assert ingest.images == []
    (refused,) = ingest.quarantine
    assert refused.reason in REASONS
    assert refused.detail
    return refused


class TestAccepted:
    def test_everything_about_an_image(self, tmp_path: Path) -> None:
        put(tmp_path, "theft/a.png", encoded())
        image = only_image(scan(tmp_path))
        assert image.path == "theft/a.png"
        assert image.sha256 == hashlib.sha256(encoded()).hexdigest()
        assert (image.format, image.width, image.height) == ("PNG", 48, 40)
        assert image.size_bytes == len(encoded())
        assert len(image.phash) == 16
        assert image.class_slugs == ("theft",)
        assert (image.caption, image.source, image.license) == (None, None, "CC0-1.0")
        assert (image.notes, image.duplicates) == ((), ())

    @pytest.mark.parametrize("file_format", FORMATS)
    def test_formats(self, tmp_path: Path, file_format: str) -> None:
        put(tmp_path, f"theft/a.{SUFFIX.get(file_format, file_format.lower())}", encoded(file_format))
        image = only_image(scan(tmp_path))
        assert (image.format, image.notes) == (file_format, ())

    @pytest.mark.parametrize(
        ("name", "data", "note"),
        [
            ("a.jpg", encoded("PNG"), "suffix .jpg but the content is PNG"),
            ("a.png", encoded("GIF"), "suffix .png but the content is GIF"),
            ("a.svg", encoded("PNG"), "suffix .svg but the content is PNG"),
            ("a.PNG", encoded("PNG"), None),
            ("a.jpeg", encoded("JPEG", "CMYK"), "CMYK converted"),
            ("a.png", encoded("PNG", "RGBA"), "transparency laid over white"),
            ("a.png", encoded("PNG", "LA"), "transparency laid over white"),
            ("a.png", encoded("PNG", "I;16"), "grey levels scaled to 8 bits"),
            ("a.tif", encoded("TIFF", "F"), "grey levels scaled to 8 bits"),
            ("a.png", encoded("PNG", "L"), None),
            ("a.png", encoded("PNG", "1"), None),
            ("a.png", encoded("PNG", "P"), None),
            ("a.jpg", rotated_jpeg(), "EXIF rotated"),
        ],
    )
    def test_notes(self, tmp_path: Path, name: str, data: bytes, note: str | None) -> None:
        put(tmp_path, f"theft/{name}", data)
        assert only_image(scan(tmp_path)).notes == ((note,) if note else ())

    def test_sizes_are_those_that_are_seen(self, tmp_path: Path) -> None:
        put(tmp_path, "theft/a.jpg", rotated_jpeg())
        image = only_image(scan(tmp_path))
        assert (image.width, image.height) == (40, 48)

    def test_a_stereo_picture_is_a_still(self, tmp_path: Path) -> None:
        put(tmp_path, "theft/a.jpg", animation("MPO"))
        assert only_image(scan(tmp_path)).notes == ("first picture of several used",)

    @pytest.mark.parametrize(
        "name",
        [
            "new\nline.png",
            "tab\t.png",
            "quote'\".png",
            "a;b,c.png",
            "😀.png",
            "-rf.png",
            "%s{}.png",
            "$(ls).png",
            "a b.png",
            "\\.png",
            "e\u0301.png",
            "\u202egnp.png",
            "x" * 251 + ".png",
            "<b>.png",
            "~.png",
            "*.png",
            "CON.png",
            "..png",
        ],
    )
    def test_odd_names(self, tmp_path: Path, name: str) -> None:
        put(tmp_path, f"theft/{name}", encoded())
        ingest = scan(tmp_path)
        if name == "..png":  # hidden
            assert ingest == Ingested([], [], ["theft/..png"])
            return
        image = only_image(ingest)
        assert (tmp_path / image.path).read_bytes() == encoded()


class TestClasses:
    @pytest.mark.parametrize(
        ("path", "slug"),
        [
            ("fake_news/a.png", "fake_news"),
            ("Fake News/a.png", "fake_news"),
            ("scamns/a.png", "scams"),
            ("Malicious Use/Illegal activities/theft/a.png", "theft"),
            ("theft/batch 1/a.png", "theft"),
            ("theft/cyber/a.png", "cyber"),
        ],
    )
    def test_from_the_nearest_folder(self, tmp_path: Path, path: str, slug: str) -> None:
        put(tmp_path, path, encoded())
        assert only_image(scan(tmp_path)).class_slugs == (slug,)

    def test_none(self, tmp_path: Path) -> None:
        put(tmp_path, "a.png", encoded())
        assert only_refusal(scan(tmp_path)).reason == "no_class"

    def test_unknown_is_told_with_a_suggestion(self, tmp_path: Path) -> None:
        put(tmp_path, "thefft/a.png", encoded())
        refused = only_refusal(scan(tmp_path))
        assert refused.reason == "unknown_class"
        assert "theft" in refused.detail.replace("thefft", "")

    def test_equal_bytes_are_one_image_of_all_their_classes(self, tmp_path: Path) -> None:
        for path in ("theft/b.png", "cyber/a.png", "theft/c.png", "nothing/d.png"):
            put(tmp_path, path, encoded())
        ingest = scan(tmp_path)
        (image,) = ingest.images
        assert image.path == "cyber/a.png"
        assert image.class_slugs == ("cyber", "theft")
        assert image.duplicates == ("theft/b.png", "theft/c.png")
        assert image.notes == ("same bytes as theft/b.png", "same bytes as theft/c.png")
        assert [q.file for q in ingest.quarantine] == ["nothing/d.png"]

    def test_equal_bytes_are_refused_alike(self, tmp_path: Path) -> None:
        for path in ("theft/a.png", "theft/b.png"):
            put(tmp_path, path, b"no image")
        assert [(q.file, q.reason) for q in scan(tmp_path).quarantine] == [
            ("theft/a.png", "unreadable"),
            ("theft/b.png", "unreadable"),
        ]


class TestManifest:
    def test_csv(self, tmp_path: Path) -> None:
        put(tmp_path, "one.png", encoded())
        put(tmp_path, "sub/two.dat", encoded(seed=1))
        text = (
            "\ufefffile,Class,caption,license,source,other\n"
            'one.png,"theft; Fake News","A ""red"",\nsquare",CC-BY-4.0,http://example.org/1,x\n'
            "\n"
            "./sub//two.dat,cyber,,,,\n"
        )
        put(tmp_path, "manifest.csv", text.encode())
        one, two = scan(tmp_path, "manifest.csv").images
        assert one.class_slugs == ("fake_news", "theft")
        assert (one.caption, one.license, one.source) == (
            'A "red", square',
            "CC-BY-4.0",
            "http://example.org/1",
        )
        assert (two.path, two.class_slugs, two.license, two.caption) == (
            "sub/two.dat",
            ("cyber",),
            "CC0-1.0",
            None,
        )
        assert two.notes == ("suffix .dat but the content is PNG",)

    def test_jsonl(self, tmp_path: Path) -> None:
        put(tmp_path, "one", encoded())
        put(tmp_path, "theft/two.png", encoded(seed=1))
        rows = [
            {"file": "one", "class": ["theft", "weapon"], "caption": "a\ud800b"},
            {"file_name": "theft/two.png"},
        ]
        put(tmp_path, "m.jsonl", "\n".join(json.dumps(row) for row in rows).encode())
        one, two = scan(tmp_path, "m.jsonl").images
        assert (one.class_slugs, one.caption, one.notes) == (
            ("theft", "weapon"),
            "ab",
            ("no suffix, the content is PNG",),
        )
        assert two.class_slugs == ("theft",)

    def test_rows_of_one_file_are_merged(self, tmp_path: Path) -> None:
        put(tmp_path, "a.png", encoded())
        put(tmp_path, "m.csv", b"file,class,caption\na.png,theft,one\n./a.png,cyber,two\na.png,theft,one\n")
        image = only_image(scan(tmp_path, "m.csv"))
        assert (image.class_slugs, image.caption) == (("cyber", "theft"), "one")
        assert image.notes == ("the manifest gives another caption too",)

    def test_it_may_name_hidden_files_and_itself_is_no_candidate(self, tmp_path: Path) -> None:
        put(tmp_path, ".hidden/.a.png", encoded())
        put(tmp_path, "theft/.b.png", encoded(seed=1))
        put(tmp_path, "manifest.png", b"file,class\n.hidden/.a.png,theft\ntheft/.b.png,\n")
        assert [i.path for i in scan(tmp_path, "manifest.png").images] == [".hidden/.a.png", "theft/.b.png"]

    def test_other_spellings_of_a_path(self, tmp_path: Path) -> None:
        put(tmp_path, "sub/e\u0301.png", encoded())
        put(tmp_path, "sub/b.png", encoded(seed=1))
        put(tmp_path, "sub/c.png", encoded(seed=2))
        rows = ["sub/é.png", "sub\\b.png", str(tmp_path / "sub" / "x" / ".." / "c.png")]
        put(tmp_path, "m.csv", "\n".join(["file,class", *(f"{row},theft" for row in rows)]).encode())
        ingest = scan(tmp_path, "m.csv")
        assert ingest.quarantine == []
        found = [unicodedata.normalize("NFC", i.path) for i in ingest.images]
        assert sorted(found) == ["sub/b.png", "sub/c.png", "sub/é.png"]

    @pytest.mark.parametrize(
        ("file", "reason"),
        [
            ("none.png", "missing_file"),
            ("a.png/b.png", "missing_file"),
            ("nul\0.png", "missing_file"),
            ("x" * 300, "missing_file"),
            ("../outside.png", "outside_folder"),
            ("../../../../../../etc/passwd", "outside_folder"),
            ("/etc/passwd", "outside_folder"),
            ("sub/../../outside.png", "outside_folder"),
            ("..", "outside_folder"),
            (".", "not_a_regular_file"),
            ("sub", "not_a_regular_file"),
            ("\udc80.png", "undecodable_name"),
            ("half\ud800.png", "undecodable_name"),
            ("escaping.png", "outside_folder"),
            ("linked/secret.png", "outside_folder"),
            ("dangling.png", "broken_link"),
        ],
    )
    def test_bad_paths(self, tmp_path: Path, file: str, reason: str) -> None:
        folder = tmp_path / "folder"
        put(tmp_path, "outside.png", encoded())
        put(tmp_path, "outside/secret.png", encoded())
        put(folder, "a.png", encoded(seed=1))
        (folder / "sub").mkdir()
        (folder / "escaping.png").symlink_to(tmp_path / "outside.png")
        (folder / "linked").symlink_to(tmp_path / "outside")
        (folder / "dangling.png").symlink_to("nowhere.png")
        put(folder, "m.jsonl", json.dumps({"file": file, "class": "theft"}).encode())
        refused = {q.file: q.reason for q in scan(folder, "m.jsonl").quarantine}
        named = [name for name, why in refused.items() if why == reason]
        assert named
        assert all(name.isprintable() for name in refused)
        # Nothing from outside was read.
        assert not scan(folder, "m.jsonl").images

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("m.csv", "file , class\n a.png , theft \n"),
            ("m.csv", "file,class,caption,source\na.png,theft,nan,NULL\n"),
            ("m.csv", "file,class,license\ntheft/../a.png\u00a0,theft,N/A\n"),
            ("m.csv", '"file", "class", "caption"\n"a.png", "theft", "NA"\n'),
            ("m.csv", "\n\nfile,class,caption\n\na.png,theft,None\n"),
            ("m.tsv", "file\tclass\tcaption\na.png\ttheft\t\n"),
            ("m.jsonl", '{"file": "a.png", "class": "theft", "source": Infinity}'),
            ("m.jsonl", '{"file": "a.png ", "class": [" theft", null, NaN], "caption": NaN, "source": null}'),
            ("m.json", '[{"file": "a.png", "class": "theft"}]'),
            ("m.json", '[\n  {\n    "file": "a.png",\n    "class": ["theft"]\n  }\n]\n'),
            ("m.jsonl", ' [{"file": "a.png", "class": "theft"}]'),
            ("m.json", '{"file": "a.png", "class": "theft"}\n{"file": "a.png", "caption": "nan"}'),
            ("m.json", '{\n"file": "a.png",\n"class": "theft"\n}'),
        ],
    )
    def test_layout_and_gaps_of_a_table_say_nothing(self, tmp_path: Path, name: str, text: str) -> None:
        put(tmp_path, "a.png", encoded())
        put(tmp_path, "theft/b.txt", b"x")
        put(tmp_path, name, text.encode())
        image = only_image(scan(tmp_path, name))
        assert (image.path, image.class_slugs) == ("a.png", ("theft",))
        assert (image.caption, image.source, image.license) == (None, None, "CC0-1.0")

    def test_without_a_class_the_folder_counts(self, tmp_path: Path) -> None:
        put(tmp_path, "theft/a.png", encoded())
        put(tmp_path, "m.jsonl", b'{"file": "theft/a.png", "class": NaN}')
        assert only_image(scan(tmp_path, "m.jsonl")).class_slugs == ("theft",)

    def test_numbers_are_texts(self, tmp_path: Path) -> None:
        put(tmp_path, "theft/a.png", encoded())
        put(tmp_path, "m.jsonl", b'{"file": "theft/a.png", "source": 123.0, "caption": 7, "license": 4.5}')
        image = only_image(scan(tmp_path, "m.jsonl"))
        assert (image.source, image.caption, image.license) == ("123", "7", "4.5")

    def test_a_name_with_blanks_is_a_name(self, tmp_path: Path) -> None:
        put(tmp_path, " a.png ", encoded())
        put(tmp_path, "a.png", encoded(seed=1))
        put(tmp_path, "m.csv", b"file,class\n a.png ,theft\na.png,cyber\n")
        assert {i.path: i.class_slugs for i in scan(tmp_path, "m.csv").images} == {
            " a.png ": ("theft",),
            "a.png": ("cyber",),
        }

    def test_a_pipe_is_no_manifest(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "m.csv")
        with pytest.raises(ParamsError, match=r"m\.csv: the manifest can't be read"):
            scan(tmp_path, "m.csv")

    @pytest.mark.parametrize(
        ("row", "detail"),
        [
            ('{"class": "theft"}', "names no file"),
            ('{"file": ""}', "names no file"),
            ('{"file": 3}', "names no file"),
            ('{"file": "a.png", "class": 3}', "`class` must be text or a list of texts"),
            ('{"file": "a.png", "class": [3]}', "`class` must be text or a list of texts"),
            ('{"file": "a.png", "caption": {}}', "`caption` must be text"),
            ('["a.png"]', "not a JSON object"),
            ('{"file": "a.png"', "not JSON"),
            ("[" * 100_000, "not JSON"),
            ("nonsense\x00", "not JSON"),
        ],
    )
    def test_bad_rows_are_quarantined_and_the_rest_is_read(self, tmp_path: Path, row: str, detail: str) -> None:
        put(tmp_path, "b.png", encoded())
        put(tmp_path, "m.jsonl", f'\n{row}\n{{"file": "b.png", "class": "theft"}}\n'.encode())
        ingest = scan(tmp_path, "m.jsonl")
        assert [image.path for image in ingest.images] == ["b.png"]
        (refused,) = ingest.quarantine
        assert (refused.file, refused.reason) == ("m.jsonl:2", "bad_manifest_row")
        assert detail in refused.detail

    def test_csv_row_of_another_length(self, tmp_path: Path) -> None:
        put(tmp_path, "a.png", encoded())
        put(tmp_path, "m.csv", b"file,class\na.png,theft\nb.png\nc.png,theft,more\n")
        ingest = scan(tmp_path, "m.csv")
        assert [q.detail for q in ingest.quarantine] == ["1 values for 2 columns", "3 values for 2 columns"]
        assert len(ingest.images) == 1

    @pytest.mark.parametrize("classes", ["nothing", "theft;nothing", "domain"])
    def test_one_unknown_class_is_enough(self, tmp_path: Path, classes: str) -> None:
        put(tmp_path, "theft/a.png", encoded())
        put(tmp_path, "m.csv", f"file,class\ntheft/a.png,{classes}\n".encode())
        assert only_refusal(scan(tmp_path, "m.csv")).reason == "unknown_class"

    @pytest.mark.parametrize(
        "text",
        [
            b"",
            b"\n\n",
            b"name,class\na.png,theft\n",
            b"file;class\na.png;theft\n",
            b"file,file\na,b\n",
            b'file\n"a.png\n',
            b'file\n"a"b\n',
            b"file\n" + b"x" * 200_000 + b"\n",
            b"file\n\xff\n",
        ],
    )
    def test_a_broken_csv_is_refused_as_a_whole(self, tmp_path: Path, text: bytes) -> None:
        put(tmp_path, "m.csv", text)
        with pytest.raises(ParamsError, match=r"m\.csv") as caught:
            scan(tmp_path, "m.csv")
        assert caught.value.hint

    def test_it_must_be_there(self, tmp_path: Path) -> None:
        with pytest.raises(MissingInputError, match=r"m\.csv"):
            scan(tmp_path, "m.csv")
        with pytest.raises(ParamsError, match="can't be read"):
            scan_folder(tmp_path, tmp_path, taxonomy(), min_side=1, max_pixels=9, license_default="CC0-1.0")


def malformed() -> list[tuple[str, bytes, str]]:
    """Name, content and reasons to refuse it (by |; "ok" where it may be accepted, "*" for any outcome)."""
    cases: list[tuple[str, bytes, str]] = []
    for file_format in FORMATS:
        whole = encoded(file_format)
        suffix = SUFFIX.get(file_format, file_format.lower())
        for offset in sorted({1, 2, 3, 4, 8, 12, 16, 30, 64, len(whole) // 4, len(whole) // 2, len(whole) * 3 // 4}):
            cases.append((f"cut-{offset}.{suffix}", whole[:offset], "truncated|unreadable"))
        cases.append((f"cut-end.{suffix}", whole[:-40], "truncated|unreadable|ok"))
        cases.append((f"text.{suffix}", b"This is not an image.\n" * 50, "unreadable"))
        for seed in range(2):
            rng = random.Random(seed)
            damaged = bytearray(whole)
            for _ in range(8):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            cases.append((f"damaged-{seed}.{suffix}", bytes(damaged), "*"))
    for seed in range(10):
        cases.append((f"random-{seed}.png", random.Random(seed).randbytes(500), "unreadable|truncated"))
        cases.append((f"random-magic-{seed}.png", encoded()[:33] + random.Random(seed).randbytes(500), "*"))
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><circle r="4"/></svg>'
    cases += [
        ("empty.png", b"", "empty"),
        ("tiny.png", encoded(size=(16, 15)), "too_small"),
        ("one.png", encoded("PNG", size=(2, 2)), "too_small"),
        ("bomb.png", png_of_claimed_size(100_000, 100_000), "too_many_pixels"),
        ("huge.png", png_of_claimed_size(2**31 - 1, 2**31 - 1), "too_many_pixels|unreadable"),
        ("wide.png", png_of_claimed_size(2_000_000, 1), "too_many_pixels"),
        ("zero.png", png_of_claimed_size(0, 10), "unreadable|truncated"),
        ("claimed.png", png_of_claimed_size(100, 100), "truncated|unreadable"),
        (
            "bomb.bmp",
            encoded("BMP")[:18] + struct.pack("<ii", 60_000, 60_000) + encoded("BMP")[26:],
            "too_many_pixels",
        ),
        ("bomb.gif", b"GIF89a" + struct.pack("<HH", 65535, 65535) + encoded("GIF")[10:], "too_many_pixels"),
        ("bomb.ppm", b"P6 1000000 1000000 255\n" + b"\0" * 100, "too_many_pixels"),
        ("negative.ppm", b"P6 -1 5 255\n" + b"\0" * 100, "unreadable"),
        ("animated.gif", animation("GIF"), "animated"),
        ("animated.webp", animation("WEBP"), "animated"),
        ("animated.png", animation("PNG"), "animated"),
        ("pages.tif", animation("TIFF"), "animated"),
        ("drawing.svg", svg, "unsupported_format"),
        ("drawing.png", b'<?xml version="1.0"?>\n<!-- x -->' + svg, "unsupported_format"),
        ("photo.heic", b"\0\0\0\x18ftypheic" + b"\0" * 100, "unsupported_format"),
        ("video.png", b"\0\0\0\x18ftypmp42" + b"\0" * 100, "unreadable|truncated"),
        ("doc.png", b"%PDF-1.7\n", "unsupported_format"),
        ("layers.psd", b"8BPS\0\1" + b"\0" * 100, "unsupported_format"),
        ("icon.ico", b"\0\0\1\0\1\0" + b"\0" * 100, "unsupported_format"),
        ("vector.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "unsupported_format"),
        ("raw.dng", b"nonsense", "unsupported_format"),
        ("photo.hif", b"\0\0\0\x18ftypheim" + b"\0" * 100, "unsupported_format"),
        ("photo.jxr", b"II\xbc\x01" + b"\0" * 100, "unsupported_format"),
        ("texture.png", b"DDS |\0\0\0" + b"\0" * 100, "unsupported_format"),
        ("two-bits.bmp", encoded("BMP")[:28] + b"\2" + encoded("BMP")[29:], "unsupported_format"),
        ("archive.png", zipped(), "unreadable"),
        ("page.jpg", b"<!doctype html><html><body>403 Forbidden</body></html>", "unreadable"),
        ("json.jpg", b'{"error": "not found"}', "unreadable"),
        ("pointer.png", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "unreadable"),
        ("zeros.png", b"\0" * 5000, "unreadable|truncated"),
    ]
    if "AVIF" in FORMATS:
        cases.append(("animated.avif", animation("AVIF"), "animated"))
    return cases


class TestMalformed:
    def test_there_are_many(self) -> None:
        assert len(malformed()) >= 100

    def test_each_is_refused_with_its_reason(self, tmp_path: Path) -> None:
        cases = malformed()
        for name, data, _ in cases:
            put(tmp_path, f"theft/{name}", data)
        ingest = scan(tmp_path)
        outcome = {q.file: q.reason for q in ingest.quarantine}
        for image in ingest.images:
            outcome |= dict.fromkeys((image.path, *image.duplicates), "ok")
        assert outcome.keys() == {f"theft/{name}" for name, _, _ in cases}
        wrong = {
            name: (outcome[f"theft/{name}"], expected)
            for name, _, expected in cases
            if expected != "*" and outcome[f"theft/{name}"] not in expected.split("|")
        }
        assert wrong == {}
        assert all(q.detail and q.detail.isprintable() and len(q.detail) < 400 for q in ingest.quarantine)
        assert set(outcome.values()) <= {*REASONS, "ok"}


class TestFilesThatAreNone:
    def test_pipes_do_not_hang(self, tmp_path: Path) -> None:
        (tmp_path / "theft").mkdir()
        os.mkfifo(tmp_path / "theft" / "pipe.png")
        assert only_refusal(scan(tmp_path)) == QuarantinedImage("theft/pipe.png", "not_a_regular_file", "is a pipe")

    def test_sockets(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "theft").mkdir()
        monkeypatch.chdir(tmp_path / "theft")  # the path of a socket must be short
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("s.png")
            assert only_refusal(scan(tmp_path)).reason == "not_a_regular_file"

    def test_devices(self, tmp_path: Path) -> None:
        with pytest.raises(UnusableFileError, match="device") as caught:
            read_image_bytes(Path("/dev/zero"))
        assert caught.value.reason == "not_a_regular_file"

    def test_links(self, tmp_path: Path) -> None:
        folder = tmp_path / "folder"
        put(tmp_path, "outside/theft/a.png", encoded(seed=5))
        put(folder, "theft/a.png", encoded())
        theft = folder / "theft"
        (theft / "good.png").symlink_to("a.png")
        (theft / "self.png").symlink_to("self.png")
        (theft / "ping.png").symlink_to("pong.png")
        (theft / "pong.png").symlink_to("ping.png")
        (theft / "gone.png").symlink_to("nowhere.png")
        (theft / "out.png").symlink_to(tmp_path / "outside" / "theft" / "a.png")
        (theft / "loop").symlink_to("..")
        (folder / "cyber").symlink_to(tmp_path / "outside" / "theft")
        (folder / "weapon").symlink_to("theft")
        ingest = scan(folder)
        (image,) = ingest.images
        assert image.duplicates == ("theft/good.png",)
        assert {q.file: q.reason for q in ingest.quarantine} == {
            "cyber": "outside_folder",
            "weapon": "linked_folder",
            "theft/loop": "linked_folder",
            "theft/self.png": "broken_link",
            "theft/ping.png": "broken_link",
            "theft/pong.png": "broken_link",
            "theft/gone.png": "broken_link",
            "theft/out.png": "outside_folder",
        }

    def test_a_folder_named_as_an_image(self, tmp_path: Path) -> None:
        put(tmp_path, "theft/album.png/a.png", encoded())
        assert only_image(scan(tmp_path)).path == "theft/album.png/a.png"

    def test_undecodable_names(self, tmp_path: Path) -> None:
        (tmp_path / "theft").mkdir()
        try:
            put(tmp_path, b"theft/caf\xe9\n.png", encoded())
        except OSError:
            pytest.skip("this file system takes UTF-8 names only")
        refused = only_refusal(scan(tmp_path))
        assert (refused.file, refused.reason) == ("theft/caf\\xe9\\n.png", "undecodable_name")

    @pytest.mark.parametrize("entry", ["file", "folder"])
    def test_what_may_not_be_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str) -> None:
        # Root may read everything, so the refusal of the system is played.
        put(tmp_path, "theft/a.png", encoded())
        put(tmp_path, "theft/locked/b.png", encoded(seed=1))
        name = {"file": "open", "folder": "scandir"}[entry]
        real: Callable[..., object] = getattr(os, name)

        def guarded(path: Path, *args: object) -> object:
            if str(path).endswith(("locked", "b.png")):
                raise PermissionError(13, "Permission denied")
            return real(path, *args)

        monkeypatch.setattr(os, name, guarded)
        (refused,) = scan(tmp_path).quarantine
        assert refused.reason == "permission"
        assert refused.file == {"file": "theft/locked/b.png", "folder": "theft/locked"}[entry]

    def test_files_that_are_too_large(self, tmp_path: Path) -> None:
        path = tmp_path / "sparse.png"
        with path.open("wb") as file:
            file.truncate(2**40)
        with pytest.raises(UnusableFileError, match="the limit is") as caught:
            read_image_bytes(path)
        assert caught.value.reason == "too_large_file"

    def test_deep_folders(self, tmp_path: Path) -> None:
        put(tmp_path, "theft/" + "deep/" * 300 + "a.png", encoded())
        assert only_image(scan(tmp_path)).class_slugs == ("theft",)


class TestWhole:
    def test_side_files_are_passed_over(self, tmp_path: Path) -> None:
        put(tmp_path, "theft/a.png", encoded())
        others = [
            "README.md",
            "LICENSE",
            "theft/a.json",
            "theft/a.txt",
            "theft/.DS_Store",
            "theft/._a.png",
            "x.csv",
        ]
        for name in [*others, ".git/b.png"]:
            put(tmp_path, name, b"x")
        ingest = scan(tmp_path)
        assert only_image(ingest).path == "theft/a.png"
        assert ingest.ignored == sorted(others)

    def test_every_candidate_is_accounted_for(self, tmp_path: Path) -> None:
        rng = random.Random(0)
        names = []
        for number in range(120):
            suffix = rng.choice(["png", "jpg", "svg"])
            name = f"{rng.choice(['theft', 'cyber', 'nothing', '.'])}/{number}.{suffix}"
            data = rng.choice([encoded(), encoded(seed=number), encoded("JPEG"), b"", b"text", encoded()[:200]])
            put(tmp_path, name, data)
            names.append(os.path.normpath(name))
        ingest = scan(tmp_path)
        counted = Counter(q.file for q in ingest.quarantine)
        for image in ingest.images:
            counted.update((image.path, *image.duplicates))
        assert counted == Counter(names)
        assert len({image.sha256 for image in ingest.images}) == len(ingest.images)

    def test_order_and_result_are_determined(self, tmp_path: Path) -> None:
        for number in range(20):
            put(tmp_path, f"theft/{number}.png", encoded(seed=number))
            put(tmp_path, f"cyber/{number}.png", b"no image %d" % number)
        first = scan(tmp_path)
        assert scan(tmp_path) == first
        assert [i.path for i in first.images] == sorted(i.path for i in first.images)
        assert [q.file for q in first.quarantine] == sorted(q.file for q in first.quarantine)

    def test_empty_and_missing_folders(self, tmp_path: Path) -> None:
        assert scan(tmp_path) == Ingested([], [], [])
        with pytest.raises(MissingInputError, match="is not a folder"):
            scan(tmp_path / "none")

    def test_printable(self) -> None:
        assert printable("a\nb\udce9\ud800\u202eé😀") == "a\\nb\\xe9\\ud800\\u202eé😀"
