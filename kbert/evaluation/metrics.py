"""Every metric of a classifier in one JSON-able dict."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kbert.evaluation.bootstrap import LEVEL, describe_figure
from kbert.evaluation.calibration import expected_calibration_error
from kbert.evaluation.inputs import check_label_names, check_pair
from kbert.evaluation.resampled import resampled_intervals
from kbert.evaluation.scores import (
    accuracy,
    batch_mean_accuracy,
    confusion_matrix,
    log_loss,
    matthews_correlation,
    per_class_table,
    precision_recall_f1,
    roc_auc,
)
from kbert.evaluation.thresholds import shift_to_half

# A matrix of more classes is neither readable nor small.
MAX_MATRIX_CLASSES = 100


def compute_metrics(
    labels: Any,
    probabilities: Any,
    label_names: Sequence[str],
    *,
    threshold: float | None = None,
    batch_size: int = 32,
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure a classifier.

    Args:
        labels: int array-like, shape (n,), values in [0, num_classes).
        probabilities: float array-like, shape (n, num_classes), rows that sum to 1.
        label_names: class names in id order.
        threshold: of two classes, the probability from which a row is of the second;
            `None` takes the likelier one.
        batch_size: rows a batch, of `batch_mean_accuracy`.
        num_bootstrap: resamples for the intervals; 0 leaves them out.
        seed: of the resamples.

    Returns:
        Plain numbers, lists and dicts, never NaN. A dict of `value`, `low` and `high`
        (the ends of the 95 % interval; `None` where undefined) and perhaps `note` for
        each of `accuracy`, `batch_mean_accuracy`, `precision`, `recall` and `f1` (of
        class 1; two classes only), the same with `_macro` and `_weighted`,
        `log_loss`, `matthews_correlation`, `roc_auc` and
        `expected_calibration_error`. Beside them `confusion_matrix` (rows are labels,
        columns predictions; `None` above 100 classes), `per_class`, `num_examples`,
        `batch_size`, `intervals` (how they were made) and `notes` (sentences on what
        is undefined).

    Raises:
        ValueError: the arrays or the names are not as they should be.

    Example:
        >>> metrics = compute_metrics(split.labels, model.predict(split), names)
        >>> metrics["accuracy"]
        {'value': 0.812, 'low': 0.793, 'high': 0.831}
    """
    labels, probabilities = check_pair(labels, probabilities)
    names = check_label_names(label_names, probabilities.shape[1])
    if num_bootstrap < 0:
        raise ValueError(f"num_bootstrap must be at least 0; received {num_bootstrap}.")
    # What counts decisions takes these; what judges probabilities, those that are.
    decided = shift_to_half(probabilities, threshold)
    values = _point_values(labels, probabilities, decided, batch_size)
    intervals: dict[str, tuple[float, float] | None] = {}
    if num_bootstrap:
        intervals = resampled_intervals(
            labels,
            probabilities,
            decided.argmax(axis=1),
            batch_size=batch_size,
            num_bootstrap=num_bootstrap,
            seed=seed,
        )
    notes = _notes(labels, names)
    figures = {n: describe_figure(v, intervals.get(n)) for n, v in values.items()}
    if "roc_auc" in notes:
        figures["roc_auc"] = {**describe_figure(None, None), "note": notes["roc_auc"]}
    return {
        "num_examples": len(labels),
        "batch_size": batch_size,
        **figures,
        "confusion_matrix": (
            confusion_matrix(labels, decided).tolist()
            if len(names) <= MAX_MATRIX_CLASSES
            else None
        ),
        "per_class": per_class_table(labels, decided, names),
        "intervals": {
            "method": "percentile bootstrap over rows",
            "level": LEVEL,
            "num_resamples": num_bootstrap,
            "seed": seed,
        },
        "notes": list(notes.values()),
    }


def _point_values(
    labels: np.ndarray,
    probabilities: np.ndarray,
    decided: np.ndarray,
    batch_size: int,
) -> dict[str, float | None]:
    """Compute each metric, in the order reports show them."""
    values: dict[str, float | None] = {
        "accuracy": accuracy(labels, decided),
        "batch_mean_accuracy": batch_mean_accuracy(
            labels, decided, batch_size=batch_size
        ),
    }
    if probabilities.shape[1] == 2:
        three = precision_recall_f1(labels, decided, average="binary")
        values |= zip(("precision", "recall", "f1"), three, strict=True)
    three = precision_recall_f1(labels, decided, average="macro")
    names = ("precision_macro", "recall_macro", "f1_macro")
    values |= zip(names, three, strict=True)
    three = precision_recall_f1(labels, decided, average="weighted")
    names = ("precision_weighted", "recall_weighted", "f1_weighted")
    values |= zip(names, three, strict=True)
    return values | {
        "log_loss": log_loss(labels, probabilities),
        "matthews_correlation": matthews_correlation(labels, decided),
        "roc_auc": roc_auc(labels, probabilities),
        "expected_calibration_error": expected_calibration_error(labels, probabilities),
    }


def _notes(labels: np.ndarray, names: list[str]) -> dict[str, str]:
    """Say why a metric is undefined."""
    counts = np.bincount(labels, minlength=len(names))
    missing = [names[label] for label in np.flatnonzero(counts == 0)]
    if not missing:
        return {}
    shown = ", ".join(repr(name) for name in missing[:5])
    more = f" and {len(missing) - 5:,} more" if len(missing) > 5 else ""
    verb = "has" if len(missing) == 1 else "have"
    return {
        "roc_auc": f"ROC AUC is undefined: {shown}{more} {verb} no row among these "
        f"{len(labels):,}."
    }
