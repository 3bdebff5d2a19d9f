"""How the operations of a functional graph are called, and what they show."""

from collections.abc import Callable

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


def shows_logits(operation) -> bool:
    """Whether an output operation's values serve as logits as they are."""
    if isinstance(operation, WindowPooling):
        return True  # of logits
    activation = getattr(operation, "activation", None)
    return activation in (keras.activations.linear, keras.activations.log_softmax)
