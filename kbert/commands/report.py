"""`kbert report`: what a run measured, and where its report is."""

from collections.abc import Sequence
from dataclasses import dataclass

from tyro.conf import Positional

from kbert import cli
from kbert.commands.output import print_json


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Show what a run measured, and where its report is."""

    run: Positional[str]  # folder that kbert train wrote
    json: bool = False  # print one JSON object: everything that the report holds


def main(argv: Sequence[str]) -> int:
    """Run the command.

    Args:
        argv: its flags.

    Returns:
        Exit code.
    """
    return cli.run_recipe(Flags, run, argv, prog="kbert report")


def run(flags: Flags) -> None:
    """Show a run.

    Args:
        flags: of the command.
    """
    from kbert.runs import load_run
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
    print(f"Report  {found.path / REPORT_FILE}")
