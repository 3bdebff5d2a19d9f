"""Tasks: classes, several labels, scores, tagged words, and answers in a text."""

from kbert.tasks.guess import guess_task
from kbert.tasks.table import TASKS, find_task
from kbert.tasks.task import READ_ALIKE, Request, Task

__all__ = ["READ_ALIKE", "TASKS", "Request", "Task", "find_task", "guess_task"]
