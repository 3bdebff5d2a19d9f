"""Wrong input is one sentence, said before any weight changes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import torch
from keras import tree

from kbert.engine.config import EncoderConfig
from kbert.engine.transfer import get_host_copy, has_host_copy


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
    inputs: Mapping[str, torch.Tensor], config: EncoderConfig, outputs: Sequence[str]
) -> None:
    """Check on the host what would be an obscure error, or none, further down.

    Args:
        inputs: int (num_rows, length) tensors under the names of the inputs.
        config: of the encoder.
        outputs: what is read of it; see `Backbone.encode`.

    Raises:
        ValueError: the shapes differ, the batch is longer than the position table, an
            id lies outside its table, or a first token is read and is padding.
    """
    shape = inputs["token_ids"].shape
    for name, value in inputs.items():
        if value.shape != shape:
            raise ValueError(
                f"{name} must have the shape of token_ids, {tuple(shape)}; "
                f"received {tuple(value.shape)}."
            )
    if shape[1] > config.max_sequence_length:
        raise ValueError(
            f"token_ids must have at most {config.max_sequence_length} columns, the "
            f"rows of the position table; received {shape[1]}. Lower max_length."
        )
    sizes = {"token_ids": config.vocabulary_size, "segment_ids": config.num_segments}
    for name, value in inputs.items():
        # Without a copy on the host, torch's own assertion stops a GPU's step.
        if name in sizes and has_host_copy(value) and value.numel():
            _check_range(name, get_host_copy(value), sizes[name])
    if "sequence_output" not in outputs:
        _check_begins(get_host_copy(inputs["padding_mask"]))


def _check_begins(padding_mask: torch.Tensor) -> None:
    late = (padding_mask[:, :1] == 0).any(1) & (padding_mask != 0).any(1)
    for row in late.nonzero()[:1, 0].tolist():
        raise ValueError(
            "padding_mask must begin with a token where the first token is read; row "
            f"{row} of the batch begins with padding. Pad behind the text."
        )


def _check_range(name: str, ids: torch.Tensor, size: int) -> None:
    lowest, highest = map(int, ids.aminmax())
    if lowest >= 0 and highest < size:
        return
    row, column = ((ids < 0) | (ids >= size)).nonzero()[0].tolist()
    raise ValueError(
        f"{name} must lie in [0, {size}); row {row} of the batch has "
        f"{int(ids[row, column])}. Tokenize with the preset's own vocabulary."
    )


def describe_unsound(loss, step: int, where: str) -> str:
    """Return the sentence about a loss that is no number."""
    return (
        f"the loss is {loss} at step {step}, from {where}; the weights are as they "
        "were after the step before. Lower the learning rate, clip the gradients "
        "(global_clipnorm=1.0) or use precision='float32'."
    )


def find_unsound(y, y_pred, sample_weight) -> str:
    """Say which rows of a batch hold what is no number, and where."""
    places = (
        (y_pred, "rows {} of its batch"),
        (y, "the labels in rows {} of its batch"),
        (sample_weight, "the sample weights in rows {} of its batch"),
    )
    for values, where in places:
        rows: set[int] = set()
        for value in tree.flatten(values):
            if value is not None:
                value = keras.ops.convert_to_tensor(value).detach()
                sound = torch.isfinite(value).reshape(len(value), -1).all(1)
                rows.update((~sound).nonzero()[:, 0].tolist())
        if rows:
            return where.format(sorted(rows)[:8])
    return "the values of its batch together"


def find_wrong_label(y, y_pred) -> Exception | None:
    """Return the sentence about the first label that is no class of its output."""
    labels, outputs = tree.flatten(y), tree.flatten(y_pred)
    for one, output in zip(labels, outputs, strict=False):
        one = keras.ops.convert_to_tensor(one).reshape(-1)
        num_classes = output.shape[-1]
        for row in ((one < 0) | (one >= num_classes)).nonzero()[:1, 0].tolist():
            return ValueError(
                f"labels must be whole numbers in [0, {num_classes}); row {row} of the "
                f"batch has {one[row].item():g}. Fix the row or build the model with "
                "more classes."
            )
    return None
