"""A frozen encoder runs once: its features are kept and the head trains on them."""

import logging
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kbert.engine.backbone import Backbone
from kbert.engine.graph import find_override, is_known

_OVERRIDES = (
    "__call__",
    "call",
    "compute_loss",
    "compute_metrics",
    "train_step",
    "test_step",
)
_logger = logging.getLogger("kbert")
# Features over this many bytes go to a temporary file and are mapped into memory.
MEMORY_BUDGET_BYTES = 2**30


@dataclass(frozen=True)
class SplitModel:
    """A model cut where its frozen encoder ends.

    Args:
        encoder: inputs of the model to features (batch, width); no weight trains.
        head: features to outputs of the model; shares its layers.
    """

    encoder: keras.Model
    head: keras.Model


def split_at_features(
    model: keras.Model, build: Callable[..., keras.Model]
) -> SplitModel | None:
    """Cut a model at the one vector a text that its frozen encoder gives.

    Args:
        model: functional, with backbones in it.
        build: makes each part from inputs and outputs.

    Returns:
        The two parts; `None` when the encoder trains or drops values, the head reads
        more of it than one vector, something else with weights or random numbers comes
        before that vector, or the model's class has a call or a step of its own, which
        wants the model's inputs.
    """
    backbones = [layer for layer in model.layers if isinstance(layer, Backbone)]
    if len(backbones) != 1 or not backbones[0].runs_frozen:
        return None
    if find_override(model, _OVERRIDES) is not None:
        return None
    candidates = _find_vectors(model, backbones[0])
    if len(candidates) != 1:
        return None
    try:
        head = build(candidates[0], model.output)
    except ValueError:  # the head reads another input too
        return None
    encoder = build(model.input, candidates[0])
    others = [layer for layer in encoder.layers if layer is not backbones[0]]
    return None if any(map(_varies, others)) else SplitModel(encoder, head)


def _varies(layer) -> bool:
    """Whether what a layer gives may change from one epoch to the next."""
    if layer.weights or isinstance(layer, keras.layers.Lambda):
        return True
    parts = [layer, *layer._flatten_layers(include_self=False)]
    return not is_known(type(layer)) or any(one._seed_generators for one in parts)


def _find_vectors(model: keras.Model, backbone: Backbone) -> list:
    """Return the per-text vectors that weightless operations make of the encoder."""
    nodes = [node for level in model._nodes_by_depth.values() for node in level]
    outputs = [t for n in nodes if n.operation is backbone for t in n.outputs]
    vectors = []
    for tensor in outputs:
        consumers = [n for n in nodes if any(t is tensor for t in n.input_tensors)]
        if consumers and len(tensor.shape) == 2:
            vectors.append(tensor)
            continue
        vectors += [
            node.outputs[0]
            for node in consumers
            if len(node.outputs[0].shape) == 2
            and not getattr(node.operation, "weights", [])
        ]
    return vectors


def encode_arrays(
    x: Any, parts: SplitModel | None, num_epochs: int = 1
) -> tuple[Any, SplitModel | None]:
    """Replace token arrays by the features that a frozen encoder makes of them.

    Args:
        x: what `keras.Model.fit` takes.
        parts: of the model.
        num_epochs: that `x` is trained on.

    Returns:
        The features and the parts; `x` and `None` where features do not stand for it.
    """
    if parts is None:
        return x, None
    if isinstance(x, dict):
        return parts.encoder.predict(x, verbose=0), parts
    if num_epochs > 1:
        _logger.warning(
            "The encoder is frozen and runs in every epoch all the same, since a "
            "loader's batches may change. Pass texts or token arrays: it runs once."
        )
    return x, None


def collect_features(
    batches: Iterable[tuple[np.ndarray, np.ndarray]], num_rows: int, width: int
) -> np.ndarray:
    """Put features batch by batch in the order of their rows.

    Args:
        batches: rows (n,) and their features (n, width).
        num_rows: rows in all.
        width: values a row.

    Returns:
        float32 (num_rows, width), in memory or, over `MEMORY_BUDGET_BYTES`, in an
        unlinked temporary file.
    """
    shape = (num_rows, width)
    if 4 * num_rows * width <= MEMORY_BUDGET_BYTES:
        features = np.empty(shape, "float32")
    else:
        with tempfile.TemporaryFile(prefix="kbert-features-") as file:
            features = np.memmap(file, "float32", "w+", shape=shape)
    for rows, values in batches:
        features[rows] = values
    return features
