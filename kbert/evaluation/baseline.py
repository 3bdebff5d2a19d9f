"""What words alone can do: TF-IDF and a linear model beside an encoder."""

import time
import warnings
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from kbert.evaluation.paired import compare_paired, conclude
from kbert.evaluation.regression import check_scores_pair, correlate
from kbert.evaluation.scores import label_losses
from kbert.evaluation.temperature import as_decisions, check_rows
from kbert.evaluation.thresholds import DEFAULT_THRESHOLD, decide, threshold_curve

if TYPE_CHECKING:
    from kbert.data import Split, Splits

NAME = "TF-IDF + logistic regression"
SCORE_NAME = "TF-IDF + ridge regression"
_LIKELIER = "Both take the likelier label here, whatever threshold the model has."
_FROM_HALF = (
    "Both give labels from 0.5 upwards here, whatever thresholds the model has."
)
_EACH_ITS_OWN = (
    "Of each label the model has its own threshold, and the baseline the best by F1 on "
    "the validation split."
)
# Weights of the regression, for all classes together: its solver keeps 25 float64
# numbers for each, 1 GB.
_MAX_WEIGHTS = 5_000_000
_MAX_FEATURES = 200_000
# Steps of the solver; with many rows and classes no more than take a minute.
_LEAST_STEPS, _MOST_STEPS = 20, 300
_MAX_CELL_STEPS = 3_000_000_000  # rows times classes times steps
# Rows times classes up to which the macro F1 is resampled: 400 MB.
_MAX_CELLS = 20_000_000
# Rows from which on a word that occurs once is left out.
_MANY_ROWS = 5_000


def compare_with_baseline(
    splits: "Splits",
    probabilities: Any,
    *,
    thresholds: Any = None,
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare a model with TF-IDF of words and word pairs under a logistic regression.

    The baseline is trained on `splits.train` and measured on the rows that the model
    was: the labelled test part, else validation. Of pairs it is told how alike the two
    texts are, too. Of classes both take the likelier one, whatever threshold the model
    has, since the baseline has none that was chosen by the same rule. Of independent
    labels the model has its thresholds and the baseline the best by F1 on the
    validation part, or both give those from 0.5 upwards.

    Args:
        splits: what the model was trained on; labels are class ids, or 0/1 of shape
            (n, num_labels).
        probabilities: of the model, float (n, num_classes), on the rows measured.
        thresholds: of independent labels, by which the model gives them; `None`: 0.5.
        num_bootstrap: resamples of the rows, the same for both.
        seed: of the resamples.

    Returns:
        `name`, `split`, `num_examples`, `num_features`, `seconds`; `decided`: how both
        decide where the model has thresholds, in a sentence, else empty; `figures`:
        for each of `accuracy` (of independent labels: of all decisions), `f1_micro` (of
        independent labels alone), `f1_macro` (up to 20 million rows times classes) and
        `log_loss` a dict of `model`, `baseline` and `difference` (`value`, `low`,
        `high`: the 95 % interval of the paired bootstrap); `verdict` (`better`,
        `level` or `worse`, by the interval of the accuracy, of independent labels by
        that of the micro F1) and `sentence`.

    Raises:
        ValueError: there are no labelled rows to measure on, the texts hold no words,
            or the arrays do not fit.
    """
    name, part = find_measured_part(splits)
    labels, ours = check_rows(part.labels, probabilities)
    started = time.perf_counter()
    parts, decided = [part], ""
    if labels.ndim == 1 and thresholds is not None:
        thresholds, decided = None, _LIKELIER
    elif thresholds is not None and splits.validation is None:
        thresholds, decided = None, _FROM_HALF
    elif thresholds is not None:
        parts.append(splits.validation)
        decided = _EACH_ITS_OWN
    features, *others = _read_words([splits.train, *parts], ours.shape[1])
    theirs, *held_out = _classify(features, splits.train, others, ours.shape[1])
    limits = _choose_thresholds(parts[1].labels, *held_out) if held_out else None
    seconds = time.perf_counter() - started
    one = partial(_figures, _prepare(labels, ours, thresholds))
    other = partial(_figures, _prepare(labels, theirs, limits))
    figures = compare_paired(
        one, other, len(labels), num_bootstrap=num_bootstrap, seed=seed
    )
    lead, words = "accuracy", "accuracy"
    if labels.ndim == 2:  # where few labels fit, none at all is right mostly
        lead, words = "f1_micro", "micro F1"
    return {
        "name": NAME,
        "split": name,
        "num_examples": len(labels),
        "num_features": features.shape[1],
        "seconds": seconds,
        "decided": decided,
        "figures": figures,
        **conclude(NAME, figures, lead, words, is_error=False),
    }


def compare_scores_with_baseline(
    splits: "Splits",
    predictions: Any,
    *,
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare a model of scores with TF-IDF under a ridge regression.

    Args:
        splits: what the model was trained on; labels are scores.
        predictions: of the model, float (n,), on the rows measured.
        num_bootstrap: resamples of the rows, the same for both.
        seed: of the resamples.

    Returns:
        As `compare_with_baseline`; the figures are `mean_squared_error`, by which the
        verdict is, `mean_absolute_error` and `pearson`.

    Raises:
        ValueError: as `compare_with_baseline`.
    """
    name, part = find_measured_part(splits)
    labels, ours = check_scores_pair(part.labels, predictions)
    started = time.perf_counter()
    features, others = _read_words([splits.train, part], 1)
    theirs = _score(features, splits.train, others)
    seconds = time.perf_counter() - started
    one, other = (partial(_score_figures, labels, each) for each in (ours, theirs))
    figures = compare_paired(
        one, other, len(labels), num_bootstrap=num_bootstrap, seed=seed
    )
    words = "mean squared error"
    return {
        "name": SCORE_NAME,
        "split": name,
        "num_examples": len(labels),
        "num_features": features.shape[1],
        "seconds": seconds,
        "figures": figures,
        **conclude(SCORE_NAME, figures, "mean_squared_error", words, is_error=True),
    }


def find_measured_part(splits: Any) -> tuple[str, Any]:
    """Return the part that a model is measured on.

    Args:
        splits: of any task, with a labelled test or validation part.

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


def _read_words(parts: Sequence["Split"], num_columns: int) -> list[Any]:
    """Return the features of each part, sparse; the vocabulary is of the first."""
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        ngram_range=(1, 2),
        token_pattern=r"\b\w+\b",
        sublinear_tf=True,
        min_df=2 if len(parts[0]) > _MANY_ROWS else 1,
        max_features=max(1_000, min(_MAX_FEATURES, _MAX_WEIGHTS // num_columns)),
        dtype=np.float32,
    )
    try:
        vectorizer.fit(_join(parts[0]))
    except ValueError as error:
        raise ValueError(
            "the training texts hold no words, so there is no baseline to compare with."
        ) from error
    found = []
    for one in parts:
        features = vectorizer.transform(_join(one))
        if one.text_pairs is not None:
            sides = (one.texts, one.text_pairs)
            first, second = (vectorizer.transform(list(side)) for side in sides)
            cosines = first.multiply(second).sum(axis=1)
            features = hstack([features, np.asarray(cosines)], format="csr")
        found.append(features)
    return found


def _join(part: "Split") -> Sequence[str]:
    """Return texts; those of a pair one after the other."""
    pairs = part.text_pairs
    if pairs is None:
        return part.texts
    return [f"{one}\n{other}" for one, other in zip(part.texts, pairs, strict=True)]


def _classify(
    features: Any, train: "Split", others: Sequence[Any], num_columns: int
) -> list[np.ndarray]:
    """Train on one part and predict others."""
    from scipy.sparse import vstack

    labels = np.asarray(train.labels).astype(np.int64)
    rows = vstack(others, format="csr")
    if labels.ndim == 1:
        found = _regress(features, labels, rows, num_columns)
    else:
        columns = [_regress(features, one, rows, 2)[:, 1] for one in labels.T]
        found = np.stack(columns, axis=1)
    return np.split(found, np.cumsum([one.shape[0] for one in others[:-1]]))


def _choose_thresholds(labels: Any, probabilities: np.ndarray) -> list[float]:
    """Choose the threshold of each label with the highest F1."""
    pairs = zip(np.asarray(labels).T, probabilities.T, strict=True)
    return [threshold_curve(label == 1, one).choose("f1") for label, one in pairs]


def _score(features: Any, train: "Split", others: Any) -> np.ndarray:
    """Train a ridge regression, and predict another part."""
    from sklearn.linear_model import Ridge

    labels = np.asarray(train.labels, np.float64)
    return Ridge(alpha=1.0).fit(features, labels).predict(others)


def _score_figures(
    labels: np.ndarray, predictions: np.ndarray, rows: np.ndarray
) -> dict[str, np.ndarray]:
    errors = (predictions - labels)[rows]
    return {
        "mean_squared_error": (errors**2).mean(axis=1),
        "mean_absolute_error": np.abs(errors).mean(axis=1),
        "pearson": correlate(labels[rows], predictions[rows]),
    }


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
    steps = _MAX_CELL_STEPS // (len(labels) * len(classes))
    steps = max(_LEAST_STEPS, min(_MOST_STEPS, steps))
    regression = LogisticRegression(C=10.0, max_iter=steps)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        regression.fit(features, labels)
    found[:, regression.classes_] = regression.predict_proba(others)
    return found


# === The comparison ===


def _prepare(
    labels: np.ndarray, probabilities: np.ndarray, thresholds: Any
) -> dict[str, np.ndarray]:
    """Find everything about each row that figures are made of."""
    found = {}
    losses = label_losses(*as_decisions(labels, probabilities))
    if labels.ndim == 1:
        eye = np.arange(probabilities.shape[1])
        chosen = decide(probabilities, thresholds)
        label, guess = labels[:, None] == eye, chosen[:, None] == eye
        right = chosen == labels
    else:
        if thresholds is None:
            thresholds = [DEFAULT_THRESHOLD] * labels.shape[1]
        label, guess = labels == 1, decide(probabilities, thresholds)
        right = (label == guess).mean(axis=1)
        losses = losses.reshape(labels.shape).mean(axis=1)
        found["row_hits"] = (label & guess).sum(axis=1)
        found["row_sizes"] = label.sum(axis=1) + guess.sum(axis=1)
    found |= {"accuracy": right.astype(np.float64), "log_loss": losses}
    if label.size <= _MAX_CELLS:
        found["hits"] = (label & guess).astype(np.float32)
        found["sizes"] = label.astype(np.float32) + guess
    return found


def _figures(model: dict[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    """Compute the figures of resamples, int64 (b, n), each (b,)."""
    found = {"accuracy": model["accuracy"][rows].mean(axis=1)}
    if "row_hits" in model:
        hits = model["row_hits"][rows].sum(axis=1)
        sizes = model["row_sizes"][rows].sum(axis=1)
        found["f1_micro"] = 2 * hits / np.maximum(sizes, 1)
    if "hits" in model:
        counts = np.stack([np.bincount(one, minlength=rows.shape[1]) for one in rows])
        counts = counts.astype(np.float32)
        hits, sizes = counts @ model["hits"], counts @ model["sizes"]
        f1 = np.divide(2 * hits, sizes, out=np.zeros(hits.shape), where=sizes > 0)
        found["f1_macro"] = f1.mean(axis=1)
    return {**found, "log_loss": model["log_loss"][rows].mean(axis=1)}
