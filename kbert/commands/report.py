"""`kbert report`: what a run measured; its report, written anew."""

from dataclasses import dataclass

from tyro.conf import Positional

from kbert.commands.output import print_json


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Write report.html and report.md anew from a run's folder, and show the figures.

    Where its report.json or predictions.csv is gone, the figures are only shown.
    """

    run: Positional[str]  # folder that kbert train wrote
    json: bool = False  # print one JSON object: everything that the report holds


def run(flags: Flags) -> None:
    """Write the report anew, where that is possible, and show the figures.

    Args:
        flags: of the command.
    """
    from kbert.runs import load_run
    from kbert.runs.rebuilding import rebuild_report
    from kbert.runs.trained import REPORT_FILE, Figures

    found = load_run(flags.run)
    if not found.report:
        raise ValueError(f"{found.path} holds no report: the run was interrupted.")
    if flags.json:
        print_json(found.report)
        return
    print(found.report["title"])
    for notice in found.report["notices"]:
        print(f"Note: {notice}")
    figures = Figures(found.metrics, found.task.headlines, found.split)
    print(f"{figures['num_examples']:,} rows ({found.split})\n\n{figures}\n")
    try:
        rebuild_report(found)
        print(f"Wrote   {found.path / REPORT_FILE}")
    except ValueError as error:
        print(f"Report  {found.path / REPORT_FILE} (as it was: {error})")
