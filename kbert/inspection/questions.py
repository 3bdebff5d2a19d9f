"""What is wrong with questions and their answers."""

from collections.abc import Mapping

import numpy as np

from kbert.inspection.finding import Finding, describe
from kbert.inspection.rows import Rows
from kbert.tasks.answer_data import Questions

_SHOWN_CHARACTERS = 60


def find_answer_faults(parts: Mapping[str, Questions], rows: Rows) -> list[Finding]:
    """Find answers that are not at their place, and questions without one.

    Args:
        parts: questions by part, as they stand in their files.
        rows: the same, as pairs of texts.

    Returns:
        The findings.
    """
    misplaced: dict[int, str] = {}
    unanswered: dict[int, str] = {}
    for name, part in parts.items():
        for position, golds, own in zip(
            rows.positions(name).tolist(), part.answers or (), part.ids, strict=False
        ):
            wrong = [one.text for one in golds if one.start < 0]
            if wrong:
                misplaced[position] = f"{wrong[0][:_SHOWN_CHARACTERS]!r}, id {own}"
            elif not golds:
                unanswered[position] = f"id {own}"
    found = {"misplaced_answers": misplaced, "no_answer": unanswered}
    return [
        finding
        for kind, details in found.items()
        for finding in describe(rows, kind, np.array([*details], np.int64), details)
    ]
