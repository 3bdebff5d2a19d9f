"""A batch that a GPU has no memory for is split, and its gradients added up."""

import logging
from collections.abc import Callable
from typing import Any

import keras
import torch
from keras import tree

from kbert.engine.transfer import take_rows

_logger = logging.getLogger("kbert")

# Losses that are means over the rows of a batch: those of its parts add up to them.
_MEANS = ("sum_over_batch_size", "mean")
_WEIGHTED_MEAN = "mean_with_sample_weight"


def can_split(loss: Any) -> bool:
    """Whether the losses that `compile` was given are means over a batch's rows.

    One that ignores a class is a mean over the rows of the others.
    """
    if any(_ignores_class(one) for one in tree.flatten(loss)):
        return False
    return all(one in _MEANS for one in _list_reductions(loss)) or is_weighted(loss)


def is_weighted(loss: Any) -> bool:
    """Whether the one loss that `compile` was given is a mean by sample weights."""
    return _list_reductions(loss) == [_WEIGHTED_MEAN]


def _ignores_class(loss: Any) -> bool:
    inner = getattr(loss, "loss", loss)  # of one that starts from logits
    return getattr(inner, "ignore_class", None) is not None


def _list_reductions(loss: Any) -> list[str]:
    losses = tree.flatten(loss)
    return [one.reduction for one in losses if isinstance(one, keras.losses.Loss)]


class MemoryRecovery:
    """Runs batches whole until the device runs out of memory, and then in parts.

    The gradients are those of the whole batch: each part counts by its share of the
    rows. (A layer that looks across rows, such as batch normalisation, sees a part.)

    Attributes:
        num_parts: what a batch is cut into; grows, and never shrinks again.
    """

    def __init__(self) -> None:
        self.num_parts = 1

    def differentiate(
        self, function: Callable, batch: Any, weights: Any = None
    ) -> tuple:
        """Compute the loss of a batch and its gradients within the memory there is.

        Args:
            function: takes a batch; returns its loss, predictions (a structure of
                tensors) and gradients (tensors or `None`).
            batch: a structure of arrays or tensors with one row an example.
            weights: (num_rows, ...) by whose sums parts of the batch count; `None`:
                by their rows.

        Returns:
            The three of the whole batch.

        Raises:
            torch.OutOfMemoryError: one row alone needs too much.
        """
        num_rows = len(next(leaf for leaf in tree.flatten(batch) if leaf is not None))
        while True:
            try:
                return self._run(function, batch, num_rows, weights)
            except torch.OutOfMemoryError:
                if self.num_parts >= num_rows:
                    raise
            # Outside of the except clause, whose traceback holds on to tensors.
            self.num_parts = min(2 * self.num_parts, num_rows)
            torch.cuda.empty_cache()
            _logger.warning(
                "The GPU has no memory for %d rows at once; from now on a batch is "
                "trained in %d parts whose gradients are added, to the same effect.",
                -(-num_rows // (self.num_parts // 2)),
                self.num_parts,
            )

    def _run(
        self, function: Callable, batch: Any, num_rows: int, weights: Any
    ) -> tuple:
        if self.num_parts == 1:
            return function(batch)
        size = -(-num_rows // self.num_parts)
        total, gradients, outputs = 0.0, None, []
        for start in range(0, num_rows, size):
            rows = slice(start, start + size)
            part = tree.map_structure(
                lambda leaf, rows=rows: take_rows(leaf, rows), batch
            )
            share = (min(start + size, num_rows) - start) / num_rows
            if weights is not None:
                share = weights[rows].sum() / weights.sum()
            loss, y_pred, own = function(part)
            total = total + share * loss
            gradients = _add(gradients, own, share)
            outputs.append(tree.map_structure(torch.Tensor.detach, y_pred))
        y_pred = tree.map_structure(lambda *one: torch.cat(one), *outputs)
        return total, y_pred, gradients


def _add(total: list | None, gradients: Any, share: float) -> list:
    """Add a part's gradients, by its share of the rows, to those before it."""
    scaled = [None if one is None else one * share for one in gradients]
    if total is None:
        return scaled
    return [
        new if old is None else old if new is None else old + new
        for old, new in zip(total, scaled, strict=True)
    ]
