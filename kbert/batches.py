"""Rows of text in, batches of token arrays out, tokenized once."""

import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import torch

from kbert.data import Split
from kbert.text import Encoded, Preprocessor

_logger = logging.getLogger("kbert")

_CHUNK_ROWS = 1024


class TextRows:
    """Texts with their labels and weights, whatever they came as.

    Args:
        texts: sequence of str, or of (str, str) for pairs.
        labels: array (n, ...), a tuple or dict of them for several outputs, or `None`.
        weights: float array (n,) or `None`.

    Raises:
        ValueError: labels or weights are not as many as the texts.
    """

    def __init__(self, texts: Split | Sequence, labels=None, weights=None):
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
        labels = name_to_id(self.labels, label_names)
        own = self._texts.label_names if isinstance(self._texts, Split) else ()
        if own and label_names and labels is self._texts.labels:
            if set(own) & set(label_names):
                labels = name_to_id(np.array(own), label_names)[labels]
        return TextRows(self._texts, labels, self.weights)

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


def read_rows(x: Any, y: Any = None, weights: Any = None) -> TextRows | None:
    """Recognise texts in what `fit`, `evaluate` or `predict` were given.

    Args:
        x: a `Split`, a sequence, Series or string array of texts or text pairs, or
            a tuple of texts and labels (and weights).
        y: labels.
        weights: one a text.

    Returns:
        The rows, or `None` when `x` holds no texts.
    """
    if isinstance(x, Split):
        return TextRows(x, x.labels if y is None else y, weights)
    if isinstance(x, str):
        raise ValueError(
            f"texts must be a list of str; received one str, {x[:40]!r}. "
            "Put it in a list."
        )
    if isinstance(x, tuple) and y is None and 2 <= len(x) <= 3:
        rows = None if isinstance(x[0], str) else read_rows(*x)
        if rows is not None:
            return rows
    if _is_hub_dataset(x):
        return _read_hub_dataset(x, y, weights)
    kind = getattr(np.asarray(x).dtype, "kind", "") if _is_column(x) else ""
    texts = np.asarray(x).tolist() if kind in ("O", "U", "T") else x
    if not isinstance(texts, (list, tuple)) or not all(map(_is_text, texts[:1])):
        return None
    return TextRows(texts, y, weights)


def _is_column(x: Any) -> bool:
    """Whether `x` is an array, a Series or the like, and no torch tensor."""
    return hasattr(x, "dtype") and not torch.is_tensor(x)


def _is_text(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return len(value) == 2 and all(isinstance(part, str) for part in value)
    return isinstance(value, str)


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
    return TextRows(x["text"][:], y, weights)


class OrderedBatches(keras.utils.PyDataset):
    """Batches in a seeded order that changes every epoch.

    Args:
        rows: labels and weights; subclasses say what the inputs are.
        batch_size: rows a batch.
        seed: of the order; `None` keeps the rows' own.
    """

    def __init__(self, rows: TextRows, batch_size: int, seed: int | None):
        super().__init__()
        self._rows, self._batch_size, self._seed = rows, batch_size, seed
        self.start_epoch(0)

    def __len__(self) -> int:
        return -(-len(self._rows) // self._batch_size)

    def start_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch, counted from 0."""
        self._order = np.arange(len(self._rows))
        if self._seed is not None:
            np.random.default_rng((self._seed, epoch)).shuffle(self._order)

    def __getitem__(self, index: int):
        """Return inputs, labels and weights of one batch."""
        start = index * self._batch_size
        rows = self._order[start : start + self._batch_size]
        return _assemble(self._read(rows), self._rows, rows)


class FeatureBatches(OrderedBatches):
    """Batches of a frozen encoder's features.

    Args:
        features: float32 (n, width).
        rows: their labels and weights.
        batch_size: rows a batch.
        seed: of the order; `None` keeps the rows' own.
    """

    def __init__(
        self, features: np.ndarray, rows: TextRows, batch_size: int, seed: int | None
    ):
        super().__init__(rows, batch_size, seed)
        self._features = features

    def _read(self, rows: np.ndarray) -> np.ndarray:
        return self._features[rows]


class TrainingBatches(OrderedBatches):
    """Batches of texts, tokenized once.

    Texts are tokenized in a background thread, in the order in which the first epoch
    needs them; the first batch waits for its own texts only.

    Args:
        rows: texts and labels.
        preprocessor: texts to ids.
        batch_size: texts a batch.
        seed: of the order; `None` keeps the rows' own.
    """

    def __init__(
        self,
        rows: TextRows,
        preprocessor: Preprocessor,
        batch_size: int,
        seed: int | None,
    ):
        super().__init__(rows, batch_size, seed)
        self._preprocessor = preprocessor
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="kbert-tokenize")
        self._chunks: list[Any] = []
        self._encoded: Encoded | None = None

    def on_epoch_end(self) -> None:
        """Say what was cut off, once all texts are tokenized."""
        if self._encoded is None and self._chunks:
            chunks = [chunk.result() for chunk in self._chunks]
            self._encoded = Encoded.concatenate(chunks)
            self._chunks = []
            self._pool.shutdown()
            report_truncation(self._encoded)

    def _read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        return self._encode(rows).pad()

    def _encode(self, rows: np.ndarray) -> Encoded:
        if self._encoded is None and not self._chunks:
            self._start_tokenizing()
        places = self._places[rows]
        if self._encoded is not None:
            return self._encoded[places]
        return Encoded.concatenate(
            [
                self._chunks[place // _CHUNK_ROWS].result()[
                    np.array([place % _CHUNK_ROWS])
                ]
                for place in places
            ]
        )

    def _start_tokenizing(self) -> None:
        order = self._order
        self._places = np.empty_like(order)
        self._places[order] = np.arange(len(order))
        self._chunks = [
            self._pool.submit(self._tokenize, order[start : start + _CHUNK_ROWS])
            for start in range(0, len(order), _CHUNK_ROWS)
        ]

    def _tokenize(self, rows: np.ndarray) -> Encoded:
        return self._preprocessor.encode(*self._rows.read(rows))


class FollowSeed(keras.callbacks.Callback):
    """Ties each epoch's order and dropout to the seed and the epoch's number.

    A run that was killed and resumes at an epoch then goes on as it would have.

    Args:
        seed: of the run.
        batches: what is trained on; Keras and torch order what is no texts.
    """

    def __init__(self, seed: int, batches: Any):
        super().__init__()
        self._seed = seed
        self._batches = batches if isinstance(batches, OrderedBatches) else None

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        """Set what the epoch draws from."""
        if self._batches is not None:
            self._batches.start_epoch(epoch)
        states = np.random.SeedSequence((self._seed, epoch))
        if self._batches is None:
            random.seed(int(states.generate_state(1)[0]))
            torch.manual_seed(int(states.generate_state(1)[0]))
        for generator in _find_seed_generators(self.model):
            state = generator.state
            state.assign(states.spawn(1)[0].generate_state(2, "uint32") & 0x7FFFFFFF)


def _find_seed_generators(model: keras.Model) -> list[keras.random.SeedGenerator]:
    layers = [model, *model._flatten_layers(include_self=False)]
    return [generator for layer in layers for generator in layer._seed_generators]


class SortedBatches(keras.utils.PyDataset):
    """Batches of texts of like length, for evaluation and prediction.

    Args:
        rows: texts and, for evaluation, labels.
        preprocessor: texts to ids.
        batch_size: texts a batch.

    Attributes:
        order: int64 (n,), row of each prediction.
    """

    def __init__(self, rows: TextRows, preprocessor: Preprocessor, batch_size: int):
        super().__init__()
        self._rows, self._batch_size = rows, batch_size
        every = np.arange(len(rows))
        self.encoded = preprocessor.encode(*rows.read(every))
        self.order = np.argsort(-self.encoded.lengths, kind="stable")

    def __len__(self) -> int:
        return -(-len(self._rows) // self._batch_size)

    def __getitem__(self, index: int):
        """Return token arrays, labels and weights of one batch."""
        start = index * self._batch_size
        rows = self.order[start : start + self._batch_size]
        return _assemble(self.encoded[rows].pad(), self._rows, rows)

    def with_rows(self) -> Iterator[tuple[np.ndarray, tuple]]:
        """Return each batch after the rows it is made of."""
        for index in range(len(self)):
            start = index * self._batch_size
            yield self.order[start : start + self._batch_size], self[index]


def _assemble(arrays: dict, source: TextRows, rows: np.ndarray) -> tuple:
    if source.labels is None:
        return (arrays,)
    if source.weights is None:
        return arrays, take(source.labels, rows)
    return arrays, take(source.labels, rows), source.weights[rows]


def report_truncation(encoded: Encoded) -> None:
    """Say in one line what was cut off, if anything was."""
    if encoded.truncation.num_truncated:
        _logger.warning("%s", encoded.truncation.summary())


def weigh(labels: np.ndarray, class_weight: Mapping[int, float], weights=None):
    """Return each example's weight, float32 (n,).

    Args:
        labels: ids (n,) or one-hot (n, num_classes).
        class_weight: label id to weight, complete.
        weights: example weights to multiply with, or `None`.
    """
    ids = labels.argmax(-1) if labels.ndim > 1 and labels.shape[-1] > 1 else labels
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
