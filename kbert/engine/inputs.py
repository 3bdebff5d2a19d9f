"""Wrong input is one sentence, said before any weight changes."""

from collections.abc import Iterable
from typing import Any

import keras
import torch

from kbert.engine.config import EncoderConfig


def explain(error: Exception) -> Exception:
    """Keep Keras from appending a dump of all arrays to a sentence."""
    error._keras_call_info_injected = True  # type: ignore[attr-defined]
    return error


def check_dtypes(inputs: Any, expected: Iterable[keras.KerasTensor]) -> None:
    """Refuse fractions where a graph takes integers; Keras would cut them off.

    Args:
        inputs: what the graph is called with: a dict by name, or values in order.
        expected: the graph's inputs. A padding mask may be bool or float.

    Raises:
        ValueError: an input of ids has a floating-point dtype.
    """
    expected = list(expected)
    if isinstance(inputs, dict):
        pairs = [(one.name, inputs.get(one.name)) for one in expected]
    else:
        values = keras.tree.flatten(inputs)
        pairs = list(zip((one.name for one in expected), values, strict=False))
    integers = {one.name for one in expected if "int" in str(one.dtype)}
    for name, value in pairs:
        dtype = str(getattr(value, "dtype", "")).removeprefix("torch.")
        if "float" in dtype and name in integers and "mask" not in name:
            raise explain(
                ValueError(
                    f"{name} must be integers; received float values. "
                    "Pass what a kbert.Preprocessor returns."
                )
            )


def check_batch(
    token_ids: torch.Tensor,
    segment_ids: torch.Tensor | None,
    padding_mask: torch.Tensor,
    config: EncoderConfig,
) -> None:
    """Check on a CPU what would be an obscure error, or none, further down.

    Args:
        token_ids: int (num_rows, length).
        segment_ids: int (num_rows, length), or `None`.
        padding_mask: (num_rows, length).
        config: of the encoder.

    Raises:
        ValueError: the shapes differ, the batch is longer than the position table, or
            an id lies outside its table.
    """
    for name, other in (("segment_ids", segment_ids), ("padding_mask", padding_mask)):
        if other is not None and other.shape != token_ids.shape:
            raise ValueError(
                f"{name} must have the shape of token_ids, {tuple(token_ids.shape)}; "
                f"received {tuple(other.shape)}."
            )
    if token_ids.shape[1] > config.max_sequence_length:
        raise ValueError(
            f"token_ids must have at most {config.max_sequence_length} columns, the "
            f"rows of the position table; received {token_ids.shape[1]}. "
            "Lower max_length."
        )
    # Asking a GPU would make it wait; there, torch's own assertion stops the step.
    if token_ids.device.type == "cpu" and token_ids.numel():
        _check_range("token_ids", token_ids, config.vocabulary_size)
        if segment_ids is not None:
            _check_range("segment_ids", segment_ids, config.num_segments)


def _check_range(name: str, ids: torch.Tensor, size: int) -> None:
    lowest, highest = map(int, ids.aminmax())
    if lowest >= 0 and highest < size:
        return
    row, column = ((ids < 0) | (ids >= size)).nonzero()[0].tolist()
    raise ValueError(
        f"{name} must lie in [0, {size}); row {row} of the batch has "
        f"{int(ids[row, column])}. Tokenize with the preset's own vocabulary."
    )
