"""How many floating-point operations an encoder needs for its real tokens."""

import numpy as np

from kbert.engine.config import EncoderConfig


def count_forward(
    config: EncoderConfig, lengths: np.ndarray, *, only_first: bool = True
) -> int:
    """Count the multiplications and additions of the matrix products of one pass.

    Args:
        config: shape of the encoder.
        lengths: real tokens of each row.
        only_first: count in the last layer what a head on the first token needs: keys
            and values of all tokens, everything else of one token a row. `False`
            counts all tokens there too, as an encoder that computes them does.

    Returns:
        Operations, two a multiply-add; norms, activations and softmax left out.
    """
    lengths = np.asarray(lengths, "int64")
    tokens, rows = int(lengths.sum()), len(lengths)
    scores = int((lengths**2).sum())
    whole_layers = config.num_layers - only_first
    total = whole_layers * _count_layer(config, tokens, tokens, scores)
    if only_first:
        total += _count_layer(config, rows, tokens, tokens)
    return total + 2 * rows * config.hidden_dim**2  # the pooler


def count_training(config: EncoderConfig, lengths, *, only_first: bool = True) -> int:
    """Count forward and backward: every product has two in the backward pass."""
    return 3 * count_forward(config, lengths, only_first=only_first)


def _count_layer(config: EncoderConfig, queries: int, keys: int, scores: int) -> int:
    hidden = config.hidden_dim
    projections = 2 * hidden * hidden * (2 * queries + 2 * keys)
    attention = 2 * 2 * hidden * scores
    feedforward = 2 * 2 * hidden * config.intermediate_dim * queries
    return projections + attention + feedforward
