"""Every side that can train, by name. A new opponent is added here."""

from typing import Any

from benchmarks import keras_sides, trainer_side
from benchmarks.tasks import Side, Task

OPPONENTS = ("keras", "trainer", "trainer-dynamic", "trainer-best")
# Those that group rows by length get batches grouped so.
GROUPED = ("trainer-best",)
# Those that pad every row to the workload's length.
PADDED = ("keras", "trainer")


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
