"""Result cards: what a repository says about an experiment, as Markdown and SVG."""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kbert.report.comparison import Comparison, arrange_comparison, find_scales
from kbert.report.curves import describe_curves, plot_curves
from kbert.report.figures import to_svg_file
from kbert.report.rendering import render


@dataclass(kw_only=True)
class Card:
    """An experiment, what was measured, and what was not.

    Args:
        comparison: its trials; their `place` is that of a record beside the card.
        place: file name of the card.
        unmeasured: a mapping for each variant without any trial: `claims` (with
            nothing measured) and the rest as in a row of the comparison, and `why`.
        missing: a mapping for each variant without a trial that compares: `name`,
            `why` and the `command` that would make one.
        plots: where each row's curves are, relative to the card.
        memory: what training was measured to need: a mapping for each batch size, with
            `preset`, `max_length`, `device`, `batch_size` and `peak_bytes` (`None`:
            there was not enough).
        builds: what building its documented encoders with random weights took: a
            mapping each, with `preset`, `num_parameters`, `batch_size`, `max_length`,
            `peak_bytes`, `seconds`, `num_steps`, `losses`, `file_bytes`, `precision`,
            `reload_difference` and the `place` of the record.
        digests: SHA-256 of each record, by its place.
    """

    comparison: Comparison
    place: str
    unmeasured: Sequence[Mapping[str, Any]]
    missing: Sequence[Mapping[str, Any]]
    plots: Sequence[str]
    memory: Sequence[Mapping[str, Any]]
    builds: Sequence[Mapping[str, Any]]
    digests: Mapping[str, str]


def render_card(card: Card) -> str:
    """Write a card as Markdown (GitHub's).

    Args:
        card: what to write.

    Returns:
        The page; whatever names hold, none of it becomes markup.
    """
    return render("card.md", **_arrange(card))


def render_cards(cards: Sequence[Card]) -> str:
    """Write the table over all cards as Markdown.

    Args:
        cards: of all experiments.

    Returns:
        The page.
    """
    return render("cards.md", cards=[_arrange(card) for card in cards])


def describe_plots(card: Card) -> dict[str, str]:
    """Say what a card's plots show.

    Args:
        card: the card.

    Returns:
        A sentence with every value, by the plot's place.
    """
    limits = find_scales(card.comparison)
    return {
        place: describe_curves(row["histories"], limits)
        for place, row in zip(card.plots, card.comparison.rows, strict=True)
    }


def draw_plot(card: Card, place: str) -> str:
    """Draw one of a card's plots.

    Args:
        card: the card.
        place: of the plot.

    Returns:
        The SVG file's text.
    """
    row = card.comparison.rows[list(card.plots).index(place)]
    limits = find_scales(card.comparison)
    return to_svg_file(plot_curves(row["histories"], limits, "curves"))


def find_description(svg: str) -> str | None:
    """Find what an SVG file says that it shows.

    Args:
        svg: of `draw_plot`.

    Returns:
        The sentence; `None` where there is none.
    """
    found = re.search(r'aria-label="([^"]*)"', svg)
    return found and html.unescape(found[1])


def _arrange(card: Card) -> dict[str, Any]:
    rows = card.comparison.rows
    plots = zip(card.plots, rows, strict=True)
    return {
        **arrange_comparison(card.comparison),
        **vars(card),
        "plots": [{"place": place, "row": row} for place, row in plots],
    }
