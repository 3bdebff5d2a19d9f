"""Measure models that give a text a score."""

from typing import Any

import numpy as np

from kbert.evaluation.bootstrap import (
    LEVEL,
    describe_figure,
    percentile_interval,
    resample_rows,
)


def compute_score_metrics(
    labels: Any, predictions: Any, *, num_bootstrap: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Measure a model of scores.

    Args:
        labels: float array-like, shape (n,).
        predictions: float array-like, shape (n,), in the same unit.
        num_bootstrap: resamples for the intervals; 0 leaves them out.
        seed: of the resamples.

    Returns:
        A dict of `value`, `low` and `high` (the ends of the 95 % interval) for each of
        `pearson`, `spearman` (correlations), `mean_squared_error` and
        `mean_absolute_error`; `num_examples`, `intervals` and `notes` (sentences on
        what is undefined).

    Raises:
        ValueError: the arrays are not as they should be.
    """
    labels, predictions = check_scores_pair(labels, predictions)
    values = {k: v[0] for k, v in _measure(labels[None], predictions[None]).items()}
    intervals: dict[str, tuple[float, float] | None] = {}
    if num_bootstrap:
        samples = [
            _measure(labels[rows], predictions[rows])
            for rows in resample_rows(
                len(labels), num_bootstrap=num_bootstrap, seed=seed
            )
        ]
        for name in values:
            joined = np.concatenate([sample[name] for sample in samples])
            intervals[name] = percentile_interval(joined)
    notes = []
    if not np.isfinite(values["pearson"]):
        what = "labels" if labels.min() == labels.max() else "predictions"
        notes.append(f"Correlations are undefined: all {what} are equal.")
    return {
        "num_examples": len(labels),
        **{name: describe_figure(values[name], intervals.get(name)) for name in values},
        "intervals": {
            "method": "percentile bootstrap over rows",
            "level": LEVEL,
            "num_resamples": num_bootstrap,
            "seed": seed,
        },
        "notes": notes,
    }


def _measure(labels: np.ndarray, predictions: np.ndarray) -> dict[str, np.ndarray]:
    """Return each figure of samples (b, n)."""
    from scipy.stats import rankdata

    errors = predictions - labels
    ranks = rankdata(labels, axis=1), rankdata(predictions, axis=1)
    return {
        "pearson": correlate(labels, predictions),
        "spearman": correlate(*ranks),
        "mean_squared_error": (errors**2).mean(axis=1),
        "mean_absolute_error": np.abs(errors).mean(axis=1),
    }


def correlate(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return Pearson's correlation of each row.

    Args:
        one: float64 (b, n).
        other: float64 (b, n).

    Returns:
        float64 (b,); NaN where all values of a row are equal.
    """
    one = one - one.mean(axis=1, keepdims=True)
    other = other - other.mean(axis=1, keepdims=True)
    scale = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    found = np.full(len(scale), np.nan)
    return np.divide((one * other).sum(axis=1), scale, out=found, where=scale > 0)


def check_scores_pair(labels: Any, predictions: Any) -> tuple[np.ndarray, np.ndarray]:
    """Check scores and the predictions of the same rows.

    Args:
        labels: float array-like, shape (n,).
        predictions: float array-like, shape (n,).

    Returns:
        float64 (n,) both.

    Raises:
        ValueError: the shapes differ, there is no row, or a value is not finite.
    """
    labels = np.asarray(labels, np.float64)
    predictions = np.asarray(predictions, np.float64)
    if labels.ndim != 1 or labels.shape != predictions.shape or not len(labels):
        raise ValueError(
            "labels and predictions must both have the shape (n,), n at least 1; "
            f"received {labels.shape} and {predictions.shape}."
        )
    for name, values in (("labels", labels), ("predictions", predictions)):
        odd = np.flatnonzero(~np.isfinite(values))
        if len(odd):
            raise ValueError(
                f"{name} must be finite; row {odd[0]} has {values[odd[0]]}."
            )
    return labels, predictions
