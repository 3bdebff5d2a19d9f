"""The metrics of many resamples at once.

Each metric is written in sums over rows, so a resample is a vector of counts (how
often each row was drawn) and a block of resamples a matrix product. `metrics.py`'s
point values come from scikit-learn; tests hold that both agree.
"""

from collections.abc import Callable

import numpy as np

from kbert.evaluation.bootstrap import percentile_interval, resample_rows
from kbert.evaluation.calibration import NUM_BINS, find_bins
from kbert.evaluation.scores import batch_weights, label_losses

# Above this many draws in all, ROC AUC (a pass over every row for each class and
# resample) would take minutes; it then has no interval.
MAX_AUC_DRAWS = 2_000_000_000

Samples = dict[str, np.ndarray]


def resampled_intervals(
    labels: np.ndarray,
    probabilities: np.ndarray,
    predicted: np.ndarray,
    *,
    batch_size: int,
    num_bootstrap: int,
    seed: int,
) -> dict[str, tuple[float, float] | None]:
    """Compute the 95 % interval of every metric from the same resamples.

    Args:
        labels: int64 (n,), checked.
        probabilities: float64 (n, num_classes), checked.
        predicted: int64 (n,), the classes chosen.
        batch_size: rows a batch, of the mean of batch accuracies.
        num_bootstrap: number of resamples.
        seed: of the draws.

    Returns:
        By metric, as `compute_metrics` names them, lower and upper end or `None`.
    """
    measure = _build_measure(
        labels, probabilities, predicted, batch_size, num_bootstrap
    )
    blocks = resample_rows(len(labels), num_bootstrap=num_bootstrap, seed=seed)
    measured = [measure(rows) for rows in blocks]
    return {
        name: percentile_interval(np.concatenate([block[name] for block in measured]))
        for name in measured[0]
    }


def _build_measure(
    labels: np.ndarray,
    probabilities: np.ndarray,
    predicted: np.ndarray,
    batch_size: int,
    num_bootstrap: int,
) -> Callable[[np.ndarray], Samples]:
    """Prepare what does not change between resamples."""
    num_rows, num_classes = probabilities.shape
    correct = predicted == labels
    losses = label_losses(labels, probabilities)
    weights = batch_weights(num_rows, batch_size)
    confidence = probabilities.max(axis=1)
    sum_classes = _class_sums(labels, predicted, num_classes)
    sum_bins = _bin_sums(confidence, probabilities.argmax(axis=1) == labels)
    draws = num_rows * num_bootstrap * (1 if num_classes == 2 else num_classes)
    rankings = _rank(labels, probabilities) if draws <= MAX_AUC_DRAWS else None

    def measure(rows: np.ndarray) -> Samples:
        counts = _count_rows(rows)
        hits = correct[rows]
        samples = {
            "accuracy": hits.mean(axis=1),
            "batch_mean_accuracy": hits @ weights,
            "log_loss": losses[rows].mean(axis=1),
            "expected_calibration_error": sum_bins(counts) / num_rows,
            **_class_metrics(*sum_classes(counts), num_rows=num_rows),
        }
        if rankings is not None:
            samples["roc_auc"] = np.mean([area(counts) for area in rankings], axis=0)
        return samples

    return measure


def _count_rows(rows: np.ndarray) -> np.ndarray:
    """Count how often each row was drawn: int (b, n) to float64 (b, n)."""
    num_samples, num_rows = rows.shape
    offsets = np.arange(num_samples)[:, None] * num_rows
    counts = np.bincount((rows + offsets).ravel(), minlength=rows.size)
    return counts.reshape(rows.shape).astype(np.float64)


def _sum_by(
    ids: np.ndarray, num_ids: int, values: np.ndarray | None = None
) -> Callable[[np.ndarray], np.ndarray]:
    """Sum counts, or counts times values, by id: (b, n) to (b, num_ids).

    Sorted once, so that thousands of classes cost no more than two.
    """
    order = np.argsort(ids, kind="stable")
    present, starts = np.unique(ids[order], return_index=True)
    factors = None if values is None else values[order]

    def sums(counts: np.ndarray) -> np.ndarray:
        ranked = counts[:, order]
        if factors is not None:
            ranked = ranked * factors
        found = np.zeros((len(counts), num_ids))
        found[:, present] = np.add.reduceat(ranked, starts, axis=1)
        return found

    return sums


def _class_sums(
    labels: np.ndarray, predicted: np.ndarray, num_classes: int
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Sum hits, examples and predictions of each class: (b, n) to 3 of (b, k)."""
    hits = _sum_by(labels, num_classes, (labels == predicted).astype(np.float64))
    examples = _sum_by(labels, num_classes)
    predictions = _sum_by(predicted, num_classes)
    return lambda counts: (hits(counts), examples(counts), predictions(counts))


def _class_metrics(
    hits: np.ndarray, examples: np.ndarray, predictions: np.ndarray, *, num_rows: int
) -> Samples:
    """Compute precision, recall, F1 and MCC from sums by class, each (b, k)."""
    by_class = {
        "precision": _divide(hits, predictions),
        "recall": _divide(hits, examples),
        "f1": _divide(2 * hits, examples + predictions),
    }
    samples = {f"{name}_macro": v.mean(axis=1) for name, v in by_class.items()}
    for name, values in by_class.items():
        samples[f"{name}_weighted"] = (values * examples).sum(axis=1) / num_rows
        if hits.shape[1] == 2:
            samples[name] = values[:, 1]
    agreement = num_rows * hits.sum(axis=1) - (examples * predictions).sum(axis=1)
    spread = (num_rows**2 - (examples**2).sum(axis=1)) * (
        num_rows**2 - (predictions**2).sum(axis=1)
    )
    samples["matthews_correlation"] = _divide(agreement, np.sqrt(spread))
    return samples


def _bin_sums(
    confidence: np.ndarray, correct: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """Sum the calibration gaps of the bins: (b, n) to (b,)."""
    gaps = _sum_by(find_bins(confidence, NUM_BINS), NUM_BINS, correct - confidence)
    return lambda counts: np.abs(gaps(counts)).sum(axis=1)


def _rank(
    labels: np.ndarray, probabilities: np.ndarray
) -> list[Callable[[np.ndarray], np.ndarray]]:
    """Prepare the area under the ROC curve of each class (of two: of class 1)."""
    classes = [1] if probabilities.shape[1] == 2 else range(probabilities.shape[1])
    return [_ranking(labels == k, probabilities[:, k]) for k in classes]


def _ranking(
    positive: np.ndarray, scores: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """Prepare one area: a pair counts when the positive row scores higher."""
    order = np.argsort(scores, kind="stable")
    positive = positive[order]
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])

    def area(counts: np.ndarray) -> np.ndarray:
        ranked = counts[:, order]
        positives = np.add.reduceat(ranked * positive, starts, axis=1)
        negatives = np.add.reduceat(ranked * ~positive, starts, axis=1)
        # Equal scores count half.
        below = np.cumsum(negatives, axis=1) - negatives / 2
        pairs = positives.sum(axis=1) * negatives.sum(axis=1)
        won = (positives * below).sum(axis=1)
        return np.divide(won, pairs, out=np.full(len(won), np.nan), where=pairs > 0)

    return area


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divide; nothing by nothing is 0, as scikit-learn's metrics have it."""
    out = np.zeros(numerator.shape)
    return np.divide(numerator, denominator, out=out, where=denominator > 0)
