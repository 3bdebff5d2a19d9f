"""Precision and recall at every threshold."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kbert.evaluation.inputs import check_pair


@dataclass(frozen=True, eq=False)
class PrecisionRecall:
    """Precision and recall of one class, by the probability from which it is chosen.

    Args:
        thresholds: float64 (m,), rising.
        precision: float64 (m,), where rows from the threshold upwards are chosen.
        recall: float64 (m,), falling.
        average_precision: area under the curve, without interpolation.
        prevalence: share of the rows with this label; the precision of chance.
    """

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    average_precision: float
    prevalence: float


def precision_recall_points(
    labels: Any, probabilities: Any, *, label: int = 1
) -> PrecisionRecall | None:
    """Compute precision and recall of a class at every threshold.

    Args:
        labels: int array-like, shape (n,), values in [0, num_classes).
        probabilities: float array-like, shape (n, num_classes), rows that sum to 1.
        label: id of the class.

    Returns:
        The points; `None` where no row has this label, which leaves recall undefined.

    Raises:
        ValueError: the arrays are not as they should be, or there is no such class.
    """
    from sklearn.metrics import average_precision_score, precision_recall_curve

    labels, probabilities = check_pair(labels, probabilities)
    if not 0 <= label < probabilities.shape[1]:
        raise ValueError(
            f"label must lie in [0, {probabilities.shape[1]}); received {label}."
        )
    positive = labels == label
    if not positive.any():
        return None
    scores = probabilities[:, label]
    precision, recall, thresholds = precision_recall_curve(positive, scores)
    return PrecisionRecall(
        thresholds=thresholds,
        # The last point of scikit-learn's, (recall 0, precision 1), has no threshold.
        precision=precision[:-1],
        recall=recall[:-1],
        average_precision=float(average_precision_score(positive, scores)),
        prevalence=float(positive.mean()),
    )
