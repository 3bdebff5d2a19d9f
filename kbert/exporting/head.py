"""What stands on a model's encoder, read off its graph."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kbert.engine.backbone import Backbone
from kbert.engine.config import EncoderConfig
from kbert.engine.reads import takes_first
from kbert.models import MeanPooling, Model
from kbert.presets import variable_shapes
from kbert.token_heads import SpanScores

_ACTIVATIONS = ("linear", "relu", "sigmoid", "softmax", "tanh")


@dataclass(frozen=True)
class Dense:
    """One dense layer.

    Args:
        kernel: float32 (inputs, outputs).
        bias: float32 (outputs,).
        activation: `linear`, `relu`, `sigmoid`, `softmax` or `tanh`.
    """

    kernel: np.ndarray
    bias: np.ndarray
    activation: str


@dataclass(frozen=True)
class Head:
    """What stands on an encoder.

    Args:
        pooling: `pooler`, `cls`, `mean`, or `tokens` for a row of outputs a token.
        hidden: dense layers below the last.
        last: the dense layer that gives the logits.
        dropout: share of values dropped before the last layer.
        task: name of the `kbert.tasks` task.
    """

    pooling: str
    hidden: tuple[Dense, ...]
    last: Dense
    dropout: float
    task: str


@dataclass(frozen=True)
class Parts:
    """A model as plain values: what every format is written from.

    Args:
        config: shape and mathematics of the encoder.
        weights: float32 arrays by KerasHub's variable paths.
        head: what stands on it.
    """

    config: EncoderConfig
    weights: dict[str, np.ndarray]
    head: Head


def read_weights(backbone: Backbone) -> dict[str, np.ndarray]:
    """Read an encoder's weights.

    Args:
        backbone: the encoder.

    Returns:
        float32 copies by KerasHub's variable paths, in their order.
    """
    found = {variable.path: variable for variable in backbone.weights}
    return {
        path: np.array(found[path], np.float32)
        for path in variable_shapes(backbone.config)
    }


def read_parts(model: Model) -> Parts:
    """Read a model's encoder and head off its graph.

    Args:
        model: one encoder, pooled or not, with dropout and dense layers on it.

    Returns:
        Copies of its values; `sigmoid` of a single output has become `softmax` of two.

    Raises:
        ValueError: the graph holds something else; the sentence names it.
    """
    backbone = model.backbone
    return Parts(backbone.config, read_weights(backbone), _read_head(model))


def _read_head(model: Model) -> Head:
    pooling, dense, dropout = _follow(model.outputs[0])
    if not dense or len(model.outputs) > 1:
        raise ValueError(
            "a model is exported with one output and a dense layer before it; this one "
            f"has {len(model.outputs)} outputs and {len(dense)} dense layers. Build it "
            "with kbert.build_classifier, or save it as a .keras file."
        )
    *hidden, last = [_read_dense(layer) for layer in dense]
    task = model.task or _guess_task(pooling, last)
    if last.activation == "sigmoid" and last.bias.shape == (1,) and task == "classify":
        last = _make_two_classes(last)
    return Head(pooling, tuple(hidden), last, dropout, task)


def _follow(output: Any) -> tuple[str, list, float]:
    """Walk from an output to the encoder: its pooling, dense layers and dropout."""
    dense: list = []
    dropout = 0.0
    pooling = "tokens"
    while True:
        operation = output._keras_history.operation
        if isinstance(operation, Backbone):
            is_pooled = len(output.shape) == 2
            return ("pooler" if is_pooled else pooling), dense, dropout
        node = operation._inbound_nodes[output._keras_history.node_index]
        if isinstance(operation, keras.layers.Dense):
            dense.insert(0, operation)
        elif isinstance(operation, keras.layers.Dropout):
            dropout = dropout or float(operation.rate)
        elif isinstance(operation, MeanPooling):
            pooling = "mean"
        elif takes_first(node):
            pooling = "cls"
        elif not isinstance(operation, SpanScores) and not _is_softmax(node):
            raise ValueError(
                f"layer {operation.name!r} ({type(operation).__name__}) has no "
                "counterpart in this format. Build the model with "
                "kbert.build_classifier, or save it as a .keras file."
            )
        output = node.input_tensors[0]


def _is_softmax(node: Any) -> bool:
    """Whether a node makes probabilities of an answer's scores."""
    source = node.input_tensors[0]._keras_history.operation
    is_softmax = isinstance(node.operation, keras.layers.Softmax)
    return is_softmax and isinstance(source, SpanScores)


def _read_dense(layer: keras.layers.Dense) -> Dense:
    name = getattr(layer.activation, "__name__", "linear")
    name = {"log_softmax": "softmax"}.get(name, name)
    if name not in _ACTIVATIONS:
        raise ValueError(
            f"layer {layer.name!r} has the activation {name!r}, which has no "
            f"counterpart in this format; choose {', '.join(_ACTIVATIONS)}."
        )
    kernel = np.array(layer.kernel, np.float32)
    units = kernel.shape[-1]
    bias = np.zeros(units, np.float32) if layer.bias is None else layer.bias
    return Dense(kernel, np.array(bias, np.float32), name)


def _guess_task(pooling: str, last: Dense) -> str:
    if pooling == "tokens":
        is_span = last.activation == "linear" and len(last.bias) == 2
        return "answer" if is_span else "tag"
    if last.activation == "sigmoid" and len(last.bias) > 1:
        return "multilabel"
    is_score = last.activation == "linear" and len(last.bias) == 1
    return "regress" if is_score else "classify"


def _make_two_classes(last: Dense) -> Dense:
    """Return the softmax of two classes that equals a sigmoid of one output."""
    kernel = np.concatenate([np.zeros_like(last.kernel), last.kernel], 1)
    bias = np.concatenate([np.zeros_like(last.bias), last.bias])
    return Dense(kernel, bias, "softmax")
