"""What a functional graph reads of its encoders, so that no more is computed."""

import keras

from kbert.engine.backbone import OUTPUTS, Backbone


def find_reads(model: keras.Model) -> dict[int, tuple]:
    """Find out what a graph reads of each encoder in it.

    Args:
        model: functional, with backbones in it.

    Returns:
        For the id of each backbone the outputs to compute; for the id of each
        operation that takes a first token off such a backbone, that backbone.
    """
    nodes = [node for level in model._nodes_by_depth.values() for node in level]
    backbones = [layer for layer in model.layers if isinstance(layer, Backbone)]
    reads: dict[int, tuple] = {}
    for backbone in backbones:
        keys = sorted(OUTPUTS) if backbone.config.has_pooler else OUTPUTS[:1]
        used: set[str] = set()
        takers, others = [], 0
        own = [node for node in nodes if node.operation is backbone]
        for key, tensor in (
            (k, t) for n in own for k, t in zip(keys, n.outputs, strict=True)
        ):
            consumers = [
                node for node in nodes if any(t is tensor for t in node.input_tensors)
            ]
            shown = any(tensor is output for output in model.outputs)
            if key == "pooled_output":
                used.update({key} if consumers or shown else ())
                continue
            first = [node.operation for node in consumers if takes_first(node)]
            takers += first
            others += len(consumers) - len(first) + shown
        if others:
            used.add("sequence_output")
        elif takers:
            used.add("first_output")
            reads |= {id(operation): (backbone,) for operation in takers}
        reads[id(backbone)] = tuple(sorted(used))
    return reads


def takes_first(node) -> bool:
    """Whether a node is `sequence_output[:, 0]` or `sequence_output[:, 0, :]`."""
    arguments = node.arguments.args
    if type(node.operation).__name__ != "GetItem" or len(arguments) != 2:
        return False
    key, everything = arguments[1], slice(None)
    key = tuple(key) if isinstance(key, list) else key  # as it comes back from a file
    return key in ((everything, 0), (everything, 0, everything))
