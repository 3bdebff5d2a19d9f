"""Point metrics, one function each; scikit-learn does the work where it has one.

Predictions are the most probable class, the first of equal ones.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from kbert.evaluation.inputs import (
    check_at_least_1,
    check_label_names,
    check_pair,
)

Average = Literal["binary", "macro", "weighted"]


def accuracy(labels: Any, probabilities: Any) -> float:
    """Share of the rows whose most probable class is the label.

    Args:
        labels: int array-like, shape (n,), values in [0, num_classes).
        probabilities: float array-like, shape (n, num_classes), rows that sum to 1.

    Returns:
        Between 0 and 1.

    Raises:
        ValueError: the arrays are not as they should be.
    """
    labels, probabilities = check_pair(labels, probabilities)
    return float((probabilities.argmax(axis=1) == labels).mean())


def batch_mean_accuracy(
    labels: Any, probabilities: Any, *, batch_size: int = 32
) -> float:
    """Mean of the accuracies of batches, as hand-written training loops report it.

    Rows are batched in the order given. Where the last batch is smaller, its rows
    count for more than others, so the figure differs a little from the accuracy.

    Args:
        labels: int array-like, shape (n,), values in [0, num_classes).
        probabilities: float array-like, shape (n, num_classes), rows that sum to 1.
        batch_size: rows a batch.

    Returns:
        Between 0 and 1.

    Raises:
        ValueError: the arrays are not as they should be.

    Source: the tweets experiment's own validation figure.
    """
    labels, probabilities = check_pair(labels, probabilities)
    correct = probabilities.argmax(axis=1) == labels
    return float(correct @ batch_weights(len(labels), batch_size))


def batch_weights(num_rows: int, batch_size: int) -> np.ndarray:
    """Give each position the weight it has in a mean of batch means.

    Args:
        num_rows: number of rows.
        batch_size: rows a batch; the last may have fewer.

    Returns:
        float64 (num_rows,), sum 1.

    Raises:
        ValueError: `batch_size` is below 1.
    """
    check_at_least_1("batch_size", batch_size)
    batches = np.arange(num_rows) // batch_size
    sizes = np.bincount(batches)
    return 1 / (len(sizes) * sizes[batches])


def precision_recall_f1(
    labels: Any, probabilities: Any, *, average: Average = "macro"
) -> tuple[float, float, float]:
    """Precision, recall and F1.

    A class that is never predicted has precision 0, one without a row recall 0.

    Args:
        labels: int array-like, shape (n,), values in [0, num_classes).
        probabilities: float array-like, shape (n, num_classes), rows that sum to 1.
        average: `binary` is of class 1 of two; `macro` the mean over all classes,
            those without a row included; `weighted` weights them by their rows.

    Returns:
        Precision, recall and F1, between 0 and 1.

    Raises:
        ValueError: the arrays are not as they should be, or `binary` is asked of more
            than two classes.
    """
    from sklearn.metrics import precision_recall_fscore_support

    labels, probabilities = check_pair(labels, probabilities)
    num_classes = probabilities.shape[1]
    if average == "binary" and num_classes != 2:
        raise ValueError(
            f"average='binary' is for two classes; received {num_classes}. "
            "Use 'macro' or 'weighted'."
        )
    classes = None if average == "binary" else range(num_classes)
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels,
        probabilities.argmax(axis=1),
        average=average,
        labels=classes,
        zero_division=0.0,
    )
    return float(precision), float(recall), float(f1)


def label_losses(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Negative log-probability of each row's label.

    Args:
        labels: int64 (n,), checked.
        probabilities: float64 (n, num_classes), checked.

    Returns:
        float64 (n,), in nats; at most 36 (an impossible label has 2.2e-16).
    """
    epsilon = np.finfo(np.float64).eps
    chosen = probabilities[np.arange(len(labels)), labels]
    return -np.log(np.clip(chosen, epsilon, 1 - epsilon))


def log_loss(labels: Any, probabilities: Any) -> float:
    """Mean negative log-probability of the labels.

    Args:
        labels: int array-like, shape (n,), values in [0, num_classes).
        probabilities: float array-like, shape (n, num_classes), rows that sum to 1.

    Returns:
        In nats; equal to scikit-learn's `log_loss` on float64.

    Raises:
        ValueError: the arrays are not as they should be.
    """
    return float(label_losses(*check_pair(labels, probabilities)).mean())


def matthews_correlation(labels: Any, probabilities: Any) -> float:
    """Matthews correlation of labels and predictions, for any number of classes.

    Args:
        labels: int array-like, shape (n,), values in [0, num_classes).
        probabilities: float array-like, shape (n, num_classes), rows that sum to 1.

    Returns:
        Between -1 and 1; 0 where all labels or all predictions are one class.

    Raises:
        ValueError: the arrays are not as they should be.

    Source: Gorodkin (2004), as in scikit-learn.
    """
    from sklearn.metrics import matthews_corrcoef

    labels, probabilities = check_pair(labels, probabilities)
    predicted = probabilities.argmax(axis=1)
    if labels.min() == labels.max() or predicted.min() == predicted.max():
        return 0.0  # scikit-learn says so too, at times with a warning
    return float(matthews_corrcoef(labels, predicted))


def roc_auc(labels: Any, probabilities: Any) -> float | None:
    """Area under the ROC curve; of several classes the mean of one against the rest.

    Args:
        labels: int array-like, shape (n,), values in [0, num_classes).
        probabilities: float array-like, shape (n, num_classes), rows that sum to 1.

    Returns:
        Between 0 and 1; `None` where a class has no row, which leaves it undefined.

    Raises:
        ValueError: the arrays are not as they should be.
    """
    from sklearn.metrics import roc_auc_score

    labels, probabilities = check_pair(labels, probabilities)
    num_classes = probabilities.shape[1]
    if len(np.unique(labels)) < num_classes:
        return None
    if num_classes == 2:
        return float(roc_auc_score(labels, probabilities[:, 1]))
    # Not its multi_class="ovr": that refuses rows that sum to 1 a rounding error off.
    one_hot = labels[:, None] == np.arange(num_classes)
    return float(roc_auc_score(one_hot, probabilities, average="macro"))


def confusion_matrix(labels: Any, probabilities: Any) -> np.ndarray:
    """Count the rows of each label (row) by predicted class (column).

    Args:
        labels: int array-like, shape (n,), values in [0, num_classes).
        probabilities: float array-like, shape (n, num_classes), rows that sum to 1.

    Returns:
        int64 (num_classes, num_classes), sum n.

    Raises:
        ValueError: the arrays are not as they should be.
    """
    from sklearn.metrics import confusion_matrix as count

    labels, probabilities = check_pair(labels, probabilities)
    classes = range(probabilities.shape[1])
    return count(labels, probabilities.argmax(axis=1), labels=classes)


def per_class_table(
    labels: Any, probabilities: Any, label_names: Sequence[str]
) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each class.

    Args:
        labels: int array-like, shape (n,), values in [0, num_classes).
        probabilities: float array-like, shape (n, num_classes), rows that sum to 1.
        label_names: class names in id order.

    Returns:
        For each class `label`, `label_name`, `precision`, `recall`, `f1`,
        `num_examples` (rows with this label) and `num_predicted`.

    Raises:
        ValueError: the arrays or the names are not as they should be.
    """
    from sklearn.metrics import precision_recall_fscore_support

    labels, probabilities = check_pair(labels, probabilities)
    num_classes = probabilities.shape[1]
    names = check_label_names(label_names, num_classes)
    predicted = probabilities.argmax(axis=1)
    columns = precision_recall_fscore_support(
        labels, predicted, labels=range(num_classes), zero_division=0.0
    )
    num_predicted = np.bincount(predicted, minlength=num_classes)
    return [
        {
            "label": label,
            "label_name": names[label],
            "precision": float(precision),
            "recall": float(recall),
            "f1": float(f1),
            "num_examples": int(support),
            "num_predicted": int(num_predicted[label]),
        }
        for label, (precision, recall, f1, support) in enumerate(
            zip(*columns, strict=True)
        )
    ]
