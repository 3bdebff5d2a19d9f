"""Rows of tokens in windows that no encoder is too short for, in ragged batches."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kbert.batches import OrderedBatches, fill_batches
from kbert.encoded import Encoded
from kbert.engine.backbone import Backbone
from kbert.models import Model, check_length, load_backbone
from kbert.presets import Preset
from kbert.rows import TextRows
from kbert.text import Preprocessor

_LEAST_LENGTH = 8


def pad_values(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Fill rows of values up to the longest with 0: (num_tokens,) to (rows, length)."""
    mask = np.arange(lengths.max(initial=0)) < lengths[:, None]
    padded = np.zeros(mask.shape, values.dtype)
    padded[mask] = values
    return padded


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows over rows, ready for an encoder.

    Args:
        encoded: a row a window.
    """

    encoded: Encoded

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.encoded)

    def label(self, windows: np.ndarray) -> tuple:
        """Return labels, and perhaps weights, of some windows; `()` without any."""
        return ()


class WindowBatches(OrderedBatches):
    """Batches of windows, padded to the longest of each.

    Args:
        windows: to train on or to predict.
        batch_size: windows a batch.
        seed: of the order, which changes every epoch; `None`: windows of like length
            together, and more than `batch_size` of short ones.
    """

    def __init__(self, windows: Windows, batch_size: int, seed: int | None):
        self.windows = windows
        self._bounds: list[int] | None = None
        super().__init__(TextRows(range(len(windows))), batch_size, seed)
        if seed is None:
            lengths = windows.encoded.lengths
            self.order = np.argsort(-lengths, kind="stable")
            most = batch_size * int(lengths.max(initial=0))
            self._bounds = fill_batches(lengths[self.order], batch_size, most)

    def __len__(self) -> int:
        return super().__len__() if self._bounds is None else len(self._bounds) - 1

    def start_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch, counted from 0."""
        if self._bounds is None:
            super().start_epoch(epoch)

    def predict(self, model: Model) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Predict batch by batch.

        Args:
            model: of a head on every token.

        Yields:
            The windows of a batch, int64 (n,), and what the model gives for them.
        """
        for index in range(len(self)):
            windows = self._find_rows(index)
            yield windows, model.predict_on_batch(self._read(windows))

    def _find_rows(self, index: int) -> np.ndarray:
        if self._bounds is None:
            return super()._find_rows(index)
        return self.order[self._bounds[index] : self._bounds[index + 1]]

    def _read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        return self.windows.encoded[rows].pad()

    def _build(self, index: int) -> tuple:
        windows = self._find_rows(index)
        return self._read(windows), *self.windows.label(windows)


# === Models ===


def encode_tokens(preset: Preset, precision: Any) -> tuple[Backbone, Any]:
    """Return an encoder and its vectors of all tokens, (batch, length, hidden_dim)."""
    backbone = load_backbone(preset, precision=precision)
    tokens = backbone(backbone.input)
    if backbone.config.has_pooler:
        tokens = tokens["sequence_output"]
    return backbone, tokens


def finish_model(
    task: str, preset: Preset, backbone: Backbone, outputs: Any, max_length: int | None
) -> Model:
    """Make a model of a graph, with the preset's text handling.

    Args:
        task: its name.
        preset: of the encoder.
        backbone: the encoder in the graph.
        outputs: of the graph.
        max_length: longest window, in tokens; `None`: the encoder's longest.

    Returns:
        The model, not compiled.

    Raises:
        ValueError: `max_length` is out of range.
    """
    length = check_length(max_length, backbone.config.max_sequence_length)
    if length < _LEAST_LENGTH:
        raise ValueError(
            f"max_length must be at least {_LEAST_LENGTH} tokens, so that windows have "
            f"room for text; received {length}."
        )
    model = Model(backbone.input, outputs, name=task)
    model.task = task
    model.preprocessor = Preprocessor(
        preset.tokenizer,
        max_length=length,
        input_names=backbone.config.input_names,
    )
    return model


def refuse_options(task: str, options: Mapping[str, Any]) -> None:
    """Raise a sentence about options that a task has not."""
    for name in options:
        raise ValueError(f"the task {task} has no option {name!r}; leave it out.")
