"""Which classes are taken for which others, with rows to look at."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kbert.evaluation.inputs import check_label_names, check_pair
from kbert.evaluation.thresholds import shift_to_half

NUM_CONFUSIONS = 10
_NUM_CHARACTERS = 300


def find_confusions(
    labels: Any,
    probabilities: Any,
    texts: Sequence[str],
    label_names: Sequence[str],
    *,
    rows: Any = None,
    threshold: float | None = None,
    limit: int = NUM_CONFUSIONS,
    num_examples: int = 3,
) -> list[dict[str, Any]]:
    """Find the commonest confusions of two classes.

    Args:
        labels: int array-like, shape (n,), values in [0, num_classes).
        probabilities: float array-like, shape (n, num_classes), rows that sum to 1.
        texts: n texts.
        label_names: class names in id order.
        rows: int array-like, shape (n,), the rows' numbers in their source; `None`
            counts from 0.
        threshold: of two classes, the probability from which a row is of the second;
            `None` takes the likelier one.
        limit: most confusions to return.
        num_examples: most rows of each, those the model was surest of.

    Returns:
        For each confusion, from the commonest: `label_name`, `predicted_name`,
        `count`, `share` (of the rows with this label) and `examples`, each with `row`,
        `text` (its first 300 characters) and `probability` (of the predicted class).

    Raises:
        ValueError: the arrays or names are not as they should be, or there is not one
            text a row.
    """
    labels, probabilities = check_pair(labels, probabilities)
    names = check_label_names(label_names, probabilities.shape[1])
    if len(texts) != len(labels):
        raise ValueError(
            f"texts must have one value a row; received {len(texts):,} for "
            f"{len(labels):,} rows."
        )
    predicted = shift_to_half(probabilities, threshold).argmax(axis=1)
    confidence = probabilities[np.arange(len(labels)), predicted]
    wrong = np.flatnonzero(predicted != labels)
    pairs, counts = np.unique(
        labels[wrong] * len(names) + predicted[wrong], return_counts=True
    )
    totals = np.bincount(labels, minlength=len(names))
    found = []
    for place in np.argsort(-counts, kind="stable")[:limit]:
        label, guess = divmod(int(pairs[place]), len(names))
        inside = wrong[(labels[wrong] == label) & (predicted[wrong] == guess)]
        surest = inside[np.argsort(-confidence[inside], kind="stable")]
        found.append(
            {
                "label_name": names[label],
                "predicted_name": names[guess],
                "count": int(counts[place]),
                "share": float(counts[place] / totals[label]),
                "examples": [
                    _take_example(row, texts, confidence, rows)
                    for row in surest[:num_examples].tolist()
                ],
            }
        )
    return found


def _take_example(
    row: int, texts: Sequence[str], confidence: np.ndarray, rows: Any
) -> dict[str, Any]:
    return {
        "row": int(row if rows is None else rows[row]),
        "text": texts[row][:_NUM_CHARACTERS],
        "probability": float(confidence[row]),
    }
