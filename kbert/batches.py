"""Rows of text in, batches of token arrays out, tokenized once."""

import abc
import logging
import random
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import torch

from kbert.engine.ahead import Ahead
from kbert.rows import TextRows, is_text, take
from kbert.text import Encoded, Preprocessor

_logger = logging.getLogger("kbert")

_BATCH_SIZE = 32
# Products of fewer tokens leave a processor half idle; many more leave its cache.
_BATCH_TOKENS = 2048
_CHUNK_ROWS = 1024


def check_batch_size(batch_size: Any) -> int:
    """Return a batch size, 32 for `None`.

    Raises:
        ValueError: it is no whole number of at least 1.
    """
    if batch_size is None:
        return _BATCH_SIZE
    if not isinstance(batch_size, int | np.integer) or batch_size < 1:
        raise ValueError(
            f"batch_size must be a whole number of at least 1; received {batch_size!r}."
        )
    return int(batch_size)


class Batches(keras.utils.PyDataset):
    """Batches of rows, by their index.

    Args:
        rows: labels and weights; subclasses say in which order and with which inputs.
        batch_size: rows a batch.
    """

    def __init__(self, rows: TextRows, batch_size: int):
        super().__init__()
        self._rows, self._batch_size = rows, batch_size
        self._ahead: Ahead | None = None

    def __len__(self) -> int:
        return -(-len(self._rows) // self._batch_size)

    def __getitem__(self, index: int) -> tuple:
        """Return inputs, labels and weights of one batch."""
        return self._build(index) if self._ahead is None else self._ahead[index]

    def send_to(self, device: torch.device) -> None:
        """Give batches on a CUDA GPU from now on, each made and copied in advance."""
        if device.type == "cuda":
            self._ahead = Ahead(self._build, len(self), device)

    def _build(self, index: int) -> tuple:
        rows = self._find_rows(index)
        return _assemble(self._read(rows), self._rows, rows)

    def _find_rows(self, index: int) -> np.ndarray:
        start = index * self._batch_size
        return self.order[start : start + self._batch_size]

    @abc.abstractmethod
    def _read(self, rows: np.ndarray) -> Any:
        """Return the inputs of some rows."""


class OrderedBatches(Batches):
    """Batches in a seeded order that changes every epoch.

    Args:
        rows: labels and weights; subclasses say what the inputs are.
        batch_size: rows a batch.
        seed: of the order; `None` keeps the rows' own.
    """

    def __init__(self, rows: TextRows, batch_size: int, seed: int | None):
        super().__init__(rows, batch_size)
        self._seed = seed
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch, counted from 0."""
        if self._ahead is not None:
            self._ahead.forget()
        self.order = np.arange(len(self._rows))
        if self._seed is not None:
            np.random.default_rng((self._seed, epoch)).shuffle(self.order)


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
        if self._ahead is not None:
            self._ahead.forget()
        # Keras also calls this before the first epoch, which need not wait for them.
        is_tokenized = bool(self._chunks) and all(c.done() for c in self._chunks)
        if self._encoded is None and is_tokenized:
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
        order = self.order
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
        seed = int(states.generate_state(1)[0])
        if self._batches is None:
            random.seed(seed)
        # A dropout of Keras's without a seed draws from torch's own generator.
        torch.manual_seed(seed)
        for generator in _find_seed_generators(self.model):
            state = generator.state
            state.assign(states.spawn(1)[0].generate_state(2, "uint32") & 0x7FFFFFFF)


def _find_seed_generators(model: keras.Model) -> list[keras.random.SeedGenerator]:
    layers = [model, *model._flatten_layers(include_self=False)]
    return [generator for layer in layers for generator in layer._seed_generators]


class SortedBatches(Batches):
    """Batches of texts of like length, for evaluation and prediction.

    Args:
        rows: texts and, for evaluation, labels.
        preprocessor: texts to ids.
        batch_size: texts a batch.
        fills: whether a batch of short texts takes more of them, up to the tokens
            that `batch_size` texts of the greatest length would have, and one of texts
            in windows fewer.

    Attributes:
        order: int64 (n,), row of each prediction.
    """

    def __init__(
        self,
        rows: TextRows,
        preprocessor: Preprocessor,
        batch_size: int,
        fills: bool = True,
    ):
        super().__init__(rows, batch_size)
        every = np.arange(len(rows))
        self.encoded = preprocessor.encode(*rows.read(every))
        self.order = np.argsort(-self.encoded.lengths, kind="stable")
        lengths = self.encoded.lengths[self.order]
        most = batch_size * preprocessor.max_length
        if fills:
            self._starts = fill_batches(lengths, batch_size, most)
        else:
            self._starts = [*range(0, len(rows), batch_size), len(rows)]

    def __len__(self) -> int:
        return len(self._starts) - 1

    def _find_rows(self, index: int) -> np.ndarray:
        return self.order[self._starts[index] : self._starts[index + 1]]

    def _read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        return self.encoded[rows].pad()

    def with_rows(self) -> Iterator[tuple[np.ndarray, tuple]]:
        """Return each batch after the rows it is made of."""
        for index in range(len(self)):
            yield self._find_rows(index), self[index]


def fill_batches(lengths: np.ndarray, batch_size: int, most: int) -> list[int]:
    """Return where batches of sorted rows start, and where the last one stops.

    A batch has `batch_size` rows, or more of them where they come to no more than
    `_BATCH_TOKENS` tokens, or fewer where they would come to more than `most`.
    """
    ends = np.cumsum(lengths)
    starts = [0]
    while starts[-1] < len(lengths):
        start = starts[-1]
        before = ends[start - 1] if start else 0
        fitting, filled = np.searchsorted(
            ends, (before + most, before + min(most, _BATCH_TOKENS)), side="right"
        ).tolist()
        stop = max(filled, min(start + batch_size, max(start + 1, fitting)))
        starts.append(min(len(lengths), stop))
    return starts


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


def prepend(callback: keras.callbacks.Callback, callbacks: Any) -> Any:
    """Put a callback before those that `fit` was given."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callback.set_model(callbacks.model)
        callbacks.callbacks.insert(0, callback)
        return callbacks
    if callbacks is None:
        return [callback]
    several = isinstance(callbacks, Iterable)
    return [callback, *(callbacks if several else [callbacks])]


def has_nan_callback(callbacks: Any) -> bool:
    """Whether one of the callbacks of `fit` deals with a loss that is no number."""
    found = getattr(callbacks, "callbacks", callbacks) or []
    found = found if isinstance(found, Iterable) else [found]
    return any(isinstance(one, keras.callbacks.TerminateOnNaN) for one in found)


def unpack(data: Any) -> tuple:
    """Return x, y and sample weights of what `validation_data` may be."""
    if isinstance(data, (tuple, list)) and len(data) in (2, 3):
        if isinstance(data, tuple) or not any(map(is_text, data)):
            return (*data, None)[:3]
    return data, None, None


def restore_order(output: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Put outputs of sorted rows (n, ...) back in the order of their rows."""
    restored = np.empty_like(output)
    restored[order] = output
    return restored
