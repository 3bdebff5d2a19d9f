"""Rows of text with their labels and weights, whatever they came as."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import keras
import numpy as np
import torch

from kbert.data import Split

Columns = Literal["tuple", "any"] | None
# Rows among which at least one must be a text, for the whole to be texts.
_SEEN = 100


class TextRows:
    """Texts with their labels and weights, whatever they came as.

    Args:
        texts: sequence of str, or of (str, str) for pairs.
        labels: array (n, ...), a tuple or dict of them for several outputs, or `None`.
        weights: float array (n,) or `None`.

    Raises:
        ValueError: labels or weights are not as many as the texts.
    """

    def __init__(
        self, texts: Split | Sequence, labels: Any = None, weights: Any = None
    ):
        self._texts = texts
        self.labels = _to_arrays(labels)
        self.weights = None if weights is None else np.asarray(weights, "float32")
        for name, values in (("labels", self.labels), ("weights", self.weights)):
            for array in keras.tree.flatten(values) if values is not None else ():
                if array.shape[:1] != (len(texts),):
                    raise ValueError(
                        f"{name} must be as many as the texts, {len(texts)}; "
                        f"received the shape {array.shape}."
                    )

    def __len__(self) -> int:
        return len(self._texts)

    def read(self, rows: np.ndarray) -> tuple[list[str], list[str] | None]:
        """Return the texts, and their partners in pairs, of some rows."""
        if isinstance(self._texts, Split):
            part = self._texts[rows]
            return part.texts, part.text_pairs
        texts = [self._texts[row] for row in rows]
        if texts and isinstance(texts[0], (tuple, list)):
            return [pair[0] for pair in texts], [pair[1] for pair in texts]
        return texts, None

    def take(self, rows: slice) -> "TextRows":
        """Return some of the rows."""
        return TextRows(
            self._texts[rows],
            take(self.labels, rows),
            take(self.weights, rows),
        )

    def without_labels(self) -> "TextRows":
        """Return the texts alone."""
        return TextRows(self._texts)

    def with_label_ids(self, label_names: Sequence[str] | None) -> "TextRows":
        """Return the rows with label names turned into ids.

        A split that knows the model's label names, in another order or not all of
        them, is read by its names; one with other names by its ids.

        Raises:
            ValueError: a label has no name in `label_names`.
        """
        labels, texts = name_to_id(self.labels, label_names), self._texts
        if labels is not None and isinstance(texts, Split) and label_names:
            if labels is texts.labels and set(texts.label_names) & set(label_names):
                ids = name_to_id(np.array(texts.label_names), label_names)
                own = np.asarray(labels)
                labels = ids[own] if own.ndim == 1 else own[:, np.argsort(ids)]
        return TextRows(texts, labels, self.weights)

    def weigh(self, class_weight: Mapping[int, float] | None) -> "TextRows":
        """Return the rows with class weights multiplied into their weights."""
        if class_weight is None or self.labels is None:
            return self
        weights = weigh(self.labels, class_weight, self.weights)
        return TextRows(self._texts, self.labels, weights)


def _to_arrays(labels: Any) -> Any:
    if isinstance(labels, dict):
        return {name: np.asarray(value) for name, value in labels.items()}
    if isinstance(labels, tuple) and np.ndim(labels[0]):
        return tuple(map(np.asarray, labels))
    return None if labels is None else np.asarray(labels)


def cut_last(parts: tuple, share: float) -> tuple[tuple, tuple]:
    """Part rows of arrays, as Keras does for `validation_split`.

    Args:
        parts: inputs, labels and weights of equally many rows, or `None`.
        share: of the rows, the last ones, in (0, 1).

    Returns:
        The first rows of each, and the last.

    Raises:
        ValueError: one of them would have no row.
    """
    x, *others = parts  # labels and weights may be lists
    parts = (x, *map(_to_arrays, others))
    first = next(leaf for leaf in keras.tree.flatten(x) if leaf is not None)
    place = find_cut(len(first), share)
    head, tail = slice(place), slice(place, None)
    return tuple(take(p, head) for p in parts), tuple(take(p, tail) for p in parts)


def find_cut(num_rows: int, share: float) -> int:
    """Return how many rows are left to train on without a last share of them.

    Raises:
        ValueError: no row is left, or none is taken.
    """
    place = int(num_rows * (1 - share))
    if not 0 < place < num_rows:
        raise ValueError(
            f"validation_split={share} of {num_rows} rows leaves no row to train on or "
            "none to validate with. Choose a share between 0 and 1 that does."
        )
    return place


def take(values: Any, rows: np.ndarray | slice) -> Any:
    """Return some rows of an array, of a structure of arrays, or `None`."""
    if values is None:
        return None
    return keras.tree.map_structure(lambda array: array[rows], values)


def name_to_id(labels: Any, label_names: Sequence[str] | None) -> Any:
    """Turn label names into ids; leave everything else as it is.

    Raises:
        ValueError: a label has no name in `label_names`.
    """
    listed = isinstance(labels, (list, tuple)) and len(labels)
    named = listed and isinstance(labels[0], str)
    names = np.asarray(labels) if named else labels
    if getattr(getattr(names, "dtype", None), "kind", "") not in tuple("OUT"):
        return labels
    names = [str(name) for name in np.asarray(names)]
    ids = {name: index for index, name in enumerate(label_names or ())}
    for row, name in enumerate(names):
        if name not in ids:
            known = ", ".join(map(repr, label_names or ())) or "ids only"
            raise ValueError(
                f"label {name!r} in row {row} is unknown; the model knows {known}."
            )
    return np.array([ids[name] for name in names], "int32")


def read_rows(
    x: Any, y: Any = None, weights: Any = None, columns: Columns = None
) -> TextRows | None:
    """Recognise texts in what `fit`, `evaluate` or `predict` were given.

    Args:
        x: a `Split`, a sequence, Series or string array of texts or text pairs, or
            a tuple of texts and labels (and weights).
        y: labels.
        weights: one a text.
        columns: where labels stand apart, what may be the two columns of text pairs: a
            `tuple`, or `any` sequence of two, as torch's loaders give them; `None`
            where a tuple of two is texts and labels.

    Returns:
        The rows, or `None` when `x` holds no texts.

    Raises:
        ValueError: some of the texts are none, or it is not clear what they are.
    """
    if columns is None and y is not None:
        columns = "tuple"
    x = _join_columns(x, columns)
    if isinstance(x, Split):
        return TextRows(x, x.labels if y is None else y, weights)
    if isinstance(x, str):
        raise ValueError(
            f"texts must be a list of str; received one str, {x[:40]!r}. "
            "Put it in a list."
        )
    if isinstance(x, tuple) and y is None and 2 <= len(x) <= 3:
        texts, labels, *own = x
        rows = None
        if not isinstance(texts, str):
            rows = read_rows(texts, labels, own[0] if own else weights)
        if rows is not None:
            return rows
    if _is_hub_dataset(x):
        return _read_hub_dataset(x, y, weights)
    kind = getattr(np.asarray(x).dtype, "kind", "") if _is_column(x) else ""
    texts = np.asarray(x).tolist() if kind in ("O", "U", "T") else x
    if not isinstance(texts, (list, tuple)):
        return None
    present = [text for text in texts[:_SEEN] if text is not None]
    if present and not any(map(_holds_text, present)):
        return None
    check_texts(texts)
    return TextRows(texts, y, weights)


def _join_columns(x: Any, columns: Columns) -> Any:
    """Return two columns of strings as a list of pairs; all else as it is."""
    if hasattr(x, "columns") and hasattr(x, "to_numpy"):  # a DataFrame
        table = x.to_numpy()
        return table[:, 0] if table.shape[1] == 1 else table
    kinds = (tuple, list) if columns == "any" else (tuple,)
    if columns is None or not isinstance(x, kinds) or len(x) != 2:
        return x
    first, second = (np.asarray(c).tolist() if _is_column(c) else c for c in x)
    for column in (first, second):
        if not isinstance(column, (list, tuple)) or not column:
            return x
        if not all(isinstance(text, str) for text in column):
            return x
    if len(first) != len(second):
        raise ValueError(
            f"the two columns of text pairs must be equally long; received "
            f"{len(first)} and {len(second)} texts."
        )
    if len(first) == 2 and columns == "tuple" and isinstance(first, tuple):
        raise ValueError(
            "two tuples of two texts can be two pairs or two columns; pass a list of "
            "pairs."
        )
    return list(zip(first, second, strict=True))


def check_texts(texts: Sequence, first_row: int = 0) -> None:
    """Refuse rows that are no text, or a pair among texts.

    Args:
        texts: of which some are texts or pairs.
        first_row: what the first of them is to the caller.

    Raises:
        ValueError: one is not; the sentence names its row.
    """
    is_pair = not isinstance(next(filter(is_text, texts), ""), str)
    for row, text in enumerate(texts):
        if not is_text(text) or isinstance(text, str) == is_pair:
            wanted = "a pair of str" if is_pair else "a str"
            way = "Fill it in or drop the row."
            if isinstance(text, (tuple, list)) and len(text) != 2:
                way = "A pair has two texts; two columns are a tuple, (texts, pairs)."
            raise ValueError(
                f"each text must be {wanted}; row {first_row + row} has "
                f"{str(text)[:40]!r} ({type(text).__name__}). {way}"
            )


def _is_column(x: Any) -> bool:
    """Whether `x` is an array, a Series or the like, and no torch tensor."""
    return hasattr(x, "dtype") and not torch.is_tensor(x)


def is_text(value: Any) -> bool:
    """Whether a value is a text, or a pair of texts."""
    if isinstance(value, (tuple, list)):
        return len(value) == 2 and all(isinstance(part, str) for part in value)
    return isinstance(value, str)


def _holds_text(value: Any) -> bool:
    """Whether a value was meant as a text, or as texts that belong together."""
    listed = isinstance(value, (tuple, list)) and any(isinstance(v, str) for v in value)
    return listed or isinstance(value, str)


def _is_hub_dataset(x: Any) -> bool:
    return type(x).__module__.startswith("datasets.") and hasattr(x, "column_names")


def _read_hub_dataset(x: Any, y: Any, weights: Any) -> TextRows:
    if "text" not in x.column_names:
        raise ValueError(
            "a datasets.Dataset must have a column 'text', and 'label' to train; "
            f"received {x.column_names}. Read it with kbert.load_splits(dataset, "
            "text=..., label=...)."
        )
    if y is None and "label" in x.column_names:
        y = x["label"][:]
    texts = x["text"][:]
    if "text_pair" in x.column_names:
        texts = list(zip(texts, x["text_pair"][:], strict=True))
    check_texts(texts)
    return TextRows(texts, y, weights)


def weigh(
    labels: np.ndarray, class_weight: Mapping[int, float], weights: Any = None
) -> np.ndarray:
    """Return each example's weight, float32 (n,).

    Args:
        labels: ids (n,) or one-hot (n, num_classes).
        class_weight: label id to weight, complete.
        weights: example weights to multiply with, or `None`.
    """
    ids = labels.argmax(-1) if labels.ndim > 1 and labels.shape[-1] > 1 else labels
    check_label_ids(ids.reshape(len(ids)), len(class_weight))
    ids = ids.reshape(len(ids)).astype(int)
    table = np.array([class_weight[i] for i in range(len(class_weight))], "float32")
    result = table[ids]
    return result if weights is None else result * np.asarray(weights, "float32")


def check_label_ids(labels: np.ndarray, num_classes: int) -> None:
    """Refuse labels (n,) that are no whole numbers in [0, num_classes)."""
    # A missing label is NaN, which no comparison holds for.
    sound = (labels >= 0) & (labels < num_classes) & (labels == np.floor(labels))
    for row in np.flatnonzero(~sound)[:1]:
        raise ValueError(
            f"labels must be whole numbers in [0, {num_classes}); row {row} has "
            f"{labels[row]}. Fix the row or build the model with more classes."
        )


def compute_balanced_class_weight(labels: Any, num_classes: int) -> dict[int, float]:
    """Weight each class inversely to its frequency.

    Args:
        labels: ids (n,) in [0, num_classes), or one-hot (n, num_classes).
        num_classes: number of classes, at least 2.

    Returns:
        Label id to weight (unitless); the mean over the examples is 1.

    Raises:
        ValueError: a label is out of range or a class has no example.

    Source: scikit-learn's "balanced", after King & Zeng (2001).
    """
    labels = np.asarray(labels)
    ids = labels.argmax(-1) if labels.ndim > 1 and labels.shape[-1] > 1 else labels
    check_label_ids(ids.reshape(len(ids)), num_classes)
    ids = ids.reshape(len(ids)).astype(int)
    counts = np.bincount(ids, minlength=num_classes)
    for label in np.flatnonzero(counts == 0)[:1]:
        raise ValueError(
            f"class {label} has no training example, so its weight is undefined. "
            "Use a stratified split or pass a dict."
        )
    return {i: len(ids) / (num_classes * int(counts[i])) for i in range(num_classes)}


def complete_class_weight(
    class_weight: Any, labels: Any, widths: Sequence[int]
) -> dict[int, float] | None:
    """Return a weight for every class.

    Args:
        class_weight: `balanced`, a mapping with a weight for every label id, or `None`
            for none.
        labels: ids (n,) that `balanced` counts.
        widths: values a text that each output of the model gives.

    Raises:
        ValueError: a class has no weight, or no example to balance by, or there are
            several outputs.
    """
    if class_weight is None:
        return None
    if len(widths) > 1:
        raise ValueError(
            f"class_weight needs a model with one output; this one has {len(widths)}. "
            "Pass sample_weight."
        )
    num_classes = max(2, widths[0])  # one sigmoid tells two apart
    if class_weight == "balanced":
        return compute_balanced_class_weight(labels, num_classes)
    is_complete = isinstance(class_weight, Mapping) and set(class_weight) == set(
        range(num_classes)
    )
    if not is_complete:
        raise ValueError(
            "class_weight must be 'balanced' or a dict with a weight for every "
            f"label id in [0, {num_classes}); received {class_weight!r}."
        )
    return dict(class_weight)
