"""`kbert explain`: which words a prediction hangs on."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from kbert import cli
from kbert.commands.output import print_json


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Show how much each word moved a prediction."""

    run: Positional[str]  # folder that kbert train wrote, or a .keras file
    text: Positional[str]  # text to explain
    text_pair: str | None = None  # second text, for a model of pairs
    target: str | None = None  # label to explain; else what is predicted
    steps: int = 32  # points to begin with; doubled until the words add up
    baseline: Literal["pad", "mask"] = "pad"  # token that stands for no word
    out: str | None = None  # HTML page to write
    json: bool = False  # print one JSON object

    def __post_init__(self) -> None:
        """Refuse values that cannot be used."""
        cli.require_at_least(self, "steps", 1)
        if self.out is not None and Path(self.out).suffix not in (".html", ".htm"):
            raise ValueError(f"--out must end in .html; received {self.out!r}.")


def run(flags: Flags) -> None:
    """Explain as the flags say.

    Args:
        flags: of the command.

    Raises:
        FileNotFoundError: there is no such model.
        ValueError: the model or the label does not fit.
    """
    from kbert.explaining import explain
    from kbert.report.explained import write_explanation

    found = explain(
        flags.run,
        flags.text,
        flags.text_pair,
        target=flags.target,
        steps=flags.steps,
        baseline=flags.baseline,
    )
    if flags.out is not None:
        write_explanation(Path(flags.out), found)
        print(f"Wrote {flags.out}", file=sys.stderr)
    if flags.json:
        print_json(found.to_json())
    else:
        print(found)
