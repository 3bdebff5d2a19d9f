"""Texts in windows: the encoder sees one row a window, the loss one row a text.

A batch of texts in windows has the shape (batch, windows, length); a text with fewer
windows than another ends in windows without a token. Its first axis counts texts, as
everywhere, so labels, weights and parts of a batch need not know of windows.
"""

from typing import Literal

import keras
import torch

from kbert.engine.inputs import explain
from kbert.engine.transfer import get_host_copy, send

Pooling = Literal["mean", "max"]


def add_windows(inputs: dict) -> dict[str, keras.KerasTensor]:
    """Return inputs (batch, windows, length) beside an encoder's (batch, length)."""
    return {
        name: keras.Input((None, *tensor.shape[1:]), dtype=tensor.dtype, name=name)
        for name, tensor in inputs.items()
    }


@keras.saving.register_keras_serializable(package="kbert")
class SplitWindows(keras.layers.Layer):
    """Makes one row of each window; windows without a token are left out."""

    def call(self, inputs):
        """Take (batch, windows, length) of each input to (num_windows, length)."""
        found = _find_windows(inputs["padding_mask"])
        return {name: _take(value, found) for name, value in inputs.items()}

    def compute_output_spec(self, inputs):
        """Return (num_windows, length) of each input."""
        return {
            name: keras.KerasTensor((None, value.shape[-1]), value.dtype)
            for name, value in inputs.items()
        }


@keras.saving.register_keras_serializable(package="kbert")
class WindowPooling(keras.layers.Layer):
    """Makes one row a text of its windows' values.

    Args:
        mode: `mean` or `max` of each value over the windows of a text.
        **kwargs: `keras.layers.Layer`'s arguments.

    Raises:
        ValueError: there is no such mode.
    """

    def __init__(self, mode: Pooling = "mean", **kwargs):
        super().__init__(**kwargs)
        if mode not in ("mean", "max"):
            raise ValueError(
                f"windows are pooled by their 'mean' or 'max'; received {mode!r}."
            )
        self.mode = mode

    def call(self, logits, padding_mask):
        """Pool (num_windows, width) to (batch, width).

        Args:
            logits: a row a window, as `SplitWindows` made them.
            padding_mask: int (batch, windows, length), nonzero for real tokens.
        """
        num_texts, most, _ = padding_mask.shape
        found = send(_find_windows(padding_mask), logits.device)
        empty = 0.0 if self.mode == "mean" else float("-inf")
        rows = logits.new_full((num_texts * most, logits.shape[-1]), empty)
        rows = rows.index_copy(0, found, logits).view(num_texts, most, -1)
        if self.mode == "max":
            return rows.amax(1)
        counts = (padding_mask != 0).any(-1).sum(1, keepdim=True)
        return rows.sum(1) / counts

    def compute_output_shape(self, logits_shape, padding_mask_shape):
        """Return (batch, width)."""
        return (padding_mask_shape[0], logits_shape[-1])

    def get_config(self):
        """Return the constructor's arguments."""
        return {**super().get_config(), "mode": self.mode}


def _find_windows(padding_mask: torch.Tensor) -> torch.Tensor:
    """Return the windows that hold a token, numbered through, without a GPU's help.

    Raises:
        ValueError: a text has none.
    """
    if padding_mask.device.type == "meta":  # Keras asks for shapes only
        return torch.arange(padding_mask[..., 0].numel(), device="meta")
    used = (get_host_copy(padding_mask) != 0).any(-1)
    for row in (~used.any(1)).nonzero()[:1, 0].tolist():
        raise explain(
            ValueError(
                "padding_mask must mark at least one token a text; that of text "
                f"{row} of the batch is all zeros. Drop the text or keep a token."
            )
        )
    return used.reshape(-1).nonzero()[:, 0]


def _take(values: torch.Tensor, windows: torch.Tensor) -> torch.Tensor:
    """Take windows out of (batch, windows, length), and of what the host kept."""
    part = values.flatten(0, 1)[send(windows, values.device)]
    host = getattr(values, "_kbert_host", None)
    if host is not None:
        part._kbert_host = host.flatten(0, 1)[windows]
    return part
