import time

import numpy as np
import pytest
from PIL import Image, ImageDraw

from spavl_dag.media.duplicates import near_duplicate_groups, perceptual_hash


def picture(shift: int = 0) -> Image.Image:
    image = Image.new("RGB", (96, 64), "white")
    draw = ImageDraw.Draw(image)
    draw.ellipse((10 + shift, 10, 60 + shift, 50), fill="red")
    draw.rectangle((70, 5, 90, 30), fill="blue")
    return image


def distance(a: str, b: str) -> int:
    return (int(a, 16) ^ int(b, 16)).bit_count()


def groups_by_definition(hashes: list[str], limit: int) -> list[int]:
    """Connected components, one edge at a time."""
    group = list(range(len(hashes)))
    for i in range(len(hashes)):
        for j in range(i):
            if distance(hashes[i], hashes[j]) <= limit and group[i] != group[j]:
                old, new = group[i], group[j]
                group = [new if g == old else g for g in group]
    numbers: dict[int, int] = {}
    return [numbers.setdefault(g, len(numbers)) for g in group]


class TestHash:
    def test_is_64_bits_as_hex(self) -> None:
        assert len(perceptual_hash(picture())) == 16
        assert perceptual_hash(picture()) == perceptual_hash(picture().copy())

    def test_changes_little_with_size_and_a_lot_with_content(self) -> None:
        one = perceptual_hash(picture())
        assert distance(one, perceptual_hash(picture().resize((192, 128)))) <= 4
        assert distance(one, perceptual_hash(picture().transpose(Image.Transpose.FLIP_LEFT_RIGHT))) > 12

    @pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1)])
    def test_tiny_images_have_one_too(self, size: tuple[int, int]) -> None:
        assert len(perceptual_hash(Image.new("RGB", size, "red"))) == 16


class TestGroups:
    def test_near_and_far(self) -> None:
        hashes = ["0" * 16, "f" * 16, "0" * 15 + "3", "0" * 16, "f" * 15 + "e"]
        assert near_duplicate_groups(hashes, 0) == [0, 1, 2, 0, 3]
        assert near_duplicate_groups(hashes, 2) == [0, 1, 0, 0, 1]
        assert near_duplicate_groups(hashes, 64) == [0, 0, 0, 0, 0]

    def test_groups_are_chains(self) -> None:
        assert near_duplicate_groups(["0" * 16, "0" * 15 + "f", "0" * 15 + "3"], 2) == [0, 0, 0]

    def test_no_hashes(self) -> None:
        assert near_duplicate_groups([], 4) == []

    @pytest.mark.parametrize("limit", [0, 3, 8, 20, 30])
    def test_is_what_the_definition_says(self, limit: int) -> None:
        rng = np.random.default_rng(limit)
        seeds = rng.integers(0, 2**64, 8, dtype=np.uint64)
        flips = np.uint64(1) << rng.integers(0, 64, (60, 4), dtype=np.uint64)
        hashes = [f"{int(seeds[i % 8] ^ np.bitwise_xor.reduce(flips[i])):016x}" for i in range(60)]
        assert near_duplicate_groups(hashes, limit) == groups_by_definition(hashes, limit)

    @pytest.mark.parametrize(
        "bad", ["", "0" * 15, "0" * 17, "g" * 16, "0x" + "0" * 14, "-" + "0" * 15, " " * 16, "٣" * 16]
    )
    def test_other_texts_are_refused(self, bad: str) -> None:
        with pytest.raises(ValueError, match="is no perceptual hash"):
            near_duplicate_groups(["0" * 16, bad], 2)

    def test_negative_distance_is_refused(self) -> None:
        with pytest.raises(ValueError, match="negative"):
            near_duplicate_groups([], -1)

    @pytest.mark.parametrize("limit", [2, 32])
    def test_thirty_thousand_take_seconds(self, limit: int) -> None:
        values = np.random.default_rng(0).integers(0, 2**64, 30_000, dtype=np.uint64)
        hashes = [f"{value:016x}" for value in values]
        start = time.process_time()
        groups = near_duplicate_groups(hashes, limit)
        assert time.process_time() - start < 10
        assert len(set(groups)) == (30_000 if limit == 2 else 1)

    def test_many_equal_ones_take_no_time(self) -> None:
        start = time.process_time()
        assert set(near_duplicate_groups(["0" * 16] * 30_000, 32)) == {0}
        assert time.process_time() - start < 2
