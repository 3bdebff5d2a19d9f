"""How the operations of a functional graph are called, and what they show."""

from collections.abc import Callable, Iterable

import keras

from kbert.engine.windows import WindowPooling


def in_mode(operation, training: bool | None) -> Callable:
    """Return a call of an operation that says whether the model trains.

    The graph keeps the arguments that its layers were connected with, `training=False`
    among them, and hands them over again; what is said here outweighs them.
    """
    knows = "training" in getattr(operation, "_call_context_args", {})
    if training is None or not knows:
        return operation

    def call(*args, **kwargs):
        return operation(*args, **{**kwargs, "training": training})

    return call


def shows_logits(tensor) -> bool:
    """Whether a tensor of a graph serves as logits as it is.

    Args:
        tensor: Keras tensor.

    Returns:
        Whether the operation it comes from has no activation or a log-softmax; what
        hands on what it is given, such as a linear activation or the pooling of
        windows, shows logits where it is given some.
    """
    history = tensor._keras_history
    operation = history.operation
    linear = keras.activations.linear
    activation = getattr(operation, "activation", None)
    hands_on = isinstance(operation, keras.layers.Activation) and activation is linear
    if hands_on or isinstance(operation, WindowPooling):
        node = operation._inbound_nodes[history.node_index]
        return shows_logits(node.input_tensors[0])
    return activation in (linear, keras.activations.log_softmax)


def find_override(model, names: Iterable[str]) -> str | None:
    """Find a method that a model's class has of its own.

    Args:
        model: of Keras's, this package's or a user's class.
        names: of methods.

    Returns:
        The first name; `None` if all are Keras's or this package's.
    """
    kind = type(model)
    return next((one for one in names if not is_known(getattr(kind, one))), None)


def is_known(what) -> bool:
    """Whether a class or function is Keras's or this package's."""
    module = getattr(what, "__module__", None) or ""
    return module.split(".")[0] in ("keras", "kbert")
