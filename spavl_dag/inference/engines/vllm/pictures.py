"""Pictures as the model is shown them: decoded once where rows about one picture follow each other."""

from __future__ import annotations

from collections import OrderedDict

from PIL import Image

from spavl_dag.media.decode import decode_image

_KEPT = 32


class Pictures:
    """Decoded pictures, those used last.

    Args:
        max_pixels: Larger ones are made so small; None for none.
    """

    def __init__(self, max_pixels: int | None) -> None:
        self._max_pixels = max_pixels
        self._kept: OrderedDict[str, Image.Image] = OrderedDict()

    def get(self, sha256: str, data: bytes) -> Image.Image:
        """A picture by the hash of its bytes.

        Raises:
            UnreadableImageError: The bytes are no picture.
        """
        if sha256 not in self._kept:
            self._kept[sha256] = shrunk(decode_image(data), self._max_pixels)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(sha256)
        return self._kept[sha256]


def shrunk(picture: Image.Image, max_pixels: int | None) -> Image.Image:
    """A picture of at most so many pixels, in its proportions."""
    if max_pixels is None or picture.width * picture.height <= max_pixels:
        return picture
    scale = (max_pixels / (picture.width * picture.height)) ** 0.5
    width, height = max(1, int(picture.width * scale)), max(1, int(picture.height * scale))
    # A strip a pixel wide can't get narrower.
    return picture.resize((min(width, max_pixels), min(height, max_pixels)), Image.Resampling.BICUBIC)
