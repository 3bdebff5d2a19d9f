"""Whether a model's training step can be recorded.

Only what is known to queue the same kernels every time, with nothing decided on the
host in between, can be.
"""

from collections.abc import Iterator
from typing import Any

import keras
from keras import tree

from kbert.engine.backbone import Backbone
from kbert.engine.graph import find_override, is_known
from kbert.engine.losses import LogitsLoss

_OVERRIDES = ("__call__", "call", "compute_loss")


def find_obstacle(model: Any) -> str | None:
    """Find out what speaks against recording the training step of a model.

    Args:
        model: an `EngineModel` on a CUDA GPU, compiled.

    Returns:
        A sentence's end, or `None`.
    """
    findings = (
        _look_at_optimizer(model),
        _look_at_overrides(model),
        _look_at_losses(model.loss),
        _look_at_encoder(model),
        *map(_look_at_layer, _list_head(model)),
    )
    return next((one for one in findings if one is not None), None)


def find_dropouts(model: keras.Model) -> list:
    """Return the dropout layers outside of the encoders."""
    return [one for one in _list_head(model) if type(one) is keras.layers.Dropout]


def _look_at_optimizer(model) -> str | None:
    if model._update is None or not model._update.is_adam:
        return f"{type(model.optimizer).__name__} is not Adam or AdamW as they stand"
    if not model._update.can_record:
        return "gradients are accumulated over several batches"
    return None


def _look_at_overrides(model) -> str | None:
    name = find_override(model, _OVERRIDES)
    return None if name is None else f"{type(model).__name__} has a {name} of its own"


def _look_at_losses(losses) -> str | None:
    for loss in tree.flatten(losses):
        loss = loss.loss if isinstance(loss, LogitsLoss) else loss
        function = getattr(loss, "fn", loss)
        if loss is None or isinstance(loss, str):
            continue
        kind = type(loss) if isinstance(loss, keras.losses.Loss) else loss
        if not (is_known(kind) and is_known(function)):
            name = getattr(loss, "name", None) or getattr(loss, "__name__", loss)
            return f"{name} is not a loss of Keras"
    return None


def _look_at_encoder(model) -> str | None:
    backbones = model.backbones
    nodes = [node for level in model._nodes_by_depth.values() for node in level]
    if sum(isinstance(node.operation, Backbone) for node in nodes) != 1:
        return "there is not exactly one encoder, called once"
    backbone = backbones[0]
    dtype = backbone.compute_precision
    if not (backbone.runs_packed and backbone.attends_fused(model._device, dtype)):
        name = str(dtype).removeprefix("torch.")
        return f"attention in {name} is not one kernel here"
    names = {tensor.name for tensor in model.inputs}
    if not isinstance(model.input, dict) or names != set(backbone.config.input_names):
        return "the model has other inputs than its encoder"
    return _look_at_readers(model, nodes, backbone)


def _look_at_readers(model, nodes, backbone) -> str | None:
    """Look for layers to which the number of a batch's columns makes a difference."""
    is_sequence_read = "sequence_output" in model._reads[id(backbone)]
    columns = list(model.inputs)
    if is_sequence_read:
        outputs = [out for n in nodes if n.operation is backbone for out in n.outputs]
        columns += [tensor for tensor in outputs if len(tensor.shape) == 3]
    if any(tensor is output for tensor in columns for output in model.outputs):
        return "an output has one value a token"
    for node in nodes:
        layer = node.operation
        if isinstance(layer, Backbone) or getattr(layer, "ignores_padding", False):
            continue
        if any(one is tensor for one in node.input_tensors for tensor in columns):
            return f"the layer {layer.name!r} reads padding"
    return None


def _look_at_layer(layer) -> str | None:
    name = getattr(layer, "name", type(layer).__name__)
    if isinstance(layer, keras.layers.Lambda) or not is_known(type(layer)):
        return f"the layer {name!r} may do something else every time"
    for generator in getattr(layer, "_seed_generators", ()):
        # Only an unseeded dropout draws what is reseeded with every step.
        is_seeded = generator._initial_seed is not None
        if is_seeded or type(layer) is not keras.layers.Dropout:
            return f"the layer {name!r} draws from a seed of its own"
    return None


def _list_head(model) -> Iterator:
    """Return all operations outside of the encoders, those within others included."""
    for operation in model.operations:
        if isinstance(operation, Backbone):
            continue
        yield operation
        if isinstance(operation, keras.layers.Layer):
            yield from operation._flatten_layers(include_self=False)
