"""How numbers are drawn: by matplotlib, in one style, without its global state; the same numbers give the same bytes.

Belongs here: colours, empty figures, and what a figure is saved as. A PNG is for tools that show pictures; an SVG
stands inside a page and takes the page's colours, so that it follows light and dark.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from spavl_dag.stats import wilson_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

THEME: Mapping[str, str] = {
    "--text": "#1b1f24",
    "--faint": "#59626e",
    "--edge": "#d5dae1",
    "--good": "#11703c",
    "--bad": "#b3261e",
    "--line-0": "#0b5cad",
    "--line-1": "#c2500a",
    "--line-2": "#11713c",
    "--line-3": "#8a2c9b",
    "--line-4": "#7a5b00",
    "--line-5": "#0f7580",
}
"""Colour by the name that a page's style sheet gives it; the values are those of a light page, all different."""

INK, GREY, EDGE = THEME["--text"], THEME["--faint"], THEME["--edge"]
GOOD, BAD = THEME["--good"], THEME["--bad"]
LINES = tuple(color for name, color in THEME.items() if name.startswith("--line-"))
BLUE = LINES[0]
MARKERS = "osD^"
DASHES = ("-", (0, (4, 2)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)))  # in widths of the line

_STYLE: Any = {"text.parse_math": False}
"""A label is what a user or a model wrote: a dollar sign in it begins no formula."""

_NAMESPACE = re.compile(r"\{[^}]*\}")


Margins = tuple[float, float, float, float]


def new_figure(width: float, height: float, margins: Margins | None = None) -> tuple[Figure, Axes]:
    """An empty figure, and its axes.

    Args:
        width: In inches.
        height: In inches.
        margins: Left, below, right and above the axes, in inches. None measures what stands around them, which takes
            as long as drawing it.
    """
    # Figure and canvas without pyplot: no global state, no window system, no leak.
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=(width, height), dpi=110, layout="constrained" if margins is None else None)
        FigureCanvasAgg(figure)
        axes = figure.subplots()
    if margins is not None:
        left, below, right, above = margins
        figure.subplots_adjust(left / width, below / height, 1 - right / width, 1 - above / height)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    return figure, axes


def draw_calibration(axes: Axes, bins: Iterable[Mapping[str, float]]) -> None:
    """How often a model is right over how sure it is, with 95 % Wilson intervals, beside perfect calibration.

    Args:
        axes: Where to draw.
        bins: Rows of table `Calibration`; each point bears its number of pairs, and a bin without any is left out.
    """
    filled = [row for row in bins if row["n"]]
    axes.plot((0.5, 1.0), (0.5, 1.0), color=GREY, linewidth=1, linestyle="--")
    for row in filled:
        at = (row["confidence"], row["accuracy"])
        interval = wilson_interval(round(row["accuracy"] * row["n"]), row["n"])
        axes.plot((row["confidence"],) * 2, interval, color=BLUE, linewidth=1)
        axes.annotate(f"{row['n']:g}", at, textcoords="offset points", xytext=(6, -10), fontsize=9, color=GREY)
    axes.plot([r["confidence"] for r in filled], [r["accuracy"] for r in filled], "o-", color=BLUE, markersize=5)
    axes.set_xlim(0.49, 1.04)
    axes.set_ylim(-0.02, 1.02)


def to_png(figure: Figure, title: str, across: str, up: str | None = None) -> bytes:
    """A figure as a picture that says what it shows.

    Args:
        figure: From `new_figure`, drawn on.
        title: What is shown.
        across: What the horizontal axis means, with its unit.
        up: The same of the vertical one, where it needs a name.
    """
    from matplotlib import rc_context

    (axes,) = figure.axes
    data = io.BytesIO()
    with rc_context(_STYLE):
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_xlabel(across, fontsize=9)
        if up is not None:
            axes.set_ylabel(up, fontsize=9)
        figure.savefig(data, format="png", metadata={"Software": None})
    return data.getvalue()


def to_svg(figure: Figure, name: str, title: str = "", description: str = "") -> str:
    """A figure as an SVG element to stand inside a page: as wide as its place, in the page's colours and font.

    Args:
        figure: From `new_figure`, drawn on with colours of `THEME`.
        name: Unique in the page; letters, digits and hyphens.
        title: What is shown, in a few words, for those who don't see it; without one it is an ornament.
        description: What is to be seen, in a sentence.
    """
    from matplotlib import rc_context

    for patch in (figure.patch, *(axes.patch for axes in figure.axes)):
        patch.set_visible(False)  # the page is behind it
    data = io.StringIO()
    with rc_context(_STYLE | {"svg.fonttype": "none", "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # the reader's font draws what ours lacks
        figure.savefig(data, format="svg", metadata={"Date": None})
    return _for_a_page(ElementTree.fromstring(data.getvalue()), name, title, description)


def _for_a_page(root: ElementTree.Element, name: str, title: str, description: str) -> str:
    """Take off what an SVG needs as a file of its own, and make its ids the page's only ones of their name."""
    for element in root.iter():
        element.tag = _NAMESPACE.sub("", element.tag)
        element.attrib = {_NAMESPACE.sub("", key): value for key, value in element.attrib.items()}
        element.tail = None
        element.attrib.pop("clip-path", None)  # a reference by URL; the axes are as wide as what is drawn
        if element.tag != "text":
            element.text = None
        if style := element.get("style"):
            element.set("style", _page_style(style))
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag in ("metadata", "style", "clipPath")]:
            parent.remove(child)
    used = {element.get("href") for element in root.iter()}
    for element in root.iter():
        own = element.attrib.pop("id", None)
        if f"#{own}" in used:
            element.set("id", f"{name}-{own}")
        if href := element.get("href"):
            element.set("href", f"#{name}-{href[1:]}")
    root.attrib = {"viewBox": root.attrib["viewBox"]}
    if title:
        root.attrib |= {"role": "img", "aria-labelledby": f"{name}-title {name}-description"}
        for place, (tag, text) in enumerate({"title": title, "description": description}.items()):
            told = ElementTree.Element(tag.removesuffix("ription"), id=f"{name}-{tag}")
            told.text = text
            root.insert(place, told)
    else:
        root.set("aria-hidden", "true")
    return ElementTree.tostring(root, encoding="unicode")


def _page_style(style: str) -> str:
    style = re.sub(r"font-family: [^;]*;? ?", "", style)
    for name, color in THEME.items():
        style = style.replace(color, f"var({name})")
    return style
