"""Images that look alike: a hash of what is seen, and groups of near hashes.

Exact duplicates have equal bytes and are found by their sha256 (`ingest`); here it is re-encoded, resized and
slightly changed copies, which must not end up on both sides of a split.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image


def perceptual_hash(image: Image.Image) -> str:
    """DCT hash of an image (pHash): 64 bits as 16 hex digits; similar images differ in few bits."""
    import imagehash

    return str(imagehash.phash(image))


def near_duplicate_groups(hashes: Sequence[str], max_distance: int) -> list[int]:
    """Group images whose hashes are near each other, directly or through a chain of others.

    Args:
        hashes: Perceptual hashes, 16 hex digits each.
        max_distance: Most bits (of 64) in which neighbours differ; 0 groups equal hashes only.

    Returns:
        A group number per image, counted from 0 in the order of first appearance.

    Raises:
        ValueError: A hash has another form, or the distance is negative.
    """
    import numpy as np

    if max_distance < 0:
        raise ValueError(f"max_distance must not be negative, is {max_distance}")
    if not hashes:
        return []
    unique, positions = np.unique(np.array([_bits(text) for text in hashes], dtype=np.uint64), return_inverse=True)
    # A search through each group: every hash is compared once, with all hashes that have no group yet, in one
    # numpy operation. That is n² comparisons at most, whatever the distance (seconds for 30,000 hashes).
    component = np.arange(len(unique))
    rest, values = component.copy(), unique
    while len(rest):
        seed, rest, values = rest[0], rest[1:], values[1:]
        queue = [seed]
        while queue and len(rest):
            distance = np.bitwise_count(values ^ unique[queue.pop()])
            if distance.min() <= max_distance:
                near = distance <= max_distance
                component[rest[near]] = seed
                queue += list(rest[near])
                rest, values = rest[~near], values[~near]
    numbers: dict[int, int] = {}
    return [numbers.setdefault(int(group), len(numbers)) for group in component[positions]]


def _bits(text: str) -> int:
    if not re.fullmatch(r"[0-9a-f]{16}", text):
        raise ValueError(f"{text[:40]!r} is no perceptual hash: expected 16 hex digits")
    return int(text, 16)
