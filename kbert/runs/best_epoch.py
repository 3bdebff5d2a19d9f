"""Choose the epoch of a training to keep, and stop when no better one comes."""

import math
from collections.abc import Mapping, Sequence
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


def choose_epoch(
    task: "Task", epochs: Sequence[Mapping[str, Any]], num_rows: int
) -> int:
    """Choose the epoch whose weights are kept.

    Where the task's figure is a share of the rows, that is the last epoch within one
    standard error of the best: few rows cannot tell such epochs apart, and the later
    one has seen the texts more often, at a rate that has fallen further (Breiman et
    al., 1984, choose among trees likewise). Of other figures it is the best epoch.

    Args:
        task: whose `metric` and `mode` count.
        epochs: at least one, the logs of each with `val_` figures.
        num_rows: rows that these were measured on.

    Returns:
        Its place in `epochs`.
    """
    ranks = [rank_epoch(task, epoch) for epoch in epochs]
    best, _ = top = max(ranks)
    if not task.metric_is_share or math.isinf(best):
        return ranks.index(top)
    least = best - _standard_error(best, num_rows) - 1e-6  # shares are in float32
    return max(i for i, (value, _) in enumerate(ranks) if value >= least)


def _standard_error(share: float, num_rows: int) -> float:
    # At least a row: that none of so few is wrong is no proof that none ever is.
    return max(math.sqrt(max(0.0, share * (1 - share)) / num_rows), 1 / num_rows)


def _or_worst(value: Any, sign: float) -> float:
    return -math.inf if value is None or math.isnan(value) else sign * float(value)


class KeepBest(keras.callbacks.Callback):
    """Give the model the weights of the chosen epoch when training ends.

    Args:
        task: says which epoch that is; see `choose_epoch`.
        patience: epochs without a better one, after which training stops.
        num_rows: rows that an epoch is measured on.
    """

    def __init__(self, task: "Task", patience: int, num_rows: int) -> None:
        super().__init__()
        self._task, self._patience, self._num_rows = task, patience, num_rows
        self._epochs: list[Mapping[str, Any]] = []
        self._weights: list[np.ndarray] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Keep the weights if they are the ones to choose so far."""
        self._epochs.append(dict(logs or {}))
        latest = len(self._epochs) - 1
        if choose_epoch(self._task, self._epochs, self._num_rows) == latest:
            self._weights = self.model.get_weights()
        ranks = [rank_epoch(self._task, one) for one in self._epochs]
        if latest - ranks.index(max(ranks)) >= self._patience:
            self.model.stop_training = True

    def on_train_end(self, logs: Any = None) -> None:
        """Restore the chosen weights."""
        if self._weights:
            self.model.set_weights(self._weights)
