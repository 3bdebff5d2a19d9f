"""Run folders, and the report of a run as JSON, Markdown and one HTML page."""

from kbert.report.environment import describe_device, describe_environment
from kbert.report.folder import RunFolder
from kbert.report.run import Run, describe_data
from kbert.report.write import render_html, render_markdown, write_report

__all__ = [
    "Run",
    "RunFolder",
    "describe_data",
    "describe_device",
    "describe_environment",
    "render_html",
    "render_markdown",
    "write_report",
]
