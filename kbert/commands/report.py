"""`kbert report`: what a run measured; its report, written anew."""

import sys
from dataclasses import dataclass

from tyro.conf import Positional

from kbert.commands.output import print_json


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Write report.html and report.md anew from a run's folder, and show the figures.

    Where its report.json or predictions.csv is gone, the figures are only shown.
    """

    run: Positional[str]  # folder that kbert train wrote
    json: bool = False  # print one JSON object: what the report holds, and its page


def run(flags: Flags) -> None:
    """Write the report anew, where that is possible, and show the figures.

    Args:
        flags: of the command.
    """
    from kbert.runs import load_run, write_report
    from kbert.runs.trained import REPORT_FILE, Figures

    found = load_run(flags.run)
    page, reason = None, ""
    try:
        page = write_report(found)
    except ValueError as error:
        if not found.report:
            raise
        reason = f"{found.path / REPORT_FILE} (as it was: {error})"
    if flags.json:
        if reason:
            print(f"Report  {reason}", file=sys.stderr)
        print_json({**found.report, "page": page})
        return
    print(found.report["title"])
    for notice in found.report["notices"]:
        print(f"Note: {notice}")
    figures = Figures(found.metrics, found.task.headlines, found.split)
    print(f"{figures['num_examples']:,} rows ({found.split})\n\n{figures}\n")
    print(f"Report  {reason}" if page is None else f"Wrote   {page}")
