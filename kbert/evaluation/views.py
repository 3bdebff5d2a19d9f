"""Test-time augmentation: one prediction of a text from those of several views."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kbert.evaluation.inputs import check_probabilities


def average_views(probabilities: Sequence[Any]) -> np.ndarray:
    """Average the class probabilities that a model gives to views of the same rows.

    A view is a row changed a little, such as a text with some words left out;
    `kbert.augmentation.make_views` makes them. What hangs on a single word counts less
    in the mean.

    Args:
        probabilities: one float array-like a view, each of shape (n, num_classes),
            rows that sum to 1.

    Returns:
        Their mean, float64 (n, num_classes), rows that sum to 1.

    Raises:
        ValueError: there is no view, the shapes differ, or an array holds no
            probabilities.

    Example:
        >>> views = kbert.augmentation.make_views(split.texts, 4)
        >>> probabilities = average_views([model.predict(view) for view in views])

    Source: Krizhevsky et al. (2012), section 4.1, where the views are crops of images.
    """
    checked = [check_probabilities(view) for view in probabilities]
    if not checked:
        raise ValueError("there are no views to average; pass at least one.")
    for number, view in enumerate(checked):
        if view.shape != checked[0].shape:
            raise ValueError(
                "all views must have one row for each of the same rows; view 0 has the "
                f"shape {checked[0].shape} and view {number} {view.shape}."
            )
    return np.mean(checked, axis=0)
