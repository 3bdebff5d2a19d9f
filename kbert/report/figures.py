"""From a matplotlib figure to SVG that lives in a page.

Colours become CSS variables, so that a plot follows the page into dark mode and onto
paper; text stays text, in the page's font; ids get a prefix, so that two plots on a
page do not share any.
"""

import io
import re
import xml.etree.ElementTree as ElementTree
from typing import Any

from kbert.report.rendering import read_palette

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
# Colours to draw with, and the variables of style.css that they become.
INK, MUTED, GRID, SURFACE = "#010101", "#020202", "#030303", "#040404"
FIRST, SECOND, WARN = "#050505", "#060606", "#070707"
SERIES = (FIRST, SECOND, "#080808", "#090909", "#0a0a0a", "#0b0b0b")
_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--rule",
    SURFACE: "--surface",
    WARN: "--warn",
    **{color: f"--series-{number}" for number, color in enumerate(SERIES, 1)},
}
_FONT_POINTS = 10.5
_STYLE: Any = {
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelcolor": MUTED,
    "axes.labelsize": _FONT_POINTS,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "font.size": _FONT_POINTS,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "none",
    "svg.hashsalt": "kbert",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": GRID,
    "xtick.labelcolor": MUTED,
    "xtick.labelsize": _FONT_POINTS,
    "ytick.color": GRID,
    "ytick.labelcolor": MUTED,
    "ytick.labelsize": _FONT_POINTS,
}


def style() -> Any:
    """Return a context in which matplotlib draws as the page wants it.

    Figures are small on purpose: shown at their size on a phone, their text is
    readable; a wide page has two beside each other.

    Returns:
        A context manager.
    """
    import matplotlib

    return matplotlib.rc_context(_STYLE)


def to_svg(figure: Any, name: str, description: str) -> str:
    """Write a figure as an `<svg>` element for an HTML page.

    Args:
        figure: `matplotlib.figure.Figure` drawn with this module's colours.
        name: letters, unique on the page; the prefix of its ids.
        description: what it shows, for those who do not see it.

    Returns:
        The element, without script, style sheet, link or outside reference.
    """
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(file.getvalue())
    _drop(root, {f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"})
    for element in root.iter():
        element.attrib = {
            _plain(key): _rewrite(_plain(key), value, name)
            for key, value in element.attrib.items()
        }
        element.tag = _plain(element.tag)
    width, height = (root.attrib.pop(key) for key in ("width", "height"))
    root.set("viewBox", f"0 0 {width.rstrip('pt')} {height.rstrip('pt')}")
    root.set("role", "img")
    root.set("aria-label", description)
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)


def to_svg_file(svg: str) -> str:
    """Make an `<svg>` element a file of its own, light or dark as its reader likes.

    Args:
        svg: of `to_svg`.

    Returns:
        The file's text; it holds the page's colours, and asks for nothing.
    """
    root = ElementTree.fromstring(svg)
    _, _, width, height = root.attrib["viewBox"].split()
    root.attrib |= {"xmlns": _SVG, "width": width, "height": height}
    root.set("style", "background: var(--surface); font-family: system-ui, sans-serif")
    colors = ElementTree.Element("style")
    colors.text = read_palette()
    root.insert(0, colors)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _drop(parent: ElementTree.Element, tags: set[str]) -> None:
    """Remove elements that would reach beyond the plot, and the empty ones left."""
    for child in list(parent):
        _drop(child, tags)
        is_empty = child.tag == f"{{{_SVG}}}defs" and not len(child)
        if child.tag in tags or is_empty:
            parent.remove(child)


def _plain(name: str) -> str:
    """Drop the namespace: HTML knows SVG's names, and `href` without xlink."""
    return name.replace(f"{{{_SVG}}}", "").replace(f"{{{_XLINK}}}", "")


def _rewrite(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return value.replace("#", f"#{name}-", 1)
    value = re.sub(r"url\(#", f"url(#{name}-", value)
    if key == "style":
        # The page's font; matplotlib has measured with its own, which is wider.
        value = re.sub(r"font:\s*([\d.]+px)[^;]*", r"font-size: \1", value)
        value = re.sub(r"font-family:[^;]*;?", "", value)
    for color, variable in _VARIABLES.items():
        value = value.replace(color, f"var({variable})")
    return value
