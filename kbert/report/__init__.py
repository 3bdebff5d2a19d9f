"""Run folders, and the report of a run as JSON, Markdown and one HTML page."""

from kbert.report.assessment import assess
from kbert.report.cards import (
    Card,
    describe_plots,
    draw_plot,
    find_description,
    render_card,
    render_cards,
)
from kbert.report.comparison import Comparison, write_comparison
from kbert.report.environment import describe_device, describe_environment
from kbert.report.folder import RunFolder
from kbert.report.run import Run, describe_data
from kbert.report.trust import Trust
from kbert.report.write import render_html, render_markdown, write_report

__all__ = [
    "Card",
    "Comparison",
    "Run",
    "RunFolder",
    "Trust",
    "assess",
    "describe_data",
    "describe_device",
    "describe_environment",
    "describe_plots",
    "draw_plot",
    "find_description",
    "render_card",
    "render_cards",
    "render_html",
    "render_markdown",
    "write_comparison",
    "write_report",
]
