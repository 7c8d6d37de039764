"""The cards: what is on one, how it is drawn, and which cards a class or the harmless world gets.

A card is a square of `CARD_SIZE` pixels that is thought of as three by three cells. A small symbol fills one
cell, a large one a block of two by two; both are moved by a few pixels and vary a little in size, so that no
two cards need be the same. No torch here: the training draws the same arrays through `ink_of` and `blend`.
"""

import importlib.util
import io
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from spavl_dag.demo.symbols import BACKGROUNDS, COLOURS, SYMBOLS, Symbol, symbols_of

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

CARD_SIZE = 96
"""Width and height of a card in pixels."""
CELL = CARD_SIZE // 3
"""Width of one of the three by three cells in pixels."""
JITTER = 3
"""A symbol lies at most this many pixels from the middle of its cell or block, in each direction."""
BOXES: dict[str, tuple[int, ...]] = {"small": (26, 28, 30), "large": (54, 57, 60)}
"""For each size word the widths in pixels that the longer side of the glyph may have."""

_ROWS = ("top", "middle", "bottom")
_COLUMNS = ("left", "centre", "right")
PLACES: dict[str, dict[str, tuple[int, int]]] = {
    "small": {
        f"{row} {column}": (CELL * x + CELL // 2, CELL * y + CELL // 2)
        for (y, row), (x, column) in itertools.product(enumerate(_ROWS), enumerate(_COLUMNS))
    },
    "large": {
        f"{row} {column}": (CELL * (x + 1), CELL * (y + 1))
        for (y, row), (x, column) in itertools.product(enumerate(_ROWS[::2]), enumerate(_COLUMNS[::2]))
    },
}
"""For each size word the places a symbol can have and where its middle then is, in pixels (x, y)."""


@dataclass(frozen=True, order=True)
class CardSpec:
    """Everything that decides a card's pixels.

    `symbol`, `colour`, `background`, `size` and `place` are the words used in captions; `box` is the length
    of the glyph's longer side and `dx`, `dy` its shift, all three in pixels.
    """

    symbol: str
    colour: str
    background: str
    size: str
    place: str
    box: int
    dx: int
    dy: int


def article(word: str) -> str:
    """The indefinite article that goes before a word."""
    return "an" if word[0] in "aeiou" else "a"


def card_caption(spec: CardSpec) -> str:
    """The true short caption of a card."""
    return f"{article(spec.colour)} {spec.colour} {spec.symbol} on a {spec.background} card ."


def card_description(spec: CardSpec) -> str:
    """The true detailed description of a card."""
    return f"a {spec.size} {spec.colour} {spec.symbol} at the {spec.place} of a {spec.background} card ."


def random_card(
    rng: random.Random, symbols: Sequence[Symbol] = SYMBOLS, colours: Sequence[str] = tuple(COLOURS)
) -> CardSpec:
    """A card with every property drawn evenly from what the arguments allow."""
    size = rng.choice(tuple(BOXES))
    return CardSpec(
        symbol=rng.choice(symbols).name,
        colour=rng.choice(colours),
        background=rng.choice(tuple(BACKGROUNDS)),
        size=size,
        place=rng.choice(tuple(PLACES[size])),
        box=rng.choice(BOXES[size]),
        dx=rng.randint(-JITTER, JITTER),
        dy=rng.randint(-JITTER, JITTER),
    )


def class_cards(class_slug: str, count: int, seed: int) -> list[CardSpec]:
    """`count` cards for a class of harm, as different from each other as the world allows."""
    return _spread_cards(symbols_of(class_slug), count, f"{class_slug}:{seed}")


def _spread_cards(symbols: Sequence[Symbol], count: int, seed: str) -> list[CardSpec]:
    """Cards that repeat no (symbol, size, place) before all of them were used.

    These three decide what a card looks like in grey, which is what a perceptual hash sees; colour,
    background and jitter are drawn at random. Asking for more cards gives the same ones and more.
    """
    rng = random.Random(seed)
    looks = [(symbol, size, place) for symbol in symbols for size in PLACES for place in PLACES[size]]
    cards: list[CardSpec] = []
    while len(cards) < count:
        rng.shuffle(looks)
        for symbol, size, place in looks[: count - len(cards)]:
            cards.append(
                CardSpec(
                    symbol=symbol.name,
                    colour=rng.choice(tuple(COLOURS)),
                    background=rng.choice(tuple(BACKGROUNDS)),
                    size=size,
                    place=place,
                    box=rng.choice(BOXES[size]),
                    dx=rng.randint(-JITTER, JITTER),
                    dy=rng.randint(-JITTER, JITTER),
                )
            )
    return cards


def font_path() -> Path:
    """Where matplotlib keeps DejaVu Sans; matplotlib itself is not imported."""
    package = importlib.util.find_spec("matplotlib")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("the pictograms are drawn with the font that matplotlib ships: install it")
    return Path(package.submodule_search_locations[0], "mpl-data", "fonts", "ttf", "DejaVuSans.ttf")


@cache
def _glyph(name: str, box: int) -> "np.ndarray":
    """How much ink each pixel of a symbol has, from 0 to 1, float32, shape (box, box)."""
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    char = next(symbol.char for symbol in SYMBOLS if symbol.name == name)
    # Glyphs fill very different shares of their em square: measure at a large size, then draw at the size
    # that fits.
    left, top, right, bottom = ImageFont.truetype(str(font_path()), 512).getbbox(char)
    font = ImageFont.truetype(str(font_path()), 512 * box / max(right - left, bottom - top))
    left, top, right, bottom = font.getbbox(char)
    ink = Image.new("L", (box, box))
    corner = ((box - (right - left)) / 2 - left, (box - (bottom - top)) / 2 - top)
    ImageDraw.Draw(ink).text((round(corner[0]), round(corner[1])), char, font=font, fill=255)
    return np.asarray(ink, dtype=np.float32) / 255


def ink_of(specs: Sequence[CardSpec]) -> "np.ndarray":
    """Ink on each pixel of the cards from 0 to 1, float32, shape (cards, `CARD_SIZE`, `CARD_SIZE`)."""
    import numpy as np

    ink = np.zeros((len(specs), CARD_SIZE, CARD_SIZE), dtype=np.float32)
    for card, spec in zip(ink, specs, strict=True):
        x, y = PLACES[spec.size][spec.place]
        left, top = x + spec.dx - spec.box // 2, y + spec.dy - spec.box // 2
        under = card[max(top, 0) : top + spec.box, max(left, 0) : left + spec.box]
        under[:] = _glyph(spec.symbol, spec.box)[max(-top, 0) :, max(-left, 0) :][: under.shape[0], : under.shape[1]]
    return ink


def blend(
    specs: Sequence[CardSpec], ink: "np.ndarray", colours: Sequence[tuple[int, ...]] | None = None
) -> "np.ndarray":
    """Ink in the symbols' colours, or in `colours`, on the cards' backgrounds.

    `ink` has the shape (cards, height, width); the result is float32 in 0 to 255, shape (cards, 3, height,
    width).
    """
    import numpy as np

    paper = np.array([BACKGROUNDS[spec.background] for spec in specs], dtype=np.float32)
    colour = np.array(colours or [COLOURS[spec.colour] for spec in specs], dtype=np.float32)
    blended: np.ndarray = paper[:, :, None, None] + (colour - paper)[:, :, None, None] * ink[:, None]
    return blended


def draw_card(spec: CardSpec) -> "Image":
    """The card as an RGB picture of `CARD_SIZE` by `CARD_SIZE` pixels."""
    import numpy as np
    from PIL import Image

    pixels = blend([spec], ink_of([spec]))[0].transpose(1, 2, 0)
    return Image.fromarray(np.round(pixels).astype(np.uint8))


def card_png(spec: CardSpec) -> bytes:
    """The card as PNG; the same card gives the same bytes."""
    buffer = io.BytesIO()
    draw_card(spec).save(buffer, format="PNG")
    return buffer.getvalue()
