"""What rounding to 8 bits changes, measured on texts."""

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from kbert.data.csv_rows import read_csv_rows
from kbert.data.values import mark_labels
from kbert.exporting.onnx_folder import predict_onnx
from kbert.models import Model
from kbert.rows import TextRows, read_rows
from kbert.tasks import find_task

_MOST_ROWS = 1000
_PREDICTIONS = "predictions.csv"
_TASKS = (None, "classify", "multilabel", "regress")


def describe_change(folder: Path, model: Model, examples: Any) -> str:
    """Say what an exported model predicts otherwise than the model it came from.

    Args:
        folder: what `write_onnx` wrote.
        model: exact.
        examples: what `Model.predict` or `Model.evaluate` takes: texts, pairs, a split,
            or (texts, labels); the first 1000 count.

    Returns:
        A sentence, with the accuracy before and after where there are labels.
    """
    if examples is None:
        return (
            "What rounding to 8 bits changes was not measured: pass examples "
            "(--examples), labelled ones for the accuracy."
        )
    if model.task not in _TASKS:
        return (
            "What rounding to 8 bits changes is measured for labels and scores of "
            f"texts, not for the task {model.task!r}."
        )
    rows = _read_examples(examples).take(slice(_MOST_ROWS))
    texts, pairs = rows.read(np.arange(len(rows)))
    inputs: Any = texts if pairs is None else list(zip(texts, pairs, strict=True))
    exact = model.predict(inputs)
    rounded = predict_onnx(folder, model, inputs)
    if exact.shape[-1] == 1 and rounded.shape[-1] == 2:  # a sigmoid became a softmax
        rounded = rounded[:, 1:]
    difference = np.abs(rounded - exact)
    what = "scores" if model.task == "regress" else "probabilities"
    sentence = (
        f"In 8 bits, {what} of {len(exact)} texts differ by {difference.mean():.4f} "
        f"on average and {difference.max():.4f} at most"
    )
    if model.task == "regress":
        return sentence + _compare_figure(rows, model, exact, rounded) + "."
    chosen, others = (_choose(one, model) for one in (exact, rounded))
    share = float(np.mean(chosen == others))
    sentence += f"; {100 * share:.1f} % of the labels stay the same"
    return sentence + _compare_accuracy(rows, model, chosen, others) + "."


def find_examples(run: Path) -> Any:
    """Return the texts and labels that a run kept of its held-out part.

    Args:
        run: its folder.

    Returns:
        (texts or pairs, label names), or `None`: it kept none.
    """
    file = run / _PREDICTIONS
    if not file.is_file():
        return None
    rows = list(islice(read_csv_rows(file), _MOST_ROWS))
    if not rows or "text" not in rows[0] or "true_label" not in rows[0]:
        return None
    texts: Any = [row["text"] for row in rows]
    if "text_pair" in rows[0]:
        pairs = [row["text_pair"] for row in rows]
        texts = list(zip(texts, pairs, strict=True))
    return texts, [row["true_label"] for row in rows]


def _read_examples(examples: Any) -> TextRows:
    rows = read_rows(examples)
    if rows is None or len(rows) == 0:
        raise ValueError(
            "examples must be texts, pairs, a split or (texts, labels); received "
            f"{type(examples).__name__} without texts."
        )
    return rows


def _choose(probabilities: np.ndarray, model: Model) -> np.ndarray:
    """Return the label of each text, or of several labels which of them are given."""
    if model.task != "multilabel" and probabilities.shape[-1] == 1:
        return (probabilities[:, 0] > 0.5).astype(int)
    task = find_task(model.task or "classify")
    return task.decide(probabilities, **task.find_options(model))


def _compare_accuracy(
    rows: TextRows, model: Model, chosen: np.ndarray, others: np.ndarray
) -> str:
    """Say what becomes of the accuracy, or of several labels of the micro F1."""
    labels = _read_labels(rows, model, chosen.shape)
    if labels is None:
        return ""
    name, measure = "accuracy", lambda one: float(np.mean(one == labels))
    if model.task == "multilabel":
        name, measure = "micro F1", lambda one: _measure_f1(labels, one)
    return f", and the {name} goes from {measure(chosen):.4f} to {measure(others):.4f}"


def _compare_figure(
    rows: TextRows, model: Model, exact: np.ndarray, rounded: np.ndarray
) -> str:
    """Say what becomes of the correlation of scores with their labels."""
    labels = _read_labels(rows, model, exact[:, 0].shape)
    if labels is None or len(labels) < 2:
        return ""
    before, after = (np.corrcoef(labels, one[:, 0])[0, 1] for one in (exact, rounded))
    return f", and Pearson's correlation goes from {before:.4f} to {after:.4f}"


def _read_labels(
    rows: TextRows, model: Model, shape: tuple[int, ...]
) -> np.ndarray | None:
    """Return labels of a shape; `None` where there are no such."""
    if rows.labels is None:
        return None
    try:
        if model.task == "regress":
            labels = np.asarray(rows.labels, np.float64)
        elif model.task == "multilabel" and np.asarray(rows.labels).ndim == 1:
            written = np.asarray(rows.labels).tolist()
            labels = mark_labels(written, model.label_names or ())
        else:
            labels = np.asarray(rows.with_label_ids(model.label_names).labels)
    except (ValueError, KeyError):  # labels of another kind than the model's
        return None
    return labels if labels.shape == shape else None


def _measure_f1(labels: np.ndarray, chosen: np.ndarray) -> float:
    hits = float(np.sum((labels == 1) & (chosen == 1)))
    total = float(np.sum(labels == 1) + np.sum(chosen == 1))
    return 2 * hits / total if total else 0.0
