"""Keep the best epoch of a training, and stop when no better one comes."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

if TYPE_CHECKING:
    from kbert.tasks import Task


def rank_epoch(task: "Task", epoch: Mapping[str, Any]) -> tuple[float, float]:
    """Say how good an epoch is: higher ranks are better.

    The task's own figure decides, such as accuracy: the loss of a fine-tuned encoder
    often rises while its accuracy still does, since it grows too sure of itself, which
    the temperature mends afterwards. On few validation rows many epochs are equally
    accurate; of those the one with the least loss is best.

    Args:
        task: whose `metric` and `mode` count.
        epoch: logs, with `val_` figures.

    Returns:
        The figure and the loss, both turned so that more is better.
    """
    value, loss = epoch.get(f"val_{task.metric}"), epoch.get("val_loss")
    sign = 1.0 if task.mode == "max" else -1.0
    return _or_worst(value, sign), _or_worst(loss, -1.0)


def _or_worst(value: Any, sign: float) -> float:
    return -math.inf if value is None or math.isnan(value) else sign * float(value)


class KeepBest(keras.callbacks.Callback):
    """Give the model the weights of its best epoch when training ends.

    Args:
        task: says which epoch is better; see `rank_epoch`.
        patience: epochs without a better one, after which training stops.
    """

    def __init__(self, task: "Task", patience: int) -> None:
        super().__init__()
        self._task, self._patience = task, patience
        self._best: tuple[float, float] | None = None
        self._weights: list[np.ndarray] = []
        self._waited = 0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Keep the weights if they are the best so far."""
        rank = rank_epoch(self._task, logs or {})
        if self._best is None or rank > self._best:
            self._best, self._waited = rank, 0
            self._weights = self.model.get_weights()
            return
        self._waited += 1
        if self._waited >= self._patience:
            self.model.stop_training = True

    def on_train_end(self, logs: Any = None) -> None:
        """Restore the best weights."""
        if self._weights:
            self.model.set_weights(self._weights)
