"""Tasks: classes, several labels, scores, tagged words, and answers in a text."""

from kbert.tasks.find import TASKS, find_task
from kbert.tasks.guess import guess_task
from kbert.tasks.task import Request, Task

__all__ = ["TASKS", "Request", "Task", "find_task", "guess_task"]
