"""What words alone can do: TF-IDF and logistic regression beside a model."""

import time
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kbert.evaluation.bootstrap import (
    describe_figure,
    percentile_interval,
    resample_rows,
)
from kbert.evaluation.scores import label_losses
from kbert.evaluation.temperature import as_decisions, check_rows

if TYPE_CHECKING:
    from kbert.data import Split, Splits

NAME = "TF-IDF + logistic regression"
# Weights of the regression, for all classes together: 400 MB.
_MAX_WEIGHTS = 50_000_000
_MAX_FEATURES = 200_000
# Rows times classes up to which the macro F1 is resampled: 400 MB.
_MAX_CELLS = 20_000_000
# Rows from which on a word that occurs once is left out.
_MANY_ROWS = 5_000


def compare_with_baseline(
    splits: "Splits",
    probabilities: Any,
    *,
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare a model with TF-IDF of words and word pairs under a logistic regression.

    The baseline is trained on `splits.train` and measured on the rows that the model
    was: the labelled test part, else validation.

    Args:
        splits: what the model was trained on; labels are class ids, or 0/1 of shape
            (n, num_labels).
        probabilities: of the model, float (n, num_classes), on the rows measured.
        num_bootstrap: resamples of the rows, the same for both.
        seed: of the resamples.

    Returns:
        `name`, `split`, `num_examples`, `num_features`, `seconds`; `figures`: for each
        of `accuracy` (of independent labels: of all decisions), `f1_macro` (up to 20
        million rows times classes) and `log_loss` a dict of `model`, `baseline` and
        `difference` (`value`, `low`, `high`: the 95 % interval of the paired
        bootstrap); `verdict` (`better`, `level` or `worse`, by the interval of the
        accuracy) and `sentence`.

    Raises:
        ValueError: there are no labelled rows to measure on, the texts hold no words,
            or the arrays do not fit.
    """
    name, part = find_measured_part(splits)
    labels, ours = check_rows(part.labels, probabilities)
    started = time.perf_counter()
    theirs, num_features = _train(splits.train, part, ours.shape[1])
    seconds = time.perf_counter() - started
    figures = _compare(labels, ours, theirs, num_bootstrap, seed)
    verdict = _judge(figures["accuracy"]["difference"])
    return {
        "name": NAME,
        "split": name,
        "num_examples": len(labels),
        "num_features": num_features,
        "seconds": seconds,
        "figures": figures,
        "verdict": verdict,
        "sentence": _describe(verdict, figures["accuracy"]),
    }


def find_measured_part(splits: "Splits") -> tuple[str, "Split"]:
    """Return the part that a model is measured on.

    Args:
        splits: with a labelled test or validation part.

    Returns:
        Its name, and the part.

    Raises:
        ValueError: neither is there.
    """
    for name, part in (("test", splits.test), ("validation", splits.validation)):
        if part is not None and part.labels is not None and len(part):
            return name, part
    raise ValueError(
        "there are no labelled rows beside the training part; load the data with "
        "validation=0.15."
    )


# === The baseline ===


def _train(train: "Split", part: "Split", num_columns: int) -> tuple[np.ndarray, int]:
    """Train on one part and predict another."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    labels = np.asarray(train.labels).astype(np.int64)
    vectorizer = TfidfVectorizer(
        ngram_range=(1, 2),
        token_pattern=r"\b\w+\b",
        sublinear_tf=True,
        min_df=2 if len(train) > _MANY_ROWS else 1,
        max_features=max(1_000, min(_MAX_FEATURES, _MAX_WEIGHTS // num_columns)),
        dtype=np.float32,
    )
    try:
        features = vectorizer.fit_transform(_join(train))
    except ValueError as error:
        raise ValueError(
            "the training texts hold no words, so there is no baseline to compare with."
        ) from error
    others = vectorizer.transform(_join(part))
    if labels.ndim == 1:
        predicted = _regress(features, labels, others, num_columns)
    else:
        columns = [_regress(features, one, others, 2)[:, 1] for one in labels.T]
        predicted = np.stack(columns, axis=1)
    return predicted, features.shape[1]


def _join(part: "Split") -> Sequence[str]:
    """Return texts; those of a pair one after the other."""
    pairs = part.text_pairs
    if pairs is None:
        return part.texts
    return [f"{one}\n{other}" for one, other in zip(part.texts, pairs, strict=True)]


def _regress(
    features: Any, labels: np.ndarray, others: Any, num_classes: int
) -> np.ndarray:
    """Train a logistic regression; classes that do not occur get nothing."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    found = np.zeros((others.shape[0], num_classes))
    classes = np.unique(labels)
    if len(classes) == 1:
        found[:, classes[0]] = 1.0
        return found
    regression = LogisticRegression(C=10.0, max_iter=300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        regression.fit(features, labels)
    found[:, regression.classes_] = regression.predict_proba(others)
    return found


# === The comparison ===


def _compare(
    labels: np.ndarray,
    ours: np.ndarray,
    theirs: np.ndarray,
    num_bootstrap: int,
    seed: int,
) -> dict[str, Any]:
    models = [_prepare(labels, one) for one in (ours, theirs)]
    everything = np.arange(len(labels))[None]
    points = [_figures(one, everything) for one in models]
    samples: list[dict[str, list]] = [{}, {}]
    for rows in resample_rows(len(labels), num_bootstrap=num_bootstrap, seed=seed):
        for one, kept in zip(models, samples, strict=True):
            for name, values in _figures(one, rows).items():
                kept.setdefault(name, []).append(values)
    figures = {}
    for name in points[0]:
        model, baseline = (float(point[name][0]) for point in points)
        drawn = [np.concatenate(kept[name]) for kept in samples]
        interval = percentile_interval(drawn[0] - drawn[1])
        difference = describe_figure(model - baseline, interval)
        figures[name] = {"model": model, "baseline": baseline, "difference": difference}
    return figures


def _prepare(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, np.ndarray]:
    """Find everything about each row that figures are made of."""
    losses = label_losses(*as_decisions(labels, probabilities))
    if labels.ndim == 1:
        eye = np.arange(probabilities.shape[1])
        label = labels[:, None] == eye
        guess = probabilities.argmax(axis=1)[:, None] == eye
        right = probabilities.argmax(axis=1) == labels
    else:
        label, guess = labels == 1, probabilities >= 0.5
        right = (label == guess).mean(axis=1)
        losses = losses.reshape(labels.shape).mean(axis=1)
    found = {"accuracy": right.astype(np.float64), "log_loss": losses}
    if label.size <= _MAX_CELLS:
        found["hits"] = (label & guess).astype(np.float32)
        found["sizes"] = label.astype(np.float32) + guess
    return found


def _figures(model: dict[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    """Compute the figures of resamples, int64 (b, n), each (b,)."""
    found = {"accuracy": model["accuracy"][rows].mean(axis=1)}
    if "hits" in model:
        counts = np.stack([np.bincount(one, minlength=rows.shape[1]) for one in rows])
        counts = counts.astype(np.float32)
        hits, sizes = counts @ model["hits"], counts @ model["sizes"]
        f1 = np.divide(2 * hits, sizes, out=np.zeros(hits.shape), where=sizes > 0)
        found["f1_macro"] = f1.mean(axis=1)
    return {**found, "log_loss": model["log_loss"][rows].mean(axis=1)}


def _judge(difference: dict[str, Any]) -> str:
    if difference["low"] is not None and difference["low"] > 0:
        return "better"
    return "worse" if (difference["high"] or 0) < 0 else "level"


def _describe(verdict: str, accuracy: dict[str, Any]) -> str:
    difference = accuracy["difference"]
    start = {
        "better": f"This model beats the baseline, {NAME} on the same rows",
        "level": f"This model does not beat the baseline, {NAME} on the same rows, by "
        "more than chance would",
        "worse": f"This model does not beat the baseline: {NAME} is better on the same "
        "rows",
    }[verdict]
    figures = f"accuracy {accuracy['model']:.3f} against {accuracy['baseline']:.3f}"
    if difference["low"] is None:
        return f"{start}: {figures}."
    ends = f"{difference['low']:+.3f} to {difference['high']:+.3f}"
    ends = ends.replace("-", "\u2212")
    return f"{start}: {figures}; 95 % interval of the difference {ends}."
