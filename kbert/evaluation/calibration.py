"""How far probabilities can be taken at their word."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kbert.evaluation.inputs import check_at_least_1, check_pair

NUM_BINS = 15


@dataclass(frozen=True, eq=False)
class ReliabilityCurve:
    """Confidence beside accuracy, by bins of equal width.

    A row's confidence is the probability of its most probable class. Bins are open
    on the left and closed on the right; empty ones have NaN.

    Args:
        edges: float64 (num_bins + 1,), from 0 to 1.
        counts: int64 (num_bins,), rows in the bin.
        confidences: float64 (num_bins,), their mean confidence.
        accuracies: float64 (num_bins,), share of them that is right.
    """

    edges: np.ndarray
    counts: np.ndarray
    confidences: np.ndarray
    accuracies: np.ndarray


def reliability_curve(
    labels: Any, probabilities: Any, *, num_bins: int = NUM_BINS
) -> ReliabilityCurve:
    """Compare confidence with accuracy.

    Args:
        labels: int array-like, shape (n,), values in [0, num_classes).
        probabilities: float array-like, shape (n, num_classes), rows that sum to 1.
        num_bins: bins of equal width between 0 and 1.

    Returns:
        The curve.

    Raises:
        ValueError: the arrays are not as they should be, or `num_bins` is below 1.

    Source: Guo et al. (2017), On Calibration of Modern Neural Networks.
    """
    labels, probabilities = check_pair(labels, probabilities)
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bins = find_bins(confidence, num_bins)
    counts = np.bincount(bins, minlength=num_bins)
    totals = np.where(counts, counts, np.nan)
    return ReliabilityCurve(
        edges=np.linspace(0, 1, num_bins + 1),
        counts=counts,
        confidences=np.bincount(bins, confidence, num_bins) / totals,
        accuracies=np.bincount(bins, correct, num_bins) / totals,
    )


def expected_calibration_error(
    labels: Any, probabilities: Any, *, num_bins: int = NUM_BINS
) -> float:
    """Mean distance between confidence and accuracy over bins, weighted by their rows.

    Args:
        labels: int array-like, shape (n,), values in [0, num_classes).
        probabilities: float array-like, shape (n, num_classes), rows that sum to 1.
        num_bins: bins of equal width between 0 and 1.

    Returns:
        Between 0 (accuracy follows confidence) and 1.

    Raises:
        ValueError: the arrays are not as they should be, or `num_bins` is below 1.

    Source: Guo et al. (2017), with 15 bins.
    """
    curve = reliability_curve(labels, probabilities, num_bins=num_bins)
    gaps = np.nan_to_num(np.abs(curve.accuracies - curve.confidences))
    return float(gaps @ curve.counts / curve.counts.sum())


def find_bins(confidence: np.ndarray, num_bins: int) -> np.ndarray:
    """Find the bin of each confidence.

    Args:
        confidence: float64 (n,), in (0, 1].
        num_bins: bins of equal width between 0 and 1, closed on the right.

    Returns:
        int64 (n,), in [0, num_bins).

    Raises:
        ValueError: `num_bins` is below 1.
    """
    check_at_least_1("num_bins", num_bins)
    inner = np.linspace(0, 1, num_bins + 1)[1:-1]
    return np.searchsorted(inner, confidence, side="left")
