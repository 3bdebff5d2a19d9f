"""What rounding to 8 bits changes, measured on texts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from kbert.data.csv_rows import read_csv_rows
from kbert.data.values import mark_labels
from kbert.exporting.onnx_folder import ExportedModel
from kbert.models import Model
from kbert.rows import TextRows, read_rows
from kbert.tasks import Request, Task, find_task
from kbert.tasks.answer_data import Gold, Questions
from kbert.tasks.tag_data import Sentences

_MOST_ROWS = 1000
_PREDICTIONS = "predictions.csv"
TOKEN_TASKS = ("tag", "answer")  # whose models say something of every token


def describe_change(folder: Path, model: Model, examples: Any) -> str:
    """Say what an exported model predicts otherwise than the model it came from.

    Args:
        folder: what `write_onnx` wrote.
        model: exact.
        examples: see `kbert.export`; the first 1000 count.

    Returns:
        A sentence, with the accuracy before and after where there are labels.
    """
    if examples is None:
        return (
            "What rounding to 8 bits changes was not measured: pass examples "
            "(--examples), labelled ones for the figures."
        )
    exported = ExportedModel(folder, model)
    if model.task in TOKEN_TASKS:
        part = _read_part(examples, find_task(str(model.task)), model)
        return _compare_tokens(part[:_MOST_ROWS], model, exported)
    rows = _read_examples(examples).take(slice(_MOST_ROWS))
    texts, pairs = rows.read(np.arange(len(rows)))
    inputs: Any = texts if pairs is None else list(zip(texts, pairs, strict=True))
    exact = model.predict(inputs)
    rounded = exported.predict(inputs)
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


def _compare_tokens(part: Any, model: Model, exported: ExportedModel) -> str:
    """Say how many rows get the same tags or answer, and what becomes of the figure."""
    task = find_task(str(model.task))
    both: Any = (model, exported)
    predictions = [task.predict(one, part) for one in both]
    tables = [task.tabulate(model, part, one) for one in predictions]
    name = next(iter(tables[0]))  # of the column with the tags or the answer
    pairs = zip(*(table[name] for table in tables), strict=True)
    share = float(np.mean([one == other for one, other in pairs]))
    sentence = f"In 8 bits, {100 * share:.1f} % of {len(part)} rows get the same {name}"
    if isinstance(part, list) or part.labels is None:
        return sentence + "."
    names, figure = model.label_names or (), task.headlines[0]
    before, after = (task.measure(part, one, names)[figure] for one in predictions)
    return (
        f"{sentence}, and the {figure.replace('_', ' ')} goes from "
        f"{before['value']:.4f} to {after['value']:.4f}."
    )


def find_examples(run: Path, task: str | None) -> Any:
    """Return the texts and labels that a run kept of its held-out part.

    Args:
        run: its folder.
        task: of its model.

    Returns:
        (texts or pairs, label names), (words, tags), or questions with the texts of
        their answers; `None`: it kept none.
    """
    file = run / _PREDICTIONS
    if not file.is_file():
        return None
    rows = list(islice(read_csv_rows(file), _MOST_ROWS))
    if not rows or "text" not in rows[0] or "true_label" not in rows[0]:
        return None
    texts: Any = [row["text"] for row in rows]
    if task == "tag":
        words = [text.split(" ") for text in texts]
        tags = [row["true_label"].split(" ") for row in rows]
        fits = all(len(one) == len(own) for one, own in zip(words, tags, strict=True))
        return (words, tags) if fits else words  # a word may hold a blank
    if task == "answer":
        return _read_questions(rows)
    if "text_pair" in rows[0]:
        pairs = [row["text_pair"] for row in rows]
        texts = list(zip(texts, pairs, strict=True))
    return texts, [row["true_label"] for row in rows]


def _read_questions(rows: Sequence[Mapping[str, Any]]) -> Questions:
    """Return questions with their right answers, whose texts alone were kept."""
    answers = [row["true_label"].split(" | ") for row in rows]
    return Questions(
        questions=[row["text"] for row in rows],
        contexts=[row["text_pair"] for row in rows],
        answers=[[Gold(text, -1) for text in own if text] for own in answers],
        ids=[str(number) for number in range(len(rows))],
        rows=np.arange(len(rows)),
        groups=np.arange(len(rows)),
        name=_PREDICTIONS,
    )


def _read_part(examples: Any, task: Task, model: Model) -> Any:
    """Return labelled rows as the task has them, or a list of what it predicts."""
    if isinstance(examples, Sentences):
        examples = replace(examples, label_names=tuple(model.label_names or ()))
    elif not isinstance(examples, list | Questions):
        request = Request(source=examples, label_names=model.label_names)
        examples = task.read(request)
    if len(examples) == 0:
        raise ValueError("there are no examples; pass at least one, or leave them out.")
    return examples


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
