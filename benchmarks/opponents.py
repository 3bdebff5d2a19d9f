"""Every side that can train, by name. A new opponent is added here."""

import argparse
from typing import Any

from benchmarks import keras_sides, trainer_side
from benchmarks.tasks import Side, Task
from benchmarks.workloads import SOURCES

OPPONENTS = ("keras", "trainer", "trainer-dynamic", "trainer-best")
# Those that group rows by length get batches grouped so.
GROUPED = ("trainer-best",)
# Those that pad every row to the workload's length.
PADDED = ("keras", "trainer")


def check_opponent(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Refuse an opponent that has no model for the workload."""
    if args.against == "keras" and SOURCES[args.workload].is_annotated:
        parser.error(
            f"--workload {args.workload} needs a head on every token, which KerasHub "
            "has no model with; choose --against trainer, trainer-dynamic or "
            "trainer-best"
        )


def build_side(name: str, task: Task, settings: dict[str, Any] | None = None) -> Side:
    """Build one side of a comparison.

    Args:
        name: `kbert` or one of `OPPONENTS`.
        task: what it trains.
        settings: of `trainer-best`.
    """
    if name == "kbert":
        return keras_sides.KbertSide(task)
    if name == "keras":
        return keras_sides.StockKerasSide(task)
    return trainer_side.TrainerSide(task, name, settings)
