"""Heads that `build_classifier` does not have by name."""

from collections.abc import Callable


def build_head(
    num_outputs: int, activation: str | None, dropout: float, name: str
) -> Callable:
    """Make a head of dropout and one dense layer.

    Args:
        num_outputs: values a text.
        activation: of the dense layer.
        dropout: share of values dropped before it.
        name: of the dense layer.

    Returns:
        A function from features (batch, hidden_dim) to (batch, num_outputs).
    """
    import keras

    from kbert.engine.layers import build_initializer

    def attach(features):
        features = keras.layers.Dropout(dropout, name="head_dropout")(features)
        return keras.layers.Dense(
            num_outputs,
            activation=activation,
            kernel_initializer=build_initializer(),
            name=name,
        )(features)

    return attach
