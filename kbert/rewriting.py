"""Heads that transformers' classes lack, rewritten into what they have, and back.

`BertForSequenceClassification` and its kin read the first token through a dense layer
with a tanh (DistilBERT: a ReLU) and a second dense layer. Two rewritings let them
compute a linear head on the first token, and one on the mean over tokens, to the
rounding of float32. All factors are powers of two, so the way back is exact.

- Through tanh: of 2**-14 times the vector it is that, to a relative 1e-7. Through
  ReLU: the logits and their negatives are both kept, and their difference taken.
- The mean: one transformer layer more, whose queries are zero, so that each token
  attends to all tokens alike. It adds the logits of the mean to the first token's
  vector, which the layer before has scaled down to nothing. Layer norms divide by the
  spread of what they get: so logits stand there small, in pairs of opposite sign,
  beside constants that alone make up the spread.
"""

from dataclasses import replace

import numpy as np

from kbert.engine.config import EncoderConfig
from kbert.presets import variable_shapes

Weights = dict[str, np.ndarray]
Layer = tuple[np.ndarray, np.ndarray]  # kernel (inputs, outputs), bias (outputs,)

_TANH_SCALE = np.float32(2.0**-14)
_STATE_SCALE = np.float32(2.0**-40)  # of vectors below the layer that averages
_LARGEST_LOGIT = 2.0**-8  # beside the constants, which are 1
_LAST_NORM = "feedforward_layer_norm"


def pass_tanh(layer: Layer) -> tuple[Layer, Layer]:
    """Rewrite a linear head as a dense layer with a tanh and one without.

    Args:
        layer: kernel (hidden_dim, num_labels) and bias.

    Returns:
        Both layers, the first (hidden_dim, hidden_dim).
    """
    kernel, bias = layer
    hidden_dim = len(kernel)
    first = np.eye(hidden_dim, dtype=np.float32) * _TANH_SCALE
    return (first, np.zeros(hidden_dim, np.float32)), (kernel / _TANH_SCALE, bias)


def undo_tanh(first: Layer, second: Layer) -> Layer | None:
    """Return the linear head that `pass_tanh` rewrote, or `None` if it did not."""
    kernel = second[0] * _TANH_SCALE
    expected = pass_tanh((kernel, second[1]))[0]
    return (kernel, second[1]) if _is_same(first, expected) else None


def pass_relu(layer: Layer) -> tuple[Layer, Layer]:
    """Rewrite a linear head as a dense layer with a ReLU and one without.

    Args:
        layer: kernel (hidden_dim, num_labels) and bias.

    Returns:
        Both layers, the first (hidden_dim, hidden_dim).

    Raises:
        ValueError: there are more than hidden_dim / 2 labels.
    """
    kernel, bias = layer
    hidden_dim, num_labels = kernel.shape
    _check_room(num_labels, hidden_dim // 2)
    first = np.zeros((hidden_dim, hidden_dim), np.float32)
    second = np.zeros_like(kernel)
    for sign, start in ((1, 0), (-1, num_labels)):
        stop = start + num_labels
        first[:, start:stop] = sign * kernel
        second[start:stop] = sign * np.eye(num_labels, dtype=np.float32)
    return (first, np.zeros(hidden_dim, np.float32)), (second, bias)


def undo_relu(first: Layer, second: Layer) -> Layer | None:
    """Return the linear head that `pass_relu` rewrote, or `None` if it did not."""
    num_labels = len(second[1])
    layer = first[0][:, :num_labels].copy(), second[1]
    if 2 * num_labels > len(first[1]):
        return None
    expected = pass_relu(layer)
    is_same = _is_same(first, expected[0]) and _is_same(second, expected[1])
    return layer if is_same else None


def add_mean_layer(
    config: EncoderConfig, weights: Weights, layer: Layer
) -> tuple[EncoderConfig, Weights, Layer]:
    """Move a linear head's mean over tokens into one transformer layer more.

    Args:
        config: of the encoder.
        weights: of the encoder, by KerasHub's variable paths.
        layer: kernel (hidden_dim, num_labels) and bias of the head on the mean.

    Returns:
        The encoder with the layer on top, and the head on its first token.

    Raises:
        ValueError: there are more than hidden_dim / 4 labels.
    """
    kernel, bias = layer
    hidden_dim, num_labels = kernel.shape
    _check_room(num_labels, hidden_dim // 4)
    top = f"transformer_layer_{config.num_layers}"
    taller = replace(config, num_layers=config.num_layers + 1)
    shapes = variable_shapes(taller)
    added = {
        path: np.zeros(shape, np.float32)
        for path, shape in shapes.items()
        if path.startswith(f"{top}/")
    }
    for norm in ("self_attention_layer_norm", _LAST_NORM):
        added[f"{top}/{norm}/gamma"] += 1
    attention = f"{top}/self_attention_layer"
    value, output = f"{attention}/value/kernel", f"{attention}/attention_output"
    added[value] = np.eye(hidden_dim, dtype=np.float32).reshape(shapes[value])
    scale = _find_scale(config, weights, kernel)
    pairs = np.zeros((hidden_dim, hidden_dim), np.float32)
    pairs[:, : 2 * num_labels] = _alternate(kernel * (scale / _STATE_SCALE))
    added[f"{output}/kernel"] = pairs.reshape(shapes[f"{output}/kernel"])
    constants = np.resize(np.array([1, -1], np.float32), hidden_dim)
    constants[: 2 * num_labels] = 0
    added[f"{output}/bias"] = constants
    weights = _scale_states(config, weights, _STATE_SCALE) | added
    return taller, weights, (_build_reader(config, num_labels, scale), bias)


def remove_mean_layer(
    config: EncoderConfig, weights: Weights, layer: Layer
) -> tuple[EncoderConfig, Weights, Layer] | None:
    """Undo `add_mean_layer`.

    Args:
        config: of the encoder with the layer on top.
        weights: of it.
        layer: the head on its first token.

    Returns:
        What `add_mean_layer` was given, bit for bit; `None`: it did not make this, or
        the model was trained on.
    """
    num_labels = len(layer[1])
    top = f"transformer_layer_{config.num_layers - 1}"
    output = f"{top}/self_attention_layer/attention_output"
    if config.num_layers < 2 or 4 * num_labels > config.hidden_dim:
        return None
    lower = replace(config, num_layers=config.num_layers - 1)
    scale = _read_scale(config, layer[0])
    if scale is None:
        return None
    kernel = weights[f"{output}/kernel"].reshape(config.hidden_dim, config.hidden_dim)
    head = kernel[:, : 2 * num_labels : 2] * (_STATE_SCALE / scale), layer[1]
    kept = {path: weights[path] for path in variable_shapes(lower) if path in weights}
    kept = _scale_states(lower, kept, 1 / _STATE_SCALE)
    _, expected, reader = add_mean_layer(lower, kept, head)
    added = [path for path in expected if path.startswith(f"{top}/")]
    is_same = all(np.array_equal(weights[path], expected[path]) for path in added)
    return (lower, kept, head) if is_same and _is_same(layer, reader) else None


def _alternate(values: np.ndarray) -> np.ndarray:
    """Return each value and its negative, side by side on the last axis."""
    return np.stack([values, -values], -1).reshape(*values.shape[:-1], -1)


def _scale_states(
    config: EncoderConfig, weights: Weights, scale: float | np.floating
) -> Weights:
    """Return weights whose top layer gives `scale` times what it gave."""
    norm = f"transformer_layer_{config.num_layers - 1}/{_LAST_NORM}"
    names = f"{norm}/gamma", f"{norm}/beta"
    return weights | {name: weights[name] * np.float32(scale) for name in names}


def _find_scale(
    config: EncoderConfig, weights: Weights, kernel: np.ndarray
) -> np.float32:
    """Return the power of two that makes the logits of any text small enough.

    A layer norm's output, before its scale and offset, is as long as the root of its
    width, and a mean of such vectors is no longer.
    """
    norm = f"transformer_layer_{config.num_layers - 1}/{_LAST_NORM}"
    gamma, beta = (weights[f"{norm}/{kind}"] for kind in ("gamma", "beta"))
    lengths = np.linalg.norm(gamma[:, None] * kernel, axis=0)
    largest = np.abs(beta @ kernel) + lengths * np.sqrt(config.hidden_dim)
    ratio = _LARGEST_LOGIT / max(float(largest.max()), 1e-6)
    return np.float32(2.0 ** np.floor(np.log2(ratio)))


def _compute_divisor(config: EncoderConfig, num_labels: int) -> float:
    """Return what both layer norms divide by, which the constants alone decide."""
    epsilon = config.layer_norm_epsilon
    spread = (config.hidden_dim - 2 * num_labels) / config.hidden_dim
    again = spread / (spread + epsilon)  # after the first norm
    return float(np.sqrt((spread + epsilon) * (again + epsilon)))


def _build_reader(
    config: EncoderConfig, num_labels: int, scale: np.float32
) -> np.ndarray:
    """Return the kernel that reads logits out of the layer that averages."""
    kernel = np.zeros((config.hidden_dim, num_labels), np.float32)
    both = _alternate(np.eye(num_labels, dtype=np.float32)).T / 2
    divisor = np.float32(_compute_divisor(config, num_labels))
    kernel[: 2 * num_labels] = both * (divisor / scale)
    return kernel


def _read_scale(config: EncoderConfig, reader: np.ndarray) -> np.float32 | None:
    """Return the scale that `_build_reader` was given, `None` if it made another."""
    if not reader[0, 0] > 0:
        return None
    divisor = _compute_divisor(config, reader.shape[1])
    return np.float32(2.0 ** np.round(np.log2(divisor / (2 * float(reader[0, 0])))))


def _check_room(num_labels: int, most: int) -> None:
    if num_labels > most:
        raise ValueError(
            f"this head has {num_labels} labels, and an encoder of this width takes at "
            f"most {most} into transformers' classes. Train with pooling='pooler' (a "
            "BERT encoder), or export to onnx or keras."
        )


def _is_same(one: Layer, other: Layer) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
