"""List the recipes: `python -m kbert.recipes`."""

import difflib
import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kbert.recipes.experiment import Experiment
from kbert.report import wording

RECIPES = ("tweets", "spam", "mrpc", "imdb", "amazon", "strategies")
MEASURED = Path(__file__).with_name("measured.json")
_COLUMNS = ("recipe", "documented", "on a CPU", "on a GPU", "question")


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line for each recipe: what it asks, claims and takes.

    Args:
        argv: flags; `None` means those of this process. There are none but `--help`.

    Returns:
        Exit code: 0 done, 2 a flag or a name was given.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if set(arguments) - {"-h", "--help"}:
        print(f"error: {_refuse(arguments[0])}", file=sys.stderr)
        return 2
    measured = read_measured(MEASURED)
    rows: list[tuple[str, ...]] = [_COLUMNS]
    for name in RECIPES:
        experiment = importlib.import_module(f"kbert.recipes.{name}").EXPERIMENT
        rows.append(describe(experiment, measured.get(name, {})))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (c.ljust(width) for c, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
    print("\npython -m kbert.recipes.NAME runs one; --help behind it shows its flags.")
    return 0


def describe(experiment: Experiment, seconds: Mapping[str, float]) -> tuple[str, ...]:
    """Put a recipe into a few words.

    Args:
        experiment: of the recipe.
        seconds: `cpu_seconds` and `gpu_seconds` that its default run took, if known.

    Returns:
        Name, documented figure, time on a CPU and on a GPU, question.
    """
    claim = experiment.headline
    figure = f"{claim.name} {claim.value:g}" if claim else "none"
    times = [seconds.get(f"{device}_seconds") for device in ("cpu", "gpu")]
    words = ["not measured" if t is None else wording.duration(t) for t in times]
    return experiment.name, figure, *words, experiment.question


def read_measured(path: Path) -> dict[str, Any]:
    """Read how long the recipes took.

    Args:
        path: of the JSON file that the cards' runs leave.

    Returns:
        Recipe to `cpu_seconds` and `gpu_seconds`, as far as they were measured.
    """
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def _refuse(argument: str) -> str:
    nearest = difflib.get_close_matches(argument, RECIPES, n=1) or ["NAME"]
    return (
        f"kbert.recipes lists the recipes and takes no {argument!r}. To run one, give "
        f"its name behind a dot: python -m kbert.recipes.{nearest[0]}."
    )


if __name__ == "__main__":
    sys.exit(main())
