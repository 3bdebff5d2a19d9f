"""Loaders of batches, `keras.utils.PyDataset` and torch's: tokenized as they come."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import torch

from kbert.batches import Batches
from kbert.engine.transfer import send
from kbert.rows import Columns, name_to_id, read_rows, weigh
from kbert.text import Preprocessor


def is_loader(x: Any) -> bool:
    """Whether `x` gives batches, and not rows."""
    return isinstance(x, (keras.utils.PyDataset, torch.utils.data.DataLoader))


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

    @property
    def num_batches(self) -> int | None:
        return self._dataset.num_batches

    def __getitem__(self, index: int):
        return self._function(self._dataset[index])

    def on_epoch_begin(self) -> None:
        self._dataset.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self._dataset.on_epoch_end()


def map_loader(
    loader: Any,
    preprocessor: Preprocessor | None,
    class_weight: Mapping | None = None,
    label_names: Sequence[str] | None = None,
    device: torch.device | None = None,
) -> Any:
    """Tokenize and weight the batches of a loader as they come.

    Args:
        loader: yields x, (x, y) or (x, y, sample_weight), x texts or token arrays.
        preprocessor: texts to ids; `None` when the batches hold arrays.
        class_weight: label id to weight, or `None`.
        label_names: names of the label ids, or `None`.
        device: a CUDA GPU to send the batches to; Keras would wait for each.

    Returns:
        A loader of the same kind.

    Raises:
        ValueError: the loader is empty.
    """
    _refuse_empty(loader)
    if isinstance(loader, Batches) and class_weight is None:
        loader.send_to(device or torch.device("cpu"))  # kbert's own: arrays already
        return loader
    columns = _find_columns(loader)

    def convert(batch):
        x, y, weights = _unpack(batch)
        try:
            rows = read_rows(x, columns=columns)
            y = None if y is None else name_to_id(y, label_names)
            if class_weight is not None:
                weights = weigh(np.asarray(y), class_weight, weights)
        except ValueError as error:
            raise ValueError(f"in a batch of the loader: {error}") from None
        if rows is not None and preprocessor is not None:
            x = preprocessor.encode(*rows.read(np.arange(len(rows)))).pad()
        batch = keras.utils.pack_x_y_sample_weight(x, y, weights)
        return batch if device is None else send(batch, device)

    if isinstance(loader, keras.utils.PyDataset):
        return _MappedDataset(loader, convert)
    return torch.utils.data.DataLoader(_MappedLoader(loader, convert), batch_size=None)


def _find_columns(loader: Any) -> Columns:
    """Return how a loader's batches hold the two columns of text pairs.

    Torch's own collation joins pairs into a list of two columns; a list that anyone
    else makes is one of rows, also where it happens to have two.
    """
    collate = getattr(loader, "collate_fn", None)
    return "any" if collate is torch.utils.data.default_collate else "tuple"


def _refuse_empty(loader: Any) -> None:
    if isinstance(loader, keras.utils.PyDataset):
        length = loader.num_batches
    else:
        try:
            length = len(loader)
        except TypeError:  # of a stream, which nobody knows
            length = None
    if length == 0:
        raise ValueError(
            f"the {type(loader).__name__} gives no batch; check its length and the "
            "rows behind it."
        )


def read_labels(loader: Any, label_names: Sequence[str] | None) -> np.ndarray:
    """Read all labels of a loader, in one pass over it.

    Args:
        loader: yields (x, y) or (x, y, sample_weight), and comes to an end.
        label_names: names of the label ids, or `None`.

    Returns:
        Label ids, (n, ...), in the order of this pass.
    """
    if isinstance(loader, keras.utils.PyDataset):
        batches = (loader[index] for index in range(loader.num_batches))
    else:
        batches = iter(loader)
    # A loader that shuffles draws; training shall draw what it would have drawn.
    with torch.random.fork_rng(devices=[]):
        labels = [name_to_id(_unpack(batch)[1], label_names) for batch in batches]
    return np.concatenate([np.asarray(part) for part in labels])


def _unpack(batch: Any) -> tuple:
    return keras.utils.unpack_x_y_sample_weight(
        tuple(batch) if isinstance(batch, list) else batch
    )
