"""Rows of text in, batches of token arrays out, tokenized once."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
        labels: array (n, ...) or `None`.
        weights: float array (n,) or `None`.

    Raises:
        ValueError: labels or weights are not as many as the texts.
    """

    def __init__(self, texts: Split | Sequence, labels=None, weights=None):
        self._texts = texts
        self.labels = None if labels is None else np.asarray(labels)
        self.weights = None if weights is None else np.asarray(weights, "float32")
        for name, values in (("labels", self.labels), ("weights", self.weights)):
            if values is not None and len(values) != len(texts):
                raise ValueError(
                    f"{name} must be as many as the texts, {len(texts)}; "
                    f"received {len(values)}."
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
            None if self.labels is None else self.labels[rows],
            None if self.weights is None else self.weights[rows],
        )

    def without_labels(self) -> "TextRows":
        """Return the texts alone."""
        return TextRows(self._texts)

    def with_label_ids(self, label_names: Sequence[str] | None) -> "TextRows":
        """Return the rows with label names turned into ids.

        Raises:
            ValueError: a label has no name in `label_names`.
        """
        if self.labels is None or self.labels.dtype.kind not in "OUT":
            return self
        ids = {name: index for index, name in enumerate(label_names or ())}
        wrong = [row for row, name in enumerate(self.labels) if str(name) not in ids]
        if wrong:
            known = ", ".join(map(repr, label_names or ())) or "ids only"
            raise ValueError(
                f"label {str(self.labels[wrong[0]])!r} in row {wrong[0]} is unknown; "
                f"the model knows {known}."
            )
        labels = np.array([ids[str(name)] for name in self.labels], "int32")
        return TextRows(self._texts, labels, self.weights)

    def weigh(self, class_weight: Mapping[int, float] | None) -> "TextRows":
        """Return the rows with class weights multiplied into their weights."""
        if class_weight is None or self.labels is None:
            return self
        weights = weigh(self.labels, class_weight, self.weights)
        return TextRows(self._texts, self.labels, weights)


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
    if not isinstance(texts, (list, tuple)) or not texts or not _is_text(texts[0]):
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
    if "text" not in x.column_names or (y is None and "label" not in x.column_names):
        raise ValueError(
            "a datasets.Dataset must have the columns 'text' and 'label'; received "
            f"{x.column_names}. Read it with kbert.load_splits(dataset, text=..., "
            "label=...)."
        )
    return TextRows(x["text"][:], x["label"][:] if y is None else y, weights)


class TrainingBatches(keras.utils.PyDataset):
    """Batches of texts in a seeded order that changes every epoch.

    Texts are tokenized once, in a background thread, in the order in which the first
    epoch needs them; the first batch waits for its own texts only.

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
        super().__init__()
        self._rows, self._preprocessor = rows, preprocessor
        self._batch_size, self._seed = batch_size, seed
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="kbert-tokenize")
        self._chunks: list[Any] = []
        self._encoded: Encoded | None = None
        self.start_epoch(0)

    def __len__(self) -> int:
        return -(-len(self._rows) // self._batch_size)

    def start_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch, counted from 0."""
        self._order = np.arange(len(self._rows))
        if self._seed is not None:
            np.random.default_rng((self._seed, epoch)).shuffle(self._order)

    def __getitem__(self, index: int):
        """Return token arrays, labels and weights of one batch."""
        start = index * self._batch_size
        rows = self._order[start : start + self._batch_size]
        return _assemble(self._encode(rows).pad(), self._rows, rows)

    def on_epoch_end(self) -> None:
        """Say what was cut off, once all texts are tokenized."""
        if self._encoded is None and self._chunks:
            chunks = [chunk.result() for chunk in self._chunks]
            self._encoded = Encoded.concatenate(chunks)
            self._chunks = []
            self._pool.shutdown()
            report_truncation(self._encoded)

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


def _assemble(arrays: dict, source: TextRows, rows: np.ndarray) -> tuple:
    if source.labels is None:
        return (arrays,)
    if source.weights is None:
        return arrays, source.labels[rows]
    return arrays, source.labels[rows], source.weights[rows]


def report_truncation(encoded: Encoded) -> None:
    """Say in one line what was cut off, if anything was."""
    if encoded.truncation.num_truncated:
        _logger.warning("%s", encoded.truncation.summary())


class _MappedLoader(torch.utils.data.IterableDataset):
    """A torch DataLoader with a function over its batches."""

    def __init__(self, loader: Iterable, function: Callable):
        self._loader, self._function = loader, function

    def __iter__(self) -> Iterator:
        return map(self._function, self._loader)

    def __len__(self) -> int:
        return len(self._loader)  # type: ignore[arg-type]


class _MappedDataset(keras.utils.PyDataset):
    """A Keras PyDataset with a function over its batches."""

    def __init__(self, dataset: keras.utils.PyDataset, function: Callable):
        super().__init__(
            workers=dataset.workers,
            use_multiprocessing=dataset.use_multiprocessing,
            max_queue_size=dataset.max_queue_size,
        )
        self._dataset, self._function = dataset, function

    def __len__(self) -> int:
        return len(self._dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int):
        return self._function(self._dataset[index])

    def on_epoch_begin(self) -> None:
        self._dataset.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self._dataset.on_epoch_end()


def map_loader(
    loader: Any, preprocessor: Preprocessor | None, class_weight: Mapping | None
) -> Any:
    """Tokenize and weight the batches of a DataLoader or PyDataset as they come.

    Args:
        loader: yields (x, y) or (x, y, sample_weight), x texts or token arrays.
        preprocessor: texts to ids; `None` when the batches hold arrays.
        class_weight: label id to weight, or `None`.

    Returns:
        A loader of the same kind.
    """

    def convert(batch):
        x, y, weights = keras.utils.unpack_x_y_sample_weight(
            tuple(batch) if isinstance(batch, list) else batch
        )
        rows = read_rows(x)
        if rows is not None and preprocessor is not None:
            x = preprocessor.encode(*rows.read(np.arange(len(rows)))).pad()
        if class_weight is not None:
            weights = weigh(np.asarray(y), class_weight, weights)
        return keras.utils.pack_x_y_sample_weight(x, y, weights)

    if isinstance(loader, keras.utils.PyDataset):
        return _MappedDataset(loader, convert)
    return torch.utils.data.DataLoader(_MappedLoader(loader, convert), batch_size=None)


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
    ids = ids.reshape(len(ids)).astype(int)
    for row in np.flatnonzero((ids < 0) | (ids >= num_classes))[:1]:
        raise ValueError(
            f"labels must lie in [0, {num_classes}); row {row} has {ids[row]}. "
            "Fix the row or build the model with more classes."
        )
    counts = np.bincount(ids, minlength=num_classes)
    for label in np.flatnonzero(counts == 0)[:1]:
        raise ValueError(
            f"class {label} has no training example, so its weight is undefined. "
            "Use a stratified split or pass a dict."
        )
    return {i: len(ids) / (num_classes * int(counts[i])) for i in range(num_classes)}
