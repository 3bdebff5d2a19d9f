"""The tasks by name."""

import difflib

from kbert.tasks import answer, classify, multilabel, regress, tag
from kbert.tasks.task import Task

_ALL = (classify.TASK, multilabel.TASK, regress.TASK, tag.TASK, answer.TASK)

TASKS: dict[str, Task] = {one.name: one for one in _ALL}


def find_task(name: str) -> Task:
    """Find a task by its name.

    Args:
        name: such as `classify`.

    Returns:
        The task.

    Raises:
        ValueError: there is none of that name; the nearest is named.
    """
    if name in TASKS:
        return TASKS[name]
    nearest = difflib.get_close_matches(name.lower(), TASKS, n=1, cutoff=0.5)
    guess = f"Did you mean {nearest[0]!r}?" if nearest else "There are"
    rest = "" if nearest else f" {', '.join(TASKS)}."
    raise ValueError(f"unknown task {name!r}. {guess}{rest}")
