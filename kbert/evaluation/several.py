"""Measure models that give a text any number of labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kbert.evaluation.bootstrap import (
    LEVEL,
    describe_figure,
    percentile_interval,
    resample_rows,
)
from kbert.evaluation.inputs import check_label_names
from kbert.evaluation.thresholds import DEFAULT_THRESHOLD, threshold_curve


def choose_thresholds(labels: Any, probabilities: Any) -> list[float]:
    """Choose for each label the threshold with the highest F1.

    Args:
        labels: float or int array-like, shape (n, num_labels), 1 or 0.
        probabilities: float array-like, shape (n, num_labels), in [0, 1].

    Returns:
        A threshold a label, midway between two probabilities; .5 for labels that no
        row has, or all.
    """
    labels, probabilities = _check(labels, probabilities)
    columns = zip(labels.T, probabilities.T, strict=True)
    return [threshold_curve(own, scores).choose() for own, scores in columns]


def compute_several_metrics(
    labels: Any,
    probabilities: Any,
    label_names: Sequence[str],
    *,
    thresholds: Sequence[float] | None = None,
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure a model that gives a text any number of labels.

    Args:
        labels: float or int array-like, shape (n, num_labels), 1 or 0.
        probabilities: float array-like, shape (n, num_labels), in [0, 1].
        label_names: in id order.
        thresholds: from which probability a text has a label; `None`: .5.
        num_bootstrap: resamples for the intervals; 0 leaves them out.
        seed: of the resamples.

    Returns:
        A dict of `value`, `low` and `high` (the ends of the 95 % interval) for each of
        `f1_micro`, `f1_macro`, `precision_micro`, `recall_micro`, `subset_accuracy`
        (rows whose labels are all right) and `ranking_precision` (label ranking
        average precision); `per_class`, a row a label, `num_examples` and `intervals`.

    Raises:
        ValueError: the arrays or the names are not as they should be.
    """
    labels, probabilities = _check(labels, probabilities)
    names = check_label_names(label_names, labels.shape[1])
    if thresholds is None:
        thresholds = [DEFAULT_THRESHOLD] * len(names)
    predicted = probabilities >= np.asarray(thresholds)
    is_set = labels == 1
    sums = _Sums(
        hits=(predicted & is_set).astype(np.float64),
        predicted=predicted.astype(np.float64),
        labels=labels,
        subset=(predicted == is_set).all(axis=1).astype(np.float64),
        ranking=_rank_precision(is_set, probabilities),
    )
    values = {
        k: float(v[0]) for k, v in sums.measure(np.ones((1, len(labels)))).items()
    }
    intervals: dict[str, tuple[float, float] | None] = {}
    if num_bootstrap:
        samples = [
            sums.measure(_count(rows, len(labels)))
            for rows in resample_rows(
                len(labels), num_bootstrap=num_bootstrap, seed=seed
            )
        ]
        for name in values:
            joined = np.concatenate([sample[name] for sample in samples])
            intervals[name] = percentile_interval(joined)
    return {
        "num_examples": len(labels),
        **{name: describe_figure(values[name], intervals.get(name)) for name in values},
        "per_class": _tabulate(sums, names, thresholds),
        "intervals": {
            "method": "percentile bootstrap over rows",
            "level": LEVEL,
            "num_resamples": num_bootstrap,
            "seed": seed,
        },
    }


class _Sums:
    """What figures are made of: sums over rows."""

    def __init__(self, **rows: np.ndarray) -> None:
        self.rows = rows

    def measure(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Return each figure for counts (b, n) of how often rows were drawn."""
        sums = {name: counts @ values for name, values in self.rows.items()}
        hits, predicted, labels = (sums[k] for k in ("hits", "predicted", "labels"))
        total = counts.sum(axis=1)
        all_hits, all_predicted, all_labels = (
            one.sum(axis=1) for one in (hits, predicted, labels)
        )
        return {
            "f1_micro": _share(2 * all_hits, all_predicted + all_labels),
            "f1_macro": _share(2 * hits, predicted + labels).mean(axis=1),
            "precision_micro": _share(all_hits, all_predicted),
            "recall_micro": _share(all_hits, all_labels),
            "subset_accuracy": sums["subset"] / total,
            "ranking_precision": sums["ranking"] / total,
        }


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _count(rows: np.ndarray, num_rows: int) -> np.ndarray:
    return np.stack([np.bincount(row, minlength=num_rows) for row in rows]).astype(
        np.float64
    )


def _rank_precision(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return each row's average precision of its labels, by rank, as scikit-learn."""
    from scipy.stats import rankdata

    ranks = rankdata(-probabilities, method="max", axis=1)
    own = rankdata(np.where(labels, -probabilities, np.inf), method="max", axis=1)
    counts = labels.sum(axis=1)
    total = np.where(labels, own / ranks, 0.0).sum(axis=1)
    return np.where(counts > 0, total / np.maximum(counts, 1), 1.0)


def _tabulate(
    sums: _Sums, names: Sequence[str], thresholds: Sequence[float]
) -> list[dict[str, Any]]:
    hits, predicted, labels = (
        sums.rows[name].sum(axis=0) for name in ("hits", "predicted", "labels")
    )
    precision, recall = _share(hits, predicted), _share(hits, labels)
    f1 = _share(2 * hits, predicted + labels)
    return [
        {
            "label": label,
            "label_name": name,
            "precision": float(precision[label]),
            "recall": float(recall[label]),
            "f1": float(f1[label]),
            "num_examples": int(labels[label]),
            "num_predicted": int(predicted[label]),
            "threshold": float(thresholds[label]),
        }
        for label, name in enumerate(names)
    ]


def _check(labels: Any, probabilities: Any) -> tuple[np.ndarray, np.ndarray]:
    labels = np.asarray(labels, np.float64)
    probabilities = np.asarray(probabilities, np.float64)
    if labels.ndim != 2 or labels.shape != probabilities.shape or not len(labels):
        raise ValueError(
            "labels and probabilities must both have the shape (n, num_labels), n at "
            f"least 1; received {labels.shape} and {probabilities.shape}."
        )
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels must be 0 or 1, one column a label.")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError("probabilities must lie in [0, 1]; pass sigmoid outputs.")
    return labels, probabilities
