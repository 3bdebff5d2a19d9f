"""Logs of a batch that are read from the GPU only when a callback looks at them."""

import collections
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import torch
from keras import tree
from keras.src.utils.python_utils import pythonify_logs

# What nobody asked for in this moment, such as a progress bar, is shown this often.
INTERVAL_SECONDS = 0.25


class LazyLogs(collections.UserDict):
    """The logs of one batch; reading any of them waits for the device.

    Args:
        values: name to number or scalar tensor.
    """

    def __init__(self, values: Mapping[str, Any]):
        self._values = dict(values)
        self._read: dict[str, Any] | None = None

    @property
    def data(self) -> dict[str, Any]:  # type: ignore[override]
        """Name to float, in the order of the names."""
        if self._read is None:
            self._read = pythonify_logs(self._values)
        return self._read

    def copy(self) -> dict[str, Any]:  # type: ignore[override]
        """Return the logs as a plain dict."""
        return dict(self.data)

    def __bool__(self) -> bool:
        return bool(self._values)


class LazyCallbacks(keras.callbacks.CallbackList):
    """Keras's list of callbacks, whose batch logs cost nothing until they are read.

    Keras's own list reads the logs of every batch for every callback. Keras's progress
    bar reads them as well, so it is called a few times a second only.

    Args:
        callbacks: what `fit` was given.
        check: called as often as the progress bar and at the end of each epoch.
        **kwargs: `keras.callbacks.CallbackList`'s other arguments.
    """

    def __init__(self, callbacks: Any, check: Callable[[], None], **kwargs: Any):
        super().__init__(callbacks, **kwargs)
        self._check = check
        self._shown = 0.0

    def on_train_batch_end(self, batch, logs=None):
        """Call the callbacks with logs that are read on demand."""
        lazy, now = LazyLogs(logs or {}), time.perf_counter()
        is_due = now - self._shown >= INTERVAL_SECONDS
        if is_due:
            self._shown = now
            self._check()
        for callback in self.callbacks:
            if isinstance(callback, keras.callbacks.ProgbarLogger) and not is_due:
                callback.seen = batch + 1
            else:
                callback.on_train_batch_end(batch, logs=lazy)

    def on_test_batch_end(self, batch, logs=None):
        """Call the callbacks with logs that are read on demand."""
        lazy = LazyLogs(logs or {})
        for callback in self.callbacks:
            callback.on_test_batch_end(batch, logs=lazy)

    def on_epoch_end(self, epoch, logs=None):
        """Check, then call the callbacks as Keras does."""
        self._check()
        super().on_epoch_end(epoch, logs)


def count_steps(
    x: Any, batch_size: int | None, steps: int | None, held_out: float
) -> int | None:
    """Return how many batches an epoch has, `None` if only its end will tell.

    Args:
        x: arrays, a loader or a dataset, as `keras.Model.fit` takes them.
        batch_size: rows a batch, for arrays.
        steps: `steps_per_epoch`, which goes before everything else.
        held_out: `validation_split`, for arrays.
    """
    if steps is not None:
        return steps
    if isinstance(x, keras.utils.PyDataset):
        return x.num_batches
    if isinstance(x, torch.utils.data.DataLoader):
        return len(x) if hasattr(x.dataset, "__len__") else None
    num_rows = int(len(tree.flatten(x)[0]) * (1 - held_out))
    return -(-num_rows // (batch_size or 32))
