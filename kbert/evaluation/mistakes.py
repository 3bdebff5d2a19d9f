"""The rows a model got wrong, the surest first."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kbert.evaluation.inputs import check_label_names, check_pair
from kbert.evaluation.regression import check_scores_pair
from kbert.evaluation.thresholds import shift_to_half

NUM_MISTAKES = 20
_NUM_CHARACTERS = 2_000


def find_mistakes(
    labels: Any,
    probabilities: Any,
    texts: Sequence[str],
    label_names: Sequence[str],
    *,
    text_pairs: Sequence[str] | None = None,
    rows: Any = None,
    threshold: float | None = None,
    limit: int = NUM_MISTAKES,
) -> list[dict[str, Any]]:
    """Find the mistakes that the model was surest of.

    Args:
        labels: int array-like, shape (n,), values in [0, num_classes).
        probabilities: float array-like, shape (n, num_classes), rows that sum to 1.
        texts: n texts.
        label_names: class names in id order.
        text_pairs: n second texts, where there are any.
        rows: int array-like, shape (n,), the rows' numbers in their source; `None`
            counts from 0.
        threshold: of two classes, the probability from which a row is of the second;
            `None` takes the likelier one.
        limit: most mistakes to return.

    Returns:
        For each mistake, from the surest: `row`, `text` (its first 2,000 characters),
        `num_characters`, `text_pair` (where there are any), `label`, `label_name`,
        `predicted`, `predicted_name`, `probability` (of the predicted class) and
        `label_probability`.

    Raises:
        ValueError: the arrays or names are not as they should be, or there is not one
            text a row.
    """
    labels, probabilities = check_pair(labels, probabilities)
    names = check_label_names(label_names, probabilities.shape[1])
    for name, values in (("texts", texts), ("text_pairs", text_pairs), ("rows", rows)):
        if values is not None and len(values) != len(labels):
            raise ValueError(
                f"{name} must have one value a row; received {len(values):,} for "
                f"{len(labels):,} rows."
            )
    decided = shift_to_half(probabilities, threshold)
    predicted = decided.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    surest = np.argsort(-decided[wrong].max(axis=1, initial=0), kind="stable")
    found = []
    for row in wrong[surest[:limit]]:
        label, guess = int(labels[row]), int(predicted[row])
        pair = {} if text_pairs is None else {"text_pair": _cut(text_pairs[row])}
        found.append(
            {
                "row": int(row if rows is None else rows[row]),
                "text": _cut(texts[row]),
                "num_characters": len(texts[row]),
                **pair,
                "label": label,
                "label_name": names[label],
                "predicted": guess,
                "predicted_name": names[guess],
                "probability": float(probabilities[row, guess]),
                "label_probability": float(probabilities[row, label]),
            }
        )
    return found


def find_largest_errors(
    labels: Any,
    predictions: Any,
    texts: Sequence[str],
    *,
    text_pairs: Sequence[str] | None = None,
    rows: Any = None,
    limit: int = NUM_MISTAKES,
) -> list[dict[str, Any]]:
    """Find the rows whose predicted score is furthest from the true one.

    Args:
        labels: float array-like, shape (n,).
        predictions: float array-like, shape (n,), in the same unit.
        texts: n texts.
        text_pairs: n second texts, where there are any.
        rows: int array-like, shape (n,), the rows' numbers in their source; `None`
            counts from 0.
        limit: most rows to return.

    Returns:
        For each row, from the furthest: `row`, `text` (its first 2,000 characters),
        `num_characters`, `text_pair` (where there are any), `label`, `predicted` and
        `error` (predicted less label).

    Raises:
        ValueError: the arrays are not as they should be.
    """
    labels, predictions = check_scores_pair(labels, predictions)
    errors = predictions - labels
    found = []
    for row in np.argsort(-np.abs(errors), kind="stable")[:limit].tolist():
        pair = {} if text_pairs is None else {"text_pair": _cut(text_pairs[row])}
        found.append(
            {
                "row": int(row if rows is None else rows[row]),
                "text": _cut(texts[row]),
                "num_characters": len(texts[row]),
                **pair,
                "label": float(labels[row]),
                "predicted": float(predictions[row]),
                "error": float(errors[row]),
            }
        )
    return found


def _cut(text: str) -> str:
    return text[:_NUM_CHARACTERS]
