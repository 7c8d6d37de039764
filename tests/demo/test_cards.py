"""The cards: every class has some, they can be drawn, and the same card gives the same bytes."""

import hashlib
import io
import itertools

import imagehash
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFont

from spavl_dag.demo.cards import (
    BOXES,
    CARD_SIZE,
    JITTER,
    PLACES,
    CardSpec,
    _glyph,
    card_caption,
    card_png,
    class_cards,
    draw_card,
    font_path,
    ink_of,
)
from spavl_dag.demo.symbols import (
    BACKGROUNDS,
    CLASSES,
    COLOURS,
    HARMFUL_SYMBOLS,
    HARMLESS_SYMBOLS,
    SYMBOLS,
    alarm_of,
    class_of,
    symbols_of,
)

cards = st.sampled_from(tuple(BOXES)).flatmap(
    lambda size: st.builds(
        CardSpec,
        symbol=st.sampled_from([symbol.name for symbol in SYMBOLS]),
        colour=st.sampled_from(tuple(COLOURS)),
        background=st.sampled_from(tuple(BACKGROUNDS)),
        size=st.just(size),
        place=st.sampled_from(tuple(PLACES[size])),
        box=st.sampled_from(BOXES[size]),
        dx=st.integers(-JITTER, JITTER),
        dy=st.integers(-JITTER, JITTER),
    )
)


class TestSymbols:
    def test_each_class_has_at_least_two(self) -> None:
        assert len(CLASSES) == 53
        assert all(len(symbols_of(slug)) >= 2 for slug in CLASSES)

    def test_names_only_known_classes(self) -> None:
        assert {slug for symbol in SYMBOLS for slug in symbol.classes} == set(CLASSES)

    def test_has_ten_harmless_ones(self) -> None:
        assert len(HARMLESS_SYMBOLS) >= 10
        assert all(symbol.classes == () for symbol in HARMLESS_SYMBOLS)

    def test_names_and_glyphs_are_unique(self) -> None:
        assert len({symbol.name for symbol in SYMBOLS}) == len({symbol.char for symbol in SYMBOLS}) == len(SYMBOLS)

    def test_every_glyph_is_in_the_font(self) -> None:
        font = ImageFont.truetype(str(font_path()), 40)
        missing = bytes(font.getmask("\U0010fffe"))
        assert [symbol.name for symbol in SYMBOLS if bytes(font.getmask(symbol.char)) == missing] == []

    def test_an_unknown_class_always_gets_the_same_few(self) -> None:
        assert symbols_of("moon_theft") == symbols_of("moon_theft")
        assert len(set(symbols_of("moon_theft"))) == 3
        assert class_of("moon_theft").name == "moon theft"

    def test_alarm_falls_along_the_list(self) -> None:
        alarms = [alarm_of(symbol.name) for symbol in HARMFUL_SYMBOLS]
        assert alarms == sorted(alarms, reverse=True)
        assert (alarms[0], alarms[-1]) == (1, 0)


class TestDrawing:
    @given(card=cards)
    def test_nearly_the_whole_glyph_is_on_the_card(self, card: CardSpec) -> None:
        ink = ink_of([card])[0]
        assert ink.max() > 0.5
        # The jitter may push the outermost pixels over the edge: of all cards, a pyramid loses most, 12.9 %.
        assert np.count_nonzero(ink) >= 0.87 * np.count_nonzero(_glyph(card.symbol, card.box))

    @given(card=cards)
    def test_png_is_deterministic_and_readable(self, card: CardSpec) -> None:
        data = card_png(card)
        assert data == card_png(card)
        assert Image.open(io.BytesIO(data)).size == (CARD_SIZE, CARD_SIZE)
        assert draw_card(card).getpixel((CARD_SIZE // 2, 0)) is not None

    def test_shows_its_colours(self) -> None:
        colours = draw_card(CardSpec("diamond", "red", "pink", "large", "top left", 60, 0, 0)).getcolors()
        assert colours is not None
        assert {pixel for _, pixel in colours} >= {COLOURS["red"], BACKGROUNDS["pink"]}

    def test_caption_is_true(self) -> None:
        spec = CardSpec("skull", "orange", "white", "small", "top left", 28, 1, -2)
        assert card_caption(spec) == "an orange skull on a white card ."


class TestChoice:
    def test_is_reproducible_and_depends_on_the_seed(self) -> None:
        assert class_cards("theft", 9, 1) == class_cards("theft", 9, 1) != class_cards("theft", 9, 2)

    @pytest.mark.parametrize("slug", ["theft", "gamble", "moon_theft"])
    def test_shows_symbols_of_the_class(self, slug: str) -> None:
        names = {symbol.name for symbol in symbols_of(slug)}
        assert {card.symbol for card in class_cards(slug, 40, 0)} == names

    def test_cards_of_a_class_are_not_near_duplicates(self) -> None:
        distances = []
        for slug in CLASSES:
            hashes = [imagehash.phash(draw_card(card)) for card in class_cards(slug, 8, 0)]
            distances += [one - other for one, other in itertools.combinations(hashes, 2)]
        assert np.mean(np.array(distances) <= 4) < 0.01

    def test_asking_for_more_than_there_are_looks_still_gives_distinct_cards(self) -> None:
        pictures = {hashlib.sha256(card_png(card)).digest() for card in class_cards("sexism", 60, 0)}
        assert len(pictures) >= 58


def test_more_cards_are_the_same_ones_and_more() -> None:
    few, many = class_cards("weapon", 4, 42), class_cards("weapon", 60, 42)
    assert many[:4] == few
