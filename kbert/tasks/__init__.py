"""Tasks: classes, several labels, scores, tagged words, and answers in a text."""

from kbert.tasks.task import Request, Task

__all__ = ["Request", "Task"]
